"""A table and its four forms: csv in full precision, Markdown, LaTeX and HTML as displayed."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import StringIO
from typing import Any, Literal

import pandas as pd

from analysis.display.markup import fragment
from search.record import UserError

FORMATS = ("csv", "md", "tex", "html")
RowKind = Literal["ours", "setting", "published", "constant"]
# Styler escapes what LaTeX reserves, not what it lacks
LATEX = {
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "§": r"\S{}",
    "¶": r"\P{}",
    "°": r"$^\circ$",
    "‖": r"$\parallel$",
    "×": r"$\times$",
    "⊕": r"$\oplus$",
    "◊": r"$\diamond$",
    "⇣": r"$\Downarrow$",
    "⇢": r"$\Rightarrow$",
    "∅": r"$\emptyset$",
    "∇": r"$\nabla$",
    "≈": r"$\approx$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "—": "---",
}
ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        **LATEX,
    }
)


@dataclass(frozen=True)
class Table:
    """A table ready to be written.

    Attributes:
        study: whose numbers these are.
        key: e.g. T1, cells, search.
        title: what it is.
        caption: the circumstances of its numbers.
        display: `(rows, columns)` strings; column names are the headers, each once.
        bold: `(rows, columns)` booleans, same labels; computed on numbers, not on strings.
        data: what it was made from, full precision, for csv.
        heads: upper and lower head of each column, where they have two levels; () where not.
        kinds: what each row holds, a rule between kinds; () where all rows are of one.
        cells: (row, column) by place -> number of the cell that a string is of.
        short: the most needed of the caption, where there is room for a line only.
    """

    study: str
    key: str
    title: str
    caption: str
    display: pd.DataFrame
    bold: pd.DataFrame
    data: pd.DataFrame = field(repr=False)
    heads: tuple[tuple[str, str], ...] = ()
    kinds: tuple[RowKind, ...] = ()
    cells: Mapping[tuple[int, int], int] = field(default_factory=dict)
    short: str = ""

    @cached_property
    def strings(self) -> tuple[list[list[str]], list[list[bool]]]:
        """`display` and `bold` as lists of rows, quick to go through."""
        return self.display.to_numpy().tolist(), self.bold.to_numpy().tolist()

    def without(self, heads: Collection[str]) -> Table:
        """The same without these columns of what is displayed; its data stay whole."""
        if not heads:
            return self
        kept = [not held for held in self.display.columns.isin(list(heads))]
        display, bold = self.display.loc[:, kept], self.bold.loc[:, kept]
        return replace(self, display=display, bold=bold)

    def new_kinds(self) -> list[int]:
        """Rows, by place, that begin another kind than the row before."""
        pairs = itertools.pairwise(self.kinds)
        return [n for n, (before, now) in enumerate(pairs, 1) if _block(before) != _block(now)]


def _block(kind: RowKind) -> RowKind:
    return "ours" if kind == "setting" else kind  # what was chosen belongs to the values above it


def render(table: Table, form: str) -> str:
    """A table as text.

    Args:
        table: what to write.
        form: one of FORMATS.

    Raises:
        UserError: another form.
    """
    if form == "csv":
        text = StringIO()
        table.data.to_csv(text, index=False)
        return text.getvalue()
    if form == "md":
        return _markdown(table)
    if form == "tex":
        return _latex(table)
    if form == "html":
        return fragment(table)
    raise UserError(f"format must be one of {', '.join(FORMATS)}, not {form!r}")


def _markdown(table: Table) -> str:
    shown = table.display.mask(table.bold, "**" + table.display + "**")
    shown = shown.map(lambda text: text.replace("|", r"\|"))
    body = shown.to_markdown(index=False, disable_numparse=True)
    return f"**{table.key}. {table.title}**\n\n{body}\n\n{table.caption}\n"


def _latex(table: Table) -> str:
    heads: pd.Index[Any] = pd.Index([_escape(str(name)) for name in table.display])
    if table.heads:
        heads = pd.MultiIndex.from_tuples([(_escape(a), _escape(b)) for a, b in table.heads])
    frame = table.display.head(1).set_axis(heads, axis=1)  # its rows are put in below
    text = frame.style.hide(axis="index").to_latex(
        hrules=True,
        caption=_escape(f"{table.key}. {table.title}. {table.caption}"),
        label=f"tab:{table.study}-{table.key}",
        column_format="l" + "r" * (table.display.shape[1] - 1),
        position_float="centering",
        multicol_align="c",
    )
    lines = str(text).splitlines(keepends=True)
    first, last = lines.index("\\midrule\n") + 1, lines.index("\\bottomrule\n")
    return "".join([*lines[:first], *_latex_rows(table), *lines[last:]])


def _latex_rows(table: Table) -> list[str]:
    """The rows of a table, with a rule above each that begins another kind.

    A styler takes seconds for the thousands of rows of a large study.
    """
    begins, found = set(table.new_kinds()), []
    for number, (texts, bold) in enumerate(zip(*table.strings, strict=True)):
        held = [_escape(text) for text in texts]
        held = [rf"\textbf{{{t}}}" if on else t for t, on in zip(held, bold, strict=True)]
        found += ["\\midrule\n"] * (number in begins)
        found.append(" & ".join(held) + " \\\\\n")
    return found


def _escape(value: object) -> str:
    return str(value).translate(ESCAPES)
