"""A table and its four forms: csv in full precision, Markdown, LaTeX and HTML as displayed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from io import StringIO

import pandas as pd
from pandas.io.formats.style import Styler

from search.record import UserError

FORMATS = ("csv", "md", "tex", "html")
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
    "∅": r"$\emptyset$",
    "∇": r"$\nabla$",
    "≈": r"$\approx$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "—": "---",
}


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
    """

    study: str
    key: str
    title: str
    caption: str
    display: pd.DataFrame
    bold: pd.DataFrame
    data: pd.DataFrame = field(repr=False)


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
        return _html(table)
    raise UserError(f"format must be one of {', '.join(FORMATS)}, not {form!r}")


def _markdown(table: Table) -> str:
    shown = table.display.mask(table.bold, "**" + table.display + "**")
    shown = shown.map(lambda text: text.replace("|", r"\|"))
    body = shown.to_markdown(index=False, disable_numparse=True)
    return f"**{table.key}. {table.title}**\n\n{body}\n\n{table.caption}\n"


def _latex(table: Table) -> str:
    escaped = table.display.rename(columns=lambda name: _escape(str(name)))
    bold = table.bold.set_axis(escaped.columns, axis=1)
    styled = _styled(escaped, bold, "textbf:--rwrap;").format(_escape)
    text = styled.to_latex(
        hrules=True,
        caption=_escape(f"{table.key}. {table.title}. {table.caption}"),
        label=f"tab:{table.study}-{table.key}",
        column_format="l" + "r" * (table.display.shape[1] - 1),
        position_float="centering",
    )
    return str(text)


def _escape(value: object) -> str:
    text = str(value)
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {sign: "\\" + sign for sign in "&%$#_{}"}
    return "".join({**special, **LATEX}.get(sign, sign) for sign in text)


def _html(table: Table) -> str:
    styled = _styled(table.display, table.bold, "font-weight: bold").format(escape="html")
    caption = f"{table.key}. {table.title}. {table.caption}"
    # only our own text goes in, but a study is named by hand
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        caption = caption.replace(sign, entity)
    styled = styled.set_caption(caption).set_uuid(_identifier(table))
    return str(styled.to_html(table_attributes='class="numbers"'))


def _identifier(table: Table) -> str:
    """A name that is unique on a page and safe in CSS."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", f"{table.study}-{table.key}")


def _styled(display: pd.DataFrame, bold: pd.DataFrame, props: str) -> Styler:
    mask = bold.map(lambda on: props if on else "")
    return display.style.hide(axis="index").apply(lambda _: mask, axis=None)
