"""What Ray Tune asks and is told: jobs out of the study, results back into it."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.run import cluster  # noqa: F401 - first: it sets what ray reads when imported

from ray.tune import Callback  # isort: skip
from ray.tune.search import Searcher  # isort: skip

from search.record.journal import Event
from search.run.watch import stacks
from search.run.worker import WorkerJob

if TYPE_CHECKING:
    from search.run.nodes import Nodes
    from search.run.study import Study


class DiskError(RuntimeError):
    """A worker could not write: its disk is full, or may not be written."""


class JobSearcher(Searcher):  # type: ignore[misc]
    """Gives Ray the study's next job whenever it asks for a trial.

    Args:
        study: asks, tells and keeps the record.
        slots: called for the number of jobs the cluster can run at once.
        nodes: of a cluster, who may take jobs.
    """

    def __init__(self, study: Study, slots: Callable[[], int], nodes: Nodes | None = None) -> None:
        super().__init__()  # without a metric: Ray ends an experiment when a report lacks it
        self._study, self._slots, self._nodes = study, slots, nodes
        self.jobs: dict[str, WorkerJob] = {}  # that Ray has been given, by its trial's id
        self.started: set[str] = set()  # of these, those that have found a worker
        self._asked: dict[str, float] = {}  # of these, when: time of day
        self.ended: dict[str, dict[str, Any]] = {}  # our trial -> its "end" report
        self.stopping = False
        self.told = 0
        self.fault: Exception | None = None  # of ours; Ray would swallow it and go on without us

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next job as a Ray config, None while nothing may start, FINISHED at the end."""
        if self.stopping or self.fault or self._study.done:
            return str(Searcher.FINISHED)
        try:
            # Ray asks one trial ahead; a decision is best made when a worker is really free
            if len(self.jobs) >= self._slots():
                return None
            # else jobs of a small shape would take every place that a larger one waits for
            shapes = {(job.cpus, job.gpus) for job in self.jobs.values()}
            if len(shapes) > 1 and not self.started >= set(self.jobs):
                return None
            worker_job = self._study.ask()
        except Exception as error:
            self.fault = error
            return None
        if worker_job is None:
            if not self.jobs and not self._study.done:
                self.fault = RuntimeError("nothing runs and nothing can start, yet it is not done")
            return None
        self.jobs[trial_id], self._asked[trial_id] = worker_job, time.time()
        # one text: Ray walks through every key of a config, several times
        config = {"job": json.dumps(vars(worker_job))}
        labels = self._nodes.labels() if self._nodes else None
        return {**config, "labels": json.dumps(labels)} if labels else config

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how a job ended; one that was only stopped is put back, not told."""
        job = self.jobs.pop(trial_id, None)
        if job is None:
            return
        self.started.discard(trial_id)
        asked, told = self._asked.pop(trial_id), self.ended.pop(job.trial, None)
        try:
            if told is None and result and not error and not self.stopping:
                told = _stopped_by_ray(result)
            if told is None and error and not self.stopping:
                told = {"ending": "failed", "error": _why_it_died(self._study.folder, job, asked)}
            if told is not None and told.get("disk"):
                # no fault of the trial's, and none that another attempt would mend
                self._study.put_back(job.trial)
                self.fault = self.fault or DiskError(told["disk"])
            elif told is None:
                self._study.put_back(job.trial)
            else:
                self._study.tell(job.trial, told)
                self.told += 1
        except Exception as fault:
            self.fault = fault

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its searcher with every snapshot; there is nothing to keep."""
        return {}


def _why_it_died(folder: Path, job: WorkerJob, asked: float) -> str:
    found = stacks(folder, job.trial, asked)
    if not found:
        return "its worker process died"
    return f"it made no step for `stalled_seconds` and was ended; {found[-1]} says where it stood"


def _stopped_by_ray(result: dict[str, Any]) -> Event | None:
    """The tell of a job that Ray's ASHA ended at its last report; None if it did not."""
    if result.get("kind") != "epoch" or not math.isfinite(result["value"]):
        return None
    keys = ("value", "value_epoch", "epoch")
    return {"ending": "stopped", "seconds": result["time_total_s"], **{k: result[k] for k in keys}}


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
    """Hands every report of a worker to the study as it arrives."""

    def __init__(self, study: Study, searcher: JobSearcher) -> None:
        self._study, self.searcher = study, searcher

    @_ours
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A job has found its worker."""
        if trial.trial_id in self.searcher.jobs:
            self.searcher.started.add(trial.trial_id)

    @_ours
    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """An epoch's row goes to the record, an end is kept until Ray has taken the trial off."""
        if result.get("kind") == "epoch":
            self._study.epoch(result["trial"], result["payload"])
        elif result.get("kind") == "end":
            self.searcher.ended[result["trial"]] = result["payload"]

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """End Ray's experiment when the study itself cannot go on."""
        if self.searcher.fault:
            raise self.searcher.fault

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to keep; see JobSearcher."""
        return {}
