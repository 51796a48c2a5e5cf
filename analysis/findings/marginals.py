"""Marginal means of a full grid: what each value of a setting gave, whatever the others were.

Where every combination of the searched settings was tried once in a cell (`sampler = "grid"`), the
mean over the others is exact: no model stands between. Its interval is Student's by the residual
mean square of the sum of main effects (two-way layout without replication; Montgomery, Design and
Analysis of Experiments). Interactions are in that residual, which makes the interval
wider. It is one spread for all levels: for one whose values differ more than those of the others
the interval is too narrow. Where one setting makes the grid there is no residual, and the spread
over the study's seeds stands for it, of values in full alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # scipy.stats takes two seconds to import

from analysis.findings.facts import bounds
from analysis.findings.stats import LEVEL, Interval, has_spread
from analysis.findings.tried import settings_of_search, tried
from search.record import Record, searched
from search.record.once import once
from search.record.seed_spread import seed_spread

COLUMNS = [
    *("scope", "cell", "epoch", "setting", "level", "mean", "lo", "hi", "interval", "n"),
    *("sd", "freedom", "why"),
]


def is_grid(record: Record) -> bool:
    """Whether a study says that its configs are a grid, or a cell's configs make one."""
    if not record.study["space_keys"]:
        return False
    planned = record.study["spec"].get("sampler") == "grid"
    return planned or (len(record.study["space_keys"]) > 1 and _makes_one(record))


def _makes_one(record: Record) -> bool:
    """The same without a curve: as many configs as combinations, in some cell."""
    columns = list(settings_of_search(record).values())
    rows = searched(record)
    return any(
        len(own) == math.prod(levels := [own[c].nunique() for c in columns])
        and min(levels) > 1
        and not own.duplicated(columns).any()
        for _, own in rows.groupby("cell")
    )


@once
def marginals(record: Record) -> pd.DataFrame:
    """Marginal means in each cell, and over the study where every cell has the same grid.

    At the last rung at which every config of the grid has a value.

    Returns:
        scope (study or cell); cell (NA of the study); epoch; setting; level (a value of it); mean
        (of the watched metric by the checkpoint rule, over all combinations of the others and, of
        the study, over the cells); lo and hi (95 %, within what the metric can be); interval
        (residual, seeds or none); n (values in the mean); sd and freedom (of what the interval is
        by); why (there is none; a row a setting then). Empty where nothing is searched.
    """
    keys = settings_of_search(record)
    if not keys:
        return pd.DataFrame(columns=COLUMNS)
    rows: list[dict[str, Any]] = []
    held, whole = tried(record), dict[int, pd.DataFrame]()
    count = len(record.study["cells"])
    for cell in range(count):
        own, why = _grid(record, held[held["cell"] == cell], list(keys.values()))
        at = {"scope": "cell", "cell": cell}
        if why:
            rows += [at | {"setting": key, "why": why} for key in keys]
            continue
        whole[cell] = own
        rows += [at | row for row in _means(record, own, keys)]
    if count > 1 and len(whole) == count and _alike(list(whole.values()), list(keys.values())):
        every = pd.concat(list(whole.values()))
        rows += [{"scope": "study", "cell": None} | row for row in _means(record, every, keys)]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    whole_numbers = dict.fromkeys(("cell", "epoch", "n", "freedom"), "Int64")
    return frame.astype({**whole_numbers, **dict.fromkeys(("mean", "lo", "hi", "sd"), float)})


def _grid(record: Record, held: pd.DataFrame, columns: list[str]) -> tuple[pd.DataFrame, str]:
    """The rows of a cell's grid at the last rung at which it is whole, or why it is none."""
    none = held.iloc[:0]
    configs = held.drop_duplicates("trial")
    if configs.empty:
        return none, "no config has come to a rung"
    levels = [configs[column].nunique(dropna=False) for column in columns]
    planned = record.study["spec"].get("sampler") == "grid"
    if len(configs) != math.prod(levels) or configs.duplicated(columns).any():
        return none, "its configs are no full grid"
    if not planned and (len(columns) < 2 or min(levels) < 2):
        return none, "its configs are no full grid"
    if configs[columns].isna().any(axis=None):
        return none, "not every config has every setting"
    for epoch in reversed(record.study["rungs"]):
        rows = held[(held["epoch"] == epoch) & held["value"].notna()]
        if len(rows) == len(configs):
            return rows, ""
    lacking = int(held[held["epoch"] == record.study["rungs"][0]]["value"].isna().sum())
    return none, f"{lacking} of {len(configs)} configs of its grid have no value at the first rung"


def _alike(grids: Sequence[pd.DataFrame], columns: list[str]) -> bool:
    """Whether cells have the same grid at the same rung."""
    held = [
        (int(g["epoch"].iloc[0]), set(map(tuple, g[columns].astype(str).to_numpy())))
        for g in grids
    ]
    return all(one == held[0] for one in held)


def _means(record: Record, held: pd.DataFrame, keys: dict[str, str]) -> list[dict[str, Any]]:
    """A row a setting and level, of a full grid in one cell or of the same in several."""
    factors = [column for column in keys.values() if len(set(held[column])) > 1]
    factors += ["cell"] if len(set(held["cell"])) > 1 else []
    sd, freedom, kind = _spread(record, held, factors)
    possible = bounds(record.study, record.study["metric"])
    found = []
    for key, column in keys.items():
        for level, rows in held.groupby(column):
            mean, half = float(rows["value"].mean()), math.nan
            if kind != "none":
                half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * sd / math.sqrt(len(rows))
            ends = Interval(mean - half, mean + half, kind).within(possible)
            found.append(
                {
                    "epoch": int(held["epoch"].iloc[0]),
                    "setting": key,
                    "level": level,
                    "mean": mean,
                    "lo": ends.low,
                    "hi": ends.high,
                    "interval": kind,
                    "n": len(rows),
                    "sd": sd,
                    "freedom": freedom,
                    "why": "",
                }
            )
    return found


def _spread(record: Record, held: pd.DataFrame, factors: list[str]) -> tuple[float, int, str]:
    """Standard deviation of a value, its degrees of freedom, and what it is of."""
    values = held["value"].to_numpy(float)
    fitted = np.full(len(values), values.mean())
    for factor in factors:  # of a balanced layout each effect is estimated for itself
        fitted += held.groupby(factor)["value"].transform("mean").to_numpy() - values.mean()
    freedom = len(values) - 1 - sum(held[factor].nunique() - 1 for factor in factors)
    alike = not has_spread([0.0, *(values - fitted)])
    if freedom > 0 and alike:  # coarse values add up by chance: that is no certainty
        return math.nan, 0, "none"
    if freedom > 0:
        return math.sqrt(float(((values - fitted) ** 2).sum()) / freedom), freedom, "residual"
    full = int(held["epoch"].iloc[0]) == int(record.study["rungs"][-1])
    noise, seeds = seed_spread(record.trials, "value")
    if full and noise > 0:
        return noise, seeds, "seeds"
    return math.nan, 0, "none"
