"""What the live page shows of a run: how it stands, in the words of `resnet-search status`."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.display.sketch import sketch
from analysis.findings.results import config_of
from search.record import STUDY, Record, UserError
from search.record.follow import Follower
from search.record.followed import Out
from search.record.naming import cell_label
from search.record.outlook import duration, in_words, outlook
from search.record.status import (
    BEGINS,
    RUNNING,
    as_it_runs,
    begins,
    best_so_far,
    lost_lines,
    next_line,
    state_of,
    status_rows,
    title_of,
)
from search.record.terminal import in_words as in_words_of

DAMAGED, WAITING = "DAMAGED", "not begun"
MOST_LOST = 50  # failures that are listed
MOST_CELLS = 60  # that have a drawing
MOST_LINES = 12  # in one
EVERY = 1.0  # seconds between two looks at a run folder
SHARE = 20  # and never more than a twentieth of the time


class Live:
    """A run that a page follows; several requests may ask for it at once.

    Args:
        run: its run folder.
        where: as a command names it.
    """

    def __init__(self, run: Path, where: str) -> None:
        self.run, self._where = run, where
        self._follower, self._lock = Follower(run), threading.Lock()
        self._state: dict[str, Any] = {}
        self._stood, self._again = "", 0.0
        self.version = 0

    def now(self) -> tuple[int, dict[str, Any]]:
        """Version, and what the page shows, as JSON has it; looked at anew where it may be new."""
        with self._lock:
            began = time.monotonic()
            if began >= self._again:
                try:
                    self._look()
                finally:  # what fails in a way of its own is not tried again at once either
                    now = time.monotonic()
                    self._again = now + max(EVERY, SHARE * (now - began))
            return self.version, self._state

    def _look(self) -> None:
        try:
            if not (self.run / STUDY).exists():
                stood, state = self._unbegun()
            else:
                held, new = self._follower.look()
                stood = f"{state_of(held)} {_report(self.run)}"
                if not new and stood == self._stood:
                    return
                state = shown(held, self._follower, self._where)
        except (UserError, OSError) as error:
            stood = in_words_of(error) if isinstance(error, OSError) else str(error)
            state = _bare(self.run.name, DAMAGED, stood)
        if stood != self._stood or state != self._state:
            self._stood, self._state = stood, state
            self.version += 1

    def _unbegun(self) -> tuple[str, dict[str, Any]]:
        text = BEGINS if begins(self.run) else f"no {STUDY} there; the page follows what begins"
        return text, _bare(self.run.name, WAITING, f"{self._where}: {text}")


def _bare(name: str, state: str, text: str) -> dict[str, Any]:
    """Of a run of which nothing can be read."""
    return {
        "name": name,
        "state": state,
        "title": text,
        "said": [],
        "outlook": None,
        "head": [],
        "cells": [],
        "metric": "",
        "jobs": [],
        "lost": [],
        "more_lost": 0,
        "curves": [],
        "more_curves": 0,
        "report": "",
        "frames": False,
    }


def shown(held: Record, follower: Follower, where: str) -> dict[str, Any]:
    """What the page shows of a record.

    Args:
        held: as it was looked at last.
        follower: who looked.
        where: its run folder, as a command names it.
    """
    study, state = held.study, state_of(held)
    held = as_it_runs(held)
    head, rows = status_rows(held)
    more = [_reached(held), _best_so_far(held), _chosen(held)]
    head += [f"reached epochs {', '.join(map(str, study['rungs']))}", "best so far", "chosen"]
    lost = held.trials[held.trials["status"].isin(["failed", "diverged"])]
    jobs = sorted(follower.jobs.values(), key=lambda job: (job.cell, job.trial))
    jobs = jobs if state == RUNNING else []  # else they ran when it was killed
    drawn = _drawn(held, jobs)
    said = (*held.notes, *lost_lines(held, where), next_line(held, where))
    return {
        **_bare(study["name"], state, title_of(held, follower.epochs)),
        # each lost trial has a row of its own
        "said": [line for line in said if line and not line.startswith("  ")],
        "outlook": _outlook(held, follower) if state == RUNNING else None,
        "head": head,
        "cells": [[*row, *(column[n] for column in more)] for n, row in enumerate(rows)],
        "metric": f"{study['watched']}_{study['metric']}",
        "jobs": [_job(study, job, follower) for job in jobs],
        "lost": [_lost(study, row) for row in lost.tail(MOST_LOST).iloc[::-1].to_dict("records")],
        "more_lost": max(len(lost) - MOST_LOST, 0),
        "curves": [
            model
            for cell in list(drawn)[:MOST_CELLS]
            if (model := _sketched(study, cell, *drawn[cell], follower))
        ],
        "more_curves": max(len(drawn) - MOST_CELLS, 0),
        "report": _report(held.run),
        "frames": (held.run / "trials.parquet").is_file(),
    }


def _report(run: Path) -> str:
    """When the report that lies in the run folder was made, ISO 8601; "" where there is none."""
    with contextlib.suppress(OSError):
        made = (run / "report" / "index.html").stat().st_mtime
        return datetime.fromtimestamp(made, UTC).isoformat(timespec="seconds")
    return ""


def _outlook(held: Record, follower: Follower) -> dict[str, Any]:
    seen = outlook(held, follower.paces, follower.workers)
    text = in_words(seen, datetime.now().astimezone())
    return {"done": seen.done, "all": seen.done + seen.left, "text": text}


def _job(study: Mapping[str, Any], job: Out, follower: Follower) -> dict[str, Any]:
    # those that are trained together are told their shares of the time that an epoch of all takes;
    # one that has ended, or diverged, is no longer of them, and is out until the array has ended
    held = [other for other in follower.jobs.values() if other.array == job.array]
    together = sum(other.epoch >= job.epoch for other in held)
    seconds = float(np.mean(job.seconds)) * together if job.seconds else 0.0
    rest = job.to_epoch - max(job.epoch, job.from_epoch)
    return {
        "trial": job.trial,
        "cell": cell_label(study["cells"][job.cell]),
        "config": cell_label(job.config) if job.config else "",
        "stage": job.stage,
        "from": job.from_epoch,
        "epoch": max(job.epoch, job.from_epoch),
        "to": job.to_epoch,
        "value": "" if job.value is None else f"{job.value:.4g}",
        "pace": f"{seconds:.3g} s an epoch" if seconds else "",
        "left": duration(seconds * rest) if seconds else "",
        "told": job.told or job.since,
    }


def _lost(study: Mapping[str, Any], row: Mapping[Any, Any]) -> list[str]:
    return [
        str(row["trial"]),
        cell_label(study["cells"][int(row["cell"])]),
        str(row["status"]),
        "" if pd.isna(row["reason"]) else str(row["reason"]),
    ]


def _reached(held: Record) -> list[str]:
    """Of each cell how many of its search's trials have come to each rung."""
    if not held.study["space_keys"]:
        return ["-"] * len(held.study["cells"])
    rows = held.trials[held.trials["stage"] != "confirm"]
    epochs = rows["epochs"].astype("int64").to_numpy()
    cells = rows["cell"].astype("int64").to_numpy()
    count = len(held.study["cells"])
    counts = [np.bincount(cells[epochs >= rung], minlength=count) for rung in held.study["rungs"]]
    return ["/".join(str(at[cell]) for at in counts) for cell in range(count)]


