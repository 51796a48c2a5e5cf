"""A trial at work: what it trains with, how far it is, and what is done around its epochs.

Every random draw of an epoch comes from (seed, epoch), so a trial that stops at a rung and goes on
elsewhere computes what an uninterrupted one would have.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.engine.checkpoint import Row, Writer, load_weights, restore, state_of
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

COLLAPSED = "collapsed"  # ends the key of a row that says whether a split's predictions are

Report = Callable[[Row], None]
MakeKit = Callable[[Task, Config, torch.device, nn.Module], Kit]


class Trial:
    """One job of a trial, brought to its checkpoint; the rows that are there are reported again.

    Args:
        task: what to train.
        job: see TrainJob.
        report: see `train`.
        alive: see `train`.
        make: makes the kit.
        data: the task's, where it is open already.

    Attributes:
        job: the same, its precision resolved.
        data: the task's.
        steps: of an epoch.
        kit: what it trains with.
        progress: how far it is.
        writer: of its checkpoints; to be closed.
        diverged: whether a loss or metric was not finite.
    """

    def __init__(
        self,
        task: Task,
        job: TrainJob,
        report: Report,
        alive: Callable[[], None],
        make: MakeKit = kit_for,
        data: Any = None,
    ) -> None:
        self._task, self._report, self._alive = task, report, alive
        device = torch.device(job.device)
        held = _told(task, job)
        config = {**job.config, "precision": resolve_precision(job.config, device)}
        self.job = job = replace(job, config=config)
        if data is None:
            data = task.open_data(job.data_dir, config, job.split_seed, device)
        self.data = data
        self.kit = make(task, config, device, self._network())
        net, optimizer = self.kit.net, self.kit.optimizer
        average = self.kit.step.average
        self.progress = restore(job.checkpoint, job.device, net, optimizer, held, average)
        if self.progress.other and job.on_other is not None:
            job.on_other(self.progress.other)
        self.began_at, self.diverged = self.progress.epoch, False
        alive()
        # whoever asked may have died before hearing of them
        for row in self.progress.rows[job.from_epoch : job.to_epoch]:
            report(row)
        self.steps = task.steps(self.data, config)
        self.writer = Writer(job.checkpoint, job.checkpoint_seconds, job.on_checkpoint)

    @property
    def over(self) -> bool:
        """Whether there is nothing left to train."""
        return self.diverged or self.progress.epoch >= self.job.to_epoch

    def set_rate(self, epoch: int, number: int) -> float:
        """Set the learning rate of a step of an epoch, by its number from 0; returns it."""
        config, optimizer = self.job.config, self.kit.optimizer
        at, total = (epoch - 1) * self.steps + number, self.steps * self.job.max_epochs
        lr = learning_rate(at, total, self.steps, config)
        if config["momentum_restart"] and drops_at(at, total, config):
            restart_momentum(optimizer)
        set_learning_rate(optimizer, lr)
        return lr

    def end_epoch(self, trained: Row, spent: float) -> None:
        """Judge the network after an epoch, report it, and write a checkpoint if one is due.

        Args:
            trained: what training adds to the row.
            spent: seconds that training took.
        """
        job, kit, progress = self.job, self.kit, self.progress
        began = time.perf_counter()
        number = progress.epoch + 1
        row = dict(trained)
        with kit.evaluated(self._norm_batches(number, self._alive), job.config):
            row |= self._judge(number)
            row["seconds"] = spent + time.perf_counter() - began
            progress.epoch = number
            progress.rows.append(row)
            self.diverged = not all(math.isfinite(value) for value in row.values())
            if not self.diverged:
                self._keep_best()
        self._report(row)
        if self.diverged:
            return
        last = progress.epoch == job.to_epoch
        if last or self.writer.due:
            finished = progress.epoch >= job.max_epochs
            held = (kit.net, kit.optimizer, progress, finished, kit.step.average)
            self.writer.save(state_of(*held, apart=self._apart()), last)

    def outcome(self) -> Outcome:
        """What the job has come to, once its writer is closed; scores test where asked for."""
        job, progress, kit = self.job, self.progress, self.kit
        stock = kit.net.state_dict()  # a layer that leaves parameters out has them all in there
        parameters = sum(stock[name].numel() for name, _ in kit.net.named_parameters())
        how = {
            "precision": job.config["precision"],
            "step": kit.step.how,
            "began_at": self.began_at,
            "checkpoints": self.writer.count,
            "checkpoint_mb": self.writer.megabytes,
            "checkpoint_seconds": self.writer.seconds,
        }
        if self.diverged:
            return Outcome(True, progress.epoch, math.nan, progress.epoch, parameters, how)
        # a checkpoint may be ahead of what was asked for: what came later must not count
        epoch = min(progress.epoch, job.to_epoch)
        value_epoch = self._judged_by(progress.rows[:epoch])
        value = progress.rows[value_epoch - 1][watched_metric(self._task, job.config)]
        told = progress.rows[epoch - 1].get(f"{watched_split(job.config)}_{COLLAPSED}")
        collapsed = None if told is None else bool(told)
        outcome = Outcome(False, epoch, value, value_epoch, parameters, how, collapsed)
        self._alive()
        return self._score_test(outcome) if job.score_test else outcome

    def _network(self) -> nn.Module:
        task, job = self._task, self.job
        if job.config.get("pretrained") and job.weights is None:
            raise WeightsError(f"depth {job.config['depth']}: pretrained = true without weights")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(job.seed)
            net = task.network(job.config, job.weights)
            task.start(net, self.data, job.config)
            return net

    def _apart(self) -> bool:
        """Whether the trial is judged by other weights than those that are trained on."""
        anew = self._task.norm_batches(self.job.config) > 0 and bool(trained_norms(self.kit.net))
        return self.kit.step.average is not None or anew

    def _norm_batches(self, epoch: int, alive: Callable[[], None]) -> Iterator[Tensor] | None:
        """Inputs that BatchNorm's statistics are estimated from after an epoch, always the same.

        None where they stay as training left them.
        """
        count = self._task.norm_batches(self.job.config)
        if not count:
            return None

        def inputs() -> Iterator[Tensor]:
            drawn = generator(self.job, epoch, 3)
            for x, _ in islice(self._task.batches(self.data, self.job.config, drawn), count):
                alive()
                yield x

        return inputs()

    def _judge(self, epoch: int) -> Row:
        """What the network is worth after an epoch, by split."""
        row: Row = {}
        config = self.job.config
        splits = ["train"] if self._task.measures_train(config) else []
        for split in [*splits, watched_split(config)]:
            found = self._evaluate(split, epoch, detail=False)
            row |= {f"{split}_{name}": value for name, value in found.metrics.items()}
            if found.collapsed is not None:
                row[f"{split}_{COLLAPSED}"] = float(found.collapsed)
        return row

    def _evaluate(self, split: str, epoch: int, detail: bool) -> Evaluation:
        config, net = self.job.config, self.kit.net
        net.eval()
        with forward_autocast(net, config, torch.device(self.job.device)):
            drawn = generator(self.job, epoch, 1)
            return self._task.evaluate(net, self.data, split, config, drawn, detail)

    def _keep_best(self) -> None:
        """Note the epoch if the trial is now judged by it, and copy the weights as judged.

        By rule "last" only those of the last epoch of all, where they are not the network's own.
        """
        progress = self.progress
        if self.job.config["checkpoint_rule"] == "last":
            if progress.epoch < self.job.max_epochs or not self._apart():
                return
        elif self._judged_by(progress.rows) != progress.epoch:
            return
        progress.best_epoch = progress.epoch
        state = self.kit.net.state_dict().items()
        progress.best_weights = {name: t.detach().clone() for name, t in state}

    def _judged_by(self, rows: list[Row]) -> int:
        """The epoch that a trial is judged by after these rows."""
        config = self.job.config
        values = [row[watched_metric(self._task, config)] for row in rows]
        return judged_epochs(values, config["checkpoint_rule"], self._task.mode)[-1]

    def _score_test(self, outcome: Outcome) -> Outcome:
        epoch, kit = outcome.value_epoch, self.kit
        batches = self._norm_batches(epoch, lambda: None)
        judged: AbstractContextManager[None] = kit.evaluated(batches, self.job.config)
        if self.progress.best_weights is not None:
            load_weights(kit.net, self.progress.best_weights)
            judged = nullcontext()
        with judged:
            test = self._evaluate("test", epoch, detail=True)
        return replace(outcome, test=test, baselines=self._task.baselines(self.data))


def _told(task: Task, job: TrainJob) -> dict[str, Any]:
    """What makes a trial what it is: all that its numbers hang on, but for paths and device."""
    held = {"task": task.name, "study": job.study, "max_epochs": job.max_epochs}
    held |= {"seed": job.seed, "split_seed": job.split_seed, **job.config}
    return dict(json.loads(json.dumps(held)))


def trained(epoch: int, lr: float, sums: Mapping[str, float], images: int, seconds: float) -> Row:
    """What training adds to the row of an epoch.

    Args:
        epoch: its number, from 1.
        lr: of the last step.
        sums: over the images, see Step.take.
        images: that were trained on.
        seconds: that it took.
    """
    means = {f"train_{name}": value / images for name, value in sums.items()}
    return {"epoch": epoch, "lr": lr, **means, "train_seconds": seconds}


def generator(job: TrainJob, epoch: int, stream: int) -> torch.Generator:
    """A CPU generator for one use in one epoch.

    Stream 0 trains, stream 1 evaluates, of stream 3 are the batches that BatchNorm's statistics
    are estimated from; see `seed_of` for stream 2.
    """
    return torch.Generator().manual_seed(seed_of(job, epoch, stream))


def seed_of(job: TrainJob, epoch: int, stream: int) -> int:
    """The seed of a stream in an epoch; 2 is PyTorch's own, of dropout and its like."""
    seed = np.random.SeedSequence([job.seed, epoch, stream]).generate_state(1, np.uint64)[0]
    return int(seed) >> 1
