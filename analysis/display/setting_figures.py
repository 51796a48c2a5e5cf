"""Drawing what settings did: the best so far, configs side by side, marginal means, importance.

Functions of an axes and a frame, such as `analysis.frames` gives, of which they draw every row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from analysis.display.figures import COLOURS, GREY, PAPER, SOFT, colour
from analysis.display.search_figures import DENSE
from search.record import naming

MOST_DOTS = 60  # ends of jobs that are marked on a line
MOST_CELLS = 8  # that have a colour of their own; of a parallel plot, a panel
Array = NDArray[np.float64]


def best_lines(ax: Axes, rows: pd.DataFrame, x: str = "seconds") -> Axes:
    """The best value so far of each cell against what its search had cost.

    Args:
        ax: drawn on.
        rows: of analysis.frames.best_so_far, those with a `best`: cell, label, best and x.
        x: seconds or gpu_seconds.
    """
    for cell, held in rows.groupby("cell"):
        number = int(str(cell))
        named = number < MOST_CELLS
        ax.step(
            held[x].to_numpy(float),
            held["best"].to_numpy(float),
            where="post",
            color=colour(number) if named else GREY,
            label=str(held["label"].iloc[0]) if named else "others",
            linewidth=1.2,
            marker="." if len(held) <= MOST_DOTS else "",
            markersize=3,
        )
    ax.grid(alpha=0.25)
    return ax


Scale = tuple[Array, list[tuple[float, str]]]  # places from 0 to 1 by row, and ticks


def scale(held: pd.Series[Any], log: bool) -> Scale:
    """Where the values of a column stand on an axis from 0 to 1, NaN where there is none."""
    if not pd.api.types.is_numeric_dtype(held) or pd.api.types.is_bool_dtype(held):
        levels = sorted(held.dropna().unique(), key=str)
        at = {level: n / max(len(levels) - 1, 1) for n, level in enumerate(levels)}
        ticks = [(place, str(level)) for level, place in at.items()]
        return held.map(at).to_numpy("float64", na_value=math.nan), ticks
    values = held.to_numpy("float64", na_value=math.nan)
    known = values[np.isfinite(values)]
    if not len(known):
        return np.full(len(values), math.nan), []
    low, high = float(known.min()), float(known.max())
    if low == high:
        return np.where(np.isfinite(values), 0.5, math.nan), [(0.5, f"{low:.3g}")]
    if log and low > 0:
        places = (np.log(values) - math.log(low)) / (math.log(high) - math.log(low))
    else:
        places = (values - low) / (high - low)
    return places, [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]


def parallel(
    ax: Axes, rows: pd.DataFrame, columns: Mapping[str, str], scales: Mapping[str, Scale]
) -> Axes:
    """The lines of one cell's configs over the axes, the best in colour.

    Args:
        ax: drawn on.
        rows: a row a config: the columns named, and `best`, whether it is the best.
        columns: what an axis is called -> its column, from left to right; the value comes last.
        scales: the same names -> `scale` of the whole frame that `rows` are of.
    """
    x = np.arange(len(columns))
    y = np.stack([scales[key][0][rows.index] for key in columns], 1)
    best, valued = rows["best"].to_numpy(bool), np.isfinite(y[:, -1])
    for of, dashes in ((valued & ~best, "-"), (~valued, (0, (3, 2)))):
        paths = [np.column_stack([x, line])[np.isfinite(line)] for line in y[of]]
        held = LineCollection(paths, colors=GREY, linewidths=0.7, alpha=0.7, linestyles=[dashes])
        held.set_rasterized(len(paths) > DENSE)
        ax.add_collection(held)
    for line in y[best]:
        ax.plot(x, line, color=COLOURS[0], linewidth=1.8, zorder=3)
    for place, key in enumerate(columns):
        ax.axvline(place, color=SOFT, linewidth=0.6)
        for level, text in scales[key][1]:
            ax.annotate(
                text,
                (place, level),
                xytext=(2, 1),
                textcoords="offset points",
                fontsize="x-small",
                color=SOFT,
            )
    ax.set_xticks(x, [naming.named(key) for key in columns], fontsize="small")
    ax.set_yticks([])
    ax.set(xlim=(-0.03, len(columns) - 0.97), ylim=(-0.04, 1.06))
    ax.spines[:].set_visible(False)
    return ax


def marginal_means(ax: Axes, rows: pd.DataFrame, key: str) -> Axes:
    """Marginal means of one setting with their intervals, a line a label.

    Args:
        ax: drawn on.
        rows: of analysis.frames.marginals, those of one setting without a `why`.
        key: the setting.
    """
    rows = rows.assign(label=rows["label"].fillna("all cells"))
    levels = list(dict.fromkeys(rows["level"]))
    for number, (label, own) in enumerate(rows.groupby("label", sort=False)):
        shift = 0.08 * (number - (rows["label"].nunique() - 1) / 2)
        x = np.array([levels.index(level) + shift for level in own["level"]])
        shade = colour(number)
        ax.plot(
            x, own["mean"].to_numpy(), color=shade, marker="D", markersize=4, linewidth=0.8,
            label=str(label),
        )  # fmt: skip
        known = own["lo"].notna().to_numpy()
        ax.vlines(x[known], own["lo"][known], own["hi"][known], color=shade, linewidth=1.2)
    ax.set_xticks(range(len(levels)), [naming.setting(key, level) for level in levels])
    ax.set_xlim(-0.5, len(levels) - 0.5)
    ax.set(xlabel=naming.named(key))
    ax.grid(alpha=0.25)
    return ax


def importance_bars(ax: Axes, rows: pd.DataFrame) -> Axes:
    """Importance of each setting as a bar with its p; filled where it is beyond chance.

    Args:
        ax: drawn on.
        rows: of analysis.frames.importance, those of one scope and epoch without a `why`: setting,
            importance, p, decided.
    """
    places = np.arange(len(rows))
    shares = rows["importance"].to_numpy(float)
    fills = [COLOURS[0] if decided else PAPER for decided in rows["decided"]]
    ax.barh(places, shares, height=0.6, color=fills, edgecolor=COLOURS[0])
    for place, share, p in zip(places, shares, rows["p"], strict=True):
        ax.annotate(
            f"p = {p:.3f}",
            (share, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
            color=SOFT,
        )
    ax.set_yticks(places, [naming.named(key) for key in rows["setting"]])
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set(xlim=(0, 1.25), xticks=[0, 0.5, 1], ylim=(len(rows) - 0.4, -0.6))
    ax.grid(axis="x", alpha=0.25)
    ax.set_axisbelow(True)
    return ax
