"""Figures of what a search cost, of its settings side by side, of what they decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.display import setting_figures
from analysis.display.importance_tables import about_importance, scope_name
from analysis.display.plates import Plate, legend, new, wrapped
from analysis.display.setting_figures import MOST_CELLS
from analysis.findings.facts import metric_name
from analysis.findings.importance import importance
from analysis.findings.marginals import is_grid, marginals
from analysis.findings.so_far import best_so_far
from analysis.findings.tried import is_log, settings_of_search, tried
from search.record import Record, naming


def best_plates(record: Record) -> list[Plate]:
    """The best value so far of each cell against what its search had cost; none without one."""
    study, data = record.study, best_so_far(record)
    data = data[data["best"].notna()]
    x = "gpu_seconds" if (data["gpu_seconds"] > 0).any() else "seconds"
    if data.empty or not (data[x] > 0).any():
        return []
    labels = dict(enumerate(map(naming.cell_label, study["cells"])))
    data = data.assign(label=data["cell"].map(labels))
    figure, axes = new(1, 1, 6.2, 3.6)
    setting_figures.best_lines(axes[0, 0], data, x)
    spent = "GPU seconds" if x == "gpu_seconds" else "worker seconds"
    name = f"{study['watched']} {metric_name(study, study['metric'])}"
    axes[0, 0].set(xlabel=f"{spent} of a cell's search", ylabel=f"best {name} so far")
    legend(figure, list(axes.flat))
    caption = (
        f"The best {name} that any config of a cell had shown, at whatever rung, against the "
        f"{spent} of all its jobs that had ended by then, those that failed included; audits and "
        "seeds are none of the search's."
    )
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
    of = setting_figures.scale
    scales = {key: of(data[c], is_log(study, key)) for key, c in keys.items()}
    scales[name] = of(data["value"], False)
    figure, axes, _ = wrapped(len(cells), 2, 1.1 + 1.3 * len(scales), 2.8)
    for ax, cell in zip(axes, cells, strict=True):
        setting_figures.parallel(ax, data[data["cell"] == cell], {**keys, name: "value"}, scales)
        ax.set_title(naming.cell_label(study["cells"][cell]), fontsize="small")
    caption = (
        f"One line a config that came to epoch {rung}, or diverged before; in colour the best "
        "there; dashed and ending at the last setting: without a value, since it diverged."
    )
    if len(study["cells"]) > MOST_CELLS:
        caption += f" Panels: the first {MOST_CELLS} cells that have configs."
    labels = dict(enumerate(map(naming.cell_label, study["cells"])))
    data = data.assign(label=data["cell"].map(labels))
    return [Plate("parallel", "Settings of each config side by side", caption, figure, data)]


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
    data = data.assign(label=data["cell"].map(labels))
    figure, axes, columns = wrapped(len(names), 3, 3.2, 3.0)
    name = f"{study['watched']} {metric_name(study, study['metric'])}"
    for number, (ax, key) in enumerate(zip(axes, names, strict=True)):
        setting_figures.marginal_means(ax, data[data["setting"] == key], key)
        if number % columns == 0:
            ax.set_ylabel(f"mean {name}")
    legend(figure, axes)
    of = "over the cells too" if len(whole) else "in each cell"
    caption = (
        f"Exact means of {name} over all combinations of the other settings, {of}; bars: 95 %, by "
        "the residual of the sum of main effects, or by the spread over seeds of a grid of one "
        "setting; the table of marginal means says which."
    )
    return [Plate("marginals", "Marginal means of the grid", caption, figure, data)]


def importance_plates(record: Record) -> list[Plate]:
    """Importance of the searched settings, a panel a scope and epoch; none where none is told."""
    data = importance(record)
    data = data[(data["why"] == "") & ~(data["cell"] >= MOST_CELLS).fillna(False)]
    if data.empty:
        return []
    panels = [rows for _, rows in data.groupby(["epoch", "cell"], sort=False, dropna=False)]
    deep = 1.0 + 0.32 * data["setting"].nunique()
    figure, axes, _ = wrapped(len(panels), 3, 3.4, deep)
    for ax, rows in zip(axes, panels, strict=True):
        setting_figures.importance_bars(ax, rows)
        ax.set_title(_panel(record.study, rows.iloc[0].to_dict()), fontsize="small")
    caption = f"Bars: importance. Filled: beyond chance. {about_importance(data)}"
    labels = dict(enumerate(map(naming.cell_label, record.study["cells"])))
    data = data.assign(label=data["cell"].map(labels))
    return [Plate("importance", "Importance of the searched settings", caption, figure, data)]


def _panel(study: Mapping[str, Any], row: Mapping[Any, Any]) -> str:
    """What a panel is of: the scope, the epoch, how many configs."""
    return f"{scope_name(study, row)}\nat epoch {row['epoch']}, {row['n']} configs"
