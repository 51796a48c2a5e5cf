"""What a job of a trial is, and what it ends with: plain values, no loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.task import Config, Evaluation, Task


@dataclass(frozen=True)
class TrainJob:
    """One job of a trial: from its checkpoint, or the start, to `to_epoch`.

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
        checkpoint: file to go on from where it exists, and to write, in a folder that is there.
        checkpoint_seconds: also write it when so many seconds have passed since the last one, and
            50 times what the last one took (a crowd net's is two gigabytes).
        on_checkpoint: called with the path, on the writing thread, when a checkpoint is whole.
        study: which study the trial is of, told from all others; "" where that is not known.
        on_other: called with what differs where the checkpoint that is there is another trial's;
            it is taken for none then, and written over.
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
    on_checkpoint: Callable[[Path], None] | None = None
    study: str = ""
    on_other: Callable[[str], None] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a job ends with.

    Attributes:
        diverged: a loss or metric was not finite; the trial is over.
        epoch: the last one trained.
        value: the metric by the checkpoint rule, on the watched split; NaN if diverged.
        value_epoch: the epoch that `value` is of.
        test: the scores on test at that checkpoint, where asked for.
        baselines: constant predictors on test, with `test`.
        parameters: number of trainable parameters.
        collapsed: whether the predictions on the watched split hardly differ, after `epoch`; None
            where the task does not say, or diverged.
        how: how it ran: `precision`, `step` (see Step.how; of an array also of how many),
            `began_at`, the epoch of the checkpoint that was found (0 for none), `checkpoints`
            written, the size of the last, `checkpoint_mb` (MiB), and `checkpoint_seconds` that
            training waited.
    """

    diverged: bool
    epoch: int
    value: float
    value_epoch: int
    parameters: int
    how: Mapping[str, Any] = field(default_factory=dict)
    collapsed: bool | None = None
    test: Evaluation | None = None
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def watched_split(config: Config) -> str:
    """The split scored after each epoch: val, or test where there are no validation images."""
    return "test" if config.get("val_fraction") == 0 else "val"


def watched_metric(task: Task, config: Config) -> str:
    """Key of the metric that judges a trial in its rows, e.g. val_accuracy."""
    return f"{watched_split(config)}_{task.metric}"
