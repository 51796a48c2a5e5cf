"""Cells of several records beside one another: what changed between two, what may share a table.

Cells are the same where every setting that is a cell's in any of the records is equal, whether the
record has it as a cell's or for the whole study. Two values are held against each other where they
are of one task, metric and split, and of the same test images by name and true value (where
results of each image are not on record: by what the records say of their data).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from analysis.findings.cells import CellValue, cell_values
from analysis.findings.differences import ASIDE, KINDS, cell_keys, changes
from analysis.findings.facts import DASH, beside, settings_of
from analysis.findings.image_sets import image_sets
from analysis.findings.standing import lead, with_standing
from analysis.findings.stats import equal, told_apart
from analysis.findings.verdict import ALLOWED, MARKS, change_of, out_words
from search.record import Record, UserError
from search.record.naming import setting
from search.record.once import once

VERDICTS = (
    *("same numbers", "better", "worse", "not told apart", "not known"),
    *("only in the first", "only in the second", "cannot be compared"),
)


def diff(one: Record, other: Record) -> pd.DataFrame:
    """Which cells moved from one record to another, and what the two differ in there.

    The intervals are those of a table's leads (seeds and test images, analysis.findings.standing),
    and all cells of a metric are decided together (Holm): of two records that differ in nothing
    but chance, in no more than 5 % would any cell be said to have moved in a given metric.

    Args:
        one: a record.
        other: of the same task, e.g. run again after something was changed.

    Returns:
        A row a cell and metric: the cells' settings, metric, split, first and second (means over
        seeds, n_first and n_second of them), change (second less first), lo and hi (its interval,
        at level), verdict (see VERDICTS; better and worse are the second's), why (it cannot be
        compared), chosen (the searched parameters that differ, with both values, in words),
        differs (kinds of `changes`, and of the cell itself, that it may be due to), and the
        cells' numbers cell_first and cell_second with their marks, marks_first and marks_second.

    Raises:
        UserError: they are of different tasks.
    """
    _require_one_task([one, other])
    keys, general = cell_keys([one, other]), set(changes(one, other)["kind"])
    held, now = _by_cell(one, keys), _by_cell(other, keys)
    metrics = [m for m in one.study["metrics"] if m in other.study["metrics"]]
    places = [place for place in dict.fromkeys([*held, *now]) if place[1] in metrics]
    pairs = [(held.get(place), now.get(place)) for place in places]
    sets = [_test_images(one), _test_images(other)]
    whys = [_apart(first, second, sets, [one, other]) for first, second in pairs]
    leads = decided([p if not why else (None, None) for p, why in zip(pairs, whys, strict=True)])
    rows = []
    for (at, metric), pair, why, found in zip(places, pairs, whys, leads, strict=True):
        own = {"metric": metric, **_row(*pair, why, found, general)}
        rows.append({**beside(dict(zip(keys, map(json.loads, at), strict=True)), own), **own})
    numbers = {f"cell_{name}": "Int64" for name in ("first", "second") if rows}
    return pd.DataFrame(rows).astype(numbers)


Pair = tuple[CellValue | None, CellValue | None]


def _by_cell(record: Record, keys: Sequence[str]) -> dict[tuple[tuple[str, ...], str], CellValue]:
    """(settings as JSON, metric) -> value."""
    found = {}
    for value in cell_values(record):
        settings = settings_of(record.study, value.given)
        at = tuple(json.dumps(settings.get(key)) for key in keys)
        found[at, value.metric] = value
    return found


def _apart(
    first: CellValue | None,
    second: CellValue | None,
    sets: Sequence[Mapping[int, str]],
    records: Sequence[Record],
) -> str:
    """Why two values cannot be held against each other; "" where they can, or one is not there.

    What keeps a value from being compared within its study (a mark, no value) does so here too;
    that two are the same numbers is no comparison, and said whatever their marks.
    """
    if first is None or second is None:
        return ""
    allowed = MARKS if _same(first, second) else ALLOWED
    outs = {"the first": out_words(first, allowed), "the second": out_words(second, allowed)}
    if any(outs.values()):
        return "; ".join(f"{name}: {why}" for name, why in outs.items() if why)
    if first.split != second.split:
        return f"split {first.split} against {second.split}"
    held, now = sets[0].get(first.cell), sets[1].get(second.cell)
    if first.split == "test" and held is not None and now is not None:
        return "" if held == now else "they were scored on different test images"
    one, two = (_data(r, v) for r, v in zip(records, (first, second), strict=True))
    return "" if one == two else f"data: {one or 'not said'} against {two or 'not said'}"


def _data(record: Record, value: CellValue) -> str:
    """What a record says of the images that a value is of."""
    told = [{k: v for k, v in data.items() if k not in ASIDE} for data in record.study["data"]]
    return f"{value.data} {json.dumps(told, sort_keys=True)}".strip()


@once
def _test_images(record: Record) -> dict[int, str]:
    """Cell -> digest of the test images that all trials of its values were scored on."""
    sets, found = image_sets(record), dict[int, str]()
    for value in cell_values(record):
        digests = {sets[trial][0] for trial in value.trials if trial in sets}
        if len(digests) == 1:
            found[value.cell] = digests.pop()
    return found


def decided(pairs: Sequence[Pair]) -> list[tuple[Any, float] | None]:
    """The lead of the second over the first and its level; None of a pair that has none."""
    found: list[tuple[Any, float] | None] = [None] * len(pairs)
    by_metric: dict[str, list[int]] = {}
    for place, (first, second) in enumerate(pairs):
        if first is not None and second is not None:
            by_metric.setdefault(first.metric, []).append(place)
    for places in by_metric.values():
        tests: list[Callable[[float], bool]] = []
        for place in places:
            first, second = pairs[place]
            assert first is not None and second is not None
            tests.append(partial(_moved, first, second))
        for place, (_, level) in zip(places, told_apart(tests), strict=True):
            first, second = pairs[place]
            assert first is not None and second is not None
            found[place] = (lead(second, first, level), level)
    return found


def _moved(first: CellValue, second: CellValue, level: float) -> bool:
    return lead(second, first, level).says in ("better", "worse")


def _row(
    first: CellValue | None,
    second: CellValue | None,
    why: str,
    found: tuple[Any, float] | None,
    general: set[str],
) -> dict[str, Any]:
    held = {"first": first, "second": second}
    row: dict[str, Any] = {"split": next(v.split for v in held.values() if v)}
    for name, value in held.items():
        row |= {name: value.mean if value else math.nan, f"n_{name}": value.n if value else 0}
        row |= {f"cell_{name}": value.cell if value else pd.NA}
        row |= {f"marks_{name}": " | ".join(value.marks) if value else ""}
    row |= {"change": row["second"] - row["first"], "lo": math.nan, "hi": math.nan}
    row |= {"level": math.nan, "verdict": "cannot be compared", "why": why}
    if first is None or second is None:
        row["verdict"] = "only in the second" if first is None else "only in the first"
        return row | {"chosen": "", "differs": ""}
    kinds = general | _own_kinds(first, second)
    row["chosen"] = _chosen(first.config, second.config)
    row["differs"] = ", ".join(kind for kind in KINDS if kind in kinds)
    if found is None:
        return row
    ahead, level = found
    low, high, says = change_of(ahead, first.mode)
    return row | {
        "lo": low,
        "hi": high,
        "level": level,
        "verdict": "same numbers" if _same(first, second) else says,
    }


def _same(first: CellValue, second: CellValue) -> bool:
    """Whether two values are of the same numbers, in whatever order of seeds."""
    return (
        first.status == second.status
        and len(first.values) == len(second.values)
        and all(
            equal(a, b) for a, b in zip(sorted(first.values), sorted(second.values), strict=True)
        )
    )


def _chosen(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    shown = [
        (name, *(setting(name, c[name]) if name in c else DASH for c in (first, second)))
        for name in names
    ]
    return ", ".join(f"{name} {was} -> {now}" for name, was, now in shown)


def _own_kinds(first: CellValue, second: CellValue) -> set[str]:
    """Kinds that differ in a cell itself."""
    differing = {
        "chosen": first.config != second.config,
        "seeds": first.seeds != second.seeds,
        "budget": first.budget != second.budget,
        "settings": first.rule != second.rule,
    }
    return {kind for kind, differs in differing.items() if differs}


def joined(records: Sequence[Record]) -> list[tuple[Record, CellValue, dict[str, Any]]]:
    """The cells of several studies with their standing among all that can be compared.

    Cells can be where they would be within one study (split, rule, budget) and are of the same
    test images; each of the others is ranked among its own.

    Args:
        records: of one task.

    Returns:
        Record, value and all settings of the cell, in the order of the records. The value's `cell`
        is a number of its own here, `images` what it was ranked within.

    Raises:
        UserError: they are of different tasks, or two are of the same run.
    """
    _require_one_task(records)
    if len({record.digest for record in records}) < len(records):
        raise UserError("the same record is given twice; name each study once")
    found, values, numbers = [], list[CellValue](), dict[tuple[str, int], int]()
    for record, value in _each(records):
        known = _test_images(record).get(value.cell) if value.split == "test" else None
        images = known or _data(record, value)
        group = GROUP.join((value.split, value.rule, str(value.budget), images))
        number = numbers.setdefault((record.digest, value.cell), len(numbers))
        values.append(replace(_unranked(value), cell=number, images=group))
        found.append((record, settings_of(record.study, value.given)))
    ranked = with_standing(values)
    return [(record, v, at) for (record, at), v in zip(found, ranked, strict=True)]


DIGEST = re.compile(r"[0-9a-f]{16}")  # of test images
GROUP = "\n"  # between split, rule, budget and images of what a value is ranked within


def parted(one: CellValue, other: CellValue) -> list[str]:
    """What keeps two values of `joined` from being compared, in words; [] if nothing does."""
    names = ("split", "checkpoint rule", "epochs")
    pairs = list(zip(one.images.split(GROUP), other.images.split(GROUP), strict=True))
    found = [f"{n} {a} against {b}" for n, (a, b) in zip(names, pairs, strict=False) if a != b]
    images = "other images"
    if one.split == other.split == "test":
        # what stands in place of a digest tells of the data alone; see `joined`
        scored = [DIGEST.fullmatch(text) for text in pairs[-1]]
        images = "other test images" if all(scored) else "test images (of one, none are on record)"
    return [*found, *[images] * (pairs[-1][0] != pairs[-1][1])]


def _each(records: Sequence[Record]) -> Iterator[tuple[Record, CellValue]]:
    for record in records:
        for value in cell_values(record):
            yield record, value


def _unranked(value: CellValue) -> CellValue:
    marks = tuple(mark for mark in value.marks if mark != "not told apart")
    return replace(value, standing="out", behind=None, marks=marks)


def _require_one_task(records: Sequence[Record]) -> None:
    tasks = {record.study["task"]: record.study["name"] for record in records}
    if len(tasks) > 1:
        (task, name), (other, second) = list(tasks.items())[:2]
        raise UserError(
            f"study {name} is of {task}, study {second} of {other}: their metrics are of "
            "different things, so no table holds both"
        )
