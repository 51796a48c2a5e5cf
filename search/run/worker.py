"""What a Ray worker executes: one job is `train` from one epoch to another, reported as it goes.

Every report has the same form, so that nothing a trial does can upset Ray's loop: a dict of `kind`
("epoch" or "end"), `trial` and a `payload` of plain numbers and texts; beside them, for Ray's own
ASHA, `value`, the metric by the study's checkpoint rule, and `epoch` where Ray is to judge. An
exception in a trial is an "end" report too, and only then ends the worker: a CUDA error leaves a
process that no later trial could use.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from search.run.watch import Watch, stall_file
from trainables.files import disk_fault, whole
from trainables.judging import judged_epochs

if TYPE_CHECKING:
    from trainables.task import Task

ERROR_LINES = 12  # of a traceback, kept on record


class JobFailed(RuntimeError):
    """Ends the worker of a failed job, after the failure was reported."""


@dataclass(frozen=True)
class WorkerJob:
    """A job with all that a worker needs for it; plain values, so that Ray can carry it anywhere.

    Attributes:
        task: key of TASKS, or `module:ATTRIBUTE` of the user's own.
        trial: name of the trial.
        run: the run folder, absolute; on a cluster, on storage that all nodes share.
        train: fields of trainables.engine.train.TrainJob, paths as texts.
        cpus: CPU threads.
        gpus: share of a GPU.
        judged: whether Ray's ASHA may end the job.
        stalled_seconds: without a step, after which the worker ends itself.
        task_dir: folder that a task of the user's own is imported from; "" for none.
        task_code: of that task, on record when the session began; see `trainables.own_task`.
    """

    task: str
    trial: str
    run: str
    train: Mapping[str, Any]
    cpus: float
    gpus: float
    judged: bool = False
    stalled_seconds: float = 1800.0
    task_dir: str = ""
    task_code: Sequence[Mapping[str, str]] = ()


def run_job(config: dict[str, Any]) -> None:
    """The trainable: `config["job"]` holds the fields of a WorkerJob as JSON.

    Raises:
        JobFailed: the job failed, and that has been reported; the next one gets a new process.
    """
    from ray import tune

    worker_job = WorkerJob(**json.loads(config["job"]))
    judge = Judge(worker_job)
    watch = Watch(stall_file(Path(worker_job.run), worker_job.trial), worker_job.stalled_seconds)

    def report(kind: str, payload: Mapping[str, Any], **more: Any) -> None:
        held = {"kind": kind, "trial": worker_job.trial, "payload": dict(payload)}
        with watch.paused():  # returns when the driver has taken it
            tune.report({**held, "value": judge.value, **more})

    def epoch(row: Mapping[str, Any]) -> None:
        judge.see(row)
        # Ray's ASHA passes over a report without an epoch; the last may be one of its rungs, and
        # there it would end a training that is complete
        judged = worker_job.judged and row["epoch"] < worker_job.train["to_epoch"]
        at = {"epoch": row["epoch"], "value_epoch": judge.epoch} if judged else {}
        report("epoch", row, **at)

    with watch:
        told = execute(worker_job, epoch, watch.alive)
        report("end", told)
    if told["ending"] == "failed":
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
        task, config = _task(self._worker_job), self._worker_job.train["config"]
        self._seen.append((int(row["epoch"]), row.get(watched_metric(task, config))))
        values = (value for _, value in self._seen)
        at = judged_epochs(values, config["checkpoint_rule"], task.mode)[-1]
        self.value = math.nan
        if at:
            self.epoch, value = self._seen[at - 1]
            self.value = math.nan if value is None else value


def execute(
    worker_job: WorkerJob, report: Any, alive: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Run a job in this process.

    Args:
        worker_job: the job.
        report: called with the row of each epoch.
        alive: called before every step.

    Returns:
        The tell: `ending`, `value`, `value_epoch`, `epoch`, `test`, ..., `seconds`, `error`.
    """
    started = time.perf_counter()
    try:
        told = _train(worker_job, lambda row: report(_plain(row)), alive)
    except Exception as error:
        lines = traceback.format_exc().strip().splitlines()
        told = {"ending": "failed", "error": "\n".join(lines[-ERROR_LINES:])}
        if _out_of_memory(error):
            told["out_of_memory"] = True
        if _stays(error):
            told["for_good"] = True
        if full := disk_fault(error):
            told["disk"] = full
    seconds = time.perf_counter() - started
    return {
        **told,
        "seconds": seconds,
        "gpu_seconds": seconds * worker_job.gpus,
        "peak_mb": _peak_mb(),
        "node": platform.node(),
        "device": _device_name(worker_job),
    }


