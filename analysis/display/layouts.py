"""How T1 to T4 are arranged: as in the course report, its own numbers in rows of their own.

Where a task's tables are split (a crowd's parts), rows are the table's own parameter and the heads
have two levels, Part A | Part B over the metrics. Where they are not, the parameter goes across
and the metrics down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.display import words
from analysis.display.frames import baselines_by_side, bold_cells, text
from analysis.display.render import RowKind
from analysis.findings.cells import CellValue
from analysis.findings.facts import DASH, digits, direction, fixed_point, metric_name, side_of
from search.record import Record, naming

Values = Mapping[tuple[int, str], CellValue]  # by cell and metric
Old = Mapping[tuple[int, str], float]


@dataclass
class Sheet:
    """Strings of a table as they come together, and which cell stands where.

    Attributes:
        heads: flat name of a column -> its upper and lower head.
        rows: strings by flat name of their column.
        kinds: what each row holds.
        cells: (row, column) by place -> number of a cell.
        bold: (row, column) by place.
    """

    heads: dict[str, tuple[str, str]]
    rows: list[dict[str, str]] = field(default_factory=list)
    kinds: list[RowKind] = field(default_factory=list)
    cells: dict[tuple[int, int], int] = field(default_factory=dict)
    bold: set[tuple[int, int]] = field(default_factory=set)

    def add(self, kind: RowKind, row: Mapping[str, str]) -> int:
        """Its place."""
        self.rows.append(dict(row))
        self.kinds.append(kind)
        return len(self.rows) - 1

    def put(self, row: int, name: str, text: str, cell: int, bold: bool = False) -> None:
        """A string of a cell."""
        place = row, list(self.heads).index(name)
        self.rows[row][name] = text
        self.cells[place] = cell
        if bold:
            self.bold.add(place)

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Strings, dashes where there is none, and the bold mask."""
        columns = list(self.heads)
        shown = pd.DataFrame(self.rows, columns=columns).fillna(DASH)
        mask = [[(row, at) in self.bold for at in range(len(columns))] for row in shown.index]
        return shown, pd.DataFrame(mask, columns=columns)

    def two_levels(self) -> tuple[tuple[str, str], ...]:
        """Heads of two levels; () where the upper one says nothing."""
        return tuple(self.heads.values()) if any(up for up, _ in self.heads.values()) else ()


def predictors(record: Record) -> dict[str, dict[str, dict[str, float]]]:
    """Name of a constant predictor -> side -> metric -> value on test."""
    about = record.study["about"]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in about["constants"]:
        found[_constant(about, name)] = {}  # a row also while nothing has been scored
    for side, held in baselines_by_side(record).items():
        for name, scores in held.items():
            found.setdefault(_constant(about, name), {})[side] = scores
    return found or {name: {"": scores} for name, scores in about["chance"].items()}


def _constant(about: Mapping[str, Any], name: str) -> str:
    """A constant predictor as a row's label."""
    return name if name in about["chance"] else f"predict {name}"


def arrange(record: Record, key: str, values: Values, published: Old) -> Sheet:
    """The rows of a table, cell by cell, then what was published, then the constant predictors."""
    return (_by_side if record.study["about"]["side"] else _across)(record, key, values, published)


# ---- the parameter across, the metrics down


def _across(record: Record, key: str, values: Values, published: Old) -> Sheet:
    study, table = record.study, record.study["about"]["tables"][key]
    cells = list(dict.fromkeys(cell for cell, _ in values))
    stub, columns = _columns(study, table, cells)
    sheet = Sheet({stub: ("", stub), **dict(columns.values())})
    best = bold_cells(values.values())
    for metric in study["metrics"]:
        row = sheet.add("ours", {stub: head(study, metric)})
        for cell, (name, _) in columns.items():
            bold = (cell, metric) in best
            sheet.put(row, name, text(values[cell, metric]), cell, bold)
    for searched in study["space_keys"]:
        row = sheet.add("setting", {stub: f"{searched} (chosen)"})
        for cell, (name, _) in columns.items():
            chosen = values[cell, study["metric"]].config.get(searched)
            sheet.put(row, name, DASH if chosen is None else naming.number(chosen), cell)
    for metric in study["metrics"] if published else ():
        title = metric_name(study, metric)
        row = sheet.add("published", {stub: f"Published {table['split']}{title}"})
        for cell, (name, _) in columns.items():
            if (old := published.get((cell, metric))) is not None:
                sheet.put(row, name, f"{old:.4f}", cell)
    on = _on_test(study)
    for predictor, sides in predictors(record).items():
        for metric in [m for m in study["metrics"] if m in sides.get("", {})]:
            level = fixed_point(sides[""][metric], digits(study, metric))
            label = f"{predictor.capitalize()}: {metric_name(study, metric)}{on}"
            sheet.add("constant", {stub: label, **{name: level for name, _ in columns.values()}})
    return sheet


def _columns(
    study: Mapping[str, Any], table: Mapping[str, Any], cells: list[int]
) -> tuple[str, dict[int, tuple[str, tuple[str, str]]]]:
    """Head of the first column, and of each cell its column's flat name and two heads."""
    given = {cell: _labels(table, study["cells"][cell]) for cell in cells}
    others = {n for at in given.values() for n in at if n != table["first"]}
    names = list(dict.fromkeys(name for at in given.values() for name in at))
    stub = table["first"] if table["first"] in names else names[0] if len(names) == 1 else ""
    found: dict[int, tuple[str, tuple[str, str]]] = {}
    for cell, at in given.items():
        upper = naming.cell_label({k: v for k, v in at.items() if k in others and k != stub})
        upper = upper if others - {stub} else ""
        # without a parameter that varies, the one that the table is by, as it is set
        level = at.get(stub, study["settings"].get(table["first"], "all"))
        lower = naming.setting(stub, level)
        found[cell] = f"{upper}, {stub} {lower}" if upper else lower, (upper, lower)
    if len({name for name, _ in found.values()}) < len(found):  # alike to three digits
        found = {cell: (repr(given[cell]), ("", repr(given[cell]))) for cell in given}
    order = list(dict.fromkeys(upper for _, (upper, _) in found.values()))
    by_upper = sorted(found.items(), key=lambda item: order.index(item[1][1][0]))
    return _heading(stub or table["first"]), dict(by_upper)


