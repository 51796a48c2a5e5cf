"""What runs a job in a worker process of Ray Tune's, and reports as that goes; see `bootstrap`.

Every report has the same form, so that nothing a trial does can upset Ray's loop: a dict of `kind`
("begin", "epoch", "end", "other checkpoint", or "array" for several of these), `trial` and a
`payload`, one text of JSON; beside them, for Ray's own ASHA, `value`, the metric by the study's
checkpoint rule, and `epoch` where Ray is to judge. An exception in a trial is an "end" report too,
and only then ends the worker: a CUDA error leaves a process that no later trial could use.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from search.run.watch import Watch, stall_file
from search.run.worker import WorkerJob, execute, failure, task_of
from trainables.judging import judged_epochs

Told = dict[str, Any]

# seconds in which reports of an array's members are one: each takes the driver milliseconds
AT_ONCE = 1.0


class JobFailed(RuntimeError):
    """Ends the worker of a failed job, after the failure was reported."""


def run_begun(config: dict[str, Any]) -> None:
    """Run a job that has said where it is; see `search.run.bootstrap.run_job`.

    Raises:
        JobFailed: the job failed, and that has been reported; the next one gets a new process.
    """
    worker_job = WorkerJob(**json.loads(config["job"]))
    members = worker_job.members()
    with contextlib.ExitStack() as stack:
        try:
            stalls = stall_file(worker_job.run, worker_job.trial)
            watch = stack.enter_context(Watch(stalls, worker_job.stalled_seconds))
        except OSError as error:
            for job in members:
                _report(job.trial, "end", failure(error))
            raise JobFailed(worker_job.trial) from None

        def other(trial: str, text: str) -> None:
            with watch.paused():
                _report(trial, "other checkpoint", {"differs": text})

        if len(members) > 1:
            told = _run_array(worker_job, watch, other)
        else:
            told = [_run_one(worker_job, watch, other)]
    if any(held["ending"] == "failed" for held in told):
        raise JobFailed(worker_job.trial)


def _report(trial: str, kind: str, payload: Any, **more: Any) -> None:
    from ray import tune

    # one text: of every number that it sees Ray keeps extremes and running means, for ever
    held = {"kind": kind, "trial": trial, "payload": json.dumps(payload)}
    tune.report({"value": math.nan, **held, **more})  # returns when the driver has taken it


def _run_one(worker_job: WorkerJob, watch: Watch, other: Callable[[str, str], None]) -> Told:
    """Run a job, each row reported as it comes; its tell."""
    judge = Judge(worker_job)

    def epoch(row: Mapping[str, Any]) -> None:
        judge.see(row)
        # Ray's ASHA passes over a report without an epoch; the last may be one of its rungs, and
        # there it would end a training that is complete
        judged = worker_job.judged and row["epoch"] < worker_job.train["to_epoch"]
        at = {"epoch": row["epoch"], "value_epoch": judge.epoch} if judged else {}
        with watch.paused():
            _report(worker_job.trial, "epoch", row, value=judge.value, **at)

    (told,) = execute(worker_job, [epoch], watch.alive, other)
    with watch.paused():
        _report(worker_job.trial, "end", told, value=judge.value)
    return told


def _run_array(
    worker_job: WorkerJob, watch: Watch, other: Callable[[str, str], None]
) -> list[Told]:
    """Run an array, what comes within AT_ONCE seconds in one report; the tell of each member.

    Rows that a kill keeps from the driver are those of a checkpoint, and come again with the next
    attempt, or of epochs that are trained again.
    """
    held: list[dict[str, Any]] = []
    since = math.inf

    def send() -> None:
        nonlocal since
        with watch.paused():
            _report(worker_job.trial, "array", held)
        held.clear()
        since = math.inf

    def take(kind: str, trial: str, payload: Mapping[str, Any]) -> None:
        nonlocal since
        held.append({"kind": kind, "trial": trial, "payload": payload})
        since = min(since, time.monotonic())

    def alive() -> None:
        watch.alive()
        if time.monotonic() - since > AT_ONCE:
            send()

    members = worker_job.members()
    reports = [partial(take, "epoch", job.trial) for job in members]
    told = execute(worker_job, reports, alive, other)
    for job, end in zip(members, told, strict=True):
        take("end", job.trial, end)
    send()
    return told


class Judge:
    """What a trial is worth so far, by the study's checkpoint rule."""

    def __init__(self, worker_job: WorkerJob) -> None:
        self._worker_job = worker_job
        self._seen: list[tuple[int, float | None]] = []  # epoch and value of each row
        self.value, self.epoch = math.nan, 0

    def see(self, row: Mapping[str, Any]) -> None:
        """Take an epoch's row; one without a finite metric makes the trial worth NaN."""
        from trainables.engine.train import watched_metric

        # not before a row: a task that cannot be imported here fails its job, which is told
        task, config = task_of(self._worker_job), self._worker_job.train["config"]
        self._seen.append((int(row["epoch"]), row.get(watched_metric(task, config))))
        values = (value for _, value in self._seen)
        at = judged_epochs(values, config["checkpoint_rule"], task.mode)[-1]
        self.value = math.nan
        if at:
            self.epoch, value = self._seen[at - 1]
            self.value = math.nan if value is None else value
