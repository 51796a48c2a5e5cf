"""Is a table settled: would more epochs move its cells, and could neighbours change places?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.cells import CellValue, cell_values
from analysis.findings.stats import equal
from analysis.findings.trends import Trend, trend
from search.record import Record
from search.record.once import once

COLUMNS = [
    *("cell", "n", "stamp", "window", "gain", "low", "high", "matters", "why"),
    *("rank", "common_epoch", "value_there", "rank_there", "rank_end", "could_pass", "untold"),
]


@once
def settled(record: Record) -> pd.DataFrame:
    """One row a cell: its convergence stamp, and its rank at the largest common epoch.

    Curves are those of the watched split (validation, but under `protocol = "report"`), of the
    trials that the cell shows: its seeds, or the trial that stands for an unfinished cell.

    Returns:
        cell; n (curves); stamp, window, gain, low, high, matters, why (see `trends.Trend`; gain
        in the units of the metric, more is better); rank (of the values shown, 1 the best; NA of
        cells that are compared with none); common_epoch (the last that every cell with a curve
        has), value_there (mean over the curves, by the study's checkpoint rule), rank_there (of
        these, among the cells that have a rank), rank_end (the same of whole curves); could_pass
        (numbers of better cells that it would pass if both went on as their intervals allow, or of
        which that is not known), untold (of these, those of which it is not known: one of the two
        has no window).

    Raises:
        UserError: trials of a cell cannot be compared.
    """
    study = record.study
    values = [v for v in cell_values(record) if v.metric == study["metric"]]
    curves = _curves(record, values)
    trends = {v.cell: _trend(v, curves) for v in values}
    ranks = _ranks({v.cell: v.mean for v in values if v.standing != "out"}, values)
    there = _common(study, values, curves)
    at = {cell: held[1] for cell, held in there.items() if cell in ranks}
    ranks_there = _ranks(at, values)
    ends = {cell: held[2] for cell, held in there.items() if cell in ranks}
    ranks_end = _ranks(ends, values)
    rows = []
    for v in values:
        held = trends[v.cell]
        epoch, value, _ = there.get(v.cell, (0, math.nan, math.nan))
        row = {
            "cell": v.cell,
            "n": sum(trial in curves for trial in v.trials),
            "stamp": held.stamp,
            "window": held.epochs,
            **{key: getattr(held, key) for key in ("gain", "low", "high", "matters", "why")},
            "rank": ranks.get(v.cell, pd.NA),
            "common_epoch": epoch,
            "value_there": value,
            "rank_there": ranks_there.get(v.cell, pd.NA),
            "rank_end": ranks_end.get(v.cell, pd.NA),
            **_passes(v, values, trends, ranks),
        }
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS).astype(
        dict.fromkeys(("rank", "rank_there", "rank_end"), "Int64")
    )


Curve = NDArray[np.float64]  # (2, epochs): the watched metric, and the learning rate


def _curves(record: Record, values: Sequence[CellValue]) -> dict[str, Curve]:
    """Trial -> its curve, of the trials shown; those with gaps are left out.

    The rates are NaN where they are not on record, as of many an imported one.
    """
    study = record.study
    shown = {t for v in values if v.status != "failed" for t in v.trials}  # that shows none
    main = f"{study['watched']}_{study['metric']}"
    names = [main, "lr"]
    held = record.curves
    held = held[held["name"].isin(names) & held["trial"].isin(list(shown))]
    found = {}
    for trial, rows in held.groupby("trial"):
        wide = rows.pivot(index="epoch", columns="name", values="value").sort_index()
        whole = list(wide.index) == list(range(1, len(wide) + 1))
        if whole and main in wide.columns:
            wide = wide.reindex(columns=names)
            found[str(trial)] = wide[names].to_numpy("float64", na_value=math.nan).T
    return found


def _trend(value: CellValue, curves: Mapping[str, Curve]) -> Trend:
    held = [curves[trial] for trial in value.trials if trial in curves]
    if not held:
        return Trend("cannot tell", why="no whole learning curve is on record")
    if value.epochs < value.budget:
        return Trend("cannot tell", why=f"trained for {value.epochs} of {value.budget} epochs")
    if any(np.isnan(curve[1]).any() for curve in held):
        return Trend("cannot tell", why="the learning rate of each epoch is not on record")
    length = min(curve.shape[1] for curve in held)
    both = np.array([curve[:, :length] for curve in held])
    return trend(both[:, 0], both[0, 1], value.mode)


def _common(
    study: Mapping[str, Any], values: Sequence[CellValue], curves: Mapping[str, Curve]
) -> dict[int, tuple[int, float, float]]:
    """Cell -> the last epoch that all with a curve have, mean values there and at the end."""
    held = {v.cell: [curves[t][0] for t in v.trials if t in curves] for v in values}
    held = {cell: own for cell, own in held.items() if own}
    if not held:
        return {}
    epoch = min(len(curve) for own in held.values() for curve in own)
    pick = np.nanmax if study["mode"] == "max" else np.nanmin
    best = study["checkpoint_rule"] == "best"

    def mean(curves: Sequence[NDArray[np.float64]]) -> float:
        at = [pick(c) if best and np.isfinite(c).any() else c[-1] for c in curves]
        return float(np.mean(at))

    return {
        cell: (epoch, mean([curve[:epoch] for curve in own]), mean(own))
        for cell, own in held.items()
    }


def _ranks(held: Mapping[int, float], values: Sequence[CellValue]) -> dict[int, int]:
    """Cell -> rank among the cells that it is compared with, 1 the best."""
    groups = {v.cell: (v.images, 1 if v.mode == "max" else -1) for v in values}
    found = {}
    for cell, value in held.items():
        images, sign = groups[cell]
        better = [
            c
            for c, other in held.items()
            if groups[c][0] == images and sign * (other - value) > 0 and not equal(other, value)
        ]
        found[cell] = 1 + len(better)
    return found


def _passes(
    value: CellValue,
    values: Sequence[CellValue],
    trends: Mapping[int, Trend],
    ranks: Mapping[int, int],
) -> dict[str, list[int]]:
    """Better cells that this one could pass within a window more, and of which it is unknown."""
    sign = 1 if value.mode == "max" else -1
    own, found, untold = trends[value.cell], list[int](), list[int]()
    for other in values if value.cell in ranks else ():
        if other.cell not in ranks or other.images != value.images or other is value:
            continue
        lead = sign * (other.mean - value.mean)
        if lead <= 0 or equal(other.mean, value.mean):
            continue
        theirs = trends[other.cell]
        if not (own.epochs and theirs.epochs):
            untold.append(other.cell)  # nothing rules it out
        if other.cell in untold or own.high - theirs.low > lead:
            found.append(other.cell)
    return {"could_pass": found, "untold": untold}
