"""A task on arrays in a few lines: what nearly every such task shares, with defaults.

    TASK = array_task("digits", load, network)

`load` gives arrays, `network` a module; splits, batches, loss, evaluation, fingerprint and
constant predictors follow. What should be otherwise is replaced: dataclasses.replace(task, ...).
docs/own-task.md builds one step by step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.about import plain
from trainables.settings import LIMITS, LOOP, loop_conflicts
from trainables.task import Batch, Config, DataError, Evaluation, Setting, Task
from trainables.tasks import regression
from trainables.tasks.classification import SMOOTHING, constants, evaluation, loss
from trainables.tasks.splits import cut_off, cut_off_each, step_sizes

Kind = Literal["classification", "regression"]
Load = Callable[[Path, Config], Mapping[str, tuple[Any, Any]]]

EVALUATION_BATCH = 2500
SPLITS = ("train", "val", "test")
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
            share of the training rows is cut off by the study's seed, class by class.
        network: (config) -> the network: x to scores `(n, classes)`, or to numbers `(n,)` or
            `(n, 1)`.
        kind: "classification" (accuracy) or "regression" (root mean squared error).
        settings: what else a config holds, e.g. {"width": Setting(64, "of the hidden layer", 1)}.

    Returns:
        The task; every part of it can be replaced by dataclasses.replace.
    """
    classes = kind == "classification"
    held = {**SETTINGS, **({"label_smoothing": SMOOTHING} if classes else {}), **(settings or {})}
    metrics = ("loss", "accuracy") if classes else ("loss", "rmse", "mae")
    metric, mode = ("accuracy", "max") if classes else ("rmse", "min")

    @lru_cache(maxsize=2)
    def checked(data_dir: Path, given: tuple[Any, ...]) -> dict[str, tuple[Tensor, Tensor]]:
        return _checked(name, load, data_dir, given, kind)

    def read(data_dir: Path, config: Config) -> dict[str, tuple[Tensor, Tensor]]:
        # a search changes rates and seeds, and need not read the data again for it
        return checked(data_dir, tuple(sorted((k, config[k]) for k in settings or {})))

    def fingerprint(data_dir: Path, config: Config) -> dict[str, Any]:
        return _fingerprint(name, read(data_dir, config))

    @lru_cache(maxsize=1)  # a warm worker opens the same splits for trial after trial
    def opened(device: torch.device, data_dir: Path, seed: int, given: tuple[Any, ...]) -> Data:
        config = dict(given)
        return _opened(read(data_dir, config), config, seed, device, classes)

    def open_data(data_dir: Path, config: Config, seed: int, device: torch.device) -> Data:
        keys = ("val_fraction", *LIMITS, *(settings or {}))
        return opened(device, data_dir, seed, tuple((key, config[key]) for key in keys))

    return Task(
        name=name,
        metric=metric,
        mode="max" if mode == "max" else "min",
        metrics=metrics,
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
    found = output.view(len(target))
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
    found = torch.cat([net(part).view(len(part)) for part in inputs.split(EVALUATION_BATCH)])
    truth, predicted = targets.double().cpu().numpy(), found.double().cpu().numpy()
    metrics = {"loss": float(((truth - predicted) ** 2).mean())}
    metrics |= regression.errors(truth, predicted)
    columns: dict[str, list[Any]] = {}
    if detail:
        columns = {"image": names, "truth": truth.tolist(), "prediction": predicted.tolist()}
    return Evaluation(metrics, columns)


def baselines(data: Data) -> dict[str, dict[str, float]]:
    """Constant predictors on test: the uniform guess and the commonest class; mean and median."""
    train, test = (data.targets[split].cpu() for split in ("train", "test"))
    if data.classes:
        return constants(train, test, data.classes)
    held = regression.constants(train.double().numpy(), test.double().numpy())
    return {name: {"loss": errors["rmse"] ** 2, **errors} for name, (_, errors) in held.items()}


# -- what `load` gives ------------------------------------------------------------------------


def _checked(
    name: str, load: Load, data_dir: Path, given: tuple[Any, ...], kind: Kind
) -> dict[str, tuple[Tensor, Tensor]]:
    """The arrays as tensors.

    Raises:
        DataError: with every fault, naming split and array.
    """
    held: Any = load(data_dir, dict(given))
    if not isinstance(held, Mapping) or not {"train", "test"} <= set(held) <= set(SPLITS):
        got = sorted(held) if isinstance(held, Mapping) else type(held).__name__
        raise DataError(f"{name}: load must return a dict of train, test and maybe val, not {got}")
    found, faults = {}, []
    for split, pair in held.items():
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            faults.append(f"{split} must be a pair (x, y), not {type(pair).__name__}")
            continue
        x, y = (_tensor(part) for part in pair)
        if x is None or y is None:
            faults.append(f"{split} must hold arrays of numbers")
            continue
        faults += [f"{split}: {text}" for text in _faults(x, y, kind)]
        found[split] = (x.float(), y.long() if kind == "classification" else y.float())
    shapes = {tuple(x.shape[1:]) for x, _ in found.values()}
    if len(shapes) > 1:
        faults.append(f"x differs in shape between splits: {sorted(shapes)}")
    if not faults and kind == "classification":
        most = 1 + int(found["train"][1].max())
        faults += [
            f"{split}: y holds class {int(y.max())}, and train has {most}"
            for split, (_, y) in found.items()
            if int(y.max()) >= most
        ]
    if faults:
        raise DataError(f"{name}: what load returns has faults: {'; '.join(faults)}")
    return found


def _tensor(held: Any) -> Tensor | None:
    try:
        return held if isinstance(held, Tensor) else torch.as_tensor(np.asarray(held))
    except (TypeError, ValueError):
        return None


def _faults(x: Tensor, y: Tensor, kind: Kind) -> list[str]:
    found = []
    if y.dim() != 1 or not len(y) or len(x) != len(y):
        found.append(f"x {tuple(x.shape)} and y {tuple(y.shape)} must be (n, ...) and (n,), n > 0")
        return found
    for name, held in (("x", x), ("y", y)):
        if held.is_floating_point() and not bool(torch.isfinite(held).all()):
            row = int((~torch.isfinite(held.reshape(len(held), -1))).any(1).nonzero()[0])
            found.append(f"{name} is not finite in row {row}")
    if kind == "classification" and not found:
        if y.is_floating_point() and bool((y != y.round()).any()):
            found.append("y must be classes, whole numbers from 0")
        elif int(y.min()) < 0:
            found.append(f"y holds {int(y.min())}; classes count from 0")
    return found


def _fingerprint(name: str, held: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for split in sorted(held):
        for part in held[split]:
            digest.update(f"{split} {tuple(part.shape)}".encode())
            digest.update(np.ascontiguousarray(part.cpu().numpy()).tobytes())
    x, _ = held["train"]
    counts = {f"{split}_images": len(y) for split, (_, y) in held.items()}
    return {
        "data": name,
        "edition": "arrays",
        "synthetic": False,
        **counts,
        "shape": list(x.shape[1:]),
        "arrays_sha256": digest.hexdigest(),
    }


def _opened(
    held: Mapping[str, tuple[Tensor, Tensor]],
    config: Config,
    seed: int,
    device: torch.device,
    classes: bool,
) -> Data:
    parts = dict(held)
    if "val" not in parts:
        x, y = parts["train"]
        share = config["val_fraction"]
        kept, cut = cut_off_each(y, share, seed) if classes else cut_off(len(y), share, seed)
        parts |= {"train": (x[kept], y[kept]), "val": (x[cut], y[cut])}
    limits = {split: config[f"{split}_images"] for split in SPLITS}
    limited = {s: (x[: limits[s]], y[: limits[s]]) for s, (x, y) in parts.items()}
    count = 1 + max(int(y.max()) for _, y in held.values()) if classes else 0
    return Data(
        {split: x.to(device) for split, (x, _) in limited.items()},
        {split: y.to(device) for split, (_, y) in limited.items()},
        count,
    )