# ---- parts beside each other, the parameter down


def _by_side(record: Record, key: str, values: Values, published: Old) -> Sheet:
    study, table = record.study, record.study["about"]["tables"][key]
    cells = list(dict.fromkeys(cell for cell, _ in values))
    labels = {cell: _labels(table, study["cells"][cell]) for cell in cells}
    stubs = list(dict.fromkeys(name for at in labels.values() for name in at))
    sheet = Sheet({_heading(n): ("", _heading(n)) for n in stubs or [table["first"]]})
    sheet.heads |= _side_heads(study, cells)
    best = bold_cells(values.values())
    places = _by_place(labels)
    for shared, label in places:
        row = sheet.add("ours", label)
        for cell in shared:
            up = side_head(study, study["cells"][cell])
            for metric in study["metrics"]:
                name, bold = f"{up} {head(study, metric)}".strip(), (cell, metric) in best
                sheet.put(row, name, text(values[cell, metric]), cell, bold)
            for searched in study["space_keys"]:
                chosen = values[cell, study["metric"]].config.get(searched)
                shown = DASH if chosen is None else naming.number(chosen)
                sheet.put(row, f"{up} {searched}".strip(), shown, cell)
    _published_rows(sheet, study, table, places, published)
    _constant_rows(sheet, record, cells)
    return sheet


def _side_heads(study: Mapping[str, Any], cells: list[int]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for up in dict.fromkeys(side_head(study, study["cells"][cell]) for cell in cells):
        lower = [head(study, metric) for metric in study["metrics"]]
        found |= {f"{up} {low}".strip(): (up, low) for low in [*lower, *study["space_keys"]]}
    return found


def _by_place(labels: Mapping[int, Mapping[str, Any]]) -> list[tuple[list[int], dict[str, str]]]:
    """The cells of each row, and its labels."""
    found: dict[tuple[Any, ...], tuple[list[int], dict[str, str]]] = {}
    for cell, at in labels.items():
        shown = {_heading(name): naming.setting(name, value) for name, value in at.items()}
        found.setdefault(tuple(at.values()), ([], shown))[0].append(cell)
    return list(found.values())


def _published_rows(
    sheet: Sheet,
    study: Mapping[str, Any],
    table: Mapping[str, Any],
    places: list[tuple[list[int], dict[str, str]]],
    published: Old,
) -> None:
    first = next(iter(sheet.heads))
    # a parameter of ours that the report did not vary says nothing of its numbers
    own = {_heading(name) for name in (table["first"], *table["match"], *table["has"])}
    rows = dict[tuple[tuple[str, str], ...], int]()
    for cells, label in places:
        label = {name: said for name, said in label.items() if name in own}
        if not any((cell, metric) in published for cell in cells for metric in study["metrics"]):
            continue
        named = f"{label.get(first, '')} published {table['split']}".strip()
        known = tuple(label.items())
        if known not in rows:
            rows[known] = sheet.add("published", {**label, first: named})
        row = rows[known]
        for cell in cells:
            up = side_head(study, study["cells"][cell])
            for metric in study["metrics"]:
                if (old := published.get((cell, metric))) is not None:
                    name = f"{up} {head(study, metric)}".strip()
                    sheet.put(row, name, f"{old:.4f}", cell)


def _constant_rows(sheet: Sheet, record: Record, cells: list[int]) -> None:
    study, first = record.study, next(iter(sheet.heads))
    for predictor, sides in predictors(record).items():
        row = {first: f"{predictor}{_on_test(study)}"}
        for cell in cells:
            at = study["cells"][cell]
            scores, up = sides.get(side_of(study, at), {}), side_head(study, at)
            for metric in [m for m in study["metrics"] if m in scores]:
                name = f"{up} {head(study, metric)}".strip()
                row[name] = fixed_point(scores[metric], digits(study, metric))
        sheet.add("constant", row)


# ---- heads


def _labels(table: Mapping[str, Any], at: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a table's cells apart: its own parameter first, then what else varies."""
    first = table["first"]
    names = [first] if first in at else []
    names += [name for name in at if name not in table["implied"] and name != first]
    return {name: at[name] for name in names}


def _heading(name: str) -> str:
    return name if name == "lr" else name.capitalize()


def side_head(study: Mapping[str, Any], at: Mapping[str, Any]) -> str:
    """E.g. "Part A"; "" where tables are not split."""
    value = side_of(study, at)
    return f"{study['about']['side'].capitalize()} {value}" if value else ""


def head(study: Mapping[str, Any], metric: str) -> str:
    """E.g. "Test loss ↓" or "MSE (root) ↓"; of tables with sides, test is not said."""
    name = f"{metric_name(study, metric)} {words.arrow(direction(study, metric))}"
    if study["about"]["side"] and study["shown_split"] == "test":
        return name
    return f"{study['shown_split'].capitalize()} {name}"


def _on_test(study: Mapping[str, Any]) -> str:
    return "" if study["shown_split"] == "test" else " (on test)"
