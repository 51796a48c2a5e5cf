"""The figures of a study: which it has, how they are laid out, labelled and saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter

from analysis.display import figures, words
from analysis.display.frames import baselines_by_side
from analysis.findings.audit import searched
from analysis.findings.cells import CellValue, cell_values, require_comparable
from analysis.findings.facts import (
    direction,
    has_settings,
    is_of_published,
    metric_name,
    settings_of,
    side_of,
)
from search.record import Record, trial_column

SMALL = 1e-12


@dataclass(frozen=True)
class Plate:
    """A figure ready to be saved.

    Attributes:
        key: e.g. F1, search-lr; unique in a study.
        caption: what it shows.
        figure: the figure.
    """

    key: str
    caption: str
    figure: Figure = field(repr=False)


def plates(record: Record, published: pd.DataFrame | None = None) -> list[Plate]:
    """Every figure that a study has data for.

    Args:
        record: the study.
        published: the course report's curves to lay under, see analysis.findings.published.
    """
    found = [*_curve_plates(record, published), *_final_plates(record)]
    found += [*_sample_plates(record), *_search_plates(record)]
    for plate in found:
        _label(plate, record)
    return found


def save(plate: Plate, folder: Path, prefix: str) -> list[Path]:
    """Write png and pdf, `<prefix>-<key>`; the pdf holds TrueType fonts, not Type 3."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with mpl.rc_context({"pdf.fonttype": 42}):
        for form in ("png", "pdf"):
            path = folder / f"{prefix}-{plate.key}.{form}"
            # no date inside: equal records give equal files
            metadata = {"CreationDate": None} if form == "pdf" else None
            plate.figure.savefig(path, dpi=130, metadata=metadata)
            paths.append(path)
            plate.figure.set_layout_engine(
                "none"
            )  # laid out by the first; costs as much as drawing
    return paths


