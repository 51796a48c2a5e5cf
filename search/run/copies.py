"""Copies of what happens in a study for other tools to show, beside its record.

Each place that the study file's [log] names is a `Log`; nothing reads one back. What it refuses
ends no study: it is told once, put on record, and that copy is left for the rest of the session.
One that may wait for a network or a database does its work in a thread of its own.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from search import record
from search.record.journal import Event
from search.run.options import PreflightError
from search.run.watcher import Watcher
from search.spec.plan import Job
from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.engine.train import watched_metric

Scalars = dict[str, float]
MOST_WAITING = 50_000  # calls that a copy may be behind before it is left
SOON = 2.0  # seconds that need no word
PATIENCE = 60.0  # seconds that the end of a session waits for what is not written yet
SECRET = re.compile(r"(KEY|TOKEN|PASSWORD|SECRET)", re.IGNORECASE)


class Stay(NamedTuple):
    """A trial's stay on a worker, as a log names it.

    Attributes:
        trial: its name.
        cell: number of its cell.
        stage: search, confirm or audit.
        config: settings of its cell, and searched ones.
    """

    trial: str
    cell: int
    stage: str
    config: Mapping[str, Any]


class Log(Protocol):
    """A copy that is written while a study runs; a trial may come and go several times.

    Attributes:
        name: as people know it.
        later: what becomes of what it does not take now, in words; "" where that is lost.
    """

    name: str
    later: str

    def catch_up(self, held: record.Record) -> None:
        """A study goes on: what of its record is missing may be added, before anything is told."""

    def begin(self, stay: Stay) -> None:
        """A trial starts, or goes on."""

    def add(self, trial: str, epoch: int, scalars: Scalars) -> None:
        """An epoch is over."""

    def end(self, trial: str, epoch: int, last: int, scores: Scalars, failed: bool) -> None:
        """A stay is over.

        Args:
            trial: its name.
            epoch: that its scores on test are of.
            last: that it has reached.
            scores: on test, by name; mostly none.
            failed: whether its job failed, or became not finite.
        """

    def close(self) -> None:
        """The session ends; stays that are not over were interrupted."""


class Given(NamedTuple):
    """What a log is told of a study when it is made.

    Attributes:
        run: the run folder.
        study: name of the study.
        run_id: of this run of it.
        metric: that is watched, as rows name it.
        cells: labels of the cells, in order.
        spec: the study.
    """

    run: Path
    study: str
    run_id: str
    metric: str
    cells: list[str]
    spec: StudySpec


def scalars_of(row: Mapping[str, Any]) -> Scalars:
    """What of an epoch's row is a number, but for the epoch itself."""
    return {k: v for k, v in row.items() if k != "epoch" and isinstance(v, int | float)}


def scores_of(told: Mapping[str, Any]) -> Scalars:
    """A job's scores on test, as logs name them."""
    return {f"test_{name}": value for name, value in (told.get("test") or {}).items()}


def without_secrets(text: str) -> str:
    """A text without what the environment holds as secrets, and without users in URLs."""
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value) > 3:
            text = text.replace(value, "***")
    return re.sub(r"://[^/@\s]+@", "://***@", text)


class Copied:
    """A watcher that writes a log, and passes on to another all that it is told.

    Args:
        log: the log.
        watcher: passed on to.
        note: puts an event on record.
    """

    def __init__(self, log: Log, watcher: Watcher, note: Callable[[Event], None]) -> None:
        self._log, self._watcher, self._note, self._failed = log, watcher, note, False

    def restored(self, held: record.Record) -> None:
        """See Watcher."""
        self._watcher.restored(held)
        self._try(self._log.catch_up, held)

    def asked(self, job: Job, config: Mapping[str, Any], decisions: list[Event]) -> None:
        """See Watcher."""
        self._watcher.asked(job, config, decisions)
        self._try(self._log.begin, Stay(job.trial, job.cell, job.stage, dict(config)))

    def reported(self, job: Job, row: Mapping[str, Any]) -> None:
        """See Watcher."""
        self._watcher.reported(job, row)
        self._try(self._log.add, job.trial, int(row["epoch"]), scalars_of(row))

    def told(self, job: Job, told: Mapping[str, Any], decisions: list[Event]) -> None:
        """See Watcher."""
        self._watcher.told(job, told, decisions)
        last = int(told.get("epoch") or 0)
        at, failed = int(told.get("value_epoch") or last), told["ending"] in ("failed", "diverged")
        self._try(self._log.end, job.trial, at, last, scores_of(told), failed)

    def noted(self, text: str) -> None:
        """See Watcher."""
        self._watcher.noted(text)

    def close(self, on_record: bool = True) -> None:
        """The session ends.

        Args:
            on_record: whether what a log refuses is put there, or told alone.
        """
        if not on_record:
            self._note = lambda event: None
        if isinstance(self._watcher, Copied):
            self._watcher.close(on_record)
        if isinstance(self._log, Apart) and not self._log.soon():
            self._watcher.noted(
                f"waiting for {self._log.name} to take what is left, {PATIENCE:g} s at the most"
            )
        self._try(self._log.close)

    def _try(self, work: Callable[..., None], *what: Any) -> None:
        if self._failed:
            return
        try:
            work(*what)
        except Exception as error:  # whatever another tool raises: the study is none of its
            self._failed = True
            text = without_secrets(f"{error}" or type(error).__name__).strip()
            self._note({"event": "log ended", "to": self._log.name, "error": text[:2000]})
            said = text.partition("\n")[0]
            later = f"; {self._log.later}" * bool(self._log.later)
            self._watcher.noted(
                f"warning: no more is written for {self._log.name} ({said}){later}"
            )