def _best_so_far(held: Record) -> list[str]:
    """Of each cell the best value at a rung, of which epoch, and whose."""
    return [
        f"{best.value:.4g} at {best.epoch} ({best.trial})" if best else ""
        for best in best_so_far(held)
    ]


def _chosen(held: Record) -> list[str]:
    """Of each cell the config that it chose, and whose that is."""
    found = [""] * len(held.study["cells"])
    rows = held.trials.set_index("trial")
    for cell, trial in _winners(held).items():
        config = config_of({**rows.loc[trial], "trial": trial}, held.study)
        found[cell] = f"{cell_label(config)} ({trial})" if config else trial
    return found


def _winners(held: Record) -> dict[int, str]:
    """Cell -> the trial that it chose."""
    made = held.decisions[held.decisions["verdict"] == "select"].drop_duplicates(
        "cell", keep="last"
    )
    return {int(cell): str(trial) for cell, trial in zip(made["cell"], made["trial"], strict=True)}


def _drawn(held: Record, jobs: list[Out]) -> dict[int, tuple[list[str], list[str]]]:
    """Cell -> trials that it has chosen, its seeds among them, and those that run besides.

    Cells in which something runs come first.
    """
    seeds = held.trials[held.trials["stage"] == "confirm"]
    own: dict[int, list[str]] = {cell: [trial] for cell, trial in _winners(held).items()}
    for cell, trial in zip(seeds["cell"], seeds["trial"], strict=True):
        own.setdefault(int(cell), []).append(str(trial))
    runs: dict[int, list[str]] = {}
    for job in jobs:
        runs.setdefault(job.cell, []).append(job.trial)
    order = sorted({*own, *runs}, key=lambda cell: (cell not in runs, cell))
    return {
        cell: (own.get(cell, []), [t for t in runs.get(cell, []) if t not in own.get(cell, [])])
        for cell in order
    }


def _sketched(
    study: Mapping[str, Any], cell: int, own: list[str], runs: list[str], follower: Follower
) -> dict[str, Any] | None:
    curves = {}
    for trial in [*runs[:MOST_LINES], *own[:MOST_LINES]]:
        epochs, values = (np.asarray(held, dtype=float) for held in follower.curve(trial))
        known = np.isfinite(values)
        if known.any():
            curves[trial] = epochs[known], values[known]
    model = sketch(study, list(curves), tuple(own), curves)
    if model is None:
        return None
    more = max(len(own) - MOST_LINES, 0) + max(len(runs) - MOST_LINES, 0)
    return {"cell": cell, "label": cell_label(study["cells"][cell]), "more": more, **model}


def named(run: Path) -> str:
    """A run folder as a command names it."""
    return os.path.relpath(run)
