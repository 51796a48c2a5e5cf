"""A study whose trials take a second each: what it is run for is not what it finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search import record
from search.record.journal import read_lines

TINY = """
name = "tiny"
task = "cifar10"
{top}
[cells]
{cells}
[space.lr]
low = 0.01
high = 0.1
log = true
[fixed]
{fixed}
edition = "synthetic"
batch_size = 16
train_images = 32
val_images = 16
test_images = 20
[budget]
trials_per_cell = {trials}
max_epochs = {epochs[1]}
grace_epochs = {epochs[0]}
reduction_factor = 2
[confirm]
seeds = [1]
"""


def tiny_study(
    cells: str = "momentum = [0.8, 0.9]",
    trials: int = 4,
    epochs: tuple[int, int] = (1, 4),
    fixed: str = "depth = 18",
    top: str = "",
) -> str:
    """Its file, tiny.toml.

    Args:
        cells: the table of that name.
        trials: of each cell.
        epochs: of the first rung and of a full training.
        fixed: settings beside those of the data.
        top: keys above the tables.
    """
    held = {"cells": cells, "trials": trials, "epochs": epochs, "fixed": fixed, "top": top}
    return TINY.format(**held)


def decisions(run: Path) -> list[dict]:
    """What was decided, and why: everything but when, and where it stands in the journal."""
    made = [e for e in read_lines(run / record.JOURNAL) if e["event"] == "decision"]
    return [{k: v for k, v in e.items() if k not in ("time", "line")} for e in made]


def execute(worker_job: Any, report: Any, *more: Any) -> dict[str, Any]:
    """Run a job of one trial in this process; its tell."""
    from search.run import worker

    (told,) = worker.execute(worker_job, [report], *more)
    return told
