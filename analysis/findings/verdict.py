"""What is decided of a cell, as forms: made in `cells`, read by everything that shows it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from analysis.findings.facts import Mode
from analysis.findings.images import Sample
from analysis.findings.stats import NO_INTERVAL, Interval, interval, interval_kind, mean_sd
from search.record import Counts

Status = Literal["complete", "partial", "failed", "empty"]
# of a value among those that it can be compared with
Standing = Literal["best", "among the best", "behind", "alone", "out"]
Skill = Literal["shown", "not shown", "unknown", "no constants"]
Beside = Literal["better", "worse", "not decided", "unknown"]

# what a cell's value may be marked with; signs and words: analysis.display.words
MARKS = (
    *("unfinished", "unconfirmed", "no skill", "collapsed", "seeds missing", "not finite"),
    *(
        "edge",
        "audit",
        "synthetic",
        "failed",
        "mixed",
        "fewer configs",
        "not told apart",
        "imported",
        "imported seeds",
    ),
)
# marks that keep no cell from being compared: at an edge, or where the audit found a better one,
# it may do better yet; all cells of a study are synthetic, or none
ALLOWED = ("edge", "audit", "not told apart", "synthetic", "imported seeds")
# what a verdict on two seeds may seem to deny: their two values, which tables show
TWO_SEEDS = (
    " (two seeds: their 95 % t interval decides, 12.7 standard errors to each side, not the two "
    "values shown)"
)
NO_VALUE = "no value"  # what keeps a cell out that has nothing to compare yet


@dataclass(frozen=True)
class Lead:
    """How far a value is ahead of another one, or of a constant predictor; below 0 it is behind.

    Attributes:
        point: difference of the means, its sign such that more is better.
        seeds: its interval over seeds (Welch, or of the differences seed by seed where the study
            pairs them; Student over a constant).
        images: its interval over other draws of the same test images (paired bootstrap).
        both: of the two together; the one that there is where the other is not known. None where
            a single seed is compared with another training: that decides nothing.
        level: of the three, in (0, 1).
        tie: the two are the same number.
    """

    point: float
    seeds: Interval = NO_INTERVAL
    images: Interval = NO_INTERVAL
    both: Interval = NO_INTERVAL
    level: float = 0.95
    tie: bool = False

    @property
    def says(self) -> Beside:
        """What the interval says; a tie is not decided whatever it is."""
        if self.tie or not self.both.known:
            return "not decided" if self.tie else "unknown"
        if self.both.low > 0:
            return "better"
        return "worse" if self.both.high < 0 else "not decided"


SAYS = {"better": "better", "worse": "worse", "not decided": "not told apart"}


def change_of(lead: Lead, mode: Mode) -> tuple[float, float, str]:
    """A lead as the difference of the two numbers, whichever is better.

    Returns:
        Low and high end of the difference in the metric, NaN where unknown; and whether the first
        is better, worse, "not told apart" or "not known".
    """
    low, high = lead.both[:2] if mode == "max" else (-lead.both.high, -lead.both.low)
    return low, high, SAYS.get(lead.says, "not known")


@dataclass(frozen=True)
class Constant:
    """A constant predictor, and what a cell is beside it.

    Attributes:
        name: e.g. uniform guess.
        value: its score on the same images.
        lead: of the cell over it.
    """

    name: str
    value: float
    lead: Lead

    @property
    def beaten(self) -> bool:
        """Whether an interval says that the cell is better."""
        return self.lead.says == "better"

    @property
    def refuted(self) -> bool:
        """Whether it cannot be said to be: the interval, or the one value there is, is against."""
        if self.lead.says == "unknown":
            return self.lead.point <= 0 or self.lead.tie
        return not self.beaten


@dataclass(frozen=True)
class Edge:
    """A searched setting that was chosen at the end of what was tried in the cell.

    Attributes:
        key: of the setting.
        value: chosen.
        side: nothing lower, nothing higher, or nothing else was tried.
    """

    key: str
    value: Any
    side: Literal["lowest", "highest", "only"]


@dataclass(frozen=True)
class Audit:
    """What the audit found of a cell; see analysis.findings.audit.

    Attributes:
        ended: audited trials that came to an end, in full or diverged.
        better: those that ended better than the winner of the cell.
        open: those that have not, or were lost.
        best: the best of `better`, by validation; NaN where there is none.
        winner: the winner's value, by validation.
    """

    ended: int = 0
    better: int = 0
    open: int = 0
    best: float = math.nan
    winner: float = math.nan


NO_AUDIT = Audit()


@dataclass(frozen=True)
class CellValue:
    """One metric of one cell, and the verdict on it.

    Attributes:
        study: name of the study.
        cell: number of the cell, from 0.
        given: values of the cell parameters.
        metric: e.g. accuracy (a fraction), mae (people an image).
        mode: which values are better.
        digits: behind the point, at which it is shown.
        split: split that `values` are of.
        rule: checkpoint rule.
        data: the images, where a study has several kinds (a crowd part); else "".
        budget: epochs of a full training.
        status: complete (at least one seed at full budget), partial (only `seen`), failed, empty.
        counts: configs and seeds that were asked for, and what became of them.
        epochs: epochs trained by what is shown.
        values: `(n,)`, one a seed, of completed trials only.
        seeds: `(n,)`, of `values`.
        paired: the study says that a seed is the same thing in every cell.
        beside: the same metric of the same checkpoints on `beside_split`.
        beside_split: the other of val and test; "" where the study has no such split.
        seen: value of an unfinished cell's longest trial, NaN otherwise.
        seen_split: split that `seen` is of.
        config: searched parameters of what is shown, e.g. lr.
        trials: names of the trials shown.
        bounds: what the metric can be.
        images: what the value can be compared within: equal for values of the same metric, split,
            rule, budget and images.
        image_interval: 95 % interval of the mean over other draws of the test images (Wilson of an
            accuracy, else bootstrap); none where results of each image are not on record.
        constants: constant predictors on the same images, with what the cell is beside each.
        edges: searched settings chosen at the end of what was tried.
        audit: what became of its audited trials.
        standing: among the values that it can be compared with.
        behind: the lead of the best of those over this one; None for that one itself.
        marks: keys of MARKS.
        details: of a mark of this cell, what is to be said of it here; by mark.
        sample: the mean under other draws of the test images; None where that is not known.
    """

    study: str
    cell: int
    given: Mapping[str, Any]
    metric: str
    mode: Mode
    digits: int
    split: str
    rule: str
    data: str
    budget: int
    status: Status
    counts: Counts
    epochs: int = 0
    values: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    paired: bool = False
    beside: tuple[float, ...] = ()
    beside_split: str = ""
    seen: float = math.nan
    seen_split: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    trials: tuple[str, ...] = ()
    bounds: tuple[float, float] = (-math.inf, math.inf)
    images: str = ""
    image_interval: Interval = NO_INTERVAL
    constants: tuple[Constant, ...] = ()
    edges: tuple[Edge, ...] = ()
    audit: Audit = NO_AUDIT
    standing: Standing = "out"
    behind: Lead | None = None
    marks: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)
    sample: Sample | None = field(default=None, repr=False, compare=False)

    @property
    def n(self) -> int:
        """Number of seeds behind `mean`."""
        return len(self.values)

    @property
    def seeds_due(self) -> int:
        """Seeds that the study asks for."""
        return self.counts.seeds.planned

    @property
    def state(self) -> str:
        """How far the cell is, in words: not "complete" beside seeds that are missing."""
        seeds = self.counts.seeds
        if self.status == "complete" and seeds.complete < seeds.planned:
            return f"{seeds.complete} of {seeds.planned} seeds"
        return self.status

    @property
    def mean(self) -> float:
        """Mean over seeds; NaN unless complete."""
        return mean_sd(self.values)[0]

    @property
    def sd(self) -> float:
        """Sample standard deviation over seeds; NaN below two."""
        return mean_sd(self.values)[1]

    @property
    def interval(self) -> tuple[float, float]:
        """Over seeds: 95 % t interval from three on, the range of two; within the bounds."""
        return self.seed_interval[:2]

    @property
    def seed_interval(self) -> Interval:
        """The same with its kind."""
        return Interval(*interval(self.values), interval_kind(self.n)).within(self.bounds)

    @property
    def skill(self) -> Skill:
        """Whether an interval says that it beats every constant predictor on record."""
        if not self.constants or self.status != "complete":
            return "no constants"
        if any(constant.refuted for constant in self.constants):
            return "not shown"
        return "shown" if all(constant.beaten for constant in self.constants) else "unknown"

    @property
    def bold(self) -> bool:
        """Whether it is decided that no other value it can be compared with is as good."""
        return self.standing == "best" and "synthetic" not in self.marks


def kept_out(value: CellValue, allowed: Collection[str] = ALLOWED) -> tuple[str, ...]:
    """What keeps a cell from being compared with others: marks, or NO_VALUE; () if nothing does.

    Args:
        value: of the cell.
        allowed: marks that keep no cell out.
    """
    found = tuple(mark for mark in value.marks if mark not in allowed)
    if not found and (value.status != "complete" or not math.isfinite(value.mean)):
        return (NO_VALUE,)
    return found


def out_words(value: CellValue, allowed: Collection[str] = ALLOWED) -> str:
    """The same by the names of the marks, e.g. "seeds missing, collapsed"; "" if nothing does."""
    return ", ".join(kept_out(value, allowed))
