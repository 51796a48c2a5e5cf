"""What runs a job in a worker process of Ray Tune's, and reports as that goes; see `bootstrap`.

Every report has the same form, so that nothing a trial does can upset Ray's loop: a dict of `kind`
("begin", "epoch", "end" or "other checkpoint"), `trial` and a `payload`, one text of JSON; beside
them, for Ray's own ASHA, `value`, the metric by the study's checkpoint rule, and `epoch` where Ray
is to judge. An exception in a trial is an "end" report too, and only then ends the worker: a CUDA
error leaves a process that no later trial could use.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from search.run.watch import Watch, stall_file
from search.run.worker import WorkerJob, execute, failure, task_of
from trainables.judging import judged_epochs


class JobFailed(RuntimeError):
    """Ends the worker of a failed job, after the failure was reported."""


def run_begun(config: dict[str, Any]) -> None:
    """Run a job that has said where it is; see `search.run.bootstrap.run_job`.

    Raises:
        JobFailed: the job failed, and that has been reported; the next one gets a new process.
    """
    from ray import tune

    worker_job = WorkerJob(**json.loads(config["job"]))
    members = [(job.trial, Judge(job)) for job in worker_job.members()]

    def report(trial: str, kind: str, payload: Mapping[str, Any], **more: Any) -> None:
        # one text: of every number that it sees Ray keeps extremes and running means, for ever
        held = {"kind": kind, "trial": trial, "payload": json.dumps(payload)}
        tune.report({"value": math.nan, **held, **more})  # returns when the driver has taken it

    def epoch(trial: str, judge: Judge, row: Mapping[str, Any]) -> None:
        judge.see(row)
        # Ray's ASHA passes over a report without an epoch; the last may be one of its rungs, and
        # there it would end a training that is complete
        judged = worker_job.judged and row["epoch"] < worker_job.train["to_epoch"]
        at = {"epoch": row["epoch"], "value_epoch": judge.epoch} if judged else {}
        with watch.paused():
            report(trial, "epoch", row, value=judge.value, **at)

    with contextlib.ExitStack() as stack:
        try:
            stalls = stall_file(worker_job.run, worker_job.trial)
            watch = stack.enter_context(Watch(stalls, worker_job.stalled_seconds))
        except OSError as error:
            for trial, _ in members:
                report(trial, "end", failure(error))
            raise JobFailed(worker_job.trial) from None

        def other(trial: str, text: str) -> None:
            with watch.paused():
                report(trial, "other checkpoint", {"differs": text})

        reports = [partial(epoch, *member) for member in members]
        told = execute(worker_job, reports, watch.alive, other)
        with watch.paused():
            for (trial, judge), held in zip(members, told, strict=True):
                report(trial, "end", held, value=judge.value)
    if any(held["ending"] == "failed" for held in told):
        raise JobFailed(worker_job.trial)


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
