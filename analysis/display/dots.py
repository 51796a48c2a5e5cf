"""The answer as a picture: every cell's result and interval, beside what it has to beat.

The page draws it of elements that it places by percent, so that it fits any width and its text
never shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.display.frames import baselines_by_side, text
from analysis.display.grids import published_values
from analysis.display.scale import Scale
from analysis.findings.cells import ALLOWED, CellValue, cell_values, kept_out
from analysis.findings.facts import digits, direction, metric_name, side_of
from analysis.findings.stats import interval_kind
from search.record import Record, naming


def dot_plots(record: Record) -> list[dict[str, Any]]:
    """One for each data set (a crowd's part), of the study's main metric.

    Returns:
        title, rows (cell, label, text, and by percent of the width: mean, low, high, seeds,
        published), lines (name, at, text) of constant predictors, ticks (at, text), better
        ("right" or "left"), interval (whether any row has one), published (whether any has).
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
        found.append(_plot(study, side, values, lines, published))
    return found


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
        levels += [*value.values, value.mean, *value.interval]
    scale = Scale([level for level in levels if math.isfinite(level)])
    name = f"{study['shown_split']} {metric_name(study, metric)}"
    part = f"{study['about']['side']} {side}: " if side else ""
    return {
        "title": f"{part}{name}"[0].upper() + f"{part}{name}"[1:],
        "better": "right" if direction(study, metric) == "max" else "left",
        "rows": [_row(study, value, scale, published.get(value.cell)) for value in values],
        "lines": [
            {"name": n, "at": scale.at(v), "text": f"{v:.{digits(study, metric)}f}"}
            for n, v in sorted(lines.items(), key=lambda item: item[1])
        ],
        "ticks": [{"at": scale.at(tick), "text": f"{tick:g}"} for tick in scale.ticks()],
        "interval": any(interval_kind(value.n) != "none" for value in values),
        "published": bool(published),
    }


def _row(
    study: Mapping[str, Any], value: CellValue, scale: Scale, published: float | None
) -> dict[str, Any]:
    low, high = (scale.at(end) for end in value.interval)
    side = study["about"]["side"]
    return {
        "cell": value.cell,
        "label": naming.cell_label(value.given, {side} if len(value.given) > 1 else ()),
        "text": text(value),
        "mean": scale.at(value.mean),
        "low": low,
        "high": high,
        "seeds": [scale.at(seed) for seed in value.values] if value.n > 1 else [],
        "marked": bool(kept_out(value, ALLOWED)),
        "published": None if published is None else scale.at(published),
        "published_text": None if published is None else f"{published:.4f}",
    }
