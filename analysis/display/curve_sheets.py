"""Learning curves of a study, arranged in figures as its task says: F1 to F3 of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from analysis.display import figures, origins, words
from analysis.display.plates import Plate, legend, new
from analysis.findings.cells import cell_values
from analysis.findings.facts import (
    direction,
    has_settings,
    images_of_cell,
    is_of_published,
    metric_name,
    settings_of,
    side_of,
)
from search.record import Record, naming

SMALL = 1e-12
FAR = 10  # times the least value: a logarithmic axis of less has hardly a tick


@dataclass(frozen=True)
class Row:
    """One row of panels.

    Attributes:
        sheet: as the task has it, see trainables.about.
        side: e.g. part A; "" for none.
        lines: what to draw, see figures.learning_curves.
        under: the course report's curves to lay under.
    """

    sheet: Mapping[str, Any]
    side: str
    lines: pd.DataFrame
    under: pd.DataFrame | None


def _lines(
    record: Record, cells: Sequence[int], without: set[str], known: set[str]
) -> pd.DataFrame:
    """The curves that stand for cells: their confirmation trials, else the trial they show."""
    study, trials = record.study, record.trials
    shown = {v.cell: v.trials for v in cell_values(record) if v.metric == study["metric"]}
    rows = []
    for number, cell in enumerate(cells):
        held = trials[trials["cell"] == cell]
        confirms = held.loc[held["stage"] == "confirm", "trial"]
        wanted = [trial for trial in confirms if trial in known] or list(shown[cell])
        for trial in held[held["trial"].isin(wanted)].to_dict("records"):
            full = trial["status"] == "completed" and trial["epochs"] >= trial["budget"]
            rows.append(
                {
                    "trial": trial["trial"],
                    "cell": cell,
                    "label": naming.cell_label(study["cells"][cell], without),
                    "colour": figures.colour(number),
                    "unfinished": not full,
                }
            )
    return pd.DataFrame(rows, columns=["trial", "cell", "label", "colour", "unfinished"])


def curve_plates(record: Record, published: pd.DataFrame | None) -> list[Plate]:
    """Learning curves as the task has them: sheets of one key are one figure, a row each."""
    if record.curves.empty:
        return []
    known = set(record.curves["trial"].cat.categories)
    rows: dict[str, list[Row]] = {}
    for sheet, side, cells in _sheets(record.study):
        lines = _lines(record, cells, set(sheet["without"]), known)
        if not lines.empty:
            under = _matching(published, record.study, sheet, side, cells)
            key = f"{sheet['key']}-{side}" if side else sheet["key"]
            rows.setdefault(key, []).append(Row(sheet, side, lines, under))
    shown = set().union(*(row.lines["trial"] for held in rows.values() for row in held))
    curves = record.curves[record.curves["trial"].isin(list(shown))]
    return [_curve_plate(record, key, held, curves) for key, held in rows.items()]


def _curve_plate(record: Record, key: str, rows: list[Row], curves: pd.DataFrame) -> Plate:
    study, side = record.study, record.study["about"]["side"]
    names = [
        ", ".join(
            filter(
                None,
                [
                    f"{side} {row.side}" * bool(row.side),
                    naming.as_varied(study, row.sheet["name"]),
                ],
            )
        )
        for row in rows
    ]
    title = "Learning curves" + (f": {' and '.join(names)}" if any(names) else "")
    said = ["Unsmoothed, one line a seed; an x ends a curve short of its budget."]
    if any(len(row.lines) > figures.MOST_LINES for row in rows):
        said.append(f"Of many cells the first {figures.MOST_NAMED} are in colour, others grey.")
    said += [text for row in rows for text in _unlike(record, row)]
    figure = _curves(study, rows, names, curves)
    caption = " ".join([*said, *words.training(study), *words.damage(record)])
    return Plate(key, title, caption, figure, _drawn(study, rows, names, curves))


def _drawn(
    study: Mapping[str, Any], rows: list[Row], names: list[str], curves: pd.DataFrame
) -> pd.DataFrame:
    """The points of all lines: sheet, trial, cell, label, unfinished, name, epoch, value.

    Those of published curves have `published` as label, and which they are of (depth, lr, run).
    """
    found, keys = [], ["trial", "name", "epoch", "value"]
    for row, name in zip(rows, names, strict=True):
        splits = {s for shown in _splits(row.sheet) for s in shown}
        watched = [f"{study['watched']}_{metric}" for metric in row.sheet["metrics"]]
        train = [f"train_{metric}" for metric in row.sheet["metrics"]] if "train" in splits else []
        own = curves.loc[curves["name"].isin([*train, *watched]), keys].dropna(subset="value")
        own = own.astype({"trial": str, "name": str}).merge(
            row.lines.drop(columns="colour").astype({"trial": str}), on="trial"
        )
        found.append(own.assign(sheet=name))
        if row.under is not None:
            under = row.under[row.under["name"].isin(watched)]
            columns = [c for c in ("depth", "lr", "run", "name", "epoch", "value") if c in under]
            found.append(under[columns].assign(sheet=name, label="published"))
    return pd.concat(found, ignore_index=True)


def _unlike(record: Record, row: Row) -> list[str]:
    """That curves of one panel are of other images, and which of which; [] where all are alike."""
    study, held = record.study, dict[str, list[str]]()
    scored = study["watched"] == study["shown_split"] == "test"
    images = {v.cell: v.images for v in cell_values(record)} if scored else {}
    for cell, name in dict(zip(row.lines["cell"], row.lines["label"], strict=True)).items():
        own = images_of_cell(study, study["cells"][cell], study["watched"])
        held.setdefault(f"{own} {images.get(cell, '')}", []).append(str(name))
    if len(held) < 2:
        return []
    groups = " / ".join(", ".join(names) for names in held.values())
    return [f"Of different {study['watched']} images, so not to be compared: {groups}."]


def _sheets(study: dict[str, Any]) -> list[tuple[Mapping[str, Any], str, list[int]]]:
    """Sheets of curves, as the task has them, with the side and the cells of each."""
    found = []
    for sheet in study["about"]["sheets"]:
        sides: dict[str, list[int]] = {}
        for cell, at in enumerate(study["cells"]):
            if has_settings(study, at, sheet["where"]):
                sides.setdefault(side_of(study, at), []).append(cell)
        for side, cells in sides.items():
            found += [(own, side, held) for own, held in _by_training(study, sheet, cells)]
    return found


def _by_training(
    study: dict[str, Any], sheet: Mapping[str, Any], cells: list[int]
) -> list[tuple[Mapping[str, Any], list[int]]]:
    """A sheet's cells, those apart whose training values are of the watched kind."""
    wanted = sheet.get("beside") or {}
    if not wanted:
        return [(sheet, cells)]
    like = [cell for cell in cells if has_settings(study, study["cells"][cell], wanted)]
    rest = [cell for cell in cells if cell not in like]
    name = " ".join(f"{key}={value}" for key, value in wanted.items()) if like and rest else ""
    named = ", ".join(filter(None, [sheet["name"], name]))
    both = [({**sheet, "train": "beside", "name": named}, like), (sheet, rest)]
    return [(own, held) for own, held in both if held]


