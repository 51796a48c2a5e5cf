"""What `load` and `network` of an array task give: checked before the first trial."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from trainables.own_code import quoted
from trainables.task import Config, DataError
from trainables.tasks.inventory import are, named, share_of
from trainables.tasks.inventory import digest as row_digest
from trainables.tasks.label_checks import one_class, unlearned

Kind = Literal["classification", "regression"]
Load = Callable[[Path, Config], Mapping[str, tuple[Any, Any]]]
Pair = tuple[Tensor, Tensor]  # x and y of a split

SPLITS = ("train", "val", "test")


def checked_arrays(
    name: str, load: Load, data_dir: Path, given: tuple[Any, ...], kind: Kind
) -> dict[str, Pair]:
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
        faults += [
            f"{split}: {part} holds numbers too large for single precision"
            for part, given, held in (("x", x, found[split][0]), ("y", y, found[split][1]))
            if not torch.isfinite(held).all() and bool(torch.isfinite(given).all())
        ]
    shapes = {tuple(x.shape[1:]) for x, _ in found.values()}
    if len(shapes) > 1:
        faults.append(f"x differs in shape between splits: {sorted(shapes)}")
    if not faults:
        faults = _target_faults(found, kind)
    if faults:
        raise DataError(f"{name}: what load returns has faults: {'; '.join(faults)}")
    return found


def _target_faults(held: Mapping[str, Pair], kind: Kind) -> list[str]:
    """Targets of which nothing can be learnt: all alike, or of classes that train lacks."""
    labels = {split: y.numpy() for split, (_, y) in held.items()}
    train = labels["train"]
    if kind == "regression":
        alike = len(train) > 1 and bool((train == train[0]).all())
        return [f"train: every y is {train[0]:g}: there is nothing to learn"] * alike
    most = 1 + int(train.max())
    return [
        *(
            f"{split}: y holds class {int(y.max())}, and train has {most}"
            for split, y in labels.items()
            if int(y.max()) >= most
        ),
        *one_class({"train": train}),
    ] or unlearned(labels)


def _target_warnings(held: Mapping[str, Pair]) -> list[str]:
    """Classes that a split lacks, and rows that lie in several."""
    labels = {split: y.numpy() for split, (_, y) in held.items()}
    if any(y.dtype.kind != "i" for y in labels.values()):
        return []
    warnings = [text for split, y in labels.items() for text in one_class({split: y})]
    every = np.unique(np.concatenate(list(labels.values())))
    absent = np.setdiff1d(np.arange(every.max() + 1), every).tolist()
    if absent:
        counted = "; are they counted from 1?" if absent == [0] else ""
        which = f"class{'es' * (len(absent) > 1)} {named(absent, 10)}"
        warnings.append(f"no row is of {which}, and the network answers it too{counted}")
    return warnings


def _tensor(held: Any) -> Tensor | None:
    """None for what is no array of real numbers."""
    try:
        if isinstance(held, Tensor):
            held = held.detach().cpu()
            held = held.float() if held.dtype == torch.bfloat16 else held
        given = np.asarray(held)
        if given.dtype.kind not in "biuf":
            return None
        # torch counts in few unsigned kinds, and reads neither another byte order nor backwards
        wide = np.float64 if given.dtype.kind == "f" else np.int64
        known = given.dtype in (np.uint8, np.float32, np.int64)
        return torch.from_numpy(np.ascontiguousarray(given if known else given.astype(wide)))
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


def fingerprint_of(name: str, held: Mapping[str, Pair]) -> dict[str, Any]:
    """What the arrays are: counts, shape and a checksum; see Task."""
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
        "notes": _copies(held),
        "warnings": _target_warnings(held),
    }


def _copies(held: Mapping[str, Pair]) -> list[str]:
    """Notes on rows that are in two splits: told alone, since rows of numbers may well repeat."""
    keys = {
        split: np.array([row_digest(row) for row in x.cpu().numpy()], np.uint64)
        for split, (x, _) in held.items()
    }
    counts = {
        (first, second): int(np.isin(keys[second], keys[first]).sum())
        for first, second in combinations([split for split in SPLITS if split in keys], 2)
    }
    return [
        f"{share_of(count, len(keys[second]), f'{second} row')} {_rows_of(first, count)} too, and "
        f"{are(count)} kept there"
        for (first, second), count in counts.items()
        if count
    ]


def _rows_of(split: str, count: int) -> str:
    return f"is a row of {split}" if count == 1 else f"are rows of {split}"


@torch.no_grad()
def try_network(
    name: str, network: Callable[[Config], nn.Module], config: Config, x: Tensor, classes: int
) -> None:
    """Give the network two rows.

    Raises:
        DataError: it fails, or returns what the targets cannot be compared with.
    """
    two = x[:2] if len(x) > 1 else x.expand(2, *x.shape[1:])
    with torch.random.fork_rng(devices=[]):
        try:
            found = network(config).eval()(two)
        except Exception as error:  # whatever a network may raise
            raise DataError(
                f"{name}: network fails on two rows of train, {tuple(two.shape)}: {quoted(error)}"
            ) from error
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if classes and not (len(shape) == 2 and shape[0] == 2 and int(shape[1]) >= classes):
        raise DataError(
            f"{name}: network returns {shape} for two rows, not (2, {classes}): a score a class"
        )
    if not classes and shape not in ((2,), (2, 1)):
        raise DataError(f"{name}: network returns {shape} for two rows, not (2,) or (2, 1)")
