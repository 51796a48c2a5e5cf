"""Figures of the search: a panel a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.display import search_figures
from analysis.display.plates import Plate, keys, wrapped
from analysis.display.setting_plates import (
    best_plates,
    importance_plates,
    marginal_plates,
    parallel_plates,
)
from analysis.findings.audit import searched
from analysis.findings.facts import metric_name
from analysis.findings.tried import is_log
from search.record import Record, naming, trial_column

MOST_PANELS = 40
MOST_BESIDE = 4  # of them in a row: in a page more would be too small to read


def search_plates(record: Record) -> list[Plate]:
    """Values against each searched parameter, and how far configs came."""
    study = record.study
    tried = searched(record)
    if tried.empty:
        return []
    found = []
    metric = f"{study['watched']} {metric_name(study, study['metric'])}"
    for key in study["space_keys"]:
        column = trial_column(study, key)
        if not pd.api.types.is_numeric_dtype(tried[column]):
            continue
        log = is_log(study, key)

        def draw(
            ax: Axes, held: pd.DataFrame, column: str = column, log: bool = log, key: str = key
        ) -> None:
            search_figures.search_values(ax, held, column, metric, log)
            ax.set_xlabel(naming.named(key))

        caption = (
            f"{_judged(study, metric)} against {naming.named(key)}; a larger mark is longer "
            "training, a number its epochs, where they are more than the fewest, and only equally "
            f"long ones compare. Trials without a value stand at the foot.{_first(study)}"
        )
        title = f"{_upper(naming.named(key))} tried, and what it gave"
        data = _drawn(record, tried, [column, "value", "epochs", "status"])
        found.append(Plate(f"search-{key}", title, caption, _panels(record, tried, draw), data))
    caption = f"One bar a config, dotted: rungs; the mark says how it ended.{_first(study)}"
    rungs = study["rungs"]
    ladder = _panels(record, tried, lambda ax, held: search_figures.rung_ladder(ax, held, rungs))
    data, title = _drawn(record, tried, ["epochs", "status"]), "How far each config was trained"
    found.append(Plate("rungs", title, caption, ladder, data))
    of_settings = [*parallel_plates(record), *importance_plates(record), *marginal_plates(record)]
    return [*found, *best_plates(record), *of_settings]


def _drawn(record: Record, trials: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The rows of the cells that have a panel, with the cell in words."""
    labels = dict(enumerate(map(naming.cell_label, record.study["cells"][:MOST_PANELS])))
    held = trials.loc[trials["cell"].isin(list(labels)), ["cell", "trial", *columns]]
    return held.assign(label=held["cell"].map(labels))


def _upper(text: str) -> str:
    """Its first letter large; the others as they are, e.g. of MAE."""
    return text[:1].upper() + text[1:]


def _first(study: Mapping[str, Any]) -> str:
    """That not every cell has a panel, where that is so."""
    count = len(study["cells"])
    return f" Panels: the first {MOST_PANELS} of {count} cells." if count > MOST_PANELS else ""


def _judged(study: Mapping[str, Any], metric: str) -> str:
    """What a config is ranked by at a rung."""
    if study["checkpoint_rule"] == "best":
        return f"Best {metric} up to the last rung reached"
    return f"{_upper(metric)} at the last rung reached"


def _panels(
    record: Record, trials: pd.DataFrame, draw: Callable[[Axes, pd.DataFrame], Any]
) -> Figure:
    """A small panel for each cell, and what the markers say."""
    cells = record.study["cells"][:MOST_PANELS]
    figure, axes, columns = wrapped(len(cells), MOST_BESIDE, 2.6, 2.4)
    for cell, ax in enumerate(axes):
        draw(ax, trials[trials["cell"] == cell])
        if cell % columns:  # what is said once a row has room for the panels
            ax.set_ylabel("")
        if cell + columns < len(cells):
            ax.set_xlabel("")
        ax.set_title(naming.cell_label(cells[cell]), fontsize="small")
    found = [status for status in search_figures.ENDINGS if (trials["status"] == status).any()]
    handles = [
        Line2D([], [], marker=marker, linestyle="none", label=status, color="#404040",
               fillstyle="full" if filled else "none")
        for status in found
        for marker, filled in (search_figures.ENDINGS[status],)
    ]  # fmt: skip
    keys(figure, handles, found)
    return figure