class Behind(RuntimeError):
    """A log does not keep up, or did not end in time."""


class Apart:
    """A log whose work is done in a thread of its own, in order; its first error is raised later.

    Args:
        log: the log.
        patience: seconds that `close` waits.
    """

    def __init__(self, log: Log, patience: float = PATIENCE) -> None:
        self.name, self.later, self._log, self._patience = log.name, log.later, log, patience
        self._calls: queue.Queue[tuple[Callable[..., None], tuple[Any, ...]] | None] = queue.Queue(
            MOST_WAITING
        )
        self._error: Exception | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._work, name=f"log {log.name}", daemon=True)

    def catch_up(self, held: record.Record) -> None:
        """See Log."""
        self._put(self._log.catch_up, held)

    def begin(self, stay: Stay) -> None:
        """See Log."""
        self._put(self._log.begin, stay)

    def add(self, trial: str, epoch: int, scalars: Scalars) -> None:
        """See Log."""
        self._put(self._log.add, trial, epoch, scalars)

    def end(self, trial: str, epoch: int, last: int, scores: Scalars, failed: bool) -> None:
        """See Log."""
        self._put(self._log.end, trial, epoch, last, scores, failed)

    def soon(self) -> bool:
        """Ask it to end; whether it does so at once."""
        if self._thread.ident is None or self._ending:
            return True
        self._ending = True
        with contextlib.suppress(queue.Full):  # then it ends with the process
            self._calls.put_nowait((self._log.close, ()))
            self._calls.put_nowait(None)
        self._thread.join(min(SOON, self._patience))
        return not self._thread.is_alive()

    def close(self) -> None:
        """See Log; waits, but not for ever."""
        if self._thread.ident is None:  # nothing was ever written
            return
        self.soon()
        self._thread.join(self._patience)
        if self._thread.is_alive():
            raise Behind(
                f"it did not take all within {self._patience:g} s; what is left is not written"
            )
        if self._error is not None:
            raise self._error

    def _put(self, work: Callable[..., None], *what: Any) -> None:
        if self._error is not None:
            raise self._error
        if self._thread.ident is None:
            self._thread.start()
        try:
            self._calls.put_nowait((work, what))
        except queue.Full:
            raise Behind(f"it is {MOST_WAITING} calls behind") from None

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            work, what = call
            if self._error is None:
                try:
                    work(*what)
                except Exception as error:
                    self._error = error


def copied(
    spec: StudySpec,
    run: Path,
    run_id: str,
    watcher: Watcher,
    note: Callable[[Event], None],
) -> Watcher:
    """The watcher, behind one for each place that the study file's [log] names.

    Args:
        spec: the study.
        run: its run folder.
        run_id: of this run of it.
        watcher: sees what happens.
        note: puts an event on record.
    """
    if not spec.log.to:
        return watcher
    config = spec.config(spec.cell_values()[0], {})
    metric = watched_metric(find_task(spec.task), config)
    cells = [record.cell_label(cell) for cell in spec.cell_values()]
    given = Given(run, spec.name, run_id or spec.name, metric, cells, spec)
    for place in dict.fromkeys(spec.log.to):
        watcher = Copied(_made(place, given), watcher, note)
    return watcher


def _made(place: str, given: Given) -> Log:
    if place == "tensorboard":
        from search.run.tensorboard import TensorBoard

        return TensorBoard(given.run, given.metric, given.cells)
    if place == "mlflow":
        from search.run.mlflow_log import MLflow

        return Apart(MLflow(given))
    from search.run.wandb_log import Wandb

    return Apart(Wandb(given))


def check_logs(spec: StudySpec) -> None:
    """Refuse a place of [log] that could not be written to, before the first trial.

    Raises:
        PreflightError: with every fault.
    """
    faults = []
    if "mlflow" in spec.log.to:
        from search.run import mlflow_log

        faults.append(mlflow_log.fault(spec))
    if "wandb" in spec.log.to:
        from search.run import wandb_log

        faults.append(wandb_log.fault(spec))
    if told := list(filter(None, faults)):
        raise PreflightError("\n".join(told))
