"""A figure ready to be saved, and what every figure has: its axes, its labels, its files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.display import words
from analysis.display.figures import GREY, SOFT
from search.record import Record

FORMS = ("png", "pdf", "svg")
REPORT = ("F1", "F2", "F3", "F4")  # figures that the course report has
OWN = 5  # number of the first that it has not
NAME = "plate-name"  # of a title that a page, which has its own, can hide
LETTERS = 12  # of a legend's size that an inch has room for
DPI = {"png": 130, "pdf": 130, "svg": 100}  # in pdf and svg of what is kept as pixels


@dataclass(frozen=True)
class Plate:
    """A figure ready to be saved.

    Attributes:
        key: e.g. F1, search-lr; unique in a study.
        title: what it is of.
        caption: what it shows.
        figure: the figure.
        data: what is drawn, a row a mark or a point of a line.
        number: by which a page calls it, e.g. F5.
    """

    key: str
    title: str
    caption: str
    figure: Figure = field(repr=False)
    data: pd.DataFrame = field(repr=False)
    number: str = ""


def save(plate: Plate, folder: Path, prefix: str) -> list[Path]:
    """Write png, pdf, svg and csv, `<prefix>-<key>`.

    The pdf holds TrueType fonts, the svg text, the csv what is drawn in full precision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    salt = f"{prefix}-{plate.key}"  # equal records give equal files
    with mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": salt}):
        for form in FORMS:
            path = folder / f"{prefix}-{plate.key}.{form}"
            undated: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
            clear = form == "svg"  # a page of any colour may lie under it
            plate.figure.savefig(
                path, dpi=DPI[form], metadata=undated.get(form), transparent=clear
            )
            paths.append(path)
            # laid out by the first; costs as much as drawing
            plate.figure.set_layout_engine(None)
    table = folder / f"{prefix}-{plate.key}.csv"
    plate.data.to_csv(table, index=False)
    return [*paths, table]


def numbered(found: Sequence[Plate]) -> list[Plate]:
    """The figures with their numbers: the course report's F1 to F4 by key, the others from F5."""
    given, count = list[Plate](), OWN
    for plate in found:
        of_report = plate.key[:2] if plate.key[:2] in REPORT else ""
        given.append(replace(plate, number=of_report or f"F{count}"))
        count += not of_report
    return given


def new(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """A figure and its axes `(rows, columns)`, each of so many inches."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[:].set_color(GREY)
        ax.tick_params(which="both", color=GREY, labelcolor=SOFT)
    return figure, axes


def wrapped(
    count: int, beside: int, width: float, height: float
) -> tuple[Figure, list[Axes], int]:
    """A figure and its axes, each of so many inches, and how many (at most `beside`) are a row."""
    rows = math.ceil(count / beside)
    columns = math.ceil(count / rows)
    figure, axes = new(rows, columns, width, height)
    for spare in axes.flat[count:]:
        spare.set_axis_off()
    return figure, list(axes.flat[:count]), columns


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend of all panels, under them; none where there is only one thing to name."""
    held = {
        name: handle
        for ax in axes
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    if held and list(held) != ["all"]:
        keys(figure, list(held.values()), list(held))


def keys(figure: Figure, handles: Sequence[Any], names: Sequence[str]) -> None:
    """A legend under a figure, in as many columns as its width has room for."""
    longest = max(len(name) for name in names)
    room = max(1, int(figure.get_figwidth() * LETTERS / (longest + 6)))
    rows = math.ceil(len(names) / room)
    held = figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=math.ceil(len(names) / rows),
        fontsize="medium",
        frameon=False,
        handlelength=1.6,
        columnspacing=1.4,
    )
    for line in held.get_lines():
        line.set_linewidth(max(line.get_linewidth(), 2))  # a hairline's colour cannot be told
        if line.get_linestyle() != "None":
            line.set_linestyle("-")  # it names a colour, not whether a curve is of training


def label(plate: Plate, record: Record) -> None:
    """Name a figure, and write over it what nobody may overlook."""
    study = record.study
    signs = [words.SYNTHETIC] if study["synthetic"] else []
    if "imported" in study:
        signs.append(words.IMPORTED)
    elif study["protocol"] == "report":
        signs.append(words.REPORT_PROTOCOL)
    signs += [words.MIXED_PARTS] if words.mixed_parts(record) else []
    own = plate.key if plate.key[:2] == plate.number else f"{plate.number} {plate.key}"
    title = f"{study['name']}: {own}"
    named = plate.figure.suptitle(" · ".join([*signs, title]), fontsize="medium", color=SOFT)
    if not signs:
        named.set_gid(NAME)
    if study["synthetic"]:
        plate.figure.text(
            0.5, 0.5, words.SYNTHETIC, fontsize=30, color="#cc0000", alpha=0.13,
            ha="center", va="center", rotation=20, in_layout=False,
        )  # fmt: skip
