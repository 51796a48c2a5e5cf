"""Which cell is the best of those that can be compared, and whether that is decided.

Two uncertainties stand between two cells: other seeds would have given other networks, and other
test images other scores. The first is Welch's interval over seeds, or that of the differences seed
by seed where the study file says `confirm.paired` and both cells have the same seeds; the second a
paired bootstrap over the images that both were scored on. A lead is decided where the interval of
both together (`stats.both`) leaves out 0; that interval contains each of the two, so no lead is
decided that one of them alone leaves open. Where results of each image are not on record (a loss
of classification; a value of validation) the seeds alone decide, and captions say so.

The leader is the best mean, picked first, and held against every other cell. These comparisons are
decided together (Holm): of a leader named beforehand, in no more than 5 % of studies would any
cell be called worse that is not. Picked first, as here, it looks a little surer than it is: of
equal cells a best was named in at most 4 % of simulated studies, and any of ten was called worse
in 8 % (tests/analysis/findings/test_coverage.py simulates both). Only if all are decided is the
leader called the best (bold). Otherwise it and all that are not decided share one mark: the best
is among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from analysis.findings.images import Sample
from analysis.findings.stats import (
    LEVEL,
    NO_INTERVAL,
    Interval,
    both,
    difference,
    equal,
    paired_difference,
    told_apart,
)
from analysis.findings.verdict import TWO_SEEDS, CellValue, Lead, kept_out
from search.record import UserError


def with_standing(values: Iterable[CellValue]) -> list[CellValue]:
    """The values, each with its standing among those that it can be compared with."""
    held = list(values)
    groups: dict[tuple[str, str], list[int]] = {}
    for place, value in enumerate(held):
        if not kept_out(value):
            groups.setdefault((value.metric, value.images), []).append(place)
    for places in groups.values():
        for place, value in zip(places, _ranked([held[p] for p in places]), strict=True):
            held[place] = value
    return held


def _ranked(values: Sequence[CellValue]) -> list[CellValue]:
    if len(values) < 2:
        return [replace(value, standing="alone") for value in values]
    sign = 1 if values[0].mode == "max" else -1
    first = max(values, key=lambda value: (sign * value.mean, -value.cell))
    others = [value for value in values if value is not first]
    found = told_apart([partial(_decided, first, other) for other in others])
    levels = {o.cell: (apart, level) for o, (apart, level) in zip(others, found, strict=True)}
    alone = all(apart for apart, _ in found)
    ranked = []
    for value in values:
        if value is first:
            ranked.append(_marked(value, not alone))
            continue
        apart, level = levels[value.cell]
        value = replace(value, behind=lead(first, value, level))
        ranked.append(replace(value, standing="behind") if apart else _marked(value, True))
    return ranked


def _marked(value: CellValue, shared: bool) -> CellValue:
    if not shared:
        return replace(value, standing="best")
    details = dict(value.details)
    if value.n == 2:
        details["not told apart"] = TWO_SEEDS.strip(" ()")
    marks = (*value.marks, "not told apart")
    return replace(value, standing="among the best", marks=marks, details=details)


def _decided(first: CellValue, second: CellValue, level: float) -> bool:
    return lead(first, second, level).says == "better"


def lead(first: CellValue, second: CellValue, level: float = LEVEL) -> Lead:
    """How far a value is ahead of another of the same metric and images.

    Args:
        first: complete.
        second: complete.
        level: of the intervals.
    """
    sign = 1 if first.mode == "max" else -1
    point = sign * (first.mean - second.mean)
    bounds = _bounds(first)
    seeds = _over_seeds(first, second, level, sign)
    images = image_lead(first, second.sample, level)
    together = NO_INTERVAL  # of one training a cell the images alone say nothing of others
    if seeds.known:
        kind = "both" if images.known else seeds.kind
        together = Interval(*both(point, seeds[:2], images[:2]), kind)
    return Lead(
        point=point,
        seeds=seeds.within(bounds) if seeds.known else NO_INTERVAL,
        images=images.within(bounds),
        both=together.within(bounds),
        level=level,
        tie=equal(first.mean, second.mean),
    )


def _over_seeds(first: CellValue, second: CellValue, level: float, sign: int) -> Interval:
    """Seed by seed where the study says that seeds pair, and both have the same ones."""
    one, two = (dict(zip(v.seeds, v.values, strict=False)) for v in (first, second))
    alike = set(one) == set(two) and len(one) == first.n and len(two) == second.n
    if first.paired and second.paired and alike:
        pair = paired_difference([one[s] for s in one], [two[s] for s in one], level)
        return Interval(*_signed(pair, sign), "paired")
    return Interval(*_signed(difference(first.values, second.values, level), sign), "welch")


def image_lead(first: CellValue, other: Sample | float | None, level: float = LEVEL) -> Interval:
    """The interval of a lead over other draws of the images that both are of; none if unknown."""
    if first.sample is None or other is None:
        return Interval()
    sign = 1 if first.mode == "max" else -1
    return Interval(*(first.sample - other).times(sign).interval(level), "bootstrap")


def _signed(pair: tuple[float, float], sign: int) -> tuple[float, float]:
    return pair if sign > 0 else (-pair[1], -pair[0])


def _bounds(value: CellValue) -> tuple[float, float]:
    """What a difference of two such values can be."""
    width = value.bounds[1] - value.bounds[0]
    return -width, width


def require_comparable(values: Iterable[CellValue]) -> None:
    """Refuse values that say different things.

    Raises:
        UserError: metric, split, rule, budget or data differ; names the first that does.
    """
    held = list(values)
    for name in ("metric", "split", "rule", "budget", "data"):
        found = sorted({str(getattr(v, name)) for v in held})
        if len(found) > 1:
            raise UserError(
                f"cells cannot be compared: they differ in {name} ({', '.join(found)}); compare "
                f"cells of one {name} at a time"
            )
