"""What would most likely move a cell: what lacks, ends of what was tried, epochs, seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from analysis.findings.cells import CellValue
from analysis.findings.verdict import Edge, Lead
from search.record import OPEN, Record

MoveKind = Literal[
    "resume", "lost", "rung", "astray", "range", "budget", "configs", "seeds", "images"
]
POWER = 0.8  # of the seeds that are advised: the share of studies in which they would decide
MOST_SEEDS = 50  # above which more seeds are no advice


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
) -> list[Move]:
    """What would most likely move a cell, in the order of MoveKind.

    Args:
        record: the study.
        values: the cell's verdicts, one a metric, the study's own first.
        tried: its configs; see explain.Explanation.
        stamp: its row of `settled.settled`.
        ahead: the leader's lead over it, leader first; None for the leader, or without one.
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
    found += _beyond(values, tried)
    if stamp["stamp"] == "improving":
        keys = ("gain", "low", "high", "window")
        found.append(Move("budget", {key: stamp[key] for key in keys}))
    configs = main.counts.configs
    if 0 < configs.run < configs.planned and not (found and found[0].kind == "resume"):
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
    found = list[Move]()
    no_guide = [
        text
        for value in values
        for mark in ("no skill", "collapsed")
        if mark in value.marks and (text := value.details.get(mark, mark))
    ]
    for edge in values[0].edges:
        why = [*dict.fromkeys(no_guide), *_tied(tried, edge)]
        kind: MoveKind = "astray" if why else "range"
        told = {"key": edge.key, "value": edge.value, "side": edge.side, "why": "; ".join(why)}
        found.append(Move(kind, told))
    return found


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
    seeds = None  # of pairs the spread is that of the differences: no formula of ours
    images = by.point - by.images.low if by.images.known else 0.0
    if images >= by.point > 0:  # no number of seeds decides what the images leave open
        return [Move("images", {"lead": by.point, "half": images})]
    # both are decided on together, as the root of their summed squares
    room = math.sqrt(by.point**2 - images**2)
    if by.seeds.kind != "paired":
        seeds = seeds_to_decide([value.values, leader.values], room, by.level)
    if seeds is None or seeds <= max(value.n, leader.n):
        return []
    return [Move("seeds", {"lead": by.point, "seeds": seeds, "there": value.n})]


def seeds_to_decide(
    groups: Sequence[Sequence[float]], difference: float, level: float
) -> int | None:
    """Seeds a cell that would decide a difference in POWER of studies, if their spread is right.

    n = (z(1 - (1 - level) / 2) + z(POWER))^2 (s1^2 + s2^2) / difference^2, the normal
    approximation, plus one seed for the t quantiles of few (Guenther, "Sample size formulas for
    normal theory t tests", The American Statistician 35, 1981, adds z^2 / 4 to one group).

    Args:
        groups: two, `(n,)` each, one value a seed.
        difference: of their means that is to be told from 0.
        level: of the interval, in (0, 1).

    Returns:
        The number; None where a group has fewer than two seeds or no spread, where there is no
        difference, or where it is above MOST_SEEDS.
    """
    if min(len(group) for group in groups) < 2 or not difference:
        return None
    spread = sum(float(np.var(group, ddof=1)) for group in groups)
    z = float(ndtri(1 - (1 - level) / 2)), float(ndtri(POWER))
    needed = math.ceil(sum(z) ** 2 * spread / difference**2 + z[0] ** 2 / 4)
    return needed if spread > 0 and needed <= MOST_SEEDS else None
