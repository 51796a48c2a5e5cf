"""What a worker does: one job is `train` from one epoch to another, and what it came to.

See `ray_worker` for how Ray runs it. An exception in a trial is a result like any other.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import platform
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from search.run.device import device_name, out_of_memory, peak_mb, why_broken
from search.run.digest import code_digest
from search.run.errors import InfrastructureError
from search.run.failures import infrastructure
from search.run.objects import checkpoint_name
from search.run.store import Folder, Store, open_store
from search.run.watch import stalls_here
from trainables.files import disk_fault

if TYPE_CHECKING:
    from trainables.engine.job import Outcome, TrainJob
    from trainables.task import Task

ERROR_LINES = 12  # of a traceback, kept on record
STACK_WRITTEN = 2.0  # seconds after which a stack is whole: its process ends when it is written


Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class WorkerJob:
    """A job with all that a worker needs for it; plain values, so that Ray can carry it anywhere.

    Attributes:
        task: key of TASKS, or `module:ATTRIBUTE` of the user's own.
        trial: name of the trial.
        run: the run folder, absolute, which all nodes see; or the URI of a store.
        run_id: of the study that must be there; "" of one from before they had any.
        train: fields of trainables.engine.train.TrainJob, paths as texts.
        cpus: CPU threads.
        gpus: share of a GPU.
        judged: whether Ray's ASHA may end the job.
        stalled_seconds: without a step, after which the worker ends itself.
        task_dir: folder that a task of the user's own is imported from; "" for none.
        task_code: of that task, on record when the session began; see `trainables.own_task`.
        code: digest of this package as the driver has it; "" asks for none.
        others: `trial` and `train` of further jobs, which are trained with this one as an array.
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
    code: str = ""
    run_id: str = ""
    others: Sequence[Mapping[str, Any]] = ()

    def members(self) -> list[WorkerJob]:
        """This job and the others, each as a job by itself; of one that is no array itself."""
        if not self.others:
            return [self]
        own = {"trial": self.trial, "train": self.train}
        return [replace(self, **held, others=()) for held in (own, *self.others)]


def execute(
    worker_job: WorkerJob,
    reports: Sequence[Report],
    alive: Callable[[], None] = lambda: None,
    other: Callable[[str, str], None] = lambda trial, text: None,
) -> list[dict[str, Any]]:
    """Run a job, or all of an array, in this process.

    Args:
        worker_job: the job.
        reports: of each of its members: called with the row of each epoch.
        alive: called before every step.
        other: called where a checkpoint is another trial's, with the member whose name it has and
            what differs.

    Returns:
        The tell of each member: `ending`, `value`, `value_epoch`, `epoch`, `test`, ...,
        `seconds`, `error`; of a failure that is no fault of the trial `infrastructure`, its cause
        in a word; of an array that there was no memory for, how many `members` it had. What an
        array takes is told in equal parts.
    """
    started = time.perf_counter()
    members = worker_job.members()
    try:
        if worker_job.code and worker_job.code != code_digest():
            raise InfrastructureError(
                "code",
                f"node {platform.node()} has other code of resnet-tune ({code_digest()}) than the "
                f"driver ({worker_job.code})",
            )
        told = _train(members, reports, alive, other)
    except Exception as error:
        told = [failure(error) for _ in members]
    seconds = (time.perf_counter() - started) / len(members)
    took = {
        "seconds": seconds,
        "gpu_seconds": seconds * worker_job.gpus,
        "peak_mb": peak_mb(),
        "node": platform.node(),
        "code": code_digest(),
        "device": device_name(worker_job.gpus),
    }
    return [{**held, **took} for held in told]


def failure(error: Exception) -> dict[str, Any]:
    """The tell of a job that has raised."""
    lines = "".join(traceback.format_exception(error)).strip().splitlines()
    told: dict[str, Any] = {"ending": "failed", "error": "\n".join(lines[-ERROR_LINES:])}
    if out_of_memory(error):
        told["out_of_memory"] = True
    if _stays(error):
        told["for_good"] = True
    if cause := infrastructure(error):
        told["infrastructure"] = cause
    if full := disk_fault(error):
        told["disk"] = full
    return told


def task_of(worker_job: WorkerJob) -> Task:
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


def _train(
    members: Sequence[WorkerJob],
    reports: Sequence[Report],
    alive: Callable[[], None],
    other: Callable[[str, str], None],
) -> list[dict[str, Any]]:
    """Train all members; the tell of each."""
    import torch

    first = members[0]
    torch.set_num_threads(max(1, int(first.cpus)))
    if first.gpus and torch.cuda.is_available():
        # one trial cannot starve another on its GPU; Ray's shares limit nothing
        torch.cuda.set_per_process_memory_fraction(min(1.0, first.gpus))
        torch.cuda.reset_peak_memory_stats()
    store = open_store(first.run)
    store.check(first.run_id)
    _hand_in_stacks(first, store)
    plain = [partial(_report_plain, report) for report in reports]
    with contextlib.ExitStack() as stack:
        jobs = [_train_job(stack, store, member, other) for member in members]
        found, short = _outcomes(task_of(first), jobs, plain, alive)
        told = [
            _told(store, member, job.checkpoint, outcome)
            for member, job, outcome in zip(members, jobs, found, strict=True)
        ]
    return [{**held, "members": len(jobs)} for held in told] if short else told


