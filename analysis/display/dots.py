"""The answer as a picture: every cell's result and interval, beside what it has to beat.

The page draws it of elements that it places by percent, so that it fits any width and its text
never shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.display.frames import baselines_by_side, text
from analysis.display.grids import grid_keys, published_values
from analysis.display.markup import SIGNS, split_signs
from analysis.display.scale import Scale
from analysis.findings.cells import ALLOWED, CellValue, cell_values, kept_out
from analysis.findings.facts import digits, direction, fixed_point, metric_name, side_of
from analysis.findings.stats import interval_kind
from search.record import Record, naming

LETTER = 1.9  # percent of a narrow plot's width that one takes


def dot_plots(record: Record) -> list[dict[str, Any]]:
    """One for each data set (a crowd's part), of the study's main metric.

    Returns:
        title, rows (cell, label, text, and by percent of the width: mean, low, high, seeds,
        published), lines (name, at, text) of constant predictors, names (of lines, where they
        have room), ticks (at, text), better ("right" or "left"), signs (most of a row), interval,
        seen, hollow (whether any row has one), published (how such values came about; "" of none).
    """
    study = record.study
    metric = study["metric"]
    groups: dict[str, list[CellValue]] = {}
    for value in cell_values(record):
        if value.metric == metric:
            groups.setdefault(side_of(study, value.given), []).append(value)
    constants = baselines_by_side(record) if study["shown_split"] == "test" else {}
    old = published_values(record)
    found = []
    for side, values in groups.items():
        lines = {
            name: scores[metric]
            for name, scores in constants.get(side, {}).items()
            if metric in scores
        }
        published = {v.cell: old[v.cell, metric] for v in values if (v.cell, metric) in old}
        plot = _plot(study, side, values, lines, published)
        found.append({**plot, "published": _published_by(record) if published else ""})
    return found


def _published_by(record: Record) -> str:
    """How the published values came about, as the table that they stand in says it."""
    tables = record.study["about"]["tables"]
    shown = [key for key in grid_keys(record.study) if published_values(record, key)]
    notes = dict.fromkeys(tables[key]["note"] for key in shown)
    return " ".join(notes).replace("Published: ", "published ").rstrip(".")


def _plot(
    study: Mapping[str, Any],
    side: str,
    values: Sequence[CellValue],
    lines: Mapping[str, float],
    published: Mapping[int, float],
) -> dict[str, Any]:
    metric = study["metric"]
    levels = [*lines.values(), *published.values()]
    for value in values:
        levels += [*value.values, _place(value), *value.interval]
    scale = Scale([level for level in levels if math.isfinite(level)])
    name = f"{study['shown_split']} {metric_name(study, metric)}"
    part = f"{study['about']['side']} {side}: " if side else ""
    return {
        "title": f"{part}{name}"[0].upper() + f"{part}{name}"[1:],
        "better": "right" if direction(study, metric) == "max" else "left",
        "rows": [_row(study, value, scale, published.get(value.cell)) for value in values],
        "lines": [
            {"name": n, "at": scale.at(v), "text": fixed_point(v, digits(study, metric))}
            for n, v in sorted(lines.items(), key=lambda item: item[1])
        ],
        "names": _names({n: scale.at(v) or 0.0 for n, v in lines.items()}),
        "signs": max((len(split_signs(text(value))[1]) for value in values), default=0),
        "hollow": any(kept_out(value, ALLOWED) for value in values),
        "ticks": [{"at": scale.at(tick), "text": f"{tick:g}"} for tick in scale.ticks()],
        "interval": any(interval_kind(value.n) != "none" for value in values),
        "seen": any(math.isfinite(value.seen) and value.status == "partial" for value in values),
    }


def _place(value: CellValue) -> float:
    """Where a cell's own mark stands: its mean, or how far it is, if that is of the same split."""
    seen = value.status == "partial" and value.seen_split == value.split
    return value.seen if seen else value.mean


def _names(places: Mapping[str, float]) -> list[dict[str, Any]]:
    """Names of lines, each to the side of its own that has room; those that would touch in tiers.

    Returns:
        at (percent), text, left (whether it stands to the left of its line), tier (from 0 up).
    """
    found: list[dict[str, Any]] = []
    ends: list[float] = []  # of each tier, how far it is taken
    for name, at in sorted(places.items(), key=lambda item: item[1]):
        width = LETTER * len(name)
        left = at + width > 100
        start, end = (at - width, at) if left else (at, at + width)
        tier = next((n for n, taken in enumerate(ends) if start > taken), len(ends))
        ends[tier : tier + 1] = [end]
        found.append({"at": at, "text": name, "left": left, "tier": tier})
    return found


def _row(
    study: Mapping[str, Any], value: CellValue, scale: Scale, published: float | None
) -> dict[str, Any]:
    low, high = (scale.at(end) for end in value.interval)
    side = study["about"]["side"]
    shown, signs = split_signs(text(value))
    return {
        "cell": value.cell,
        "label": naming.cell_label(value.given, {side} if len(value.given) > 1 else ()),
        "text": shown,
        "signs": [(sign, SIGNS[sign]) for sign in signs],
        "mean": scale.at(_place(value)),
        "low": low,
        "high": high,
        "seeds": [scale.at(seed) for seed in value.values] if value.n > 1 else [],
        "marked": bool(kept_out(value, ALLOWED)),
        "published": None if published is None else scale.at(published),
        "published_text": None if published is None else f"{published:.4f}",
    }
