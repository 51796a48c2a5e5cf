"""Tables as HTML: what a page or a fragment needs to know of one, and what of it is folded."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd

from analysis.display.marks import MARKS
from analysis.findings.facts import DASH

if TYPE_CHECKING:
    from analysis.display.render import Table

MOST_ROWS = 200  # of a table that stand in the page; the others are packed
SIGNS = dict(MARKS.values())
_BESIDE = re.compile(r"^(.+?) ([±@\[].*)$")
_SIGNED = re.compile(f"^(.*?)([{re.escape(''.join(SIGNS))}]+)$", re.DOTALL)
_NUMBER = re.compile(r"^[-+]?\d")
_WORD = re.compile(r"[a-z]{4}")
LONG = 40  # characters from which a column is text that may wrap
WIDE_HEAD = 14  # characters from which a head needs room of its own


@cache
def environment() -> jinja2.Environment:
    """The templates of this package; every value is escaped."""
    folder = files("analysis.display")

    def source(name: str) -> str:
        return folder.joinpath(name).read_text(encoding="utf-8")

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def fragment(table: Table) -> str:
    """A table alone, with its whole caption and all its rows, and nothing that needs a page."""
    held = model(table, identifier(f"{table.study}-{table.key}"), most=len(table.display))
    return str(environment().get_template("fragment.html").render(table=held))


def identifier(text: str) -> str:
    """A name that is safe in an id, a CSS selector and an address."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)


def trial_id(study: str, trial: str) -> str:
    """Where a trial's row stands; `study` is the id of its study's section."""
    return f"{study}-t-{identifier(trial)}"


def cell_id(study: str, cell: int) -> str:
    """Where a cell's section stands."""
    return f"{study}-cell-{cell}"


def model(
    table: Table, name: str, study: str = "", cells: int = 0, most: int = MOST_ROWS
) -> dict[str, Any]:
    """What the template of a table needs.

    Args:
        table: the table.
        name: id of its section.
        study: id of its study's section; "" for a table that links nowhere.
        cells: how many cells have a section to link to.
        most: rows in the page. Of each cell at least one, and the first ones, stay; the others
            are packed, in order, for a script to unpack.

    Returns:
        id, key, title, short, caption, upper (head, columns), columns (head, look: its class,
        signs: most in an entry, number), rows (id,
        trial, cell, kind, cells), packed (gzip and base64 of the other rows as JSON; "" for
        none), count, simple (one head a column and rows of one kind: can be sorted), lower (head
        of each column), edges (whether a column begins another upper head), same (head, text) of
        columns that say one thing in every row, which a page says once.
    """
    refs, begins = _references(table), table.new_kinds()
    same = _same(table, [cell is not None for cell, _ in refs]) if study else {}
    table = table.without(same)
    columns = _columns(table.display)
    kept = _kept([cell for cell, _ in refs], most)
    rows = [
        _row(table, n, columns, refs[n], study, cells, begins)
        for n in range(len(table.display))
        if kept[n]
    ]
    heads = list(enumerate(table.heads or [("", name) for name in table.display]))
    rest = [n for n in range(len(table.display)) if not kept[n]]
    return {
        "id": name,
        "key": table.key,
        "title": table.title,
        "short": table.short,
        "caption": table.caption,
        "upper": _upper(table),
        "columns": columns,
        "rows": rows,
        "packed": _pack(table, rest, refs) if rest else "",
        "count": len(table.display),
        "simple": not table.heads and not table.kinds,
        "lower": [low for _, low in table.heads] or [column["head"] for column in columns],
        "same": list(same.items()),
        "edges": [
            bool(at and table.heads) and up != table.heads[at - 1][0] for at, (up, _) in heads
        ],
    }


def _same(table: Table, own: Sequence[bool]) -> dict[str, str]:
    """Head and text of columns that tell no row from another; results always have their column.

    Args:
        table: one of single heads.
        own: which rows are of a cell; the others may have nothing in such a column.
    """
    if table.heads or table.kinds or sum(own) < 2:
        return {}
    found, count = {}, len(table.display.columns)
    for at in range(1, count):
        texts = list(table.display.iloc[:, at])
        held = {text for text, is_own in zip(texts, own, strict=True) if is_own}
        rest = {text for text, is_own in zip(texts, own, strict=True) if not is_own}
        text = next(iter(held))
        if len(held) == 1 and rest <= {DASH} and len(text) <= LONG and "(" not in text:
            found[str(table.display.columns[at])] = "none" if text == DASH else text
    return found


