"""Learning curves from elsewhere, written as a record that everything here reads.

Such a record says in `imported` of study.json that it is one, and what is not known of it. Without
seeds nothing of it counts as confirmed; where it has them, they count as a study's own do. Of the
results of images nothing is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
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
        rows: name, e.g. val_accuracy, -> value, one mapping an epoch, from epoch 1; without a
            name where an epoch has no value of it.
        config: its searched settings.
        seed: None where it is not known.
        stage: search, or confirm: one of the seeds that its cell's result is made of.
        status: completed, stopped (before the full budget), diverged (in its last row), failed.
        value_epoch: that its value is of, by the checkpoint rule; 0 for the last.
        test: scores on test, where its cell shows them.
        revealed: epochs of which the source has scores on test, kept or not.
        selected: it is what its cell has chosen, in a search without seeds.
        seconds: that it took.
        error: that ended it.
    """

    name: str
    cell: int
    rows: tuple[Mapping[str, float | None], ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    stage: str = "search"
    status: str = "completed"
    value_epoch: int = 0
    test: Mapping[str, float] | None = None
    revealed: tuple[int, ...] = ()
    selected: bool = False
    seconds: float | None = None
    error: str = ""


@dataclass(frozen=True)
class ImportedStudy:
    """What holds for all runs of an import.

    Attributes:
        task: one that ships, or another's, with a colon in its name and an `about`.
        cells: values of each cell.
        settings: those that hold in every cell.
        watched: the split whose values stand for a run, val or test.
        origin: `file`, `sha256`, `faults` and what else is to be kept of where it is from.
        metric: that ranks; "" for that of the task.
        metrics: that tables show; none for those of the task.
        about: see trainables.about; None for that of the task.
        rows: names of the rows' quantities; none for those of the first run.
        space: keys of configs.
        shown: the split that tables show; "" for the one that is watched.
        rule: checkpoint rule, best or last.
        rungs: epochs at which runs ended, up to the full budget; none for that of the first run.
        seeds: that each cell was to have; none where there is none with seeds.
        paired: a seed means the same in every cell.
        configs: that the cell with most has.
        unknown: what is not known.
    """

    task: str
    cells: list[dict[str, Any]]
    settings: Mapping[str, Any]
    watched: str
    origin: Mapping[str, Any]
    metric: str = ""
    metrics: tuple[str, ...] = ()
    about: Mapping[str, Any] | None = None
    rows: tuple[str, ...] = ()
    space: tuple[str, ...] = ()
    shown: str = ""
    rule: str = "last"
    rungs: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    paired: bool = False
    configs: int = 0
    unknown: tuple[str, ...] = UNKNOWN


def require_free(folder: Path) -> None:
    """Refuse a folder that holds something already.

    Raises:
        RecordError: it does.
    """
    if found := taken_by(folder):
        raise RecordError(f"{found}; name another folder by --out")


def write_imported(folder: Path, study: ImportedStudy, runs: Iterable[ImportedRun]) -> None:
    """Write a run folder.

    Args:
        folder: made; its name is that of the study.
        study: what holds for all runs.
        runs: of any number of epochs up to the last rung.

    Raises:
        RecordError: the folder holds a study already.
        OSError: the system refuses it.
    """
    require_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    held = list(runs)
    form = _study(folder.name, study, held[0])
    form["imported"]["revealed"] = {r.name: list(r.revealed) for r in held if r.revealed}
    with closing(Appender(folder / EPOCHS)) as epochs, closing(Appender(folder / JOURNAL)) as log:
        for run in held:
            _write_run(form, run, log, epochs)
    with whole(folder / STUDY) as part:  # last: without it the folder is no record
        part.write_text(json.dumps(form, indent=1), encoding="utf-8")
    write(folder)


def _study(name: str, study: ImportedStudy, first: ImportedRun) -> dict[str, Any]:
    about = study.about or SHIPPED[study.task]
    main = study.metric or main_metric(study.task)
    rungs = list(study.rungs or [len(first.rows)])
    rows = list(study.rows or first.rows[0])
    shown = study.shown or study.watched
    spec: dict[str, Any] = {"description": f"imported from {study.origin['file']}"}
    if study.configs:
        spec["budget"] = {"trials_per_cell": study.configs}
    if study.paired:
        spec["confirm"] = {"seeds": list(study.seeds), "paired": True}
    return {
        "format": FORMAT,
        "name": name,
        "task": study.task,
        "metric": main,
        "mode": about["metrics"][main]["mode"],
        "metrics": list(study.metrics or about["metrics"]),
        "row_metrics": rows,
        "watched": study.watched,
        "shown_split": shown,
        # report: the value of the last epoch, whatever split it is of
        "protocol": "honest" if study.watched == "val" and shown == "test" else "report",
        "checkpoint_rule": study.rule,
        "synthetic": False,
        "cells": study.cells,
        "space_keys": list(study.space),
        "settings": dict(study.settings),
        "rungs": rungs,
        "confirm_seeds": list(study.seeds),
        "spec": spec,
        "data": [{"data": about["title"], "edition": "unknown", "synthetic": False}],
        "about": about,
        "weights": None,
        "sessions": [],
        "imported": {**study.origin, "unknown": list(study.unknown)},
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
    at = {"trial": run.name, "cell": run.cell}
    job = {**at, "stage": run.stage, "to_epoch": max(len(run.rows), 1), "seed": None}
    if run.stage == "confirm":
        job["seed"] = run.seed
    if run.test:
        job["score_test"] = True
    asked = {"config": dict(run.config), "settings": dict(run.config), "seed": run.seed}
    log.write({"event": "ask", "job": job, **asked})
    for epoch, row in enumerate(run.rows, 1):
        epochs.write({"trial": run.name, "row": {"epoch": epoch, **row}})
    log.write({"event": "tell", "trial": run.name, **_ending(study, run)})
    place = {"epoch": len(run.rows), "value": None, "rank": None, "n": None, "rule": "elsewhere"}
    if run.status == "stopped":
        log.write({"event": "decision", **at, **place, "verdict": "stop"})
    elif run.selected:
        log.write({"event": "decision", **at, **place, "verdict": "select"})


def _ending(study: Mapping[str, Any], run: ImportedRun) -> dict[str, Any]:
    took = {} if run.seconds is None else {"seconds": run.seconds}
    if run.status == "failed":
        return {"ending": "failed", "error": run.error or None, **took}
    epoch = len(run.rows)
    at = run.value_epoch or epoch
    value = run.rows[at - 1].get(f"{study['watched']}_{study['metric']}")
    end = {"epoch": epoch, "value": value, "value_epoch": at, **took}
    if run.status == "diverged":
        return {"ending": "diverged", **end}
    test = {"test": dict(run.test), "baselines": {}} if run.test else {}
    return {"ending": "value", **end, **test}


def imported_note(study: Mapping[str, Any]) -> str:
    """That a record is imported, from what, and what is not known of it; "" where it is not."""
    held = study.get("imported")
    if not held:
        return ""
    return (
        f"imported from {held['file']} (sha256 {str(held['sha256'])[:16]}), never run here; not "
        f"known: {', '.join(held['unknown'])}"
    )
