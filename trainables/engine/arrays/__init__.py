"""Trial arrays: trials of one shape, other rates and seeds, trained as one program.

A member of an array is a trial like any other: its own network, optimizer, checkpoint and rows.
Only forward and backward are one for all: the members' weights are parts of one network's. Start
reading at `train.py`.
"""
