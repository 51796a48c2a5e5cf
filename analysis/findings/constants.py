"""Constant predictors, and whether a cell beats them.

A cell has skill where an interval says so: over seeds, over other draws of the same test images,
and of both together, each constant is beaten. That the mean is the better number of the two is no
skill; nor is one seed, unless results of each image say how far its score hangs on the images.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis.findings.facts import side_of
from analysis.findings.images import Images
from analysis.findings.standing import image_lead
from analysis.findings.stats import Interval, both, equal, has_spread, mean_interval
from analysis.findings.verdict import CellValue, Constant, Lead
from search.record import Record

Scores = Mapping[str, Mapping[str, float]]
ANY_IMAGES = "uniform guess"  # scores the same on all images, so on validation too


def recorded(rows: pd.DataFrame) -> Scores:
    """Constant predictors that scored trials have on record: name -> metric -> value on test."""
    for text in rows["baselines"].dropna():
        if held := json.loads(text):
            return {name: _numbers(scores) for name, scores in held.items()}
    return {}


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in scores.items() if v is not None and math.isfinite(v)}


def applicable(study: Mapping[str, Any], found: Scores) -> Scores:
    """Those of constants that are of the split that is shown, with those known without data."""
    known = {**study["about"]["chance"], **found}
    if study["shown_split"] == "test":
        return known
    return {
        n: scores for n, scores in known.items() if n in {ANY_IMAGES, *study["about"]["chance"]}
    }


def counts_in(record: Record) -> set[float]:
    """Constant predictions of a number, e.g. heads, that any trial has on record."""
    texts = record.trials["baselines"].dropna().unique()
    held = [scores for text in texts for scores in json.loads(text).values()]
    return {float(scores["count"]) for scores in held if scores.get("count") is not None}


def beside_constants(value: CellValue, scores: Scores, images: Images) -> tuple[Constant, ...]:
    """A cell's value beside each constant predictor that has its metric.

    Args:
        value: of the cell.
        scores: see `applicable`.
        images: results of each image.
    """
    if value.status != "complete":
        return ()
    sets = {images.sets.get(trial, "") for trial in value.trials}
    digest = sets.pop() if len(sets) == 1 else ""
    return tuple(
        Constant(name, held[value.metric], _over(value, held, images, digest))
        for name, held in scores.items()
        if value.metric in held
    )


def _over(value: CellValue, held: Mapping[str, float], images: Images, digest: str) -> Lead:
    sign, fixed = (1 if value.mode == "max" else -1), held[value.metric]
    other = images.constants.get((digest, held.get("count", math.nan), value.metric))
    if other is not None and not math.isclose(other.point, fixed, rel_tol=1e-6):
        other = None  # of other images than the cell's
    drawn = image_lead(value, fixed if other is None else other)
    seeds = Interval()
    if value.n > 1 and has_spread(value.values):
        low, high = (sign * (end - fixed) for end in mean_interval(value.values))
        seeds = Interval(min(low, high), max(low, high), "t")
    point = sign * (value.mean - fixed)
    kind = "both" if seeds.known and drawn.known else seeds.kind if seeds.known else drawn.kind
    return Lead(
        point=point,
        seeds=seeds,
        images=drawn,
        both=Interval(*both(point, seeds[:2], drawn[:2]), kind),
        tie=equal(value.mean, fixed),
    )


def constants_by_side(
    record: Record, cells: Iterable[int]
) -> dict[str, dict[str, dict[str, float]]]:
    """Constants beside some cells: side (see side_of) -> name -> metric -> value on test.

    A number on which cells of one side do not agree, since they are of different test images, is
    left out. Empty where no trial has been scored on test yet and none is known without data.
    """
    study, found = record.study, dict[str, dict[str, dict[str, float]]]()
    scored = record.trials[record.trials["baselines"].notna()]
    by_cell = {int(str(cell)): recorded(rows) for cell, rows in scored.groupby("cell")}
    unlike = set[tuple[str, str, str]]()
    for cell in cells:
        side = side_of(study, study["cells"][cell])
        for name, scores in {**study["about"]["chance"], **by_cell.get(cell, {})}.items():
            held = found.setdefault(side, {}).setdefault(name, {})
            for metric, value in scores.items():
                if not math.isclose(held.setdefault(metric, value), value, rel_tol=1e-9):
                    unlike.add((side, name, metric))
    for side, name, metric in unlike:
        del found[side][name][metric]
    return found
