"""A run folder that is looked at again and again: of its logs only what is new is read.

The first look reads all of the record, with every check of `load`; later ones take the lines that
came since, each held against those before it. Whatever is not simply more (a log that shrank, a
line that does not fit, another study.json) has all of it read anew, which says what is wrong.
"""

from __future__ import annotations

import math
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from search.record.columns import CURVES, DTYPES, trial_columns
from search.record.event_forms import event_fault
from search.record.followed import RECENT, Curve, Out
from search.record.forms import from_json, line_fault
from search.record.frames import Trials, take, typed
from search.record.journal import EventOrder
from search.record.misfit import misfit
from search.record.outlook import Paces
from search.record.read import DECISION, Record, loaded
from search.record.status import epochs_of
from search.record.stored import EPOCHS, JOURNAL, STUDY
from search.record.tail import Tail
from trainables.errors import UserError

# of trials.parquet, what the journal alone tells, and the epochs
TOLD = ["study", "task", "trial", "stage", "cell", "config", "seed", "status", "reason", "epochs"]
TOLD += ["budget", "rule", "metric", "value", "value_epoch", "collapsed", "attempts", "losses"]
TOLD += ["node", "error"]
REST = 20  # times as long as all took to read until all is read again, where that is damaged
TAIL = 2**18  # bytes at the end of the log of epochs in which running jobs are looked for


