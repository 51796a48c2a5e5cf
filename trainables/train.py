"""The one training loop: any task, any device, from one checkpoint to the next.

It knows a task, a config and a `report` function, and nothing of searches. Every random draw of an
epoch comes from (seed, epoch), so a trial that stops at a rung and goes on elsewhere computes what
an uninterrupted one would have.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.resnet import WeightsError
from trainables.step import (
    eager_step,
    learning_rate,
    make_optimizer,
    restart_momentum,
    set_learning_rate,
)
from trainables.task import Config, Evaluation, Task

Row = dict[str, float]
Report = Callable[[Row], None]


@dataclass(frozen=True)
class Stay:
    """One stay of a trial on a worker: from its checkpoint, or the start, to `to_epoch`.

    Attributes:
        config: every setting of the task, complete.
        seed: of initial weights, order and augmentation.
        split_seed: of the cut between training and validation images; one for a whole study.
        from_epoch: epochs whose rows have been taken already.
        to_epoch: the last epoch to train, counted from 1.
        max_epochs: the trial's full budget; schedules are laid out over it.
        score_test: score test after `to_epoch`, at the checkpoint that the rule chose.
        data_dir: where the data is.
        weights: pretrained weights to start from, if the config says pretrained.
        device: "cpu", "cuda".
        checkpoint: file to go on from where it exists, and to write.
        checkpoint_seconds: also write it when so many seconds have passed since the last one, and
            50 times what the last one took (a crowd net's is two gigabytes).
    """

    config: Config
    seed: int
    split_seed: int
    to_epoch: int
    max_epochs: int
    score_test: bool
    data_dir: Path
    weights: Path | None
    device: str
    checkpoint: Path
    checkpoint_seconds: float = 120.0
    from_epoch: int = 0


@dataclass
class Progress:
    """How far a trial is: what a checkpoint holds beside network and optimizer."""

    epoch: int = 0
    rows: list[Row] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: dict[str, Tensor] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a stay ends with.

    Attributes:
        diverged: a loss or metric was not finite; the trial is over.
        epoch: the last one trained.
        value: the metric by the checkpoint rule, on the watched split; NaN if diverged.
        value_epoch: the epoch that `value` is of.
        test: the scores on test at that checkpoint, where asked for.
        baselines: constant predictors on test, with `test`.
        parameters: number of trainable parameters.
    """

    diverged: bool
    epoch: int
    value: float
    value_epoch: int
    parameters: int
    test: Evaluation | None = None
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def watched_split(config: Config) -> str:
    """The split scored after each epoch: val, or test where there are no validation images."""
    return "test" if config.get("val_fraction") == 0 else "val"


def watched_metric(task: Task, config: Config) -> str:
    """Key of the metric that judges a trial in its rows, e.g. val_accuracy."""
    return f"{watched_split(config)}_{task.metric}"


def train(task: Task, stay: Stay, report: Report) -> Outcome:
    """Train from the checkpoint, or the start, to `stay.to_epoch`.

    Args:
        task: what to train.
        stay: see Stay.
        report: called once an epoch with that epoch's row: `epoch`, `lr`, `seconds`, `train_loss`,
            further `train_*`, and the metrics of the watched split as `val_*` (or `test_*`). A row
            may come again after a restart; the later one counts.

    Returns:
        The outcome; also when the loss stops being finite.
    """
    config, device = stay.config, torch.device(stay.device)
    data = task.open_data(stay.data_dir, config, stay.split_seed, device)
    net = _network(task, stay).to(device).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(net, config)
    progress = _restore(stay, net, optimizer)
    # whoever asked may have died before hearing of them
    for row in progress.rows[stay.from_epoch :]:
        report(row)
    parameters = sum(p.numel() for p in net.parameters())
    saved, wait = time.monotonic(), stay.checkpoint_seconds
    while progress.epoch < stay.to_epoch:
        row = _epoch(task, stay, net, optimizer, data, progress.epoch + 1)
        progress.epoch += 1
        progress.rows.append(row)
        diverged = not all(math.isfinite(value) for value in row.values())
        if not diverged:
            _keep_best(task, config, net, progress)
        report(row)
        if diverged:
            return Outcome(True, progress.epoch, math.nan, progress.epoch, parameters)
        started = time.monotonic()
        if progress.epoch == stay.to_epoch or started - saved > wait:
            _save(stay, net, optimizer, progress)
            saved = time.monotonic()
            wait = max(stay.checkpoint_seconds, 50 * (saved - started))
    value_epoch = progress.best_epoch if config["checkpoint_rule"] == "best" else progress.epoch
    value = progress.rows[value_epoch - 1][watched_metric(task, config)]
    outcome = Outcome(False, progress.epoch, value, value_epoch, parameters)
    return _score_test(task, stay, net, data, progress, outcome) if stay.score_test else outcome


def _network(task: Task, stay: Stay) -> nn.Module:
    if stay.config.get("pretrained") and stay.weights is None:
        raise WeightsError(f"depth {stay.config['depth']}: pretrained = true without weights")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stay.seed)
        return task.network(stay.config, stay.weights)


