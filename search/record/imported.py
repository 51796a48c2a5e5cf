"""Learning curves from elsewhere, written as a record that everything here reads.

Such a record says in `imported` of study.json that it is one, and what is not known of it. It has
no seeds, no scores on test and no results of images, so nothing of it counts as confirmed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.record.journal import Appender
from search.record.stored import EPOCHS, JOURNAL, STUDY, RecordError
from search.record.study_file import FORMAT
from search.record.taken import taken_by
from search.record.written import write
from trainables.about import SHIPPED
from trainables.files import whole

UNKNOWN = (
    "seeds",
    "logs of a run",
    "results of each image",
    "settings other than those named",
    "data and code that it was run with",
)


@dataclass(frozen=True)
class ImportedRun:
    """One training.

    Attributes:
        name: of its trial.
        cell: its number.
        rows: name, e.g. val_accuracy, -> value, one mapping an epoch, from epoch 1.
    """

    name: str
    cell: int
    rows: tuple[Mapping[str, float], ...]


def require_free(folder: Path) -> None:
    """Refuse a folder that holds something already.

    Raises:
        RecordError: it does.
    """
    if found := taken_by(folder):
        raise RecordError(f"{found}; name another folder by --out")


def write_imported(
    folder: Path,
    task: str,
    cells: list[dict[str, Any]],
    settings: Mapping[str, Any],
    watched: str,
    runs: Iterable[ImportedRun],
    origin: Mapping[str, Any],
) -> None:
    """Write a run folder.

    Args:
        folder: made; its name is that of the study.
        task: one that ships.
        cells: values of each cell.
        settings: those that hold in every cell.
        watched: the split whose values stand for a run, val or test.
        runs: all of the same number of epochs and the same names.
        origin: `file`, `sha256`, `faults` and what else is to be kept of where it is from.

    Raises:
        RecordError: the folder holds a study already.
        OSError: the system refuses it.
    """
    require_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    held = list(runs)
    study = _study(folder.name, task, cells, settings, watched, held[0], origin)
    with closing(Appender(folder / EPOCHS)) as epochs, closing(Appender(folder / JOURNAL)) as log:
        for run in held:
            _write_run(study, run, log, epochs)
    with whole(folder / STUDY) as part:  # last: without it the folder is no record
        part.write_text(json.dumps(study, indent=1), encoding="utf-8")
    write(folder)


def _study(
    name: str,
    task: str,
    cells: list[dict[str, Any]],
    settings: Mapping[str, Any],
    watched: str,
    first: ImportedRun,
    origin: Mapping[str, Any],
) -> dict[str, Any]:
    about = SHIPPED[task]
    metrics = list(about["metrics"])
    main = main_metric(task)
    return {
        "format": FORMAT,
        "name": name,
        "task": task,
        "metric": main,
        "mode": about["metrics"][main]["mode"],
        "metrics": metrics,
        "row_metrics": list(first.rows[0]),
        "watched": watched,
        "shown_split": watched,
        "protocol": "report",  # the value of the last epoch, whatever split it is of
        "checkpoint_rule": "last",
        "synthetic": False,
        "cells": cells,
        "space_keys": [],
        "settings": dict(settings),
        "rungs": [len(first.rows)],
        "confirm_seeds": [],
        "spec": {"description": f"imported from {origin['file']}"},
        "data": [{"data": about["title"], "edition": "unknown", "synthetic": False}],
        "about": about,
        "weights": None,
        "sessions": [],
        "imported": {**origin, "unknown": list(UNKNOWN)},
    }


def tasks() -> Mapping[str, Mapping[str, Any]]:
    """What the tasks that ship say of themselves, by name; see trainables.about."""
    return SHIPPED


def main_metric(task: str) -> str:
    """The metric by which a task that ships ranks trials: accuracy, else the first it has."""
    names = list(SHIPPED[task]["metrics"])
    return "accuracy" if "accuracy" in names else names[0]


def _write_run(
    study: Mapping[str, Any], run: ImportedRun, log: Appender, epochs: Appender
) -> None:
    job = {"trial": run.name, "stage": "search", "cell": run.cell, "to_epoch": len(run.rows)}
    log.write({"event": "ask", "job": job, "config": {}, "settings": {}, "seed": None})
    for epoch, row in enumerate(run.rows, 1):
        epochs.write({"trial": run.name, "row": {"epoch": epoch, **row}})
    value = run.rows[-1][f"{study['watched']}_{study['metric']}"]
    end = {"epoch": len(run.rows), "value": value, "value_epoch": len(run.rows)}
    log.write({"event": "tell", "trial": run.name, "ending": "value", **end})


def imported_note(study: Mapping[str, Any]) -> str:
    """That a record is imported, from what, and what is not known of it; "" where it is not."""
    held = study.get("imported")
    if not held:
        return ""
    return (
        f"imported from {held['file']} (sha256 {str(held['sha256'])[:16]}), never run here; not "
        f"known: {', '.join(held['unknown'])}"
    )
