"""Drawing: functions of frames or arrays and an axes, which they return.

Curves are never smoothed. A curve that ends before its budget ends in an x. No pyplot: figures are
plain objects that nobody else sees and nobody has to close.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from analysis.display.marks import MARKS, signs
from analysis.findings.cells import CellValue
from search.record.naming import named

# Okabe and Ito's colours, told apart by most colour-blind readers
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7F6A00", "#000000")
GREY, SOFT, INK, PAPER = "#9a9a9a", "#606060", "#000000", "#ffffff"
DASHES = {"train": (0, (4, 2)), "val": "-", "test": "-"}
MOST_LINES = 60  # trials of a panel that are lines of their own
MOST_NAMED = 8  # cells in colour where there are more


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
    splits: Sequence[str] = ("train", "watched"),
    name: str = "",
) -> Axes:
    """One metric over the epochs: training dashed, the watched split solid.

    Beyond MOST_LINES trials those of the cells that come first in `lines` are in colour and the
    others one grey layer under them.

    Args:
        ax: drawn on.
        curves: columns trial, epoch, name, value.
        lines: one row a curve: trial, cell, label, colour, unfinished; equal labels enter once.
        metric: e.g. loss.
        watched: val or test.
        published: curves of the course report to lay under: run, depth, lr, epoch, name, value.
        splits: which of "train" and "watched" to draw.
        name: of the metric in words, e.g. MAE; "" for the metric itself.
    """
    drawn = [watched if split == "watched" else split for split in splits]
    if published is not None and watched in drawn:
        _published(ax, published, f"{watched}_{metric}")
    found = {
        (trial, of): (held["epoch"].to_numpy(float), held["value"].to_numpy(float))
        for (trial, of), held in _points_of(curves, lines, [f"{s}_{metric}" for s in drawn])
    }
    own = lines
    if len(lines) > MOST_LINES:
        own = lines[lines["label"].isin(list(dict.fromkeys(lines["label"]))[:MOST_NAMED])]
        own = own.head(MOST_LINES)
        rest = lines[~lines["trial"].isin(own["trial"])]
        _bulk(ax, [xy for (trial, _), xy in found.items() if trial in set(rest["trial"])])
    known: set[str] = set()
    for line in own.itertuples():
        for split in drawn:
            xy = found.get((str(line.trial), f"{split}_{metric}"))
            if xy is not None:
                label = str(line.label) if split == drawn[-1] and line.label not in known else None
                known |= {str(line.label)} if label else set()
                _line(ax, xy, line, split, label)
    name = name or metric
    ax.set(xlabel="epoch", ylabel=name)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    how = f"{name}: train dashed, {watched} solid" if len(drawn) > 1 else f"{drawn[0]} {name}"
    ax.set_title(how, fontsize="medium")
    ax.grid(alpha=0.25)
    return ax


def _points_of(curves: pd.DataFrame, lines: pd.DataFrame, names: Sequence[str]) -> Any:
    """The recorded points of these trials, by trial and name."""
    held = curves[curves["name"].isin(list(names)) & curves["trial"].isin(list(lines["trial"]))]
    held = held.dropna(subset="value").sort_values("epoch")
    return held.groupby(["trial", "name"], sort=False)


def _line(ax: Axes, xy: tuple[Any, Any], line: Any, split: str, label: str | None) -> None:
    """A curve, which carries in svg whose it is; one that ends before its budget ends in an x."""
    x, y = xy
    style: Any = {"color": line.colour, "gid": f"{line.trial}|{line.cell}|{split}"}
    # a single epoch makes no line, so it gets a dot
    dot = "." if len(x) == 1 else None
    width = 0.9 if split == "train" else 1.2
    ax.plot(
        x,
        y,
        linewidth=width,
        alpha=0.85,
        label=label,
        marker=dot,
        linestyle=DASHES[split],
        **style,
    )
    if line.unfinished:
        ax.plot(x[-1:], y[-1:], marker="x", linestyle="none", **style)


def _bulk(ax: Axes, paths: Sequence[tuple[Any, Any]]) -> None:
    """Many curves as one grey layer of pixels."""
    bundle = LineCollection(
        [np.column_stack(xy) for xy in paths],
        colors=GREY,
        linewidths=0.4,
        alpha=0.35,
        rasterized=True,
        zorder=1,
    )
    ax.add_collection(bundle)
    ax.autoscale_view()


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
            color=SOFT,
        )
    ax.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
    ax.set_xlim(-0.5, len(levels) - 0.5)
    ax.set(xlabel=named(key))
    ax.grid(alpha=0.25)
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
