"""Several records in one table: what moved between two, and the cells of all side by side."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.display.frames import ends, long_frame, text
from analysis.display.ledger import ledger_words
from analysis.display.marks import legend
from analysis.display.origins import origin
from analysis.display.render import Table
from analysis.findings.cells import CellValue, cell_values
from analysis.findings.differences import cell_keys, changes
from analysis.findings.facts import DASH, beside, digits, fixed_point, metric_name
from analysis.findings.several import diff, joined, parted
from analysis.findings.stats import Interval
from search.record import Record
from search.record.naming import setting

NOT_ON_RECORD = "not on record"  # of a setting that came after a study was run


def diff_table(one: Record, other: Record) -> Table:
    """The cells of two records, a row a cell and metric; its caption says what the two differ in.

    Raises:
        UserError: see analysis.findings.several.diff.
    """
    data, keys = diff(one, other), cell_keys([one, other])
    values = [{(v.cell, v.metric): v for v in cell_values(record)} for record in (one, other)]
    rows = []
    for row in data.to_dict("records"):
        held = {str(name): value for name, value in row.items()}
        told = {key: held.get(key, held.get(f"setting_{key}")) for key in keys}
        there = {k: v for k, v in told.items() if v is not None and v == v}  # NaN in a frame
        at = {key: _said(there, key) for key in keys}
        own = _moved(one, held, values)
        rows.append(beside(at, own) | own)
    display = pd.DataFrame(rows)
    bold = pd.DataFrame(False, index=display.index, columns=display.columns)
    bold["verdict"] = data["verdict"].isin(["better", "worse"]).to_numpy()
    caption = " ".join([*_told_of(one, other), *_differences(one, other)])
    names = f"{one.study['name']} and {other.study['name']}"
    title = f"From {one.run} to {other.run}: what moved"
    return Table(names, "diff", title, caption, display, bold, data, short=_short(data))


Values = dict[tuple[int, str], CellValue]  # by cell and metric


def _moved(record: Record, row: dict[str, Any], values: Sequence[Values]) -> dict[str, str]:
    places = digits(record.study, row["metric"])
    shown = {}
    for which, held_by in zip(("first", "second"), values, strict=True):
        cell = row[f"cell_{which}"]
        shown[which] = DASH if pd.isna(cell) else text(held_by[cell, row["metric"]])
    name = f"{row['split']} {metric_name(record.study, row['metric'])}"
    held = Interval(row["lo"], row["hi"], "both")
    why = f": {row['why']}" if row["why"] else ""
    return {
        "metric": name,
        **shown,
        "change": fixed_point(row["change"], places),
        "95 % of the change": ends(held, places),
        "verdict": f"{row['verdict']}{why}",
        "may be due to": _causes(row) or DASH,
    }


def _causes(row: dict[str, Any]) -> str:
    """What a change may be due to; of what was chosen, both values."""
    kinds = [kind for kind in row["differs"].split(", ") if kind]
    chosen = f"chosen ({row['chosen']})" if row["chosen"] else "chosen"
    return ", ".join(chosen if kind == "chosen" else kind for kind in kinds)


def _short(data: pd.DataFrame) -> str:
    counts = data["verdict"].value_counts()
    return "; ".join(f"{n} {verdict}" for verdict, n in counts.items())


def _told_of(one: Record, other: Record) -> list[str]:
    damaged = [note for record in (one, other) for note in _damage(record)]
    return [
        *damaged,
        "First and second: as the tables of each have them, with their marks; what keeps a cell "
        "from being compared there does so here. The interval is over seeds and, where "
        "results of each image are on record, over test images; all cells of a metric are decided "
        "together (Holm). Better and worse are the second's.",
        *(
            f"{name}: {said}."
            for name, r in (("First", one), ("Second", other))
            if (said := "; ".join(f"{sign} {what}" for sign, what in legend(cell_values(r))))
        ),
        f"First: {origin(one)} Second: {origin(other)}",
    ]


def _damage(record: Record) -> list[str]:
    return [f"DAMAGED RECORD {record.run}: {note}." for note in record.notes]


def _differences(one: Record, other: Record) -> list[str]:
    held = changes(one, other)
    if held.empty:
        return ["The studies differ in nothing that is on record."]
    said = []
    for kind, rows in held.groupby("kind", sort=False):
        facts = (
            f"{row.key} {_fact(row.first)} -> {_fact(row.second)}" for row in rows.itertuples()
        )
        said.append(f"{kind}: {'; '.join(facts)}")
    return [f"They differ in {'. '.join(said)}."]


def _fact(value: Any) -> str:
    if not isinstance(value, str):
        return NOT_ON_RECORD
    try:
        held = json.loads(value)
    except ValueError:
        held = value
    if isinstance(held, dict):
        return " ".join(f"{key}={_fact(json.dumps(v))}" for key, v in held.items())
    said = str(held)
    return f"{said[:10]}..." if len(said) > 30 and " " not in said else said


def _said(settings: Mapping[str, Any], key: str) -> str:
    return setting(key, settings[key]) if key in settings else NOT_ON_RECORD


def join_table(records: Sequence[Record]) -> Table:
    """The cells of several studies, a row each, ranked where they can be compared.

    Raises:
        UserError: see analysis.findings.several.joined.
    """
    found, keys = joined(records), cell_keys(records)
    names = _names(records)
    varied = [key for key in _varied(found) if key not in keys]
    rows, bold = [], []
    for _, group in itertools.groupby(found, key=lambda held: (held[0].run, held[1].cell)):
        cell = list(group)
        record, first, settings = cell[0]
        at = {key: _said(settings, key) for key in (*keys, *varied)}
        own = {"study": names[record.run]}
        values = {_head(record, v): text(v) for _, v, _ in cell}
        main = next((v for _, v, _ in cell if v.metric == record.study["metric"]), first)
        shown = {**values, "epochs": f"{first.epochs}/{first.budget}", "standing": main.standing}
        rows.append(own | beside(at, {**own, **shown}) | shown)
        heads = {_head(record, v): v.bold for _, v, _ in cell}
        bold.append({name: heads.get(name, False) for name in rows[-1]})
    display = pd.DataFrame(rows).fillna(DASH)
    marked = pd.DataFrame(bold, columns=display.columns).fillna(False).astype(bool)
    data = pd.concat([_long(record, found) for record in records], ignore_index=True)
    ledger = [f"{names[r.run]}: {text}" for r in records for text in ledger_words(r, records)[:1]]
    caption = [*_joined_notes(records, found), *ledger, *(origin(r) for r in records)]
    title = f"Cells of {', '.join(names.values())}"
    return Table("-".join(names.values()), "join", title, " ".join(caption), display, marked, data)


def _names(records: Sequence[Record]) -> dict[Path, str]:
    """What each run is called: its study, or its folder where two are of one name."""
    held = [record.study["name"] for record in records]
    return {
        record.run: name if held.count(name) == 1 else str(record.run)
        for record, name in zip(records, held, strict=True)
    }


Found = tuple[Record, CellValue, dict[str, Any]]


def _long(record: Record, found: Sequence[Found]) -> pd.DataFrame:
    values = [value for held, value, _ in found if held is record]
    return long_frame(record, values, {}).assign(run=str(record.run))


def _head(record: Record, value: CellValue) -> str:
    return f"{value.split} {metric_name(record.study, value.metric)}"


def _varied(found: Sequence[Found]) -> list[str]:
    """Settings that do not hold in every cell that has them on record."""
    held: dict[str, set[str]] = {}
    for _, _, at in found:
        for key, value in at.items():
            held.setdefault(key, set()).add(repr(value))
    return [key for key, values in held.items() if len(values) > 1]


def _lacking(records: Sequence[Record], found: Sequence[Found]) -> list[str]:
    """Settings that some records lack and the others agree on, a sentence a record."""
    shown = {*cell_keys(records), *_varied(found)}
    every = {key: at[key] for _, _, at in found for key in at if key not in shown}
    names, told = _names(records), []
    for record in records:
        at = next((at for held, _, at in found if held is record), {})
        if lacks := [f"{key} ({setting(key, every[key])})" for key in every if key not in at]:
            told.append(
                f"{NOT_ON_RECORD.capitalize()} in {names[record.run]}, so not known of it; the "
                f"others have {', '.join(lacks)}."
            )
    return told


STANDINGS = {  # what a word of that column means, where it does not say so itself
    "among the best": "not told apart from the best",
    "alone": "nothing else can be compared with it",
    "out": "kept out of the ranking, by its marks",
}


def _joined_notes(records: Sequence[Record], found: Sequence[Found]) -> list[str]:
    notes = [note for record in records for note in _damage(record)]
    metric, names = records[0].study["metric"], _names(records)
    for one in records:  # cells of two may have one name
        marks = legend([value for record, value, _ in found if record is one])
        said = "; ".join(f"{sign} {what}" for sign, what in marks)
        notes += [f"{names[one.run]}: {said}."] * bool(marks)
    groups: dict[tuple[Path, str], CellValue] = {}
    for record, value, _ in found:
        if value.metric == metric:
            groups.setdefault((record.run, value.images), value)
    told = dict[str, None]()
    for ((run, _), value), ((second, _), other) in itertools.combinations(groups.items(), 2):
        if run != second and (why := parted(value, other)):
            pair = f"{names[run]} and {names[second]}"
            told[f"Cells of {pair} are not compared where they differ in {', '.join(why)}."] = None
    there = {value.standing for _, value, _ in found if value.metric == metric}
    words = [f"{word}: {said}" for word, said in STANDINGS.items() if word in there]
    notes += [f"Standing, {'; '.join(words)}."] * bool(words)
    return [*notes, *told, *_lacking(records, found)]
