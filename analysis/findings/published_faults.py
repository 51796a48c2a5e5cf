"""What is wrong with published tables, found by the learning curves that were published with them.

Each fault is a line with its figures: values of validation under the head of test, cells that are
not what their curve ends at, a choice that the curves deny, one run picked of several by the value
that is shown, and values no better than a constant prediction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from analysis.findings.curve_csv import Curve
from analysis.findings.published_cells import Cell, own_file
from search.record.csv_rows import read_csv_rows
from search.record.imported import main_metric, tasks

# Of a constant. Another draw of the training images moves the error of their median by 1.6 % (Part
# A; B 0.5 %; one standard deviation of a bootstrap of the annotations, which a test does again):
# rounded up, what is nearer than that to a constant is the same as far as anybody could tell.
CLOSE = 0.02


class Fault(NamedTuple):
    """A line on what is wrong, and the task whose results it is of."""

    task: str
    text: str


def of_these_curves(curves: Sequence[Curve], cells: Sequence[Cell]) -> list[Cell]:
    """Cells of the tasks of which a published value is the very end of one of the curves."""
    known = {c.task for c in cells for curve in curves if c.may_be(curve) and c.is_end_of(curve)}
    return [cell for cell in cells if cell.task in known]


def published_faults(curves: Sequence[Curve], cells: Sequence[Cell]) -> list[Fault]:
    """A line for each fault."""
    known = [c for c in cells if any(c.may_be(curve, lr=False) for curve in curves)]
    return [
        *_validation_as_test(curves, known),
        *_not_of_its_curve(curves, known),
        *_picked(curves, known),
        *_reversed(curves, known),
        *_no_better(curves, known),
    ]


def _validation_as_test(curves: Sequence[Curve], cells: Sequence[Cell]) -> list[Fault]:
    """Tables that say test, whose numbers are those of validation."""
    found = []
    said = [cell for cell in cells if cell.split == "test"]
    for table, task in dict.fromkeys((cell.table, cell.task) for cell in said):
        held = [cell for cell in said if (cell.table, cell.task) == (table, task)]
        untested = [
            curve
            for curve in curves
            if curve.watched == "val" and not any(n.startswith("test_") for n in curve.values)
        ]
        ends = [[u for u in untested if cell.may_be(u) and cell.is_end_of(u)] for cell in held]
        pairs = [(cell, same[0]) for cell, same in zip(held, ends, strict=True) if same]
        if pairs:
            cell, curve = pairs[0]
            text = (
                f"validation shown as test: {table}: {len(pairs)} of its {len(held)} values are "
                f"those of validation at the last epoch, and no test value is on file (e.g. "
                f"{cell.at}: {cell.metric} {cell.value:.{cell.digits}f} is val_{cell.metric} at "
                f"epoch {curve.epochs})"
            )
            found.append(Fault(task, text))
    return found


def _rows(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells of one training together: its metrics."""
    rows: dict[tuple[object, ...], list[Cell]] = {}
    for c in cells:
        rows.setdefault((c.label, c.task, c.epochs), []).append(c)
    return list(rows.values())


def _values(cells: Sequence[Cell], curve: Curve | None = None) -> str:
    """E.g. "mae 277.9780, rmse 433.7102": published, or at the end of a curve."""
    held = ((c, c.value if curve is None else curve.end(c.metric)) for c in cells)
    return ", ".join(f"{c.metric} {value:.{c.digits}f}" for c, value in held)


def _all_end(row: Sequence[Cell], curve: Curve) -> bool:
    return all(cell.is_end_of(curve) for cell in row)


def _not_of_its_curve(curves: Sequence[Curve], cells: Sequence[Cell]) -> list[Fault]:
    """Published rows that no curve of their settings ends at."""
    found = []
    for row in _rows(cells):
        cell = row[0]
        own = [curve for curve in curves if cell.may_be(curve)]
        true = [curve for curve in own if _all_end(row, curve)]
        if true:
            if all(curve.epochs != cell.epochs for curve in true):
                text = f"{cell.epochs} stated, its curve has {true[0].epochs} ({_values(row)})"
                found.append(Fault(cell.task, f"epochs: {cell.label}: {text}"))
            continue
        others = [c for c in curves if cell.may_be(c, lr=False) and _all_end(row, c)]
        if others:
            text = f"is the end of the curve at lr {others[0].lr:g} over {others[0].epochs} epochs"
        elif own:
            ends = "; ".join(_values(row, curve) for curve in own)
            text = f"its curve ends at {ends}"
        else:
            text = "no curve of these settings is on file"
        text = f"not its curve: {cell.label}: published {_values(row)}; {text}"
        found.append(Fault(cell.task, text))
    return found


def _picked(curves: Sequence[Curve], cells: Sequence[Cell]) -> list[Fault]:
    """Published rows of which several runs are on file, the best of them by what is shown.

    Whether it was chosen by that, curves do not say; one of several at random would be the best
    now and then.
    """
    found = []
    for row in _rows(cells):
        cell = row[0]
        runs = [c for c in curves if cell.may_be(c) and c.epochs == cell.epochs]
        shown = [c for c in runs if _all_end(row, c)]
        others = [c for c in runs if c not in shown]
        if shown and others and _best(shown[0], runs, main_metric(cell.task)):
            ends = "; ".join(_values(row, curve) for curve in others)
            text = (
                f"best of {len(runs)} runs: {cell.label}: published {_values(row)}, the best by "
                f"the {shown[0].watched} value that is shown; left out: {ends}"
            )
            found.append(Fault(cell.task, text))
    return found


