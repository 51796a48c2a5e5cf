"""Studies of benchmarks, whose trials do nothing or are drawn: their text and their start."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from search.record import manifest
from search.record.run_folder import RunFolder
from search.run import machine
from search.run.job_form import Places
from search.run.study import Study
from search.spec.study_spec import parse_spec

CELLS = 10
TEXT = """
name = "{name}"
task = "cifar10"
scheduler = "{scheduler}"
[cells]
batch_size = {cells}
[space.lr]
low = 0.01
high = 0.1
log = true
[fixed]
edition = "synthetic"
[budget]
trials_per_cell = {trials}
max_epochs = {epochs}
grace_epochs = {grace}
audit_share = 0.0
"""


def trivial_study(name: str, jobs: int, epochs: int = 1) -> str:
    """The file of a study of about so many jobs.

    Args:
        name: of the study.
        jobs: in all.
        epochs: of each; of one, the jobs are those of ten cells and three rungs.
    """
    if epochs > 1:
        held = {"cells": [16], "trials": jobs, "epochs": epochs, "grace": epochs}
        return TEXT.format(name=name, scheduler="none", **held)
    # of n trials a cell, n/3 and n/9 go on, and each cell's winner is scored
    trials = round((jobs / CELLS - 1) / (1 + 1 / 3 + 1 / 9))
    held = {"cells": [16 * (n + 1) for n in range(CELLS)], "trials": trials}
    return TEXT.format(name=name, scheduler="cell-promote", epochs=9, grace=1, **held)


def begun(
    run: RunFolder,
    text: str,
    watcher: Any,
    images: tuple[int, int] = (1, 1),
    here: Mapping[str, Any] | None = None,
) -> Study:
    """A new study in its run folder.

    Args:
        run: the folder, empty.
        text: of the study's file.
        watcher: sees what happens.
        images: of train and of test, said to be there.
        here: see `search.run.machine.here`, by default that.
    """
    spec = parse_spec(tomllib.loads(text), run.path.name)
    data = {"data": "synthetic", "edition": "synthetic", "synthetic": True}
    data |= dict(zip(("train_images", "test_images"), images, strict=True))
    here = machine.here() if here is None else here
    run.create(manifest.describe_study(spec, text, [], [data], {}, here))
    return Study(spec, run, Places(run.path, {}, {}), watcher)
