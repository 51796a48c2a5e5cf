"""Runs of a csv: long or wide, a row an epoch or a run; and those that W&B exports."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from search.record.csv_rows import read_csv_rows
from search.record.foreign.runs import EITHER, Row, Run, Source, count, flat, sha256_of
from trainables.errors import UserError

LONG = {  # columns of a csv with a row a quantity: those of names, those of values
    "name": ("name", "quantity", "metric", "key", "variable"),
    "value": ("value",),
}
CHART = re.compile(r"(?P<run>.+) - (?P<metric>.+?)(?P<end>__MIN|__MAX)?")


def read_csv(source: Path) -> Source:
    """Any csv.

    Raises:
        UserError: it is none; see `read_csv_rows`.
    """
    rows = _rows(source)
    heads = list(rows[0].values)
    if len(heads) == 1 and re.search(r"[;\t|]", heads[0]):
        raise UserError(
            f"{source}, row 1: has one column, {heads[0]!r}: its fields are to be separated by "
            "commas; write it so again"
        )
    said = []
    if pair := _long(heads):
        rows = _widened(source, rows, *pair)
        said.append(f"a row a quantity: named by column {pair[0]}, its value in {pair[1]}")
    return _source("csv", source, rows, said)


def read_wandb(source: Path) -> Source:
    """A csv as W&B writes one: of its runs table, of a chart, or by its API as documented.

    The runs table has a row a run; a chart a row a step, with columns `RUN - METRIC` and the same
    with `__MIN` and `__MAX`; `runs.to_csv` of the API's documentation has columns `summary`,
    `config` and `name`, the first two Python dicts; `run.history()` a row a step.

    Raises:
        UserError: it is none of them.
    """
    rows = _rows(source)
    heads = list(rows[0].values)
    if {"summary", "config", "name"} <= set(heads):
        rows = [_unpacked(row) for row in rows]
        return _source("wandb-csv", source, rows, ["summary and config of each run unpacked"])
    charted = [head for head in heads if CHART.fullmatch(head)]
    if charted and len(charted) >= len(heads) - 2:
        return _chart(source, rows, heads)
    rows = [
        Row(row.place, {k: v for k, v in row.values.items() if k}) for row in rows
    ]  # pandas' index has no name
    return _source("wandb-csv", source, rows, [])


def _rows(source: Path) -> list[Row]:
    return [
        Row(
            f"{source}, row {number}",
            {key.strip(): value.strip() for key, value in held.items()},
        )
        for number, held in read_csv_rows(source, ())
    ]


def _source(kind: str, source: Path, rows: list[Row], said: list[str]) -> Source:
    columns = {key: EITHER for row in rows for key in row.values}
    run = Run(source.stem, str(source), rows=rows)
    return Source(kind, source.name, sha256_of([source]), columns, [run], grouped=False, said=said)


def _long(heads: list[str]) -> tuple[str, str] | None:
    lower = {head.lower(): head for head in heads}
    found = [next((lower[n] for n in names if n in lower), None) for names in LONG.values()]
    return (found[0], found[1]) if found[0] and found[1] else None


def _widened(source: Path, rows: list[Row], name: str, value: str) -> list[Row]:
    """A row for all quantities of the same other columns."""
    found: dict[tuple[str, ...], tuple[str, dict[str, Any]]] = {}
    for row in rows:
        rest = {k: v for k, v in row.values.items() if k not in (name, value)}
        quantity = row.values[name]
        if not quantity or quantity in rest:
            raise UserError(
                f"{row.place}, column {name}: {quantity!r} must name a quantity, and no column"
            )
        held = found.setdefault(tuple(rest.values()), (row.place, dict(rest)))[1]
        if quantity in held:
            raise UserError(
                f"{row.place}, column {name}: {quantity!r} stands twice for the same "
                f"{', '.join(rest)}; leave one of them, or add a column that tells them apart"
            )
        held[quantity] = row.values[value]
    return [Row(place, held) for place, held in found.values()]


def _unpacked(row: Row) -> Row:
    rest = {k: v for k, v in row.values.items() if k and k not in ("summary", "config")}
    config = {k: v for k, v in _dict(row, "config").items() if not k.startswith("_wandb")}
    summary = _dict(row, "summary")
    if both := sorted(set(config) & set(summary)):
        summary = {f"summary/{k}" if k in both else k: v for k, v in summary.items()}
    return Row(row.place, {**rest, **config, **summary})


def _dict(row: Row, column: str) -> dict[str, Any]:
    text = re.sub(r"(?<=[:\[, ])(-?)(nan|inf)(?=[,}\] ])", r"'\1\2'", row.values[column])
    try:
        held = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise UserError(
            f"{row.place}, column {column}: is no dict as Python writes it; export it again"
        ) from error
    if not isinstance(held, dict):
        raise UserError(f"{row.place}, column {column}: is no dict, but {held!r}")
    return flat({str(key): value for key, value in held.items()})


def _chart(source: Path, rows: list[Row], heads: list[str]) -> Source:
    """Runs by the heads of a chart's columns; a blank is a step that a run does not have."""
    first = [head for head in heads if not CHART.fullmatch(head)]
    steps = first[0] if first else ""
    if not steps:
        raise UserError(f"{source}, row 1: a chart has a column of steps, e.g. Step; it has none")
    found: dict[str, list[Row]] = {}
    for row in rows:
        per_run: dict[str, dict[str, Any]] = {}
        for head, value in row.values.items():
            match = CHART.fullmatch(head)
            if match and not match["end"] and value:
                per_run.setdefault(match["run"], {})[match["metric"]] = value
        for run, values in per_run.items():
            found.setdefault(run, []).append(
                Row(row.place, {"run": run, steps: row.values[steps], **values})
            )
    held = [row for rows in found.values() for row in rows]
    if not held:
        raise UserError(f"{source}: no column RUN - METRIC has a value; export the chart again")
    ends = sum(bool(m and m["end"]) for m in map(CHART.fullmatch, heads))
    said = [f"a chart of {count(found, 'run')}; {count(ends, 'column')} __MIN or __MAX left out"]
    return _source("wandb-csv", source, held, said)
