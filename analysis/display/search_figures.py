"""Drawing the search: values against a searched parameter, and how far each config came.

A panel may hold thousands of configs: marks that look alike are one artist, and beyond DENSE they
are kept as pixels, also in svg and pdf.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import NullFormatter

from analysis.display.figures import COLOURS, GREY, PAPER, SOFT

MARGIN = 0.12  # of a panel's width or height, around its marks
MOST_TICKS = 4  # of a logarithmic axis: more labels touch in small panels
MOST_NUMBERS = 30  # epochs written beside marks in a panel; of more, only beside the longest
DENSE = 300  # configs in a panel from which they are drawn as pixels
# status -> marker, filled
ENDINGS = {
    "completed": ("o", True),
    "stopped": ("o", False),
    "paused": ("s", False),
    "running": (">", False),
    "diverged": ("x", False),
    "failed": ("+", False),
}


def _shade(status: str) -> str:
    return COLOURS[3] if status in ("diverged", "failed") else COLOURS[0]


def search_values(ax: Axes, trials: pd.DataFrame, key: str, metric: str, log: bool) -> Axes:
    """Value at the last rung reached against a searched parameter, for one cell.

    Values of different rungs are not comparable: longer training has a larger mark, and its epochs
    written beside it while that is legible. Trials without a value (diverged, failed) stand at the
    foot.

    Args:
        ax: drawn on.
        trials: rows of the record: key, value, status, epochs.
        key: the searched parameter.
        metric: name of `value`, for the axis.
        log: logarithmic x axis, as far as every value tried has a place on one.
    """
    held = trials.dropna(subset=key)
    log = log and bool((held[key] > 0).all())
    if log:
        ax.set_xscale("log")
    x, y = held[key].to_numpy(float), held["value"].to_numpy(float, na_value=np.nan)
    _set_ends(ax, x, log)  # before there are marks, by which it would look for its own
    epochs = held["epochs"].to_numpy(float, na_value=0)
    size = np.round(np.log2(np.maximum(epochs, 1)) / math.log2(max(epochs.max(initial=2), 2)), 1)
    for status in ENDINGS:
        of = (held["status"] == status).to_numpy(bool)
        for step in np.unique(size[of])[::-1]:
            marks = of & (size == step)
            _points(ax, x[marks], y[marks], status, 3.5 + 3 * step, len(held))
    _numbers(ax, x, y, epochs)
    ax.margins(y=MARGIN)
    ax.set(xlabel=key, ylabel=metric)
    ax.grid(alpha=0.25)
    return ax


def _points(ax: Axes, x: Any, y: Any, status: str, size: float, crowd: int) -> None:
    """Marks of one look; those without a value at the foot."""
    marker, filled = ENDINGS[status]
    look: dict[str, Any] = {
        "marker": marker,
        "color": _shade(status),
        "fillstyle": "full" if filled else "none",
        "linestyle": "none",
        "markersize": size if crowd <= DENSE else size / 2,
        "alpha": 1 if crowd <= DENSE else 0.6,
        "rasterized": crowd > DENSE,
        "clip_on": False,
    }
    known = np.isfinite(y)
    if known.any():
        ax.plot(x[known], y[known], **look)
    if (~known).any():
        foot = np.full((~known).sum(), 0.04)
        ax.plot(x[~known], foot, transform=ax.get_xaxis_transform(), **look)


def _numbers(ax: Axes, x: Any, y: Any, epochs: Any) -> None:
    """Epochs beside the marks that have more than the fewest; of many, beside the longest."""
    known = np.flatnonzero(np.isfinite(y))
    known = known[epochs[known] > epochs[known].min(initial=np.inf)]
    if len(known) > MOST_NUMBERS:
        known = known[np.argsort(-epochs[known], kind="stable")][: MOST_NUMBERS // 10]
    for at in known:
        ax.annotate(
            f"{epochs[at]:.0f}",
            (x[at], y[at]),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize="x-small",
            color=SOFT,
        )


def _set_ends(ax: Axes, x: Any, log: bool) -> None:
    """Ends of the x axis by all values tried, also where none gave a result or all are one.

    Left to itself the axis looks at marks that have a place on both axes, and those at the foot
    have none: of no width it cannot be drawn.
    """
    if not len(x):
        return
    low, high = float(x.min()), float(x.max())
    if low == high:
        around = (low / 3, low * 3) if log else (low - (abs(low) or 1), low + (abs(low) or 1))
        ax.set_xlim(*around)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xticks([low], [f"{low:.3g}"], fontsize="small")
        return
    if not log:
        ax.set_xlim(low - MARGIN * (high - low), high + MARGIN * (high - low))
        return
    ax.set_xlim(low * (low / high) ** MARGIN, high * (high / low) ** MARGIN)
    _label_decades(ax, low, high)


def _label_decades(ax: Axes, least: float, most: float) -> None:
    """Ticks at 1 and 3 of each decade, or at some decades; of fewer than two, at the ends."""
    ax.xaxis.set_minor_formatter(NullFormatter())  # minor labels overlap in small panels
    low, high = ax.get_xlim()
    ends = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [d * 10.0**power for power in ends for d in (1, 3) if low <= d * 10.0**power <= high]
    if len(ticks) > MOST_TICKS:
        ticks = [10.0**power for power in ends if low <= 10.0**power <= high]
        ticks = ticks[:: math.ceil(len(ticks) / MOST_TICKS)]
    if len(ticks) < 2:
        ticks = [least, most]
    ax.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks], fontsize="small")


def rung_ladder(ax: Axes, trials: pd.DataFrame, rungs: Sequence[int]) -> Axes:
    """How far a cell's configs were trained: one bar a trial, longest first, its end by status.

    Args:
        ax: drawn on.
        trials: rows of the record: epochs, status.
        rungs: epochs, increasing.
    """
    held = trials.sort_values("epochs", ascending=False, kind="stable")
    epochs = held["epochs"].to_numpy(float, na_value=0)
    places, count = np.arange(len(held), dtype=float), len(held)
    bars = np.stack([np.stack([0 * epochs, places], 1), np.stack([epochs, places], 1)], 1)
    ax.add_collection(
        LineCollection(
            list(bars),
            colors=[_shade(status) for status in held["status"]],
            linewidths=min(1.5, 120 / max(count, 1)),
            rasterized=count > DENSE,
        )
    )
    for status, (marker, filled) in ENDINGS.items():
        of = (held["status"] == status).to_numpy(bool)
        if of.any():
            ax.plot(
                epochs[of],
                places[of],
                marker=marker,
                color=_shade(status),
                linestyle="none",
                clip_on=False,
                markersize=min(6, max(1.5, 180 / count)),
                fillstyle="full" if filled else "none",
                markerfacecolor=None if filled else PAPER,
                rasterized=count > DENSE,
            )
    for rung in rungs:
        ax.axvline(rung, color=GREY, linestyle=":", linewidth=0.8, zorder=0)
    # linear below the first rung, so that a trial of no epochs has a place
    ax.set_xscale("symlog", linthresh=rungs[0])
    ax.set_xticks(list(rungs), [str(rung) for rung in rungs])
    ax.set_xticks([], minor=True)
    ax.set_xlim(0, rungs[-1] * 1.15)
    ax.set_ylim(max(count, 1) - 0.5, -0.5)
    ax.set_yticks([])
    ax.set(xlabel="epochs", ylabel=f"{count} configs")
    return ax
