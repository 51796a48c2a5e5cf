"""A task on arrays in a few lines: what nearly every such task shares, with defaults.

    TASK = array_task("digits", load, network)

`load` gives arrays, `network` a module; splits, batches, loss, evaluation, fingerprint and
constant predictors follow. What should be otherwise is replaced: dataclasses.replace(task, ...).
docs/own-task.md builds one step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.about import plain
from trainables.errors import TaskError
from trainables.settings import LIMITS, LOOP, loop_conflicts
from trainables.task import Batch, Config, DataError, Evaluation, Setting, Task
from trainables.tasks import regression
from trainables.tasks.array_checks import (
    Kind,
    Load,
    Pair,
    checked_arrays,
    fingerprint_of,
    try_network,
)
from trainables.tasks.class_collapse import HEALTH
from trainables.tasks.classification import SMOOTHING, constants, evaluation, loss
from trainables.tasks.splits import at_most, cut_off, cut_off_each, step_sizes

EVALUATION_BATCH = 2500
SETTINGS = {
    **LOOP,
    "batch_size": Setting(128, "rows a step", low=2),
    "val_fraction": Setting(
        0.1, "share of the training rows cut off for validation", 0.001, 0.5, role="study"
    ),
    **LIMITS,
}


@dataclass(frozen=True)
class Data:
    """Splits on one device.

    Attributes:
        inputs: split -> float `(n, ...)`.
        targets: split -> int64 `(n,)` of classes, or float `(n,)`.
        classes: how many there are; 0 where targets are numbers.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]
    classes: int


def array_task(
    name: str,
    load: Load,
    network: Callable[[Config], nn.Module],
    kind: Kind = "classification",
    settings: Mapping[str, Setting] | None = None,
) -> Task:
    """A task on arrays.

    Args:
        name: of the task.
        load: (data_dir, config) -> {"train": (x, y), "test": (x, y)}, optionally "val", as numpy
            arrays or tensors: x `(n, ...)`, y `(n,)`, classes from 0 or numbers. Without "val" a
            share of the training rows is cut off by the study's seed, class by class. Its config
            holds `settings` alone: a change of lr must not read the data again.
        network: (config) -> the network: x to scores `(n, classes)`, or to numbers `(n,)` or
            `(n, 1)`.
        kind: "classification" (accuracy) or "regression" (root mean squared error).
        settings: what else a config holds, e.g. {"width": Setting(64, "of the hidden layer", 1)}.

    Returns:
        The task; every part of it can be replaced by dataclasses.replace.
    """
    if kind not in get_args(Kind):
        raise TaskError(f"{name}: kind must be one of {', '.join(get_args(Kind))}, not {kind!r}")
    classes = kind == "classification"
    held = {**SETTINGS, **({"label_smoothing": SMOOTHING} if classes else {}), **(settings or {})}
    metrics = ("loss", "accuracy") if classes else ("loss", "rmse", "mae")
    metric, mode = ("accuracy", "max") if classes else ("rmse", "min")

    @lru_cache(maxsize=2)
    def checked(data_dir: Path, given: tuple[Any, ...]) -> dict[str, Pair]:
        return checked_arrays(name, load, data_dir, given, kind)

    def read(data_dir: Path, config: Config) -> dict[str, Pair]:
        # a search changes rates and seeds, and need not read the data again for it
        return checked(data_dir, _frozen(config, settings or ()))

    def fingerprint(data_dir: Path, config: Config) -> dict[str, Any]:
        found = read(data_dir, config)
        _parts(name, found, config, 0, classes)
        try_network(name, network, config, found["train"][0], _count(found) if classes else 0)
        return fingerprint_of(name, found)

    @lru_cache(maxsize=1)  # a warm worker opens the same splits for trial after trial
    def opened(device: torch.device, data_dir: Path, seed: int, given: tuple[Any, ...]) -> Data:
        config = dict(given)
        found = read(data_dir, config)
        parts = _parts(name, found, config, seed, classes)
        return _on_device(parts, _count(found) if classes else 0, device)

    def open_data(data_dir: Path, config: Config, seed: int, device: torch.device) -> Data:
        keys = ("val_fraction", *LIMITS, *(settings or {}))
        return opened(device, data_dir, seed, _frozen(config, keys))

    return Task(
        name=name,
        metric=metric,
        mode="max" if mode == "max" else "min",
        metrics=metrics,
        also=HEALTH if classes else (),
        settings=held,
        conflicts=loop_conflicts,
        fingerprint=fingerprint,
        open_data=open_data,
        network=lambda config, weights: network(config),
        batches=batches,
        steps=steps,
        loss=loss if classes else squared_error,
        evaluate=evaluate,
        baselines=baselines,
        about=plain(name, metric, mode, metrics),
    )


