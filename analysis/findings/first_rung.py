"""Was the first rung late enough: how well each earlier epoch ranks what came out in the end.

Only configs that were trained in full can say. In a search with early stopping these are the best
of their rungs, and the audit's; what they say of the rest is a guess, and the table says how many
they are. A study without early stopping (`scheduler = "none"`), or curves from elsewhere, say all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.record import Record, epochs_of_cell, plan_from
from search.record.once import once
from search.record.seed_spread import seed_spread

LEAST = 4  # configs in full that a cell needs to say anything
ENOUGH = 8  # and for an interval: of four it covers 57 % at a correlation of 0.9, for 95 %
STEP = 1.5  # between the epochs that are tried as a first rung
DRAWS = 2000
MANY = 300  # configs in full from which on the interval is made without drawing
LEVEL = 0.95
COLUMNS = [
    *("epoch", "rung", "cells", "configs", "tau", "low", "high", "kept", "worst", "epochs_a_cell"),
]

Array = NDArray[np.float64]
Order = NDArray[np.int8]


class Cell(NamedTuple):
    """Configs of a cell that were trained in full.

    Attributes:
        values: `(configs, epochs)`, by the checkpoint rule after each epoch; more is better.
        run: configs that were begun in the cell.
    """

    values: Array
    run: int


class FirstRung(NamedTuple):
    """What follows for the next study.

    Attributes:
        epoch: of the first rung that lost nothing; None where that cannot be said.
        why: what it is, or why it cannot be said, as a sentence.
        noise: standard deviation over seeds, in the units of the metric; NaN where unknown.
    """

    epoch: int | None
    why: str
    noise: float


@once
def ranked_then(record: Record) -> pd.DataFrame:
    """How well the epochs before the last rank the configs of each cell.

    Returns:
        A row an epoch that could be a first rung: epoch; rung (whether it is one of the study's);
        cells and configs (of at least LEAST in full) that say it; tau, Kendall's rank correlation
        of the value there with the value in full, pairs pooled within cells, ties left out (so it
        is Goodman and Kruskal's gamma), low and high (95 %, bootstrap over configs within cells,
        percentiles, from MANY configs on what that comes to; NaN below ENOUGH configs in a cell,
        and where all draws agree); kept, in how many cells the best in full is among those that
        go on from there; worst, the most that any cell would have lost in the metric by going on
        with these alone; epochs_a_cell, what the search of a cell would cost with its first rung
        there. Empty where no cell has configs enough.
    """
    none = pd.DataFrame(columns=COLUMNS)
    full = _full(record)
    if full.empty or full["cell"].value_counts().max() < LEAST:
        return none  # told without the curves, which are most of a large record
    cells = [cell for cell in _cells(record) if len(cell.values) >= LEAST]
    if not cells:
        return none
    rng, study = np.random.default_rng(0), record.study
    ends = [_order(cell.values[:, -1]) for cell in cells]
    rows = []
    for epoch in _candidates(study["rungs"]):
        plan = plan_from(study, epoch)
        losses = [_lost(c, epoch, plan.quota(len(c.values))) for c in cells]
        tau, low, high = _kendall(cells, ends, epoch, rng)
        rows.append(
            {
                "epoch": epoch,
                "rung": epoch in study["rungs"],
                "cells": len(cells),
                "configs": sum(len(c.values) for c in cells),
                "tau": tau,
                "low": low,
                "high": high,
                "kept": sum(loss == 0 for loss in losses),
                "worst": max(losses),
                "epochs_a_cell": epochs_of_cell(plan),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def first_rung(record: Record) -> FirstRung:
    """The earliest first rung after which no cell loses more than seeds differ by.

    As far as the configs trained in full can say; every later one of the tried has to hold too.
    """
    held, noise = ranked_then(record), seed_noise(record)
    if held.empty:
        most = max((len(cell.values) for cell in _cells(record)), default=0)
        why = (
            f"not enough data: no cell has {LEAST} configs trained in full (the most is {most}); "
            "audit_share = 1, or scheduler = 'none' with few configs, would tell"
        )
        return FirstRung(None, why, noise)
    if math.isnan(noise):
        why = "not enough data: without two seeds of a cell nothing says which loss matters"
        return FirstRung(None, why, noise)
    fine = (held["worst"] <= noise)[::-1].cummin()[::-1]
    if not fine.any():
        why = "none: at every epoch that was tried some cell loses more than seeds differ by"
        return FirstRung(None, why, noise)
    epoch = int(held.loc[fine, "epoch"].iloc[0])
    why = f"the earliest from which on no cell loses more than seeds differ by (sd {noise:.3g})"
    return FirstRung(epoch, why, noise)


def in_full(record: Record) -> tuple[int, int]:
    """Configs of the search that were trained in full, and those that were begun."""
    cells = _cells(record)
    return sum(len(cell.values) for cell in cells), sum(cell.run for cell in cells)


def _candidates(steps: Sequence[int]) -> list[int]:
    """Epochs before the last: the study's rungs, and steps by STEP from 1."""
    last, at, found = int(steps[-1]), 1.0, {int(step) for step in steps[:-1]}
    while round(at) < last:
        found.add(round(at))
        at *= STEP
    return sorted(found)


def _searched(record: Record) -> pd.DataFrame:
    return record.trials[record.trials["stage"] != "confirm"]


def _full(record: Record) -> pd.DataFrame:
    """Trials of the search that were trained in full."""
    rows = _searched(record)
    return rows[(rows["status"] == "completed") & (rows["epochs"] >= rows["budget"])]


@once
def _cells(record: Record) -> list[Cell]:
    """Of each cell that was searched, what was trained in full."""
    study, rows, full = record.study, _searched(record), _full(record)
    held = record.curves
    name = f"{study['watched']}_{study['metric']}"
    held = held[(held["name"] == name) & held["trial"].isin(full["trial"])]
    wide = held.pivot(index="trial", columns="epoch", values="value").sort_index(axis=1)
    wide = wide.reindex(columns=range(1, int(study["rungs"][-1]) + 1)).dropna()
    sign = 1.0 if study["mode"] == "max" else -1.0
    curves = sign * wide.to_numpy("float64")
    if study["checkpoint_rule"] == "best":
        curves = np.maximum.accumulate(curves, axis=1)
    place = {str(trial): n for n, trial in enumerate(wide.index.astype(str))}
    found = []
    for cell, own in rows.groupby("cell"):
        names = full.loc[full["cell"] == cell, "trial"].astype(str)
        at = [place[trial] for trial in names if trial in place]
        found.append(Cell(curves[at], len(own)))
    return found


def _lost(cell: Cell, epoch: int, quota: int) -> float:
    """What the best in full is better by than the best of those that would go on."""
    then, end = cell.values[:, epoch - 1], cell.values[:, -1]
    on = np.argsort(-then, kind="stable")[:quota]
    return float(end.max() - end[on].max())


def _kendall(
    cells: Sequence[Cell], ends: Sequence[Order], epoch: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Goodman and Kruskal's gamma of the pooled pairs, which is tau without ties, and its ends.

    Args:
        cells: with configs in full.
        ends: of each cell, the order of its values in full.
        epoch: that is held against it.
        rng: for the interval.
    """
    counts = [len(cell.values) for cell in cells]
    then = (_order(cell.values[:, epoch - 1]) for cell in cells)
    # 1 of a pair in one order then and in full, -1 in two, 0 of ties
    signs = [early * end for early, end in zip(then, ends, strict=True)]
    score, pairs = (sum(float(f(s).sum()) for s in signs) for f in (np.asarray, np.abs))
    if not pairs:
        return math.nan, math.nan, math.nan
    found = score / pairs
    if min(counts) < ENOUGH or abs(found) == 1:
        return found, math.nan, math.nan
    drawn = _by_bootstrap(signs, rng) if sum(counts) < MANY else _by_influence(signs)
    return found, *drawn


def _order(values: Array) -> Order:
    """`(configs, configs)`: 1 where the one of the row is more than that of the column, -1, 0."""
    above = (values[:, None] > values).view("int8")
    order: Order = above - above.T
    return order


def _by_bootstrap(signs: Sequence[Order], rng: np.random.Generator) -> tuple[float, float]:
    """Percentiles of gamma over draws of the configs within cells."""
    score, pairs = np.zeros(DRAWS), np.zeros(DRAWS)
    for own in signs:
        n = len(own)
        weights = rng.multinomial(n, [1 / n] * n, size=DRAWS).astype(float)
        score += ((weights @ own) * weights).sum(1)
        pairs += ((weights @ np.abs(own)) * weights).sum(1)
    found = np.where(pairs > 0, score / np.where(pairs > 0, pairs, 1), np.nan)
    low, high = np.nanquantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return (float(low), float(high)) if low < high else (math.nan, math.nan)


def _by_influence(signs: Sequence[Order]) -> tuple[float, float]:
    """What the bootstrap comes to with many configs, without drawing: the infinitesimal jackknife.

    Efron, "Nonparametric standard errors and confidence intervals" (1981): the variance is the
    sum of squares of each config's influence, here within cells; the interval is taken on
    Fisher's scale, atanh, so it stays within -1 and 1. A bootstrap of n configs costs DRAWS
    times n squared.
    """
    rows = [(own.sum(1, dtype="int64"), np.abs(own).sum(1, dtype="int64")) for own in signs]
    pairs = sum(float(p.sum()) for _, p in rows)
    gamma = sum(float(s.sum()) for s, _ in rows) / pairs
    influences = [2 * (s - gamma * p) / pairs for s, p in rows]
    variance = sum(float(((own - own.mean()) ** 2).sum()) for own in influences)
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt(variance) / (1 - gamma**2)
    middle = math.atanh(gamma)
    return math.tanh(middle - reach), math.tanh(middle + reach)


def seed_noise(record: Record) -> float:
    """Pooled standard deviation over seeds of the watched metric; NaN where no cell has two."""
    return seed_spread(record.trials, "value")[0]
