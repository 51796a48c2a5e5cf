"""Drawing: functions of frames or arrays and an axes, which they return.

Curves are never smoothed. A curve that ends before its budget ends in an x. No pyplot: figures are
plain objects that nobody else sees and nobody has to close.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray

from analysis.display.words import MARKS, signs
from analysis.findings.cells import CellValue

# Okabe and Ito's colours, told apart by most colour-blind readers
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7F6A00", "#000000")
GREY = "#9a9a9a"
DASHES = {"train": (0, (4, 2)), "val": "-", "test": "-"}
MOST_TICKS = 4  # of a logarithmic axis: more labels touch in small panels
# status -> marker, filled
ENDINGS = {
    "completed": ("o", True),
    "stopped": ("o", False),
    "paused": ("s", False),
    "running": (">", False),
    "diverged": ("x", False),
    "failed": ("+", False),
}


def colour(number: int) -> str:
    """Colour of the number-th cell of a figure."""
    return COLOURS[number % len(COLOURS)]


def learning_curves(
    ax: Axes,
    curves: pd.DataFrame,
    lines: pd.DataFrame,
    metric: str,
    watched: str,
    published: pd.DataFrame | None = None,
) -> Axes:
    """One metric over the epochs: training dashed, the watched split solid.

    Args:
        ax: drawn on.
        curves: columns trial, epoch, name, value.
        lines: one row a curve: trial, label, colour, unfinished; equal labels enter once.
        metric: e.g. loss.
        watched: val or test.
        published: curves of the course report to lay under: run, depth, lr, epoch, name, value.
    """
    if published is not None:
        _published(ax, published, f"{watched}_{metric}")
    named: set[str] = set()
    for line in lines.itertuples():
        for split in ("train", watched):
            held = curves[
                (curves["trial"] == line.trial) & (curves["name"] == f"{split}_{metric}")
            ]
            held = held.dropna(subset="value").sort_values("epoch")
            if held.empty:
                continue
            label = str(line.label) if split == watched and line.label not in named else None
            named |= {str(line.label)} if split == watched else set()
            x, y = held["epoch"].to_numpy(float), held["value"].to_numpy(float)
            style: Any = {"color": line.colour, "linestyle": DASHES[split]}
            # a single epoch makes no line, so it gets a dot
            dot = "." if len(x) == 1 else None
            ax.plot(
                x,
                y,
                linewidth=1.2 if split != "train" else 0.9,
                alpha=0.85,
                label=label,
                marker=dot,
                **style,
            )
            if line.unfinished:
                ax.plot(x[-1:], y[-1:], marker="x", color=str(line.colour), linestyle="none")
    ax.set(xlabel="epoch", ylabel=metric)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(f"{metric}: train dashed, {watched} solid", fontsize="medium")
    ax.grid(alpha=0.25)
    return ax


def _published(ax: Axes, published: pd.DataFrame, name: str) -> None:
    held = published[published["name"] == name]
    label: str | None = "report"
    for _, run in held.groupby(["depth", "lr", "run"], dropna=False):
        run = run.sort_values("epoch")
        ax.plot(run["epoch"], run["value"], color=GREY, linewidth=0.6, alpha=0.7, label=label)
        label = None


def together(levels: Mapping[str, float], gap: float) -> dict[str, float]:
    """Labels of lines: names of lines closer than `gap` share one, at the highest of them."""
    found: list[tuple[list[str], float]] = []
    for name, level in sorted(levels.items(), key=lambda pair: pair[1]):
        if found and level - found[-1][1] < gap:
            found[-1] = ([*found[-1][0], name], level)
        else:
            found.append(([name], level))
    return {", ".join(names): level for names, level in found}


def final_metric(
    ax: Axes,
    values: Sequence[CellValue],
    key: str,
    labels: Mapping[int, str],
    constants: Mapping[str, float] | None = None,
) -> Axes:
    """Final values by one cell parameter: dots for seeds, means with intervals, lines.

    Args:
        ax: drawn on.
        values: one metric, comparable; unfinished cells show by their sign at the foot.
        key: the parameter on the x axis.
        labels: cell -> the line it belongs to.
        constants: name -> value of constant predictors, drawn across.
    """
    levels = sorted({v.given[key] for v in values})
    names = list(dict.fromkeys(labels[v.cell] for v in values))
    for number, name in enumerate(names):
        shift = 0.12 * (number - (len(names) - 1) / 2)
        held = sorted((v for v in values if labels[v.cell] == name), key=lambda v: v.given[key])
        done = [v for v in held if v.status == "complete"]
        x = [levels.index(v.given[key]) + shift for v in done]
        shade = colour(number)
        ax.plot(
            x,
            [v.mean for v in done],
            color=shade,
            marker="D",
            markersize=5,
            label=name,
            linewidth=0.8,
        )
        for at, value in zip(x, done, strict=True):
            ax.plot([at] * value.n, value.values, ".", color=shade, alpha=0.5, markersize=7)
            marks = signs(value).replace(MARKS["synthetic"][0], "")
            ax.annotate(marks, (at, value.mean), xytext=(5, 5), textcoords="offset points")
            if value.n >= 2:
                ax.vlines(at, *value.interval, color=shade, linewidth=1.2)
        for value in held:
            if value.status != "complete":
                at = levels.index(value.given[key]) + shift
                sign = signs(value).replace(MARKS["synthetic"][0], "") or "—"
                ax.text(
                    at, 0.01, sign, transform=ax.get_xaxis_transform(), color=shade, ha="center"
                )
    lines = constants or {}
    for level in lines.values():
        ax.axhline(level, color=GREY, linestyle=":", linewidth=1)
    low, high = ax.get_ylim()
    for name, level in together(lines, (high - low) / 20).items():
        ax.annotate(
            name,
            (1, level),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize="small",
            color="#606060",
        )
    ax.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
    ax.set_xlim(-0.5, len(levels) - 0.5)
    ax.set(xlabel=key)
    ax.grid(alpha=0.25)
    return ax


def search_values(ax: Axes, trials: pd.DataFrame, key: str, metric: str, log: bool) -> Axes:
    """Value at the last rung reached against a searched parameter, for one cell.

    Values of different rungs are not comparable, so each has its epochs written beside it. Trials
    without a value (diverged, failed) stand at the foot.

    Args:
        ax: drawn on.
        trials: rows of the record: key, value, status, epochs.
        key: the searched parameter.
        metric: name of `value`, for the axis.
        log: logarithmic x axis.
    """
    if log:
        ax.set_xscale("log")
    for trial in trials.dropna(subset=key).to_dict("records"):
        marker, filled = ENDINGS[trial["status"]]
        look: dict[str, Any] = {
            "marker": marker,
            "color": COLOURS[3] if trial["status"] in ("diverged", "failed") else COLOURS[0],
            "fillstyle": "full" if filled else "none",
            "linestyle": "none",
            "clip_on": False,
        }
        if pd.isna(trial["value"]):
            ax.plot([trial[key]], [0.04], transform=ax.get_xaxis_transform(), **look)
        else:
            ax.plot([trial[key]], [trial["value"]], **look)
            ax.annotate(
                f"{trial['epochs']}",
                (trial[key], trial["value"]),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize="x-small",
                color="#606060",
            )
    ax.margins(0.12)
    if log:
        _label_decades(ax, trials[key].dropna())
    ax.set(xlabel=key, ylabel=metric)
    ax.grid(alpha=0.25)
    return ax


def _label_decades(ax: Axes, values: pd.Series[Any]) -> None:
    """Ticks at 1 and 3 of each decade, or at some decades; of fewer than two, at the ends."""
    ax.xaxis.set_minor_formatter(NullFormatter())  # minor labels overlap in small panels
    low, high = ax.get_xlim()
    ends = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [d * 10.0**power for power in ends for d in (1, 3) if low <= d * 10.0**power <= high]
    if len(ticks) > MOST_TICKS:
        ticks = [10.0**power for power in ends if low <= 10.0**power <= high]
        ticks = ticks[:: math.ceil(len(ticks) / MOST_TICKS)]
    if len(ticks) < 2 and len(values):
        ticks = sorted({float(values.min()), float(values.max())})
    ax.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks], fontsize="small")


def rung_ladder(ax: Axes, trials: pd.DataFrame, rungs: Sequence[int]) -> Axes:
    """How far a cell's configs were trained: one bar a trial, longest first, its end by status.

    Args:
        ax: drawn on.
        trials: rows of the record: epochs, status.
        rungs: epochs, increasing.
    """
    held = trials.sort_values("epochs", ascending=False, kind="stable")
    for place, (epochs, status) in enumerate(zip(held["epochs"], held["status"], strict=True)):
        marker, filled = ENDINGS[status]
        shade = COLOURS[3] if status in ("diverged", "failed") else COLOURS[0]
        ax.plot([0, epochs], [place, place], color=shade, linewidth=1.5)
        ax.plot(
            [epochs],
            [place],
            marker=marker,
            color=shade,
            clip_on=False,
            fillstyle="full" if filled else "none",
            markerfacecolor=None if filled else "white",
        )
    for rung in rungs:
        ax.axvline(rung, color=GREY, linestyle=":", linewidth=0.8, zorder=0)
    # linear below the first rung, so that a trial of no epochs has a place
    ax.set_xscale("symlog", linthresh=rungs[0])
    ax.set_xticks(list(rungs), [str(rung) for rung in rungs])
    ax.set_xticks([], minor=True)
    ax.set_xlim(0, rungs[-1] * 1.15)
    ax.set_ylim(max(len(held), 1) - 0.5, -0.5)
    ax.set_yticks([])
    ax.set(xlabel="epochs", ylabel="configs")
    return ax


def sample_maps(axes: NDArray[Any], samples: Mapping[str, NDArray[Any]]) -> AxesImage:
    """Image, true and predicted density, one row an image; one scale for both maps of all rows.

    A scale of its own for each map would make a collapsed prediction look right.

    Args:
        axes: `(k, 3)` of Axes.
        samples: arrays quantile `(k,)`, name `(k,)`, image `(k, 3, height, width)` uint8,
            truth_map and predicted_map `(k, height, width)`, truth and prediction `(k,)` heads.

    Returns:
        The last map, for the colour bar.
    """
    maps = [np.asarray(samples[name], dtype=float) for name in ("truth_map", "predicted_map")]
    top = max(float(np.nanmax(held)) for held in maps)
    scale = Normalize(vmin=0, vmax=top if top > 0 else 1)
    for row in range(len(samples["truth"])):
        picture, truth, predicted = axes[row]
        picture.imshow(np.moveaxis(samples["image"][row], 0, -1))
        name, quantile = samples["name"][row], float(samples["quantile"][row])
        picture.set_title(f"{name}: {quantile:.0%} quantile of error", fontsize="small")
        truth.imshow(maps[0][row], norm=scale, cmap="viridis")
        truth.set_title(f"ground truth: {float(samples['truth'][row]):.1f}", fontsize="small")
        image: AxesImage = predicted.imshow(maps[1][row], norm=scale, cmap="viridis")
        predicted.set_title(
            f"predicted: {float(samples['prediction'][row]):.1f}", fontsize="small"
        )
        for ax in axes[row]:
            ax.set_axis_off()
    return image
