"""How anything is trained: one loop, its steps, checkpoints, and the cache of decoded data.

May import `kernels` and the modules beside these packages, no task. Start reading at `train.py`.
"""
