"""The one training loop: any task, any device, from one checkpoint to the next.

It knows a task, a config and a `report` function, and nothing of searches. Every random draw of an
epoch comes from (seed, epoch), so a trial that stops at a rung and goes on elsewhere computes what
an uninterrupted one would have.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.engine.checkpoint import Progress, Row, Writer, load_weights, restore, state_of
from trainables.engine.job import Outcome, TrainJob, watched_metric, watched_split
from trainables.engine.kit import Kit, kit_for
from trainables.engine.norm_statistics import trained_norms
from trainables.engine.step import (
    drops_at,
    forward_autocast,
    learning_rate,
    resolve_precision,
    restart_momentum,
    set_learning_rate,
)
from trainables.errors import WeightsError
from trainables.judging import judged_epochs
from trainables.task import Config, Evaluation, Task

__all__ = ["Outcome", "TrainJob", "train", "watched_metric", "watched_split"]

COLLAPSED = "collapsed"  # ends the key of a row that says whether a split's predictions are

Report = Callable[[Row], None]


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
    device = torch.device(job.device)
    trial = _trial_of(task, job)
    config = {**job.config, "precision": resolve_precision(job.config, device)}
    job = replace(job, config=config)
    data = task.open_data(job.data_dir, config, job.split_seed, device)
    kit = kit_for(task, config, device, _network(task, job, data))
    net, optimizer = kit.net, kit.optimizer
    progress = restore(job.checkpoint, job.device, net, optimizer, trial, kit.step.average)
    if progress.other and job.on_other is not None:
        job.on_other(progress.other)
    began_at = progress.epoch
    alive()
    # whoever asked may have died before hearing of them
    for row in progress.rows[job.from_epoch : job.to_epoch]:
        report(row)
    stock = net.state_dict()  # a layer that leaves parameters out has them all in there
    parameters = sum(stock[name].numel() for name, _ in net.named_parameters())
    writer = Writer(job.checkpoint, job.checkpoint_seconds, job.on_checkpoint)
    try:
        diverged = _epochs(task, job, kit, data, progress, report, writer, alive)
    finally:
        writer.close()
    how = {
        "precision": config["precision"],
        "step": kit.how,
        "began_at": began_at,
        "checkpoints": writer.count,
        "checkpoint_mb": writer.megabytes,
        "checkpoint_seconds": writer.seconds,
    }
    if diverged:
        return Outcome(True, progress.epoch, math.nan, progress.epoch, parameters, how)
    # a checkpoint may be ahead of what was asked for: what came later must not count
    epoch = min(progress.epoch, job.to_epoch)
    value_epoch = _judged_by(task, config, progress.rows[:epoch])
    value = progress.rows[value_epoch - 1][watched_metric(task, config)]
    told = progress.rows[epoch - 1].get(f"{watched_split(config)}_{COLLAPSED}")
    collapsed = None if told is None else bool(told)
    outcome = Outcome(False, epoch, value, value_epoch, parameters, how, collapsed)
    alive()
    return _score_test(task, job, kit, data, progress, outcome) if job.score_test else outcome


def _trial_of(task: Task, job: TrainJob) -> dict[str, Any]:
    """What makes a trial what it is: all that its numbers hang on, but for paths and device."""
    held = {"task": task.name, "study": job.study, "max_epochs": job.max_epochs}
    held |= {"seed": job.seed, "split_seed": job.split_seed, **job.config}
    return dict(json.loads(json.dumps(held)))


def _epochs(
    task: Task,
    job: TrainJob,
    kit: Kit,
    data: Any,
    progress: Progress,
    report: Report,
    writer: Writer,
    alive: Callable[[], None],
) -> bool:
    """Train on to `job.to_epoch`, a report an epoch; whether the trial diverged."""
    while progress.epoch < job.to_epoch:
        started, number = time.perf_counter(), progress.epoch + 1
        row = _epoch(task, job, kit, data, number, alive)
        with kit.evaluated(_norm_batches(task, job, data, number, alive), job.config):
            row |= _judge(task, job, kit.net, data, number)
            row["seconds"] = time.perf_counter() - started
            progress.epoch = number
            progress.rows.append(row)
            diverged = not all(math.isfinite(value) for value in row.values())
            if not diverged:
                _keep_best(task, job, kit, progress)
        report(row)
        if diverged:
            return True
        last = progress.epoch == job.to_epoch
        if last or writer.due:
            finished = progress.epoch >= job.max_epochs
            held = (kit.net, kit.optimizer, progress, finished, kit.step.average)
            writer.save(state_of(*held, apart=_apart(task, job.config, kit)), last)
    return False


def _apart(task: Task, config: Config, kit: Kit) -> bool:
    """Whether the trial is judged by other weights than those that are trained on."""
    anew = task.norm_batches(config) > 0 and bool(trained_norms(kit.net))
    return kit.step.average is not None or anew


def _norm_batches(
    task: Task, job: TrainJob, data: Any, epoch: int, alive: Callable[[], None]
) -> Iterator[Tensor] | None:
    """Inputs that BatchNorm's statistics are estimated from after an epoch, always the same.

    None where they stay as training left them.
    """
    count = task.norm_batches(job.config)
    if not count:
        return None

    def inputs() -> Iterator[Tensor]:
        batches = task.batches(data, job.config, _generator(job, epoch, 3))
        for x, _ in islice(batches, count):
            alive()
            yield x

    return inputs()


def _network(task: Task, job: TrainJob, data: Any) -> nn.Module:
    if job.config.get("pretrained") and job.weights is None:
        raise WeightsError(f"depth {job.config['depth']}: pretrained = true without weights")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        net = task.network(job.config, job.weights)
        task.start(net, data, job.config)
        return net


def _generator(job: TrainJob, epoch: int, stream: int) -> torch.Generator:
    """A CPU generator for one use in one epoch.

    Stream 0 trains, stream 1 evaluates, of stream 3 are the batches of `_norm_batches`.
    """
    return torch.Generator().manual_seed(_seed(job, epoch, stream))


def _seed(job: TrainJob, epoch: int, stream: int) -> int:
    seed = np.random.SeedSequence([job.seed, epoch, stream]).generate_state(1, np.uint64)[0]
    return int(seed) >> 1


def _epoch(
    task: Task,
    job: TrainJob,
    kit: Kit,
    data: Any,
    epoch: int,
    alive: Callable[[], None],
) -> Row:
    """Train for an epoch."""
    started, config = time.perf_counter(), job.config
    per_epoch = task.steps(data, config)
    total = per_epoch * job.max_epochs
    images, lr = 0, 0.0
    kit.net.train()
    torch.manual_seed(_seed(job, epoch, 2))  # dropout and its like, which take no generator
    for number, batch in enumerate(task.batches(data, config, _generator(job, epoch, 0))):
        at = (epoch - 1) * per_epoch + number
        lr = learning_rate(at, total, per_epoch, config)
        if config["momentum_restart"] and drops_at(at, total, config):
            restart_momentum(kit.optimizer)
        set_learning_rate(kit.optimizer, lr)
        alive()
        kit.step(batch)
        images += len(batch[0])
    means = {f"train_{name}": value / images for name, value in kit.step.take().items()}
    trained = time.perf_counter()
    alive()
    return {"epoch": epoch, "lr": lr, **means, "train_seconds": trained - started}


def _judge(task: Task, job: TrainJob, net: nn.Module, data: Any, epoch: int) -> Row:
    """What the network is worth after an epoch, by split."""
    row: Row = {}
    splits = ["train"] if task.measures_train(job.config) else []
    for split in [*splits, watched_split(job.config)]:
        found = _evaluate(task, job, net, data, split, epoch, detail=False)
        row |= {f"{split}_{name}": value for name, value in found.metrics.items()}
        if found.collapsed is not None:
            row[f"{split}_{COLLAPSED}"] = float(found.collapsed)
    return row


def _evaluate(
    task: Task, job: TrainJob, net: nn.Module, data: Any, split: str, epoch: int, detail: bool
) -> Evaluation:
    net.eval()
    with forward_autocast(net, job.config, torch.device(job.device)):
        return task.evaluate(net, data, split, job.config, _generator(job, epoch, 1), detail)


def _keep_best(task: Task, job: TrainJob, kit: Kit, progress: Progress) -> None:
    """Note the epoch if the trial is now judged by it, and copy the weights as they are judged.

    By rule "last" only those of the last epoch of all, where they are not the network's own.
    """
    if job.config["checkpoint_rule"] == "last":
        if progress.epoch < job.max_epochs or not _apart(task, job.config, kit):
            return
    elif _judged_by(task, job.config, progress.rows) != progress.epoch:
        return
    progress.best_epoch = progress.epoch
    state = kit.net.state_dict().items()
    progress.best_weights = {name: t.detach().clone() for name, t in state}


def _judged_by(task: Task, config: Config, rows: list[Row]) -> int:
    """The epoch that a trial is judged by after these rows."""
    values = [row[watched_metric(task, config)] for row in rows]
    return judged_epochs(values, config["checkpoint_rule"], task.mode)[-1]


def _score_test(
    task: Task, job: TrainJob, kit: Kit, data: Any, progress: Progress, outcome: Outcome
) -> Outcome:
    epoch = outcome.value_epoch
    batches = _norm_batches(task, job, data, epoch, lambda: None)
    judged: AbstractContextManager[None] = kit.evaluated(batches, job.config)
    if progress.best_weights is not None:
        load_weights(kit.net, progress.best_weights)
        judged = nullcontext()
    with judged:
        test = _evaluate(task, job, kit.net, data, "test", epoch, detail=True)
    return replace(outcome, test=test, baselines=task.baselines(data))
