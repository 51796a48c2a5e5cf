"""A study whose trials take a second each: what it is run for is not what it finds."""

from __future__ import annotations

TINY = """
name = "tiny"
task = "cifar10"
[cells]
{cells}
[space.lr]
low = 0.01
high = 0.1
log = true
[fixed]
depth = 18
edition = "synthetic"
batch_size = 16
train_images = 32
val_images = 16
test_images = 20
[budget]
trials_per_cell = {trials}
max_epochs = 4
grace_epochs = 1
reduction_factor = 2
[confirm]
seeds = [1]
"""


def tiny_study(cells: str = "momentum = [0.8, 0.9]", trials: int = 4) -> str:
    """Its file, tiny.toml.

    Args:
        cells: the table of that name.
        trials: of each cell.
    """
    return TINY.format(cells=cells, trials=trials)