def _new(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _label(plate: Plate, record: Record) -> None:
    study = record.study
    signs = [words.SYNTHETIC] if study["synthetic"] else []
    signs += [words.REPORT_PROTOCOL] if study["protocol"] == "report" else []
    signs += [words.MIXED_PARTS] if words.mixed_parts(record) else []
    title = f"{study['name']}: {plate.key}"
    plate.figure.suptitle(" · ".join([*signs, title]), fontsize="medium")
    if study["synthetic"]:
        plate.figure.text(
            0.5, 0.5, words.SYNTHETIC, fontsize=30, color="#cc0000", alpha=0.13,
            ha="center", va="center", rotation=20, in_layout=False,
        )  # fmt: skip


def _lines(record: Record, cells: Sequence[int], without: set[str]) -> pd.DataFrame:
    """The curves that stand for cells: their confirmation trials, else the trial they show."""
    study, trials = record.study, record.trials
    shown = {v.cell: v.trials for v in cell_values(record) if v.metric == study["metric"]}
    rows = []
    for number, cell in enumerate(cells):
        held = trials[trials["cell"] == cell]
        confirms = held[(held["stage"] == "confirm") & held["trial"].isin(record.curves["trial"])]
        wanted = list(confirms["trial"]) or list(shown[cell])
        for trial in held[held["trial"].isin(wanted)].to_dict("records"):
            full = trial["status"] == "completed" and trial["epochs"] >= trial["budget"]
            rows.append(
                {
                    "trial": trial["trial"],
                    "label": words.cell_label(study["cells"][cell], without),
                    "colour": figures.colour(number),
                    "unfinished": not full,
                }
            )
    return pd.DataFrame(rows, columns=["trial", "label", "colour", "unfinished"])


def _curve_plates(record: Record, published: pd.DataFrame | None) -> list[Plate]:
    study = record.study
    if record.curves.empty:
        return []
    found = []
    for sheet, side, cells in _sheets(study):
        lines = _lines(record, cells, set(sheet["without"]))
        if lines.empty:
            continue
        under = _matching(published, study, sheet, side, cells)
        plate = _curves(record, lines, sheet["metrics"], under)
        name = f"{study['about']['side']} {side}" if side else sheet["name"]
        told = f"Learning curves, {name}" if name else "Learning curves"
        caption = f"{told}, unsmoothed; an x ends a curve short of its budget."
        caption = " ".join([caption, *words.training(study), *words.damage(record)])
        key = f"{sheet['key']}-{side}" if side else sheet["key"]
        found.append(Plate(key, caption, plate))
    return found


def _sheets(study: dict[str, Any]) -> list[tuple[Mapping[str, Any], str, list[int]]]:
    """Sheets of curves, as the task has them, with the side and the cells of each."""
    found = []
    for sheet in study["about"]["sheets"]:
        sides: dict[str, list[int]] = {}
        for cell, at in enumerate(study["cells"]):
            if has_settings(study, at, sheet["where"]):
                sides.setdefault(side_of(study, at), []).append(cell)
        found += [(sheet, side, cells) for side, cells in sides.items()]
    return found


def _curves(
    record: Record, lines: pd.DataFrame, metrics: list[str], under: pd.DataFrame | None
) -> Figure:
    study = record.study
    figure, axes = _new(1, len(metrics), 5.2, 3.8)
    for ax, metric in zip(axes[0], metrics, strict=True):
        figures.learning_curves(ax, record.curves, lines, metric, study["watched"], under)
        if direction(study, metric) == "min" and _positive(ax):
            ax.set_yscale("log")
            for place in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
                place(LogFormatter(minor_thresholds=(1, 0.4)))  # 300, not 3 x 10^2
    _legend(figure, axes[0][0])
    return figure


def _positive(ax: Axes) -> bool:
    held = [np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()]
    return bool(held) and all((values > SMALL).all() for values in held)


def _legend(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if handles and labels != ["all"]:
        figure.legend(handles, labels, loc="outside right center", fontsize="small", frameon=False)


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
    if published is None or (mode == "pretrained" and words.own_weights(study)):
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


def _final_plates(record: Record) -> list[Plate]:
    """Final metric by depth (else by the first numeric parameter), a panel a data set."""
    study = record.study
    names = list(study["cells"][0]) if study["cells"] else []
    numeric = [k for k in names if not isinstance(study["cells"][0][k], bool | str)]
    if not numeric:
        return []
    key = "depth" if "depth" in numeric else numeric[0]
    groups, side = dict[str, list[CellValue]](), study["about"]["side"]
    main = [value for value in cell_values(record) if value.metric == study["metric"]]
    for value in main:
        groups.setdefault(side_of(study, value.given), []).append(value)
    constants = baselines_by_side(record) if study["shown_split"] == "test" else {}
    figure, axes = _new(1, len(groups), 5.2, 3.8)
    for ax, (part, values) in zip(axes[0], groups.items(), strict=True):
        require_comparable(values)
        labels = {v.cell: words.cell_label(v.given, {key, side}) for v in values}
        lines = {
            name: scores[study["metric"]]
            for name, scores in constants.get(part, {}).items()
            if study["metric"] in scores
        }
        figures.final_metric(ax, values, key, labels, lines)
        ax.set_ylabel(f"{study['shown_split']} {metric_name(study, study['metric'])}")
        ax.set_title(f"{side} {part}" if part else "")
    _legend(figure, axes[0][0])
    caption = (
        f"Final {study['shown_split']} {study['metric']} by {key}: dots are seeds, diamonds "
        "means, bars the 95 % t interval (of two seeds, their range); — not begun. "
        + " ".join(f"{sign} {text}." for sign, text in words.legend(main))
    )
    return [Plate("F3", caption, figure)]


def _sample_plates(record: Record) -> list[Plate]:
    """F4 of the first trial of each cell that has samples."""
    found: list[Plate] = []
    done: set[int] = set()
    for trial in record.trials.to_dict("records"):
        path = record.run / "samples" / f"{trial['trial']}.npz"
        if trial["cell"] in done or not path.is_file():
            continue
        try:
            with np.load(path, allow_pickle=False) as held:
                samples = {name: held[name] for name in held.files}
        except (OSError, ValueError, EOFError, BadZipFile):
            continue  # half-written by a worker that was killed; the next build finds it whole
        done.add(int(trial["cell"]))
        count = len(samples["truth"])
        figure, axes = _new(count, 3, 2.9, 2.9)
        image = figures.sample_maps(axes, samples)
        figure.colorbar(image, ax=axes[:, 1:], label="people a pixel", shrink=0.8)
        label = words.cell_label(record.study["cells"][trial["cell"]])
        caption = (
            f"{label}, trial {trial['trial']} ({trial['epochs']}/{trial['budget']} epochs): "
            "image, ground truth, prediction; one colour scale; images chosen by error quantile."
        )
        found.append(Plate(f"F4-cell{trial['cell']}", caption, figure))
    return found


def _search_plates(record: Record) -> list[Plate]:
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
        log = bool(study["spec"].get("space", {}).get(key, {}).get("log", key == "lr"))

        def draw(ax: Axes, held: pd.DataFrame, column: str = column, log: bool = log) -> None:
            figures.search_values(ax, held, column, metric, log)

        caption = (
            f"{_judged(study, metric)} against {key}; the number is the epochs trained, "
            "and only equal ones compare. Trials without a value stand at the foot."
        )
        found.append(Plate(f"search-{key}", caption, _by_cell(record, tried, draw)))
    caption = "How far each config was trained (dotted: rungs), and how it ended."
    rungs = study["rungs"]
    ladder = _by_cell(record, tried, lambda ax, held: figures.rung_ladder(ax, held, rungs))
    return [*found, Plate("rungs", caption, ladder)]


def _judged(study: Mapping[str, Any], metric: str) -> str:
    """What a config is ranked by at a rung."""
    if study["checkpoint_rule"] == "best":
        return f"Best {metric} up to the last rung reached"
    return f"{metric} at the last rung reached"


def _by_cell(
    record: Record, trials: pd.DataFrame, draw: Callable[[Axes, pd.DataFrame], Any]
) -> Figure:
    """A small panel for each cell, and what the markers say."""
    cells = record.study["cells"]
    columns = min(5, len(cells))
    figure, axes = _new(math.ceil(len(cells) / columns), columns, 2.6, 2.4)
    for cell, ax in enumerate(axes.flat):
        if cell >= len(cells):
            ax.set_axis_off()
            continue
        draw(ax, trials[trials["cell"] == cell])
        ax.set_title(words.cell_label(cells[cell]), fontsize="small")
    handles = [
        Line2D([], [], marker=marker, linestyle="none", label=status, color="#404040",
               fillstyle="full" if filled else "none")
        for status, (marker, filled) in figures.ENDINGS.items()
        if (trials["status"] == status).any()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside right center", fontsize="small", frameon=False)
    return figure