def batches(data: Data, config: Config, generator: torch.Generator) -> Iterator[Batch]:
    """One epoch: shuffled, the odd last batch included."""
    inputs, targets = data.inputs["train"], data.targets["train"]
    order = torch.randperm(len(targets), generator=generator).to(targets.device)
    for rows in order.split(step_sizes(len(order), config["batch_size"])):
        yield inputs[rows], targets[rows]


def steps(data: Data, config: Config) -> int:
    """Steps an epoch."""
    return len(step_sizes(len(data.targets["train"]), config["batch_size"]))


def squared_error(
    output: Tensor, target: Tensor, config: Config
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean squared error of numbers `(n,)`, and the summed absolute error."""
    found = output.reshape(len(target))
    return F.mse_loss(found, target), {"mae": (found.detach() - target).abs().sum()}


@torch.no_grad()
def evaluate(
    net: nn.Module,
    data: Data,
    split: str,
    config: Config,
    generator: torch.Generator,
    detail: bool,
) -> Evaluation:
    """Loss, and accuracy or errors, over a split; a row each with `detail`, named by number."""
    inputs, targets = data.inputs[split], data.targets[split]
    names = [str(number) for number in range(len(targets))]
    if data.classes:
        told = names if detail else None
        return evaluation(net, lambda rows, number: inputs[rows], targets, told)
    found = torch.cat([net(part).reshape(len(part)) for part in inputs.split(EVALUATION_BATCH)])
    truth, predicted = targets.double().cpu().numpy(), found.double().cpu().numpy()
    metrics = {"loss": float(((truth - predicted) ** 2).mean())}
    metrics |= regression.errors(truth, predicted)
    columns: dict[str, list[Any]] = {}
    if detail:
        columns = {"image": names, "truth": truth.tolist(), "prediction": predicted.tolist()}
    return Evaluation(metrics, columns)


def baselines(data: Data) -> dict[str, dict[str, float]]:
    """Constant predictors on test: of classes `classification.constants`; else mean and median."""
    train, test = (data.targets[split].cpu() for split in ("train", "test"))
    if data.classes:
        return constants(train, test, data.classes)
    held = regression.constants(train.double().numpy(), test.double().numpy())
    return {name: {"loss": errors["rmse"] ** 2, **errors} for name, (_, errors) in held.items()}


def _frozen(config: Config, keys: Iterable[str]) -> tuple[tuple[str, Any], ...]:
    """Settings as a key of a cache; a worker gets as a list what the study has as a tuple."""
    held = {key: config[key] for key in sorted(keys)}
    return tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in held.items())


def _count(held: Mapping[str, Pair]) -> int:
    return 1 + int(held["train"][1].max())


def _parts(
    name: str, held: Mapping[str, Pair], config: Config, seed: int, classes: bool
) -> dict[str, Pair]:
    """The splits, validation cut off where there is none, within the limits.

    Raises:
        DataError: there are too few rows to cut any off.
    """
    parts = dict(held)
    if "val" not in parts:
        (x, y), share = parts["train"], config["val_fraction"]
        try:
            kept, cut = cut_off_each(y, share, seed) if classes else cut_off(len(y), share, seed)
        except DataError as error:
            raise DataError(f"{name}: train: {error}; let load return val too") from error
        parts |= {"train": (x[kept], y[kept]), "val": (x[cut], y[cut])}
    seeds = {"train": seed, "val": seed, "test": 0}  # no two seeds are scored on other rows
    for split, (x, y) in parts.items():
        limit = config[f"{split}_images"]
        if limit is not None:
            rows = at_most(torch.arange(len(y)), limit, seeds[split])
            parts[split] = x[rows], y[rows]
    return parts


def _on_device(parts: Mapping[str, Pair], classes: int, device: torch.device) -> Data:
    inputs = {split: x.to(device) for split, (x, _) in parts.items()}
    return Data(inputs, {split: y.to(device) for split, (_, y) in parts.items()}, classes)