class Follower:
    """A run folder that is followed.

    Args:
        folder: the run folder.
        clock: seconds, for when damage is looked at again.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder, self._clock = folder, clock
        self._held: Record | None = None
        self._whole = False
        self._problem: tuple[UserError, float] | None = None  # and when all may be read again
        self._forget()

    def _forget(self) -> None:
        self._trials: Trials = {}
        self._decisions: list[dict[str, Any]] = []
        self._order = EventOrder()
        self._curves: dict[str, Curve] = {}
        self._sums: dict[int, tuple[float, int]] = {}
        self._logs = {name: Tail(self.folder / name) for name in (JOURNAL, EPOCHS)}
        self.jobs: dict[str, Out] = {}
        self._back: dict[str, Out] = {}  # jobs that were interrupted and are not out

    def look(self) -> tuple[Record, bool]:
        """The record as it is now, and whether anything is new since the last look.

        Its trials have the columns of TOLD and those of the settings; its curves are the watched
        metric's and, of the first look alone, `seconds`.

        Raises:
            RecordError, JournalError: see `load`.
        """
        if self._problem is not None:
            error, again = self._problem
            if self._clock() < again:
                raise error
        held, new = self._look()
        self._problem = None
        return held, new

    def _look(self) -> tuple[Record, bool]:
        if self._held is None or self._changed():
            return self._anew(), True
        fresh = [log.fresh() for log in self._logs.values()]
        if any(lines is None for lines in fresh):
            return self._anew(), True
        journal, epochs = (lines or [] for lines in fresh)
        if not journal and not epochs:
            return self._held, False
        if self._whole or not (all(map(self._event, journal)) and all(map(self._row, epochs))):
            return self._anew(), True
        return self._made(self._held), True

    @property
    def paces(self) -> Paces:
        """See search.record.outlook: mean seconds of an epoch of each cell that has any."""
        return {cell: total / count for cell, (total, count) in self._sums.items() if count}

    @property
    def workers(self) -> int:
        """That are at work: an array of jobs has one."""
        return len({job.array for job in self.jobs.values()})

    @property
    def epochs(self) -> int:
        """See search.record.status.epochs_of."""
        if self._whole and self._held is not None:
            return epochs_of(self._held)
        return sum(len(curve.epochs) for curve in self._curves.values())

    def curve(self, trial: str) -> tuple[array[int], array[float]]:
        """Epochs of a trial, increasing, and the watched metric there, NaN where not finite."""
        held = self._curves.get(trial, Curve())
        return held.epochs, held.values

    # -- all of it ----------------------------------------------------------------------------

    def _anew(self) -> Record:
        """Read all of the record.

        Raises:
            RecordError, JournalError: see `load`; for a while the same error again.
        """
        self._held, began = None, self._clock()
        self._forget()
        self._study = _written(self.folder / STUDY)
        try:
            held, events = loaded(self.folder)
        except UserError as error:
            now = self._clock()
            self._problem = (error, now + REST * (now - began))
            raise
        self._metric = f"{held.study['watched']}_{held.study['metric']}"
        keys = [c for c in trial_columns(held.study) if c in TOLD or c not in DTYPES]
        measured = {f"{at}_{m}" for at in ("last", "value") for m in held.study["row_metrics"]}
        self._columns = [c for c in keys if c not in measured]
        for event in events:
            self._order.take(event)
            self._take(held.study, event)
        self._rows_of(held)
        self._whole = "imported" in held.study
        for name, log in self._logs.items():
            log.begin(held.sizes.get(name, 0))
        return self._made(held)

    def _rows_of(self, held: Record) -> None:
        """Take over what the curves of a whole record say."""
        cells = dict(zip(held.trials["trial"], held.trials["cell"], strict=True))
        for trial, epochs in zip(held.trials["trial"], held.trials["epochs"], strict=True):
            self._trials[trial]["epochs"] = int(epochs)
        names = [self._metric, "seconds"]
        rows = held.curves.loc[
            held.curves["name"].isin(names), ["trial", "epoch", "name", "value"]
        ]
        rows = rows.astype({"trial": str, "name": str, "epoch": "int64"})
        wide = rows.pivot(index=["trial", "epoch"], columns="name", values="value")
        wide = wide.reindex(columns=names).reset_index()
        for name, own in wide.groupby("trial", sort=False):
            trial = str(name)
            if trial not in cells:  # the journal has lost it; the record's notes say so
                continue
            epochs, values, seconds = (own[column].to_numpy() for column in ("epoch", *names))
            self._curves[trial] = Curve(
                array("q", epochs), array("d", values), array("d", seconds)
            )
            self._count(int(cells[trial]), np.nansum(seconds), np.isfinite(seconds).sum())
        heard = self._heard(held.sizes.get(EPOCHS, 0)) if self.jobs else {}
        for job in self.jobs.values():
            job.told = heard.get(job.trial, "")
            curve = self._curves.get(job.trial)
            if curve is not None and curve.epochs[-1] > job.from_epoch:
                job.epoch, job.value = curve.epochs[-1], _finite(curve.values[-1])
                job.seconds.extend(s for s in curve.seconds[-RECENT:] if not math.isnan(s))

    def _count(self, cell: int, seconds: float, epochs: int) -> None:
        total, count = self._sums.get(cell, (0.0, 0))
        self._sums[cell] = total + float(seconds), count + int(epochs)

    def _heard(self, size: int) -> dict[str, str]:
        """Trial -> when its last row came, by the end of the log; the frames do not say it."""
        found: dict[str, str] = {}
        if size:
            with (self.folder / EPOCHS).open("rb") as file:
                file.seek(max(size - TAIL, 0))
                lines = file.read(min(size, TAIL)).split(b"\n")[bool(size > TAIL) : -1]
            for line in map(from_json, lines):
                found[line["trial"]] = line["time"]
        return {t: at for t, at in found.items() if at >= self._since(t)}

    def _since(self, trial: str) -> str:
        return self.jobs[trial].since if trial in self.jobs else ""

    # -- what is new --------------------------------------------------------------------------

    def _changed(self) -> bool:
        """Whether study.json or a log is another file than before, or a log has shrunk."""
        logs = [log.changed() for log in self._logs.values()]  # the journal first, as `sizes_of`
        return any(logs) or _written(self.folder / STUDY) != self._study

    def _event(self, event: dict[str, Any]) -> bool:
        """Take an event; False where it does not fit."""
        assert self._held is not None
        study = self._held.study
        if event_fault(event) or misfit(study, event) or self._order.take(event):
            return False
        self._take(study, event)
        return True

    def _take(self, study: dict[str, Any], event: dict[str, Any]) -> None:
        take(self._trials, study, event)
        if event["event"] == "ask":
            job = event["job"]
            given = {key: job[key] for key in ("cell", "stage", "to_epoch")}
            self.jobs[job["trial"]] = Out(
                job["trial"],
                from_epoch=job.get("from_epoch", 0),
                config=event["config"],
                since=event["time"],
                beside=event.get("beside") or "",
                **given,
            )
        elif event["event"] == "again":
            back = self._back.pop(event["trial"], None) or self.jobs.get(event["trial"])
            if back is not None:
                new = replace(back, since=event["time"], beside=event.get("beside") or "", told="")
                if new.array != back.array:  # its seconds were a share of others' too
                    new.seconds = deque(maxlen=RECENT)
                self.jobs[back.trial] = new
        elif event["event"] in ("tell", "put back"):
            out = self.jobs.pop(event["trial"], None)
            if out is not None and event["event"] == "put back":
                self._back[out.trial] = out
        elif event["event"] == "decision":
            self._decisions.append(event)

    def _row(self, line: dict[str, Any]) -> bool:
        """Take the row of an epoch; False where it does not fit."""
        if line_fault(line) or line["trial"] not in self._trials:
            return False
        trial, row = line["trial"], line["row"]
        held, epoch, value = self._trials[trial], row["epoch"], row.get(self._metric)
        held["epochs"] = max(held["epochs"], epoch)
        curve, seconds = self._curves.setdefault(trial, Curve()), row.get("seconds")
        before = curve.put(epoch, _number(value), _number(seconds))
        if not math.isnan(before):
            self._count(held["cell"], -before, -1)
        if seconds is not None:
            self._count(held["cell"], seconds, 1)
        if (job := self.jobs.get(trial)) is not None:
            job.epoch, job.value, job.told = epoch, value, line["time"]
            if seconds is not None:
                job.seconds.append(seconds)
        return True

    def _made(self, held: Record) -> Record:
        """The record of what was read so far; an imported one does not grow."""
        if self._whole:
            self._held = held
            return held
        trials = typed(held.study, self._trials, self._columns)
        decisions = pd.DataFrame(self._decisions, columns=DECISION)
        sizes = {name: log.read for name, log in self._logs.items()}
        self._held = replace(
            held, trials=trials, decisions=decisions, sizes=sizes, _curves=_no_curves
        )
        return self._held


def _no_curves() -> pd.DataFrame:
    return pd.DataFrame(columns=CURVES)


def _written(path: Path) -> tuple[int, int] | None:
    """When a file was written, and its bytes; None without it."""
    try:
        held = path.stat()
    except OSError:
        return None
    return held.st_mtime_ns, held.st_size


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
