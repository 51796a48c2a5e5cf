"""Trainings that another tool has on record, as a record of this one.

`READERS` gives the runs of each kind of source as they are there (`runs`), `mapping` says what
their columns are, `trials` makes cells, configs and seeds of them, `write` the run folder. Start
reading at `importing`.
"""
