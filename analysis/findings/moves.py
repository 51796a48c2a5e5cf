"""What would most likely move a cell: what lacks, ends of what was tried, epochs, seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from analysis.findings.cells import CellValue
from analysis.findings.verdict import Edge, Lead
from search.record import OPEN, Record
from search.record.power import detectable_difference, seeds_for

MoveKind = Literal[
    "resume", "lost", "rung", "astray", "range", "learn", "budget", "underfit", "configs",
    "seeds", "images",
]  # fmt: skip


@dataclass(frozen=True)
class Move:
    """Something that would likely move a cell.

    Attributes:
        kind: what to change.
        figures: what says so, by name.
    """

    kind: MoveKind
    figures: Mapping[str, Any] = field(default_factory=dict)


def moves(
    record: Record,
    values: Sequence[CellValue],
    tried: pd.DataFrame,
    stamp: Mapping[str, Any],
    ahead: tuple[CellValue, Lead] | None,
    underfits: bool = False,
) -> list[Move]:
    """What would most likely move a cell, in the order of MoveKind.

    Args:
        record: the study.
        values: the cell's verdicts, one a metric, the study's own first.
        tried: its configs; see explain.Explanation.
        stamp: its row of `settled.settled`.
        ahead: the leader's lead over it, leader first; None for the leader, or without one.
        underfits: most of its error is in training already.
    """
    main = values[0]
    verdicts = record.decisions.loc[record.decisions["cell"] == main.cell, "verdict"]
    ended = verdicts[verdicts.isin(["select", "empty", "short"])].tolist()
    empty = ended[-1:] == ["empty"]
    found = [] if empty else _unfinished(record, main, "select" in ended)
    if main.counts.seeds.lost or empty:
        seeds = "no config is left" if empty else main.counts.seeds.words
        found.append(Move("lost", {"seeds": seeds}))
    if main.audit.better:
        audit = main.audit
        found.append(Move("rung", {"better": audit.better, "ended": audit.ended}))
    open_end, beyond = any(move.kind == "resume" for move in found), _beyond(values, tried)
    found += beyond
    if (nothing := _unlearned(values[:1])) and not beyond and not open_end:
        found.append(Move("learn", {"why": "; ".join(nothing)}))
    if stamp["stamp"] == "improving":
        keys = ("gain", "low", "high", "window")
        found.append(Move("budget", {key: stamp[key] for key in keys}))
    elif underfits and stamp["stamp"] == "cannot tell" and not open_end:
        found.append(Move("underfit", {"why": stamp["why"] or "its slope may be none"}))
    configs = main.counts.configs
    if 0 < configs.run < configs.planned and not open_end:
        found.append(Move("configs", {"run": configs.run, "planned": configs.planned}))
    if ahead is not None and ahead[1].says in ("not decided", "unknown"):
        found += _to_decide(main, *ahead)
    return found


def _unfinished(record: Record, main: CellValue, chosen: bool) -> list[Move]:
    """What of the cell was asked for and has not ended, where `resume` would go on with it."""
    if "imported" in record.study:
        return []
    trials = record.trials
    own = trials[(trials["cell"] == main.cell) & trials["status"].isin(OPEN)]
    configs, seeds = main.counts.configs, main.counts.seeds
    chosen = chosen or bool(seeds.begun)
    lacking = {
        "configs": 0 if chosen else max(configs.planned - configs.run, 0),
        "seeds": max(seeds.planned - seeds.begun, 0),
        "open": len(own),
    }
    return [Move("resume", lacking)] if any(lacking.values()) else []


def _beyond(values: Sequence[CellValue], tried: pd.DataFrame) -> list[Move]:
    """What lies beyond the ends of what was tried, or that their side says nothing.

    It says nothing where the chosen config is none to follow: it has collapsed, is not shown to
    beat a constant by some metric, e.g. by a loss that has exploded, or did no better than one at
    another value of the setting.
    """
    found, no_guide = list[Move](), _unlearned(values)
    for edge in values[0].edges:
        why = [*no_guide, *_tied(tried, edge)]
        kind: MoveKind = "astray" if why else "range"
        told = {"key": edge.key, "value": edge.value, "side": edge.side, "why": "; ".join(why)}
        found.append(Move(kind, told))
    return found


def _unlearned(values: Sequence[CellValue]) -> list[str]:
    """That the chosen config has collapsed or shows no skill, in words, once each."""
    told = [
        value.details.get(mark, mark)
        for value in values
        for mark in ("no skill", "collapsed")
        if mark in value.marks and not (mark == "no skill" and _only_too_few(value))
    ]
    return list(dict.fromkeys(told))


def _only_too_few(value: CellValue) -> bool:
    """Whether constants are not shown to be beaten for want of a third seed, and for that alone.

    Both seeds are better than each, and so are they over other test images: their t interval is
    wide whatever they are, which is no evidence that the config is a bad one.
    """
    sign = 1 if value.mode == "max" else -1
    return value.n == 2 and all(
        all(sign * (one - held.value) > 0 for one in value.values)
        and not held.lead.images.low <= 0  # also where it is not known
        for held in value.constants
    )


def _tied(tried: pd.DataFrame, edge: Edge) -> list[str]:
    """Whether a config with another value of the setting did as well as the best, in words."""
    full = tried[tried["epochs"] == tried["epochs"].max()]
    key = next((k for k in full if k in (edge.key, f"setting_{edge.key}")), None)
    if key is None or full.empty:
        return []
    chosen = full[full[key] == edge.value]["value"].dropna()
    others = full[full[key] != edge.value]
    same = [row[key] for _, row in others.iterrows() if (chosen == row["value"]).any()]
    return [f"{edge.key} {same[0]} did exactly as well"] if same else []


def _to_decide(value: CellValue, leader: CellValue, by: Lead) -> list[Move]:
    """Whether more seeds, or more test images, would decide a lead of this size."""
    images = left_by_images(by)
    if images >= by.point > 0:  # no number of seeds decides what the images leave open
        return [Move("images", {"lead": by.point, "half": images})]
    seeds = seeds_to_decide(value, leader, by)
    if seeds is None or seeds <= max(value.n, leader.n):
        return []
    return [Move("seeds", {"lead": by.point, "seeds": seeds, "there": value.n})]


def left_by_images(by: Lead) -> float:
    """How far the interval over test images reaches from a difference towards 0; 0 if unknown."""
    if not by.images.known:
        return 0.0
    return by.point - by.images.low if by.point >= 0 else by.images.high - by.point


def seeds_to_decide(one: CellValue, other: CellValue, by: Lead) -> int | None:
    """Seeds a cell that would decide a difference in POWER of studies, if their spread is right.

    Seeds and test images are decided on together, as the root of their summed squares, so the
    seeds have to decide what the images leave of it.

    Args:
        one: complete.
        other: complete.
        by: the difference.

    Returns:
        At least LEAST_SEEDS; None where the images leave nothing, where a group has fewer than two
        seeds or neither any spread, where seeds are paired (the spread is then that of the
        differences), or above MOST_SEEDS.
    """
    room = by.point**2 - left_by_images(by) ** 2
    sds = _spreads(one, other, by)
    if sds is None or room <= 0:
        return None
    return seeds_for(sds, math.sqrt(room), by.level)


def detectable(one: CellValue, other: CellValue, by: Lead) -> float:
    """The difference that as many seeds, and the test images, would decide in POWER of studies.

    Args:
        one: complete.
        other: complete.
        by: the lead of one over the other, for its level and what the images leave.

    Returns:
        In the units of the metric, above 0; NaN where `seeds_to_decide` would be None for its
        seeds, or with fewer seeds than two.
    """
    n, sds = min(one.n, other.n), _spreads(one, other, by)
    if sds is None:
        return math.nan
    return math.hypot(detectable_difference(sds, n, by.level), left_by_images(by))


def _spreads(one: CellValue, other: CellValue, by: Lead) -> tuple[float, float] | None:
    if by.seeds.kind == "paired" or min(one.n, other.n) < 2:
        return None
    return (one.sd, other.sd) if one.sd + other.sd > 0 else None