def _upper(table: Table) -> list[tuple[str, int]]:
    groups = itertools.groupby(up for up, _ in table.heads)
    return [(up, len(list(held))) for up, held in groups]


def _columns(display: pd.DataFrame) -> list[dict[str, Any]]:
    """Head and looks of each column: numbers to the right, and room for their marks."""
    found = []
    for at, name in enumerate(display):
        texts = [text for text in display.iloc[:, at] if text != DASH]
        plain = [split_signs(text) for text in texts]
        numeric = name != "trial" and 2 * sum(map(_numeric, plain)) > len(plain)
        wide = max((len(text) for text in texts), default=0) > LONG
        signs = max((len(signs) for _, signs in plain), default=0)
        look = "num" if numeric else "words" if wide else ""
        look += " far" if len(str(name)) > WIDE_HEAD else ""
        held = {"head": str(name), "look": look.strip(), "signs": signs if numeric else 0}
        found.append({**held, "number": numeric})
    return found


def _numeric(held: tuple[str, str]) -> bool:
    return bool(_NUMBER.match(held[0])) and not _WORD.search(held[0])


def split_signs(text: str) -> tuple[str, str]:
    """A string, and the marks at its end."""
    found = _SIGNED.match(text)
    return (found[1].rstrip(), found[2]) if found else (text, "")


def _parts(text: str) -> tuple[str, str]:
    """A number, and its spread or epoch, which may stand under it where a table is wide."""
    found = _BESIDE.match(text)
    return (found[1], found[2]) if found else (text, "")


def _references(table: Table) -> list[tuple[int | None, str]]:
    """Cell and trial of each row, where the whole row is of one."""
    data, count = table.data, len(table.display)
    if "cell" not in data or table.heads or table.kinds:
        return [(None, "")] * count
    cells: Sequence[Any] = list(data["cell"])
    if len(data) != count:  # a row a cell, then constants, of data with a row a metric
        cells = [cell for cell in dict.fromkeys(cells) if not pd.isna(cell)]
        cells += [None] * (count - len(cells))
    trials = list(data["trial"]) if "trial" in data and len(data) == count else [""] * count
    if len(cells) != count:
        return [(None, "")] * count
    return [
        (None if cell is None or pd.isna(cell) else int(cell), str(trial))
        for cell, trial in zip(cells, trials, strict=True)
    ]


def _kept(cells: Sequence[int | None], most: int) -> list[bool]:
    """Which rows stay in the page: all, or as many of each cell as fit, at least one."""
    if len(cells) <= most:
        return [True] * len(cells)
    share = max(1, most // max(len(set(cells)), 1))
    seen: dict[int | None, int] = {}
    kept: list[bool] = []
    for cell in cells:
        seen[cell] = seen.get(cell, 0) + 1
        kept.append(seen[cell] <= share and sum(kept) < most)
    return kept


def _row(
    table: Table,
    at: int,
    columns: Sequence[Mapping[str, Any]],
    ref: tuple[int | None, str],
    study: str,
    cells: int,
    begins: Sequence[int],
) -> dict[str, Any]:
    cell, trial = ref
    texts, bold = table.strings
    entries = []
    for place, text in enumerate(texts[at]):
        of = table.cells.get((at, place), cell)
        # of a trial's own row only the first entry: the way to its cell
        linked = place == 0 if trial else columns[place]["number"] or place == 0
        shown, signs = split_signs(text) if columns[place]["signs"] else (text, "")
        entries.append(
            {
                "text": shown,
                "parts": _parts(shown),
                "signs": [(sign, SIGNS[sign]) for sign in signs],
                "bold": bool(bold[at][place]),
                "href": f"#{cell_id(study, of)}"
                if study and linked and of is not None and of < cells and text != DASH
                else "",
                "cell": of,
            }
        )
    kind = table.kinds[at] if table.kinds else "ours"
    name = trial_id(study, trial) if study and trial and table.key == "configs" else ""
    own = cell if study and not table.kinds else None
    return {
        "id": name,
        "trial": trial,
        "cell": own,
        "kind": kind,
        "begins": at in begins,
        "cells": entries,
    }


def _pack(table: Table, rows: Sequence[int], refs: Sequence[tuple[int | None, str]]) -> str:
    """Rows as [cell, trial, strings ...], as JSON, gzip and base64; equal rows, equal text."""
    strings = table.display.to_numpy().tolist()
    held = [[*refs[n], *strings[n]] for n in rows]
    text = json.dumps(held, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode("ascii")