def _curves(
    study: Mapping[str, Any], rows: list[Row], names: list[str], curves: pd.DataFrame
) -> Figure:
    """A row of panels a sheet: its metrics, twice where training has panels of its own."""
    panels = [
        [(metric, splits) for metric in row.sheet["metrics"] for splits in _splits(row.sheet)]
        for row in rows
    ]
    figure, axes = new(len(rows), max(len(row) for row in panels), 5.2, 3.4)
    for held, row, name, wanted in zip(axes, rows, names, panels, strict=True):
        for ax in held[len(wanted) :]:  # of a row of fewer panels than another
            ax.set_visible(False)
        for ax, (metric, splits) in zip(held, wanted, strict=False):
            figures.learning_curves(
                ax,
                curves,
                row.lines,
                metric,
                study["watched"],
                row.under,
                splits,
                metric_name(study, metric),
            )
            if len(rows) > 1:
                ax.set_title(f"{name}, {ax.get_title()}", fontsize="medium")
            if direction(study, metric) == "min" and _far(ax):
                ax.set_yscale("log")
                for place in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
                    place(LogFormatter(minor_thresholds=(1, 0.4)))  # 300, not 3 x 10^2
    legend(figure, list(axes.flat))
    return figure


def _splits(sheet: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What each panel of a metric shows."""
    ways: dict[str, list[tuple[str, ...]]] = {
        "beside": [("train", "watched")],
        "apart": [("watched",), ("train",)],
        "none": [("watched",)],
    }
    return ways[sheet.get("train", "beside")]


def _far(ax: Axes) -> bool:
    """Whether values are all above 0 and too far apart for an axis that is not logarithmic."""
    lines = [np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()]
    held = np.concatenate(lines) if lines else np.empty(0)
    return bool(held.size and held.min() > SMALL and held.max() > FAR * held.min())


def _matching(
    published: pd.DataFrame | None,
    study: dict[str, Any],
    sheet: Mapping[str, Any],
    part: str,
    cells: list[int],
) -> pd.DataFrame | None:
    """Published curves of the same task, mode, part and, where these vary, depths and rates.

    None where they are of none of the cells, e.g. of other networks.
    """
    mode, only = sheet["mode"], sheet.get("only", {})
    given = [study["cells"][cell] for cell in cells]
    given = [settings_of(study, at) for at in given if is_of_published(study, at, only)]
    if not given:
        return None
    if published is None or (mode == "pretrained" and origins.own_weights(study)):
        return None
    held: pd.DataFrame = published[
        (published["task"] == study["task"]) & (published["mode"] == mode)
    ]
    if part:
        held = held[held[study["about"]["side"]] == part]
    for key in ("depth", "lr"):
        levels = [values[key] for values in given if key in values]
        held = held[held[key].isin(levels)] if levels else held
    return held
