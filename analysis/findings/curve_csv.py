"""Learning curves of trainings elsewhere, from a csv: read, checked, made into records."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.findings.published import CURVE_COLUMNS
from search.record import UserError
from search.record.csv_rows import read_csv_rows, real_number, refuse, whole_number
from search.record.forms import out_of_bounds
from search.record.imported import (
    ImportedRun,
    ImportedStudy,
    main_metric,
    require_free,
    tasks,
    write_imported,
)

NAME = re.compile(r"(train|val|test)_[a-z][a-z0-9_]*")
MODES = {"scratch": False, "pretrained": True}


@dataclass
class Curve:
    """One run of a csv.

    Attributes:
        task, part, mode, depth, lr, run: as the csv has them.
        values: name -> epoch -> value.
        row: of the csv, the first of it, counted from 1 with the heading.
    """

    task: str
    part: str
    mode: str
    depth: int
    lr: float
    run: int
    row: int
    values: dict[str, dict[int, float]] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """How many it has."""
        return max(max(held) for held in self.values.values())

    @property
    def watched(self) -> str:
        """The split that its results are of: validation where the csv has it, else test."""
        return "val" if f"val_{main_metric(self.task)}" in self.values else "test"

    @property
    def settings(self) -> dict[str, Any]:
        """What is known of how it was trained."""
        side = {"part": self.part} if tasks()[self.task]["side"] else {}
        return {"depth": self.depth, **side, "lr": self.lr, "pretrained": MODES[self.mode]}

    @property
    def label(self) -> str:
        """E.g. "shanghaitech A, scratch, depth 18, lr 0.001, run 1"."""
        task = " ".join(text for text in (self.task, self.part) if text)
        return f"{task}, {self.mode}, depth {self.depth}, lr {self.lr:g}, run {self.run}"

    def end(self, metric: str) -> float:
        """Its value of a metric at the last epoch; NaN where it has none."""
        return self.values.get(f"{self.watched}_{metric}", {}).get(self.epochs, math.nan)


def read_curves(path: Path) -> list[Curve]:
    """The runs of a csv with the columns CURVE_COLUMNS, in its order.

    Raises:
        UserError: with file, row, column and what to do.
    """
    found: dict[tuple[Any, ...], Curve] = {}
    for number, row in read_csv_rows(path, CURVE_COLUMNS):
        curve = _curve(path, number, row)
        key = (curve.task, curve.part, curve.mode, curve.depth, curve.lr, curve.run)
        held = found.setdefault(key, curve).values.setdefault(_name(path, number, row), {})
        epoch = whole_number(path, number, "epoch", row["epoch"], 1)
        if epoch in held:
            refuse(path, number, "epoch", row["epoch"], "stands twice; leave one of them")
        held[epoch] = _value(path, number, row)
    for curve in found.values():
        _require_whole(path, curve)
    return list(found.values())


def _curve(path: Path, number: int, row: Mapping[str, str]) -> Curve:
    task, part, mode = row["task"], row["part"], row["mode"]
    if task not in tasks():
        refuse(path, number, "task", task, f"must be one of {', '.join(tasks())}")
    if mode not in MODES:
        refuse(path, number, "mode", mode, f"must be one of {', '.join(MODES)}")
    if bool(part) != bool(tasks()[task]["side"]):
        needs = "must say which images" if not part else f"must be empty: {task} has no parts"
        refuse(path, number, "part", part, needs)
    lr = real_number(path, number, "lr", row["lr"])
    if lr <= 0:
        refuse(path, number, "lr", row["lr"], "must be above 0")
    depth = whole_number(path, number, "depth", row["depth"], 1)
    run = whole_number(path, number, "run", row["run"], 0)
    return Curve(task, part, mode, depth, lr, run, number)


def _name(path: Path, number: int, row: Mapping[str, str]) -> str:
    if not NAME.fullmatch(row["name"]):
        text = "must be train_, val_ or test_ and a metric, e.g. val_loss"
        refuse(path, number, "name", row["name"], text)
    return row["name"]


def _value(path: Path, number: int, row: Mapping[str, str]) -> float:
    value = real_number(path, number, "value", row["value"])
    if fault := out_of_bounds(row["name"].partition("_")[2], value):
        refuse(path, number, "value", row["value"], fault)
    return value


def _require_whole(path: Path, curve: Curve) -> None:
    """Epochs 1 to n, once each, of every name."""
    for name, held in curve.values.items():
        if len(held) < curve.epochs:
            first = next(epoch for epoch in range(1, len(held) + 2) if epoch not in held)
            raise UserError(
                f"{path}, row {curve.row}, column epoch: {name} of {curve.label} has no epoch "
                f"{first} of 1 to {curve.epochs}; give each name every epoch, or leave the "
                "name out"
            )
    main = main_metric(curve.task)
    if f"{curve.watched}_{main}" not in curve.values:
        raise UserError(
            f"{path}, row {curve.row}, column name: {curve.label} has neither val_{main} nor "
            f"test_{main}; add one of them, or leave the run out"
        )


def write_studies(
    path: Path, curves: Sequence[Curve], faults: Sequence[tuple[str, str]], out: Path
) -> list[Path]:
    """Write runs as records, one study for those of one task, number of epochs and metrics.

    Args:
        path: the csv.
        curves: of it.
        faults: task and text of what was found of it; a record keeps those of its own task.
        out: a folder of each study is made in it.

    Returns:
        The run folders.

    Raises:
        UserError: one of them is there already; nothing is written then.
    """
    groups: dict[tuple[str, int, tuple[str, ...]], list[Curve]] = {}
    for curve in curves:
        key = (curve.task, curve.epochs, tuple(sorted(curve.values)))
        groups.setdefault(key, []).append(curve)
    named = dict(zip(_names(path.stem, list(groups)), groups.values(), strict=True))
    origin = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    for name in named:
        require_free(out / name)
    for name, held in named.items():
        own = [text for task, text in faults if task == held[0].task]
        _write_study(out / name, held, {**origin, "faults": own})
    return [out / name for name in named]


def _names(stem: str, keys: Sequence[tuple[str, int, tuple[str, ...]]]) -> list[str]:
    found = list[str]()
    for task, epochs, _ in keys:
        several = len({key[1] for key in keys if key[0] == task}) > 1
        base = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{stem}-{task}{f'-{epochs}' * several}")
        again = sum(name == base or name.startswith(f"{base}.") for name in found)
        found.append(f"{base}.{again + 1}" if again else base)
    return found


def _write_study(folder: Path, curves: Sequence[Curve], origin: Mapping[str, Any]) -> None:
    at = [curve.settings for curve in curves]
    if any(held in at[:place] for place, held in enumerate(at)):  # run again: which is not known
        at = [{**held, "run": curve.run} for held, curve in zip(at, curves, strict=True)]
    side = tasks()[curves[0].task]["side"]
    differ = [k for k in at[0] if k == side or len({repr(held[k]) for held in at}) > 1]
    keys = differ or ["depth"]
    cells = [{key: held[key] for key in keys} for held in at]
    settings = {key: value for key, value in at[0].items() if key not in keys}
    runs = [
        ImportedRun(
            f"{cell:02d}-run{curve.run}",
            cell,
            tuple(
                {name: held[epoch] for name, held in curve.values.items()}
                for epoch in range(1, curve.epochs + 1)
            ),
        )
        for cell, curve in enumerate(curves)
    ]
    study = ImportedStudy(curves[0].task, cells, settings, curves[0].watched, origin)
    write_imported(folder, study, runs)
