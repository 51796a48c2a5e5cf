"""The optimism of the choice: how much better a cell's winner looked in the search than it is.

Of configs that are ranked by a measured value the first was partly lucky, so its value is too
good (the winner's curse; Cawley and Talbot, JMLR 11, 2010). Bootstrapping the choice itself
(Tsamardinos et al., "Bootstrapping the out-of-sample predictions", Machine Learning 107, 2018)
needs what each config answered for each validation image, and a record has that of test images
alone. But each winner is trained again, at seeds that had no part in the choice, and judged on
the same validation images: its value in the search less the mean of those is the optimism, without
a model of the others. That is the second stage of a two-stage design, which is unbiased whatever
chose at the first (Cohen and Sackrowitz, "Two stage conditionally unbiased estimators of the
selected mean", Statistics & Probability Letters 8, 1989), and its interval is Student's over those
seeds.

It holds what luck of the seed gave, by whatever rungs; not that the validation images may suit the
winner better than others would: that is in the validation value of the seeds as well, and in the
gap from it to test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr, stdtrit  # scipy.stats takes two seconds to import

from analysis.findings.facts import bounds
from analysis.findings.first_rung import seed_noise
from analysis.findings.stats import LEVEL, Interval, has_spread, mean_interval, mean_sd
from search.record import Record, counts
from search.record.once import once

COLUMNS = [
    *("cell", "metric", "candidates", "trial", "value", "again", "n", "optimism", "lo", "hi"),
    *("by_chance", "why"),
]


class Overall(NamedTuple):
    """The mean of the optimism over cells.

    Attributes:
        cells: how many say it.
        optimism: in the units of the watched metric, above 0 where the search promised too much.
        low: of its 95 % interval.
        high: of it.
        why: why it cannot be told; "" where it can.
    """

    cells: int
    optimism: float = math.nan
    low: float = math.nan
    high: float = math.nan
    why: str = ""


@once
def optimism(record: Record) -> pd.DataFrame:
    """One row a cell, of the metric and split that its config was chosen by.

    Returns:
        cell; metric (with its split); candidates (configs begun); trial and value (the winner in
        the search); again (mean over n of its seeds, on the same validation images); optimism
        (value less again where more is better, else again less value; above 0 the search promised
        too much), lo and hi (95 %, Student over the seeds, within what the metric can be);
        by_chance (what the best of so many configs shows more than it is worth, in the mean, if
        they differ in nothing but chance: normal, with the pooled standard deviation of the
        study's seeds; among configs that do differ it is less); why (it cannot be told; "" where
        it can). NaN where it cannot.
    """
    study, trials = record.study, record.trials
    chosen = record.decisions[record.decisions["verdict"] == "select"]
    names = dict(zip(chosen["cell"].tolist(), chosen["trial"].tolist(), strict=True))  # the last
    values = dict(zip(chosen["cell"].tolist(), chosen["value"].tolist(), strict=True))
    again = trials[(trials["stage"] == "confirm") & (trials["status"] == "completed")]
    again = again[(again["epochs"] >= again["budget"]) & again["value"].notna()]
    noise, counted, rows = seed_noise(record), counts(record), []
    sign = 1 if study["mode"] == "max" else -1
    for cell in range(len(study["cells"])):
        own = again.loc[again["cell"] == cell, "value"].astype(float).tolist()
        candidates = counted[cell].configs.run
        row: dict[str, Any] = {
            "cell": cell,
            "metric": f"{study['watched']}_{study['metric']}",
            "candidates": candidates,
            "trial": names.get(cell),
            "value": values.get(cell, math.nan),
            "again": mean_sd(own)[0],
            "n": len(own),
            "by_chance": noise * best_of(candidates) if candidates > 1 else math.nan,
            "why": _why(record, cell, candidates, cell in values, own),
        }
        if not row["why"]:
            worth = Interval(*mean_interval(own), "t").within(bounds(study, study["metric"]))
            ends = sorted(sign * (row["value"] - end) for end in worth[:2])
            row |= {"optimism": sign * (row["value"] - row["again"]), "lo": ends[0], "hi": ends[1]}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _why(record: Record, cell: int, candidates: int, chosen: bool, again: Sequence[float]) -> str:
    """Why the optimism of a cell's choice cannot be told; "" where it can."""
    study, seeds = record.study, counts(record)[cell].seeds
    if "imported" in study:
        return "imported: how its configs were chosen is not on record"
    if not study["space_keys"]:
        return "nothing was searched"
    if study["watched"] == "test":
        return "its configs were chosen by test itself"
    if not chosen:
        return "no config is chosen yet"
    if candidates < 2:
        return "one config: nothing was chosen"
    if cell in record.mixed.cells:
        return "its parts were not computed alike"
    if seeds.lost:
        return f"{seeds.words}, so the seeds that are left say too much or too little"
    if len(again) < 2:
        return (
            f"{len(again)} of its seeds {'is' if len(again) == 1 else 'are'} there; 2 would tell"
        )
    return "" if has_spread(again) else "its seeds do not differ"


def overall(record: Record) -> Overall:
    """The mean over the cells that tell; its interval adds their standard errors up.

    Degrees of freedom: Satterthwaite (Biometrics Bulletin 2, 1946), of independent seeds.
    """
    held = optimism(record)
    known = held[held["why"] == ""]
    if known.empty:
        return Overall(0, why="; ".join(dict.fromkeys(held["why"])))
    confirmed = record.trials[record.trials["stage"] == "confirm"]
    seeds = [
        confirmed.loc[confirmed["cell"] == cell, "value"].dropna().astype(float).tolist()
        for cell in known["cell"]
    ]
    found = mean_over(known["optimism"].tolist(), seeds)
    sign = 1 if record.study["mode"] == "max" else -1
    ends = bounds(record.study, record.study["metric"])
    most = sorted(sign * (float(known["value"].mean()) - end) for end in ends)  # that it can be
    within = Interval(found.low, found.high, "t").within((most[0], most[1]))
    return found._replace(low=within.low, high=within.high)


def mean_over(found: Sequence[float], seeds: Sequence[Sequence[float]]) -> Overall:
    """The mean of the optimism of several cells.

    Args:
        found: of each cell.
        seeds: the values of each cell's seeds, two at least.
    """
    squares = [mean_sd(own)[1] ** 2 / len(own) for own in seeds]
    free = [len(own) - 1 for own in seeds]
    total = math.fsum(squares)
    freedom = total**2 / math.fsum(s**2 / f for s, f in zip(squares, free, strict=True))
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(total) / len(found)
    mean = math.fsum(found) / len(found)
    return Overall(len(found), mean, mean - half, mean + half)


def best_of(n: int) -> float:
    """The mean of the largest of n standard normal numbers (David and Nagaraja 2003)."""
    at = np.linspace(-9.0, 9.0, 4001)
    density = np.exp(-(at**2) / 2) / math.sqrt(2 * math.pi)
    return float(np.trapezoid(at * n * density * ndtr(at) ** (n - 1), at))
