"""The seam between tasks and everything else: a frozen `Task` and its `Setting`s."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from trainables.about import About, plain
from trainables.errors import UserError

Config = Mapping[str, Any]
Batch = tuple[Tensor, Tensor]


# What a setting needs to change anything: ways, of which one must hold; a way is the values that
# some settings must be among. It may name itself, where some of its values mean the same.
Needs = tuple[Mapping[str, tuple[Any, ...]], ...]

Role = Literal["any", "cell", "study"]
ROLES = get_args(Role)


class DataError(UserError):
    """The data set is missing or not as expected; the message names the place and the fix.

    Attributes:
        faults: each by itself, where there are several.
    """

    def __init__(self, text: str, faults: Sequence[str] = ()) -> None:
        """Say what is wrong in one text; `faults` are told in it."""
        super().__init__(text)
        self.faults = tuple(faults) or (text,)


class MissingDataError(DataError):
    """Nothing of the data set is there, so that it may be downloaded."""


@dataclass(frozen=True)
class Setting:
    """One key that a config may hold.

    The type of `default` is the type of the setting; a float setting also takes whole numbers.
    `optional` allows None, which TOML writes by leaving the key out. `role` says where a study may
    put it: "any"; "cell", in [cells] or [fixed], since it changes what a value means and no search
    may choose it; "study", in [fixed] only. `low` and `high` are inclusive; `positive` asks for
    more than zero. A tuple default is a list of numbers. `before` is what was done before the
    setting was there, for studies of that time that are resumed; None where that is `default`.
    """

    default: Any
    doc: str
    low: float | None = None
    high: float | None = None
    positive: bool = False
    choices: tuple[Any, ...] = ()
    optional: bool = False
    role: Role = "any"
    kind: type = field(default=object)
    before: Any = None

    def __post_init__(self) -> None:
        """Take the kind from the default where it is not given.

        Raises:
            ValueError: no such role.
        """
        if self.role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)}, not {self.role!r}")
        if self.kind is object:
            object.__setattr__(self, "kind", type(self.default))

    def fault(self, value: Any) -> str | None:
        """What is wrong with `value`, in words that name the allowed ones; None if nothing is."""
        if value is None:
            return None if self.optional else "must be given"
        if self.kind is tuple:
            if not isinstance(value, (list, tuple)) or not all(map(_is_number, value)):
                return f"must be a list of numbers, not {value!r}"
            return (
                None if all(v > 0 for v in value) else f"must hold numbers above 0, not {value!r}"
            )
        if self.kind is float:
            right_type = _is_number(value)
        elif self.kind is int:
            right_type = isinstance(value, int) and not isinstance(value, bool)
        else:
            right_type = isinstance(value, self.kind)
        if not right_type:
            name = {float: "a number", int: "a whole number", bool: "true or false"}
            return f"must be {name.get(self.kind, 'a text')}, not {value!r}"
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(map(repr, self.choices))}, not {value!r}"
        return self._range_fault(value) if self.kind in (int, float) else None

    def allowed(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return ", ".join(map(str, self.choices))
        if self.kind is bool:
            return "true, false"
        name = {float: "number", int: "whole number", tuple: "numbers"}.get(self.kind, "text")
        ends = [
            "above 0" if self.positive or self.kind is tuple else None,
            None if self.low is None else f"from {self.low:g}",
            None if self.high is None else f"to {self.high:g}",
        ]
        return " ".join([name, *(end for end in ends if end)])

    def _range_fault(self, value: float) -> str | None:
        if not math.isfinite(value):
            return f"must be finite, not {value!r}"
        if self.positive and value <= 0:
            return f"must be above 0, not {value!r}"
        if self.low is not None and value < self.low:
            return f"must be at least {self.low}, not {value!r}"
        if self.high is not None and value > self.high:
            return f"must be at most {self.high}, not {value!r}"
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Evaluation:
    """What one pass over a split gives.

    Attributes:
        metrics: name -> value; accuracy is a fraction, mae and rmse are people an image.
        per_image: equally long columns `image`, `truth`, `prediction` (a class, or a head count).
        samples: a few arrays worth a look, chosen by rule; empty where the task has none.
        collapsed: whether the predictions hardly differ between images, whatever these hold; None
            where the task does not say.
    """

    metrics: dict[str, float]
    per_image: dict[str, list[Any]] = field(default_factory=dict)
    samples: dict[str, np.ndarray] = field(default_factory=dict)
    collapsed: bool | None = None


@dataclass(frozen=True)
class Task:
    """All that the training loop, the search and the record need to know of a task.

    Attributes:
        name: key in TASKS, or what the user calls it.
        metric: the metric that ranks trials, without a split; `mode` says which way is better.
        metrics: those that `evaluate` returns and tables show.
        settings: every key a config of this task may hold.
        report_settings: what `protocol = "report"` sets unless the study says otherwise.
        report_split: the split whose numbers the report published as "test".
        conflicts: (config) -> {key: fault} for faults that need several settings to see.
        questions: (config) -> {key: question} for settings that are sound and seldom meant beside
            one another; told before the first trial, never refused.
        read_where: setting -> what it needs to change anything, beside trainables.settings'; one
            that is compared where it changes nothing is refused.
        fingerprint: (data_dir, config) -> what the data is, as JSON: `train_images` (those that
            validation is cut from, or beside `val_images`) and `test_images` are counts; `data`,
            `edition` and `synthetic` are filled in where they lack; checksums; `notes`, texts on
            what is odd and harmless, and `warnings`, on what is seldom meant; `copies_left_out`,
            training images that are left out as copies of held-out ones. Raises DataError, with
            every fault at once. Opens no image but to leave it decoded in the cache.
        open_data: (data_dir, config, split_seed, device) -> the splits, opaque to the loop.
        network: (config, weights file or None) -> the network, on the CPU. Seeded by the caller.
        start: (network, data, config) -> None, sets what of a new network's weights hangs on the
            data; on the CPU, before the first step.
        batches: (data, config, generator) -> one epoch of training batches on the device. The
            generator is a CPU one; equal generators give equal batches.
        steps: (data, config) -> how many batches an epoch has.
        loss: (output, target, config) -> mean loss, and sums over the batch of further training
            metrics by name, detached, on the device.
        evaluate: (network, data, split, config, generator, detail) -> Evaluation; per_image and
            samples only with `detail`.
        measures_train: (config) -> whether data has a split "train" to evaluate on after each
            epoch, as on val; where not, the sums of `loss` say how training goes.
        norm_batches: (config) -> training batches that BatchNorm's statistics are estimated from
            anew before an evaluation; see trainables.engine.norm_statistics.
        also: further metrics of `evaluate`, on record and in no table.
        baselines: (data) -> {name of a constant predictor: {metric: value on test}}.
        inputs: (config) -> shape of what the network is given of a row, by which a network of
            another kind is tried before the first trial; None where that cannot be said.
        about: what is said of it wherever its numbers are shown; see trainables.about.
        download: (data_dir) -> None, fetches the data where there is a network. Raises DataError.
        source: URL of the file that `download` fetches, by which `doctor` sees whether its host
            answers; "" where it is not said.
    """

    name: str
    metric: str
    mode: Literal["max", "min"]
    metrics: tuple[str, ...]
    settings: Mapping[str, Setting]
    fingerprint: Callable[[Path, Config], dict[str, Any]]
    open_data: Callable[[Path, Config, int, torch.device], Any]
    network: Callable[[Config, Path | None], nn.Module]
    batches: Callable[[Any, Config, torch.Generator], Iterator[Batch]]
    steps: Callable[[Any, Config], int]
    loss: Callable[[Tensor, Tensor, Config], tuple[Tensor, dict[str, Tensor]]]
    evaluate: Callable[[nn.Module, Any, str, Config, torch.Generator, bool], Evaluation]
    baselines: Callable[[Any], dict[str, dict[str, float]]] = lambda data: {}
    start: Callable[[nn.Module, Any, Config], None] = lambda network, data, config: None
    measures_train: Callable[[Config], bool] = lambda config: False
    norm_batches: Callable[[Config], int] = lambda config: int(config.get("norm_batches", 0))
    also: tuple[str, ...] = ()
    report_settings: Mapping[str, Any] = field(default_factory=dict)
    report_split: Literal["val", "test"] = "test"
    conflicts: Callable[[Config], dict[str, str]] = lambda config: {}
    questions: Callable[[Config], dict[str, str]] = lambda config: {}
    read_where: Mapping[str, Needs] = field(default_factory=dict)
    download: Callable[[Path], None] | None = None
    source: str = ""
    inputs: Callable[[Config], tuple[int, ...]] | None = None
    about: About | None = None

    @property
    def says(self) -> About:
        """`about`, or what its name and metrics say where it has none."""
        return self.about or plain(self.name, self.metric, self.mode, self.metrics)