def _train_job(
    stack: contextlib.ExitStack,
    store: Store,
    member: WorkerJob,
    other: Callable[[str, str], None],
) -> TrainJob:
    from trainables.engine.job import TrainJob

    held = dict(member.train)
    for key in ("data_dir", "weights"):
        held[key] = Path(held[key]) if held[key] is not None else None
    path, on_checkpoint = stack.enter_context(store.checkpoint(member.trial))
    calls = {"on_other": partial(other, member.trial), "on_checkpoint": on_checkpoint}
    return TrainJob(**{**held, **calls, "study": member.run_id, "checkpoint": path})


def _outcomes(
    task: Task,
    jobs: Sequence[TrainJob],
    reports: Sequence[Report],
    alive: Callable[[], None],
) -> tuple[Sequence[Outcome | Exception], bool]:
    """Of each job what it came to; those that failed together, or are no array, one by one.

    Returns:
        And whether it was memory that they lacked together.
    """
    from trainables.engine.arrays.train import TogetherError, TogetherMemoryError, train_array
    from trainables.engine.train import train
    from trainables.errors import TaskError

    found: list[Outcome | Exception] = [TogetherError()] * len(jobs)
    if len(jobs) > 1:
        with contextlib.suppress(TaskError):  # no array
            found = train_array(task, jobs, reports, alive)
        gc.collect()  # steps and networks of an array refer to one another
    short = any(isinstance(held, TogetherMemoryError) for held in found)
    for number, held in enumerate(found):
        if not isinstance(held, TogetherError):
            continue
        if len(jobs) > 1 and (why := why_broken(jobs[number].device)):  # whoever did it
            text = f"its array left a process that cannot use its GPU any more ({why})"
            found[number] = InfrastructureError("process", text)
            continue
        try:  # such as memory that one alone has enough of
            found[number] = train(task, jobs[number], reports[number], alive)
        except Exception as error:
            found[number] = error
    return found, short


def _told(
    store: Store, member: WorkerJob, path: Path, outcome: Outcome | Exception
) -> dict[str, Any]:
    """The tell of what a member has come to."""
    from trainables.engine.checkpoint import DamagedCheckpoint

    if isinstance(outcome, DamagedCheckpoint):  # by the name that a user can look for
        place = f"{store.where}/{checkpoint_name(member.trial)}"
        named = DamagedCheckpoint(str(outcome).replace(str(path), place))
        named.__cause__ = outcome
        return failure(named)
    if isinstance(outcome, Exception):
        return failure(outcome)
    told: dict[str, Any] = {
        "ending": "diverged" if outcome.diverged else "value",
        "value": _finite(outcome.value),
        "value_epoch": outcome.value_epoch,
        "epoch": outcome.epoch,
        "parameters": outcome.parameters,
        **outcome.how,
    }
    if outcome.collapsed is not None:
        told["collapsed"] = outcome.collapsed
    if outcome.test is not None:
        try:
            _write_detail(store, member.trial, outcome.test.per_image, outcome.test.samples)
        except Exception as error:
            return failure(error)
        told["test"] = _plain(outcome.test.metrics)
        told["baselines"] = {name: _plain(held) for name, held in outcome.baselines.items()}
        told["collapsed"] = outcome.test.collapsed
    return told


def _report_plain(report: Report, row: Mapping[str, Any]) -> None:
    report(_plain(row))


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


def _hand_in_stacks(worker_job: WorkerJob, store: Store) -> None:
    """Hand in what processes of this node have left that stalled in the run."""
    if isinstance(store, Folder):
        return
    for path in stalls_here(worker_job.run).glob("*.txt"):
        with contextlib.suppress(FileNotFoundError):  # another worker of this node was first
            held = path.stat()
            if held.st_size and time.time() - held.st_mtime > STACK_WRITTEN:
                store.put(f"stalls/{path.name}", path)
                path.unlink(missing_ok=True)


def _write_detail(
    store: Store, trial: str, per_image: Mapping[str, list[Any]], samples: Mapping[str, np.ndarray]
) -> None:
    """Per-image results and samples, each file whole or not at all."""
    frame = pd.DataFrame(per_image).astype({"truth": float, "prediction": float})
    frame["trial"] = trial  # a part under another's name is found out
    with store.writing(f"parts/{trial}.parquet") as path, path.open("wb") as file:
        frame.to_parquet(file, write_page_checksum=True)
    if samples:
        with store.writing(f"samples/{trial}.npz") as path, path.open("wb") as file:
            np.savez_compressed(file, **samples)  # type: ignore[arg-type]


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if key == "epoch" else _finite(value) for key, value in row.items()}


def _finite(value: float) -> float | None:
    """JSON has no NaN; None stands for a number that is none."""
    return float(value) if math.isfinite(value) else None
