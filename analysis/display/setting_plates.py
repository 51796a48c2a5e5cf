"""Figures of what a search cost, of its settings side by side, of a grid's marginal means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from analysis.display import figures
from analysis.display.figures import COLOURS, GREY, SOFT
from analysis.display.plates import Plate, legend, new
from analysis.display.search_figures import DENSE
from analysis.findings.facts import metric_name
from analysis.findings.marginals import is_grid, marginals
from analysis.findings.so_far import best_so_far
from analysis.findings.tried import is_log, settings_of_search, tried
from search.record import Record, naming

MOST_DOTS = 60  # ends of jobs that are marked on a line
MOST_CELLS = 8  # that have a colour of their own; of a parallel plot, a panel
Array = NDArray[np.float64]


def best_plates(record: Record) -> list[Plate]:
    """The best value so far of each cell against what its search had cost; none without one."""
    study, data = record.study, best_so_far(record)
    data = data[data["best"].notna()]
    x = "gpu_seconds" if (data["gpu_seconds"] > 0).any() else "seconds"
    if data.empty or not (data[x] > 0).any():
        return []
    labels = [naming.cell_label(at) for at in study["cells"]]
    figure, axes = new(1, 1, 6.2, 3.6)
    for cell, rows in data.groupby("cell"):
        number = int(str(cell))
        named = number < MOST_CELLS
        axes[0, 0].step(
            rows[x].to_numpy(float),
            rows["best"].to_numpy(float),
            where="post",
            color=figures.colour(number) if named else GREY,
            label=labels[number] if named else "others",
            linewidth=1.2,
            marker="." if len(rows) <= MOST_DOTS else "",
            markersize=3,
        )
    spent = "GPU seconds" if x == "gpu_seconds" else "worker seconds"
    name = f"{study['watched']} {metric_name(study, study['metric'])}"
    axes[0, 0].set(xlabel=f"{spent} of a cell's search", ylabel=f"best {name} so far")
    axes[0, 0].grid(alpha=0.25)
    legend(figure, list(axes.flat))
    caption = (
        f"The best {name} that any config of a cell had shown, at whatever rung, against the "
        f"{spent} of all its jobs that had ended by then, those that failed included; audits and "
        "seeds are none of the search's."
    )
    data = data.assign(label=data["cell"].map(dict(enumerate(labels))))
    return [Plate("best-so-far", "What the search had found by when", caption, figure, data)]


def parallel_plates(record: Record) -> list[Plate]:
    """Each config as a line over its settings and its value; none of fewer than two settings."""
    study, keys = record.study, settings_of_search(record)
    rung = int(study["rungs"][0])
    data = tried(record)
    data = data[data["epoch"] == rung]
    if len(keys) < 2 or data.empty:
        return []
    cells = [cell for cell in range(len(study["cells"])) if (data["cell"] == cell).any()]
    cells = cells[:MOST_CELLS]
    data = data[data["cell"].isin(cells)].reset_index(drop=True)
    better = data["value"] * (1 if study["mode"] == "max" else -1)
    data["best"] = better.eq(better.groupby(data["cell"]).transform("max"))
    name = f"{study['watched']} {metric_name(study, study['metric'])}"
    scales = {key: _scale(data[c], is_log(study, key)) for key, c in keys.items()}
    scales[name] = _scale(data["value"], False)
    columns = min(len(cells), 2)
    figure, axes = new(math.ceil(len(cells) / columns), columns, 1.1 + 1.3 * len(scales), 2.8)
    for ax, cell in zip(axes.flat, cells, strict=False):
        _parallel(ax, data[data["cell"] == cell], {**keys, name: "value"}, scales)
        ax.set_title(naming.cell_label(study["cells"][cell]), fontsize="small")
    for ax in list(axes.flat)[len(cells) :]:
        ax.set_axis_off()
    caption = (
        f"One line a config that came to epoch {rung}, or diverged before; in colour the best "
        "there; dashed and ending at the last setting: without a value, since it diverged."
    )
    if len(study["cells"]) > MOST_CELLS:
        caption += f" Panels: the first {MOST_CELLS} cells that have configs."
    labels = dict(enumerate(map(naming.cell_label, study["cells"])))
    data = data.assign(label=data["cell"].map(labels))
    return [Plate("parallel", "Settings of each config side by side", caption, figure, data)]


Scale = tuple[Array, list[tuple[float, str]]]  # places from 0 to 1 by row, and ticks


def _scale(held: pd.Series[Any], log: bool) -> Scale:
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


def _parallel(
    ax: Axes, rows: pd.DataFrame, columns: Mapping[str, str], scales: Mapping[str, Scale]
) -> None:
    """The lines of one cell's configs over the axes."""
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


def marginal_plates(record: Record) -> list[Plate]:
    """Marginal means of a full grid, a panel a setting; none of no grid."""
    study = record.study
    data = marginals(record) if is_grid(record) else pd.DataFrame()
    data = data[data["why"] == ""] if len(data) else data
    if data.empty:
        return []
    whole = data[data["scope"] == "study"]
    data = whole if len(whole) else data[data["cell"] < MOST_CELLS]
    if data.empty:
        return []
    names = list(dict.fromkeys(data["setting"]))
    labels = dict(enumerate(map(naming.cell_label, study["cells"])))
    data = data.assign(label=data["cell"].map(labels).fillna("all cells"))
    figure, axes = new(1, len(names), 3.2, 3.0)
    for ax, key in zip(axes[0], names, strict=True):
        _marginal(ax, data[data["setting"] == key], key)
    name = f"{study['watched']} {metric_name(study, study['metric'])}"
    axes[0, 0].set_ylabel(f"mean {name}")
    legend(figure, list(axes.flat))
    of = "over the cells too" if len(whole) else "in each cell"
    caption = (
        f"Exact means of {name} over all combinations of the other settings, {of}; bars: 95 %, by "
        "the residual of the sum of main effects, or by the spread over seeds of a grid of one "
        "setting; the table of marginal means says which."
    )
    return [Plate("marginals", "Marginal means of the grid", caption, figure, data)]


def _marginal(ax: Axes, rows: pd.DataFrame, key: str) -> None:
    levels = list(dict.fromkeys(rows["level"]))
    for number, (label, own) in enumerate(rows.groupby("label", sort=False)):
        shift = 0.08 * (number - (rows["label"].nunique() - 1) / 2)
        x = np.array([levels.index(level) + shift for level in own["level"]])
        shade = figures.colour(number)
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