def _train(worker_job: WorkerJob, report: Any, alive: Callable[[], None]) -> dict[str, Any]:
    import torch

    from trainables.engine.train import TrainJob, train

    torch.set_num_threads(max(1, int(worker_job.cpus)))
    if worker_job.gpus and torch.cuda.is_available():
        # one trial cannot starve another on its GPU; Ray's shares limit nothing
        torch.cuda.set_per_process_memory_fraction(min(1.0, worker_job.gpus))
        torch.cuda.reset_peak_memory_stats()
    held = dict(worker_job.train)
    for key in ("data_dir", "weights", "checkpoint"):
        held[key] = Path(held[key]) if held[key] is not None else None
    outcome = train(_task(worker_job), TrainJob(**held), report, alive)
    told: dict[str, Any] = {
        "ending": "diverged" if outcome.diverged else "value",
        "value": _finite(outcome.value),
        "value_epoch": outcome.value_epoch,
        "epoch": outcome.epoch,
        "parameters": outcome.parameters,
        **outcome.how,
    }
    if outcome.test is not None:
        _write_detail(worker_job, outcome.test.per_image, outcome.test.samples)
        told["test"] = _plain(outcome.test.metrics)
        told["baselines"] = {name: _plain(held) for name, held in outcome.baselines.items()}
        told["collapsed"] = outcome.test.collapsed
    return told


def _task(worker_job: WorkerJob) -> Task:
    """The task of a job; of the user's own only in the code that is on record.

    Raises:
        TaskError: its code was changed since the session began.
    """
    from trainables import find_task
    from trainables.own_code import import_from

    if worker_job.task_dir:
        import_from(worker_job.task_dir)
    task = find_task(worker_job.task)
    names = (worker_job.task, str(worker_job.train["config"].get("network", "")))
    own = tuple(name for name in names if ":" in name)
    if own:
        _check_code(own, json.dumps(list(worker_job.task_code)))
    return task


@cache  # a warm worker holds the code that it has imported, whatever becomes of the files
def _check_code(own: tuple[str, ...], held: str) -> None:
    from trainables.errors import TaskError
    from trainables.own_code import changed_code, import_own

    for name in own:
        import_own(name)
    if changed := changed_code(own, json.loads(held)):
        raise TaskError(
            f"{', '.join(changed)} was changed while the study ran: restore it and `resnet-search "
            "resume RUN --retry-failed`, or run the study anew with --name"
        )


def _stays(error: BaseException) -> bool:
    """Whether a job would fail again: damaged data stays so.

    What is missing may be on another node, and a read that the system refused (an error with a
    number), or that had no memory, may pass the next time.
    """
    from trainables.task import DataError, MissingDataError

    cause = error.__cause__
    refused = isinstance(cause, MemoryError) or bool(getattr(cause, "errno", None))
    return isinstance(error, DataError) and not isinstance(error, MissingDataError) and not refused


def _out_of_memory(error: BaseException) -> bool:
    """Whether a GPU had no memory left for the job."""
    import torch

    return isinstance(error, torch.OutOfMemoryError)


def mps_active() -> bool:
    """Whether a CUDA MPS daemon serves this machine: then kernels of packed trials overlap.

    Its clients run without it, silently, where it is absent (nvidia-cuda-mps-control's manual).
    """
    pipes = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"))
    return (pipes / "control").exists()


def _write_detail(
    worker_job: WorkerJob, per_image: Mapping[str, list[Any]], samples: Mapping[str, np.ndarray]
) -> None:
    """Per-image results and samples, each file whole or not at all."""
    parts = Path(worker_job.run) / "parts" / f"{worker_job.trial}.parquet"
    parts.parent.mkdir(exist_ok=True)
    frame = pd.DataFrame(per_image).astype({"truth": float, "prediction": float})
    frame["trial"] = worker_job.trial  # a part under another's name is found out
    with whole(parts) as partial, partial.open("wb") as file:
        frame.to_parquet(file, write_page_checksum=True)
    if samples:
        path = Path(worker_job.run) / "samples" / f"{worker_job.trial}.npz"
        path.parent.mkdir(exist_ok=True)
        with whole(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, **samples)  # type: ignore[arg-type]


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if key == "epoch" else _finite(value) for key, value in row.items()}


def _finite(value: float) -> float | None:
    """JSON has no NaN; None stands for a number that is none."""
    return float(value) if math.isfinite(value) else None


def _peak_mb() -> float:
    """Peak GPU memory of this process where it used one, else its peak resident memory; MiB."""
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _device_name(worker_job: WorkerJob) -> str:
    import torch

    if worker_job.gpus and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}{', MPS' if mps_active() else ''}"
    return f"cpu, {os.cpu_count()} cores"
