"""The one training loop: any task, any device, from one checkpoint to the next.

It knows a task, a config and a `report` function, and nothing of searches. `trial.py` has what is
done around an epoch, `arrays/` trains several trials of one shape as one.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from trainables.engine.checkpoint import Row
from trainables.engine.job import Outcome, TrainJob, watched_metric, watched_split
from trainables.engine.memory import give_back
from trainables.engine.trial import Report, Trial, generator, seed_of, trained
from trainables.task import Task

__all__ = ["Outcome", "TrainJob", "train", "watched_metric", "watched_split"]


def train(
    task: Task, job: TrainJob, report: Report, alive: Callable[[], None] = lambda: None
) -> Outcome:
    """Train from the checkpoint, or the start, to `job.to_epoch`.

    Args:
        task: what to train.
        job: see TrainJob.
        report: called once an epoch with that epoch's row: `epoch`, `lr`, `seconds`, `train_loss`,
            further `train_*`, and the metrics of the watched split as `val_*` (or `test_*`), with
            `val_collapsed`, 0 or 1, where the task says so. A row may come again after a restart;
            the later one counts.
        alive: called before every step and evaluation, so that somebody sees that it goes on.

    Returns:
        The outcome; also when the loss stops being finite.
    """
    trial = Trial(task, job, report, alive)
    try:
        while not trial.over:
            started = time.perf_counter()
            row = _epoch(task, trial, alive)
            trial.end_epoch(row, time.perf_counter() - started)
    finally:
        trial.writer.close()
        give_back()
    return trial.outcome()


def _epoch(task: Task, trial: Trial, alive: Callable[[], None]) -> Row:
    """Train for an epoch."""
    started, job, kit = time.perf_counter(), trial.job, trial.kit
    epoch = trial.progress.epoch + 1
    images, lr = 0, 0.0
    kit.net.train()
    torch.manual_seed(seed_of(job, epoch, 2))  # dropout and its like, which take no generator
    drawn = generator(job, epoch, 0)
    for number, batch in enumerate(task.batches(trial.data, job.config, drawn)):
        lr = trial.set_rate(epoch, number)
        alive()
        kit.step(batch)
        images += len(batch[0])
    sums = kit.step.take()  # waits for the device
    seconds = time.perf_counter() - started
    alive()
    return trained(epoch, lr, sums, images, seconds)
