"""Clusters of several machines, for the tests of what happens when one of them differs or dies."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.lab import Lab, lab, why_not

TINY = """
name = "tiny"
task = "cifar10"
[cells]
momentum = [0.8, 0.9]
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
trials_per_cell = 4
max_epochs = 4
grace_epochs = 1
reduction_factor = 2
[confirm]
seeds = [1]
"""


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    """A lab without machines yet; its work folder holds tiny.toml."""
    if held := why_not():
        pytest.skip(held)
    folder = Path(tempfile.mkdtemp(prefix="lab", dir="/tmp"))
    try:
        with lab(folder) as made:
            (made.work / "tiny.toml").write_text(TINY, encoding="utf-8")
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)
