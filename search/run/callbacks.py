"""What Ray Tune tells as it happens: reports of workers, their deaths, and its own end."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.run import (
    cluster,  # noqa: F401 - first: it sets what ray reads when imported
    head,
)

from ray.tune import Callback  # isort: skip

from search.run.deadline import GONE, LOOK_EVERY
from search.run.errors import InfrastructureError
from search.run.inquiry import EndedIdle, Placed, end_hung_here
from search.run.job_searcher import JobSearcher

if TYPE_CHECKING:
    from search.run.study import Study


def _error_of(trial: Any) -> str:
    """What Ray says of the end of a trial's worker; "" if it says nothing.

    From the file that it has written here: `get_error` looks where that is copied to later on.
    """
    path = trial.error_file
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace") if path else ""
    except OSError as error:
        return f"what Ray says of it cannot be read ({error})"


def _ours(method: Callable[..., None]) -> Callable[..., None]:
    """Remember an exception of a Listener's method: Ray's end by it is no death of Ray's own."""

    @wraps(method)
    def guarded(self: Listener, *arguments: Any, **info: Any) -> None:
        try:
            method(self, *arguments, **info)
        except Exception as error:
            self.searcher.fault = self.searcher.fault or error
            raise

    return guarded


class EndTune(Callback):  # type: ignore[misc]
    """Asks Tune to end its experiment, as its own SIGUSR1 does, which others may send to us too.

    Tune installs a handler for SIGUSR1 when it begins, and would take a batch system's warning for
    the death of the experiment. So that handler is kept here, to be called, and never installed.
    """

    def __init__(self) -> None:
        self._tunes: Any = None
        self._asked = self._begun = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Around an experiment."""
        install = signal.signal

        def kept(number: int, handler: Any) -> Any:
            if number != signal.SIGUSR1:
                return install(number, handler)
            self._tunes = handler
            return signal.getsignal(number)

        signal.signal = kept  # type: ignore[assignment]
        try:
            yield
        finally:
            signal.signal = install

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune has begun."""
        if not self._begun:
            self._begun = True
            if self._asked:
                self()

    def __call__(self) -> None:
        """End the experiment; at once if Tune has begun, else as soon as it has."""
        self._asked = True
        if self._begun and self._tunes is not None:
            self._tunes(signal.SIGUSR1, None)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to keep; see JobSearcher."""
        return {}


class Listener(Callback):  # type: ignore[misc]
    """Hands every report of a worker to the study as it arrives.

    Args:
        study: takes them.
        searcher: knows which jobs are out.
        end: looks at a worker that is silent, and ends one that hangs; see `inquiry.end_hung`.
    """

    def __init__(
        self,
        study: Study,
        searcher: JobSearcher,
        end: Callable[[Placed, float], Future[str]] = end_hung_here,
    ) -> None:
        self._study, self.searcher, self._end = study, searcher, end
        self._looked, self._stuck = time.monotonic(), False
        self._looks: list[tuple[Placed, bool]] = []  # waited for; whether between two jobs
        self._workers: dict[tuple[str, int], Placed] = {}  # all that have begun a job
        searcher.turn = self.turn

    @_ours
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A job has found its worker."""
        if trial.trial_id in self.searcher.jobs:
            self.searcher.started[trial.trial_id] = time.monotonic()

    @_ours
    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """An epoch's row goes to the record, an end is kept until Ray has taken the trial off."""
        placed = self.searcher.placed.get(trial.trial_id)
        if placed:
            placed.heard = time.monotonic()
        kind = result.get("kind")
        if kind is None:
            return
        payload = json.loads(result["payload"])
        if kind == "begin":
            now = time.monotonic()
            where = Placed(**payload, began=now, heard=now)
            self.searcher.began(trial.trial_id, where)
            self._workers[where.node_id, where.pid] = where
        elif kind == "array":
            for held in payload:
                self._take(held["kind"], held["trial"], held["payload"])
        else:
            self._take(kind, result["trial"], payload)

    def _take(self, kind: str, trial: str, payload: dict[str, Any]) -> None:
        if kind == "epoch":
            self._study.epoch(trial, payload)
        elif kind == "other checkpoint":
            self._study.other_checkpoint(trial, payload["differs"])
        elif kind == "end":
            self.searcher.ended[trial] = payload

    @_ours
    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker ended; told by a job's own last report already, or by Ray alone."""
        if trial.trial_id in self.searcher.jobs:
            self.searcher.died(trial.trial_id, _error_of(trial))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """A step of Tune's loop is over."""
        self.turn()

    def turn(self) -> None:
        """Look at what is silent, and take what is known by now of what was.

        Raises:
            Exception: the study itself cannot go on; it ends Ray's experiment.
        """
        head.stepped()
        if gone := head.fault():
            self.searcher.fault = self.searcher.fault or InfrastructureError("head", gone)
        if self.searcher.fault:
            raise self.searcher.fault
        if time.monotonic() - self._looked > LOOK_EVERY:
            self._looked = time.monotonic()
            for job, placed in self.searcher.overdue():
                if not placed.ended:
                    self._look_at(placed, job.stalled_seconds)
            if self.searcher.unbegun():
                self._look_at_idle()
            stuck, self._stuck = self._stuck, self.searcher.stuck
            if stuck and self._stuck:  # of both looks, and no job could begin in between
                raise RuntimeError("all jobs that are out wait for nodes that take none any more")
        self._take_answers()

    def _look_at_idle(self) -> None:
        """End workers that were stopped between two jobs: Ray gives the next one to such a worker.

        Which of them has it only its first report would say.
        """
        busy = {(placed.node_id, placed.pid) for placed in self.searcher.placed.values()}
        for key in self._workers.keys() - busy:
            self._look_at(self._workers[key], math.inf)

    def _look_at(self, placed: Placed, seconds: float) -> None:
        if placed.look is None:
            placed.look = self._end(placed, seconds)
            self._looks.append((placed, seconds == math.inf))

    @_ours
    def _take_answers(self) -> None:
        """Take what is seen by now of workers that were looked at, and of those that have died."""
        for held in list(self._looks):
            placed, idle = held
            look = placed.look
            if look is None or not look.done():
                continue
            self._looks.remove(held)
            placed.look = None
            if look.exception() is not None:
                self.searcher.unanswered(placed)
            elif seen := look.result():
                self._ended(placed, seen, idle)
        self.searcher.take_dead()

    def _ended(self, placed: Placed, seen: str, idle: bool) -> None:
        """A worker was ended, or found gone; a job that it has begun meanwhile is lost by that."""
        key = (placed.node_id, placed.pid)
        placed.ended = seen
        for busy in self.searcher.placed.values():
            if (busy.node_id, busy.pid) == key:
                busy.ended = seen
                return
        if self._workers.pop(key, None) and idle and seen != GONE:
            waiting = frozenset(self.searcher.unplaced)
            self.searcher.ended_idle.append(EndedIdle(placed, waiting))

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to keep; see JobSearcher."""
        return {}