def _best(curve: Curve, among: Sequence[Curve], metric: str) -> bool:
    return curve is min(among, key=lambda held: _sign(held.task, metric) * held.end(metric))


def _sign(task: str, metric: str) -> int:
    """1 where less is better."""
    return 1 if tasks()[task]["metrics"][metric]["mode"] == "min" else -1


def _reversed(curves: Sequence[Curve], cells: Sequence[Cell]) -> list[Fault]:
    """Choices of lr that published cells make and the curves of the same settings deny."""
    found = []
    groups: dict[tuple[str, str, str, str, int, int], list[Cell]] = {}
    for c in cells:
        if c.metric == main_metric(c.task):
            groups.setdefault((c.table, c.task, c.part, c.mode, c.depth, c.epochs), []).append(c)
    for held in groups.values():
        if len({cell.lr for cell in held}) < 2:
            continue
        metric = held[0].metric
        sign = _sign(held[0].task, metric)
        said = min(held, key=lambda cell: sign * cell.value)
        runs = [c for c in curves if said.may_be(c, lr=False) and c.epochs == said.epochs]
        if len({curve.lr for curve in runs}) < 2:  # nothing to choose among
            continue
        first = min(runs, key=lambda curve: sign * curve.end(metric))
        if first.lr == said.lr or math.isnan(first.end(metric)):
            continue
        digits = said.digits
        text = (
            f"choice of lr: {said.table}{f' {said.part}' * bool(said.part)}, depth {said.depth}: "
            f"published best lr {said.lr:g} ({metric} {said.value:.{digits}f}), by the curves of "
            f"{said.epochs} epochs lr {first.lr:g} ({metric} {first.end(metric):.{digits}f})"
        )
        after = _built_on(said, cells)
        text += f"; {after} was run at lr {said.lr:g}" if after else ""
        found.append(Fault(said.task, text))
    return found


def _built_on(chosen: Cell, cells: Sequence[Cell]) -> str:
    """Other tables that hold the lr that was chosen fixed, e.g. "T4 B"."""
    tables = dict.fromkeys(
        cell.table
        for cell in cells
        if cell.table != chosen.table
        and (cell.task, cell.part, cell.mode) == (chosen.task, chosen.part, chosen.mode)
        and {c.lr for c in cells if (c.table, c.part) == (cell.table, cell.part)} == {chosen.lr}
    )
    return ", ".join(f"{table}{f' {chosen.part}' * bool(chosen.part)}" for table in tables)


@cache
def known_constants() -> dict[tuple[str, str, str], dict[str, float]]:
    """Constant predictors of published data: task, part and metric -> name -> value."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    columns = ("task", "part", "constant", "metric", "value")
    for _, row in read_csv_rows(own_file("published_constants.csv"), columns):
        key = (row["task"], row["part"], row["metric"])
        found.setdefault(key, {})[row["constant"]] = float(row["value"])
    return found


def constants_of(task: str, part: str, metric: str) -> dict[str, float]:
    """Constant predictors of a metric: those known without data, and of published data."""
    chance = tasks()[task]["chance"].items()
    free = {name: float(scores[metric]) for name, scores in chance if metric in scores}
    return {**free, **known_constants().get((task, part, metric), {})}


def _no_better(curves: Sequence[Curve], cells: Sequence[Cell]) -> list[Fault]:
    """Runs, and published cells that no run ends at, that do not beat every constant."""
    found = []
    for curve in curves:
        metric = main_metric(curve.task)
        tables = [
            cell.table for cell in cells if cell.may_be(curve, lr=False) and cell.is_end_of(curve)
        ]
        said = f" (published in {', '.join(dict.fromkeys(tables))})" if tables else ""
        text = _against(curve.task, curve.part, metric, curve.end(metric))
        if text:
            text = f"no better than a constant: {curve.label}{said}: {text}"
            found.append(Fault(curve.task, text))
    for cell in cells:
        alone = not any(cell.may_be(c, lr=False) and cell.is_end_of(c) for c in curves)
        if alone and cell.metric == main_metric(cell.task):
            text = _against(cell.task, cell.part, cell.metric, cell.value)
            if text:
                text = f"no better than a constant: {cell.label}, published: {text}"
                found.append(Fault(cell.task, text))
    return found


def _against(task: str, part: str, metric: str, value: float) -> str:
    """Constants that a value does not beat, with theirs; "" where it beats all that are known."""
    sign = _sign(task, metric)
    held = {
        name: fixed
        for name, fixed in constants_of(task, part, metric).items()
        if sign * (value - fixed) >= 0 or math.isclose(value, fixed, rel_tol=CLOSE)
    }
    if not held:
        return ""
    worst = ", ".join(
        f"{name} {'(all but the same) ' * math.isclose(value, fixed, rel_tol=CLOSE)}{fixed:g}"
        for name, fixed in held.items()
    )
    return f"{metric} {value:g} against {worst}"