def _generator(stay: Stay, epoch: int, stream: int) -> torch.Generator:
    """A CPU generator for one use in one epoch: stream 0 trains, stream 1 evaluates."""
    seed = np.random.SeedSequence([stay.seed, epoch, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed) >> 1)


def _epoch(
    task: Task,
    stay: Stay,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Any,
    epoch: int,
) -> Row:
    started, config = time.perf_counter(), stay.config
    per_epoch = task.steps(data, config)
    total = per_epoch * stay.max_epochs
    sums: dict[str, Tensor] = {}
    images, lr = 0, 0.0
    net.train()
    for number, batch in enumerate(task.batches(data, config, _generator(stay, epoch, 0))):
        step = (epoch - 1) * per_epoch + number
        before, lr = lr, learning_rate(step, total, per_epoch, config)
        if number == 0 and step:
            before = learning_rate(step - 1, total, per_epoch, config)
        if config["momentum_restart"] and 0 < lr < before:
            restart_momentum(optimizer)
        set_learning_rate(optimizer, lr)
        for name, value in eager_step(task, net, optimizer, batch, config).items():
            sums[name] = sums[name] + value if name in sums else value
        images += len(batch[0])
    means = {f"train_{name}": float(value) / images for name, value in sums.items()}
    trained = time.perf_counter()
    split = watched_split(config)
    scores = _evaluate(task, stay, net, data, split, epoch, detail=False).metrics
    return {
        "epoch": epoch,
        "lr": lr,
        **means,
        **{f"{split}_{name}": value for name, value in scores.items()},
        "train_seconds": trained - started,
        "seconds": time.perf_counter() - started,
    }


def _evaluate(
    task: Task, stay: Stay, net: nn.Module, data: Any, split: str, epoch: int, detail: bool
) -> Evaluation:
    net.eval()
    return task.evaluate(net, data, split, stay.config, _generator(stay, epoch, 1), detail)


def _keep_best(task: Task, config: Config, net: nn.Module, progress: Progress) -> None:
    """Note the epoch if it is the best so far, the earlier one on a tie, and copy the weights."""
    if config["checkpoint_rule"] == "last":
        return
    key = watched_metric(task, config)
    value = progress.rows[-1][key]
    if progress.best_epoch:
        best = progress.rows[progress.best_epoch - 1][key]
        if not (value > best if task.mode == "max" else value < best):
            return
    progress.best_epoch = progress.epoch
    progress.best_weights = {name: t.detach().clone() for name, t in net.state_dict().items()}


def _score_test(
    task: Task, stay: Stay, net: nn.Module, data: Any, progress: Progress, outcome: Outcome
) -> Outcome:
    if stay.config["checkpoint_rule"] == "best" and progress.best_weights is not None:
        net.load_state_dict(progress.best_weights)
    test = _evaluate(task, stay, net, data, "test", outcome.value_epoch, detail=True)
    return replace(outcome, test=test, baselines=task.baselines(data))


def _save(
    stay: Stay, net: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the checkpoint whole or not at all: written beside, flushed to disk, renamed."""
    finished = progress.epoch >= stay.max_epochs
    best = progress.best_weights if progress.best_epoch != progress.epoch else None
    state = {
        "epoch": progress.epoch,
        "rows": progress.rows,
        "best_epoch": progress.best_epoch,
        "best_weights": best,
        "net": None if finished and best is not None else net.state_dict(),
        # nobody goes on from the end of the budget, and Adam's state is twice the weights
        "optimizer": None if finished else optimizer.state_dict(),
    }
    stay.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    # a worker outlives a killed driver by seconds: two must not write one file
    partial = stay.checkpoint.with_name(f"{stay.checkpoint.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(stay.checkpoint)


def _restore(stay: Stay, net: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    for left in stay.checkpoint.parent.glob(f"{stay.checkpoint.name}*.partial"):
        left.unlink(missing_ok=True)  # of a process that was killed while it wrote
    if not stay.checkpoint.is_file():
        return Progress()
    state = torch.load(stay.checkpoint, map_location=stay.device, weights_only=True)
    if state["net"] is not None:
        net.load_state_dict(state["net"])
    if state["optimizer"] is not None:
        optimizer.load_state_dict(state["optimizer"])
    best = state["best_weights"]
    if best is None and state["best_epoch"]:  # the last epoch was the best
        best = {name: t.detach().clone() for name, t in net.state_dict().items()}
    return Progress(state["epoch"], state["rows"], state["best_epoch"], best)
