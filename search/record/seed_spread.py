"""How far seeds of a cell are apart, over all cells that say it."""

from __future__ import annotations

import math

import pandas as pd


def seed_spread(trials: pd.DataFrame, column: str) -> tuple[float, int]:
    """Pooled standard deviation of a column over seeds, and its degrees of freedom.

    Of completed seeds with a value, in cells with two or more: the root of the summed squares
    about each cell's mean, by seeds less cells.

    Args:
        trials: the trials frame, or rows of it.
        column: e.g. value, test_accuracy.

    Returns:
        NaN and 0 where no cell has two.
    """
    full = (trials["stage"] == "confirm") & (trials["status"] == "completed")
    rows = trials[full].dropna(subset=column)
    groups = [own[column].astype(float) for _, own in rows.groupby("cell") if len(own) > 1]
    freedom = sum(len(own) - 1 for own in groups)
    if not freedom:
        return math.nan, 0
    squares = sum(float(((own - own.mean()) ** 2).sum()) for own in groups)
    return math.sqrt(squares / freedom), freedom
