"""A table and its forms: csv, JSON and parquet in full precision, the others as displayed."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.display.markup import fragment
from search.record import UserError, did_you_mean, whole

PAGE_FORMATS = ("csv", "md", "tex", "html")  # files that stand beside a page
FORMATS = (*PAGE_FORMATS, "json")
FILES = (*FORMATS, "parquet")
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

    def __repr__(self) -> str:
        """The table as a prompt shows it."""
        return render(self, "md")

    def _repr_html_(self) -> str:
        """The table as a notebook shows it."""
        return render(self, "html")

    def only(self, heads: Sequence[str]) -> Table:
        """The same with these columns of what is displayed, in their order; its data stay whole.

        Args:
            heads: names of columns, or the beginning of one alone, e.g. "test accuracy".

        Raises:
            UserError: a name that no column or more than one begins with; names those there are.
        """
        names, kept = [str(name) for name in self.display], []
        for head in heads:
            begun = [n for n, name in enumerate(names) if name.startswith(head)]
            found = [n for n in begun if names[n] == head] or begun
            if len(found) != 1:
                held = ", ".join(names[n] for n in found) or f"the table has {', '.join(names)}"
                none = f"is none{did_you_mean(head, names)}; "
                fault = "is the beginning of several: " if found else none
                raise UserError(f"column {head!r} {fault}{held}")
            kept.append(found[0])
        return replace(
            self,
            display=self.display.iloc[:, kept],
            bold=self.bold.iloc[:, kept],
            heads=tuple(self.heads[n] for n in kept) if self.heads else (),
            cells={(r, kept.index(n)): c for (r, n), c in self.cells.items() if n in kept},
        )

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
    if form == "json":
        return _json(table)
    if form == "md":
        return _markdown(table)
    if form == "tex":
        return _latex(table)
    if form == "html":
        return fragment(table)
    raise UserError(f"format must be one of {', '.join(FORMATS)}, not {form!r}")


def write(table: Table, path: Path) -> None:
    """Write a table in the form that a file's suffix names, whole or not at all.

    Raises:
        UserError: no suffix of FILES.
    """
    form = path.suffix.removeprefix(".").lower()
    if form not in FILES:
        raise UserError(f"{path}: the suffix must be one of {', '.join(FILES)}")
    with whole(path) as partial:
        if form == "parquet":
            _flat(table.data).to_parquet(partial, index=False)
        else:
            partial.write_text(render(table, form), encoding="utf-8")


def _flat(data: pd.DataFrame) -> pd.DataFrame:
    """Columns of one kind each, as a parquet file has them: mixed ones as text.

    Whole numbers stay so where some are missing.
    """
    held = data.copy(deep=False)
    for name in [n for n, kind in held.dtypes.items() if kind == "object"]:
        kinds = {type(v) for v in held[name].dropna()}
        if kinds and all(issubclass(k, int | np.integer) and k is not bool for k in kinds):
            held[name] = held[name].astype("Int64")
            continue
        column = held[name].infer_objects()
        mixed = column.dtype == object and len(kinds) > 1
        held[name] = column.map(str, na_action="ignore") if mixed else column
    return held


def _plain(value: Any) -> Any:
    """A value as JSON has it: null for what is not there or not finite."""
    held = value.item() if hasattr(value, "item") else value
    if isinstance(held, str | bool | int) or (isinstance(held, float) and math.isfinite(held)):
        return held
    return [_plain(each) for each in held] if isinstance(held, list | tuple) else None


def _json(table: Table) -> str:
    """What it is, its rows as displayed, and its data, which have null where a number is not."""
    data = [
        {name: _plain(value) for name, value in row.items()}
        for row in table.data.to_dict("records")
    ]
    rows = [
        [{"text": text, "bold": bold} for text, bold in zip(texts, on, strict=True)]
        for texts, on in zip(*table.strings, strict=True)
    ]
    held = {
        "study": table.study,
        "table": table.key,
        "title": table.title,
        "caption": table.caption,
        "columns": [str(name) for name in table.display],
        "rows": rows,
        "data": data,
    }
    return json.dumps(held, ensure_ascii=False, indent=1)


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
        caption=_escape(f"{table.key}. {table.title}"),
        label=f"tab:{table.study}-{table.key}",
        column_format="l" + "r" * (table.display.shape[1] - 1),
        position_float="centering",
        multicol_align="c",
    )
    lines = str(text).splitlines(keepends=True)
    first, last = lines.index("\\midrule\n") + 1, lines.index("\\bottomrule\n")
    end = lines.index("\\end{table}\n")
    notes = f"\\par\\smallskip\n{{\\footnotesize {_escape(table.caption)}\\par}}\n"
    return "".join([*lines[:first], *_latex_rows(table), *lines[last:end], notes, *lines[end:]])


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
