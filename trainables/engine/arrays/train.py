"""The training loop of an array: as `trainables.engine.train`, with several jobs for one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from trainables.engine.arrays.fits import why_single
from trainables.engine.arrays.step import AnyStep, step_of
from trainables.engine.checkpoint import Row
from trainables.engine.job import Outcome, TrainJob
from trainables.engine.kit import eager_kit, forget
from trainables.engine.memory import give_back
from trainables.engine.trial import Report, Trial, generator, seed_of, trained
from trainables.errors import TaskError, causes, no_gpu_memory, no_memory
from trainables.task import Task

# Whether members are joined into one program. On a GPU, where a kernel for one network of small
# maps leaves most of it idle; not measured there yet. On a CPU one network at a time was faster:
# docs/arrays.md has the figures.
JOINED = {"cpu": False, "cuda": True}


class TogetherError(Exception):
    """What several members failed with in what they computed together: it may be none's own."""


class TogetherMemoryError(TogetherError):
    """There was no memory for all of them."""


def train_array(
    task: Task,
    jobs: Sequence[TrainJob],
    reports: Sequence[Report],
    alive: Callable[[], None] = lambda: None,
    join: bool | None = None,
) -> list[Outcome | Exception]:
    """Train jobs of one shape together, each from its checkpoint, or the start, to its last epoch.

    Rows, checkpoints and outcomes are those of single trials, but that of the time that was spent
    together each is told its share. A member that diverges or fails leaves; the others go on. One
    whose checkpoint is behind catches up first.

    Args:
        task: what to train.
        jobs: see `fits.why_single`.
        reports: of each job, see `train`.
        alive: called before every step and evaluation.
        join: whether forward and backward are one program for all; None for what pays on the
            device. Where not, members take their steps in turn, on the same batches.

    Returns:
        Of each job its outcome, or what it failed with; TogetherError where that was in common,
        TogetherMemoryError where it was memory.

    Raises:
        TaskError: the jobs are no array.
    """
    if why := why_single(task, jobs):
        raise TaskError(f"these jobs cannot be trained as an array: {why}")
    forget()  # what another shape has left need not fit beside it
    join = JOINED[jobs[0].device] if join is None else join
    ended: dict[int, Outcome | Exception] = {}
    members: dict[int, Trial] = {}
    try:
        for number, (job, report) in enumerate(zip(jobs, reports, strict=True)):
            data = next(iter(members.values())).data if members else None
            try:
                members[number] = Trial(task, job, report, alive, eager_kit, data)
            except Exception as error:  # of one, such as a damaged checkpoint
                ended[number] = _own(error)
        how = _train_members(task, members, ended, alive, join)
    finally:
        for number, member in members.items():
            try:
                member.writer.close()
            except OSError as error:
                ended.setdefault(number, error)
        give_back()
    for number, member in members.items():
        if number not in ended:
            ended[number] = _outcome(member, f"{how}, array of {len(jobs)}")
    return [ended[number] for number in range(len(jobs))]


def _train_members(
    task: Task,
    members: dict[int, Trial],
    ended: dict[int, Outcome | Exception],
    alive: Callable[[], None],
    join: bool,
) -> str:
    """Train all to their last epochs; those that fail are put among the ended.

    Returns:
        How steps were taken, as a step has it.
    """
    step: AnyStep | None = None
    together: list[int] = []
    how = "eager"
    while left := [n for n, member in members.items() if n not in ended and not member.over]:
        behind = min(members[n].progress.epoch for n in left)
        chosen = [n for n in left if members[n].progress.epoch == behind]
        held = [members[n] for n in chosen]
        started = time.perf_counter()
        try:
            if step is None or chosen != together:
                kits, device = [member.kit for member in held], torch.device(held[0].job.device)
                step, together = step_of(kits, held[0].job.config, device, join), chosen
            rows = _epoch(task, held, step, alive)
        except Exception as error:  # of the program that is one for all
            ended.update(dict.fromkeys(chosen, _in_common(error)))
            continue
        how = step.how
        spent = (time.perf_counter() - started) / len(held)
        for number, member, row in zip(chosen, held, rows, strict=True):
            try:
                member.end_epoch(row, spent)
            except Exception as error:
                ended[number] = _own(error)
    return how


def _own(error: Exception) -> Exception:
    """What a member has failed with; memory that it lacked is what the others hold as well."""
    return _in_common(error) if _lacks_memory(error) else error


def _lacks_memory(error: Exception) -> bool:
    """Whether it was memory that was missing, a GPU's or the system's."""
    return any(no_gpu_memory(one) or no_memory(one) for one in causes(error))


def _in_common(error: Exception) -> TogetherError:
    # no traceback: it would hold all members' memory while they are trained singly
    kind = TogetherMemoryError if _lacks_memory(error) else TogetherError
    return kind(f"{type(error).__name__}: {error}")


def _epoch(
    task: Task, members: Sequence[Trial], step: AnyStep, alive: Callable[[], None]
) -> list[Row]:
    """Train all members for an epoch: one pass over the data for all of a seed."""
    started, data = time.perf_counter(), members[0].data
    epoch, images = members[0].progress.epoch + 1, 0
    rates: list[float] = []
    jobs = {member.job.seed: member.job for member in members}
    passes = [task.batches(data, job.config, generator(job, epoch, 0)) for job in jobs.values()]
    step.begin([seed_of(member.job, epoch, 2) for member in members])
    for member in members:
        member.kit.net.train()
    for number, drawn in enumerate(zip(*passes, strict=True)):
        of_seed = dict(zip(jobs, drawn, strict=True))
        rates = [member.set_rate(epoch, number) for member in members]
        alive()
        step([of_seed[member.job.seed] for member in members])
        images += len(drawn[0][0])
    sums = [member.kit.step.take() for member in members]
    share = (time.perf_counter() - started) / len(members)
    alive()
    return [trained(epoch, lr, held, images, share) for lr, held in zip(rates, sums, strict=True)]


def _outcome(member: Trial, how: str) -> Outcome | Exception:
    try:
        outcome = member.outcome()
    except Exception as error:
        return error
    return replace(outcome, how={**outcome.how, "step": how})
