"""Why a cell is where it is: its search, seeds, fit, lead, and what would most likely move it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from analysis.findings.cells import CellValue, cell_values
from analysis.findings.facts import bounds, direction, training_compares
from analysis.findings.moves import Move, moves
from analysis.findings.settled import settled
from analysis.findings.stats import NO_INTERVAL, Interval, has_spread, mean_interval
from analysis.findings.verdict import Lead
from search.record import Record, UserError, did_you_mean, searched, trial_column

# images of a sample of the training ones below which its mean says nothing of the fit: errors of
# single images are about as wide as their mean, so that of 100 is known to a tenth
ENOUGH = 100
ALIKE = 0.1  # relative: gap and training error that differ by less say neither


@dataclass(frozen=True)
class Fit:
    """The metric on training and watched split at the checkpoint that is shown, means over seeds.

    Attributes:
        train: of the training images, or of crops of them (study.json's about.training says so).
        watched: of the split that selects.
        error: of `train` from the best that the metric can be; NaN where it has no best.
        gap: by how much the watched split is worse than training.
        n: seeds that the means are over.
        gap_interval: 95 % of `gap` over seeds (Student); none of one seed, or where none differ.
        lean: the same of `gap` less `error`.
        sample: training images that `train` is of, where not all of them are scored.
    """

    train: float
    watched: float
    error: float
    gap: float
    n: int = 1
    gap_interval: Interval = NO_INTERVAL
    lean: Interval = NO_INTERVAL
    sample: int | None = None

    @property
    def few(self) -> bool:
        """Whether `train` is of too few images to say anything of the fit."""
        return self.sample is not None and self.sample < ENOUGH

    @property
    def says(self) -> Literal["overfitted", "underfitted", "unknown"]:
        """Where more of the watched error is: in the gap, or in training already.

        Of several seeds only where their interval says so; of one it is that training's alone.
        """
        if self.few or not math.isfinite(self.error) or not math.isfinite(self.gap):
            return "unknown"
        if abs(self.gap - self.error) <= ALIKE * max(abs(self.gap), self.error):
            return "unknown"
        if self.n > 1 and not (self.lean.low > 0 or self.lean.high < 0):
            return "unknown"
        return "overfitted" if self.gap > self.error else "underfitted"

    @property
    def watched_is(self) -> Literal["worse", "no worse", "not decided"]:
        """What the watched split is beside training, by the same interval."""
        if self.n == 1:
            return "worse" if self.gap > 0 else "no worse"
        if self.gap_interval.low > 0:
            return "worse"
        return "no worse" if self.gap_interval.high <= 0 else "not decided"


@dataclass(frozen=True)
class Explanation:
    """What is known of a cell; see `explain`.

    Attributes:
        values: its verdicts, one a metric, the study's own first.
        configs: one row a config: trial, the searched parameters, epochs, value, status, reason.
        rungs: one row a config and rung: trial, epoch, value, rank, n, verdict.
        seeds: one row a trial of the result, or that is shown for want of one: trial, stage (of
            search is the winner itself), seed, status, reason, and a column a metric.
        fit: of the study's metric; None where no trial is shown.
        settled: its row of `settled.settled`.
        ahead: the leader's lead over it, leader first; None for the leader, or without one.
        moves: what would most likely move it, in the order of MoveKind.
    """

    values: tuple[CellValue, ...]
    configs: pd.DataFrame
    rungs: pd.DataFrame
    seeds: pd.DataFrame
    fit: Fit | None
    settled: Mapping[str, Any]
    ahead: tuple[CellValue, Lead] | None
    moves: tuple[Move, ...]


def cell_number(record: Record, wanted: str) -> int:
    """The cell that some words name: its number, or settings such as `depth=18,pretrained=false`.

    Raises:
        UserError: none or several fit.
    """
    cells = record.study["cells"]
    if wanted.isdigit() and int(wanted) < len(cells):
        return int(wanted)
    pairs = [part.partition("=") for part in wanted.split(",")]
    asked = {key.strip(): value.strip().lower() for key, _, value in pairs}
    if len(asked) < len(pairs):
        raise UserError(f"{wanted!r} names a key twice; name one cell at a time")
    keys = list(dict.fromkeys(key for at in cells for key in at))
    for key in asked.keys() - {*keys, wanted}:
        raise UserError(
            f"no cell of study {record.study['name']} has {key!r}{did_you_mean(key, keys)}; its "
            f"cells differ in {', '.join(keys)}"
        )
    fits = [
        number
        for number, at in enumerate(cells)
        if all(key in at and str(at[key]).lower() == value for key, value in asked.items())
    ]
    if len(fits) == 1:
        return fits[0]
    names = "; ".join(",".join(f"{k}={v}" for k, v in at.items()) for at in cells)
    raise UserError(
        f"{wanted!r} names {'no cell' if not fits else f'{len(fits)} cells'} of study "
        f"{record.study['name']}; its cells are {names}"
    )


def explain(record: Record, cell: int) -> Explanation:
    """Gather what a record says of a cell.

    Args:
        record: the study.
        cell: number of the cell, from 0.

    Raises:
        UserError: trials of a cell cannot be compared.
    """
    study = record.study
    every = cell_values(record)
    values = sorted(
        (v for v in every if v.cell == cell), key=lambda v: v.metric != study["metric"]
    )
    main = values[0]
    table = settled(record).set_index("cell")
    first = next((v for v in every if v.metric == main.metric and _leads(v, main)), None)
    ahead = None
    if first is not None and first.cell != cell and main.behind is not None:
        ahead = (first, main.behind)
    configs, stamp, fit = _configs(record, cell), dict(table.loc[cell]), _fit(record, main)
    underfits = fit is not None and fit.says == "underfitted"
    return Explanation(
        values=tuple(values),
        configs=configs,
        rungs=_rungs(record, cell),
        seeds=_seeds(record, main),
        fit=fit,
        settled=stamp,
        ahead=ahead,
        moves=tuple(moves(record, values, configs, stamp, ahead, underfits)),
    )


def _leads(value: CellValue, other: CellValue) -> bool:
    """Whether a value is the best mean of those that another is compared with."""
    compared = value.standing in ("best", "among the best", "alone") and value.behind is None
    return compared and value.images == other.images


def _configs(record: Record, cell: int) -> pd.DataFrame:
    study = record.study
    rows = searched(record)
    rows = rows[rows["cell"] == cell]
    keys = [trial_column(study, key) for key in study["space_keys"]]
    columns = ["trial", *keys, "epochs", "value", "status", "reason"]
    order = rows.assign(_v=rows["value"] * (-1 if study["mode"] == "max" else 1))
    order = order.sort_values(["epochs", "_v"], ascending=[False, True], kind="stable")
    return order[columns].reset_index(drop=True)


def _rungs(record: Record, cell: int) -> pd.DataFrame:
    held = record.decisions
    held = held[(held["cell"] == cell) & held["rank"].notna()]
    columns = ["trial", "epoch", "value", "rank", "n", "verdict"]
    last = held.drop_duplicates(["trial", "epoch"], keep="last")
    return last[columns].sort_values(["epoch", "rank"]).reset_index(drop=True)


def _seeds(record: Record, value: CellValue) -> pd.DataFrame:
    trials = record.trials
    own = trials[trials["cell"] == value.cell]
    rows = own[(own["stage"] == "confirm") | own["trial"].isin(list(value.trials))]
    split = value.split
    names = {
        metric: f"test_{metric}" if split == "test" else f"value_{split}_{metric}"
        for metric in record.study["metrics"]
    }
    held = {m: rows.get(c, math.nan) for m, c in names.items()}
    found = rows[["trial", "stage", "seed", "status", "reason"]].assign(**held)
    return found.reset_index(drop=True)


def _fit(record: Record, value: CellValue) -> Fit | None:
    study, metric = record.study, value.metric
    rows = record.trials[record.trials["trial"].isin(list(value.trials))]
    names = [f"value_train_{metric}", f"value_{study['watched']}_{metric}"]
    if rows.empty or not set(names) <= set(rows.columns):
        return None
    both = rows[names].astype("float64").dropna()
    if both.empty:
        return None
    train, watched = (both[name] for name in names)
    top = direction(study, metric) == "max"
    low, high = bounds(study, metric)
    best = high if top else low
    errors = (best - train).abs() if math.isfinite(best) else train * math.nan
    gaps = train - watched if top else watched - train
    return Fit(
        train=float(train.mean()),
        watched=float(watched.mean()),
        error=float(errors.mean()),
        gap=float(gaps.mean()),
        n=len(both),
        gap_interval=_over_seeds(gaps.tolist()),
        lean=_over_seeds((gaps - errors).tolist()),
        sample=_sample(study, value.given),
    )


def _sample(study: Mapping[str, Any], at: Mapping[str, Any]) -> int | None:
    """How many training images are scored, of a task that scores whole ones beside its crops."""
    held = {**study["settings"], **at}.get("train_sample")
    scored = bool(study["about"].get("training")) and training_compares(study, at)
    return int(held) if held is not None and scored else None


def _over_seeds(values: list[float]) -> Interval:
    if len(values) < 2 or not all(map(math.isfinite, values)) or not has_spread(values):
        return NO_INTERVAL
    return Interval(*mean_interval(values), "t")
