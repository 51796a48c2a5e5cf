"""The budget of a study: jobs, rungs, and what they cost. Arithmetic only."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Stage = Literal["search", "confirm", "audit"]
# reduction_factor, full_per_cell and audit_share, where a study says nothing
ETA, FULL, AUDIT = 3.0, 1, 0.05


@dataclass(frozen=True)
class Plan:
    """The budget that a scheduler works to.

    Attributes:
        trials_per_cell: configs drawn in each cell; 0 where there is nothing to search.
        rungs: epochs, increasing; the last one is the full budget.
        reduction_factor: eta, above 1, not necessarily whole.
        full_per_cell: trials a cell trains to the last rung at the least.
        mode: which metric values are better.
        confirm_seeds: seeds of each cell's confirmation runs; without any, the winner of the
            search is scored on test.
        retries: how often a failed job is run again.
        audit_share: share of the trials ended at a rung that are trained to the end all the same,
            to see how often the rule was wrong.
        seed: draws the audited trials.
    """

    trials_per_cell: int
    rungs: tuple[int, ...]
    reduction_factor: float
    full_per_cell: int
    mode: Literal["max", "min"]
    confirm_seeds: tuple[int, ...]
    retries: int = 1
    audit_share: float = 0.0
    seed: int = 0

    def share(self, n: int) -> int:
        """floor(n / eta): how many of n trials at a rung the paper's rule lets go on."""
        return math.floor(n / self.reduction_factor + 1e-9)

    def quota(self, n: int) -> int:
        """How many of the n trials at a complete rung go on."""
        return min(n, max(self.full_per_cell, self.share(n)))


class Job(NamedTuple):
    """One stay of one trial on a worker.

    Attributes:
        trial: name, unique in the study.
        stage: search, confirm (a cell's winner at another seed), or audit (a trial that the rule
            had ended, trained to the full budget all the same).
        cell: number of the cell.
        config: number of the config in its cell; a confirm trial has its winner's.
        seed: of a confirm trial; None in the search.
        from_epoch: epochs already trained.
        to_epoch: the rung to reach.
        score_test: score test at the end.
    """

    trial: str
    stage: Stage
    cell: int
    config: int
    seed: int | None
    from_epoch: int
    to_epoch: int
    score_test: bool


def rungs(max_epochs: int, grace_epochs: int, reduction_factor: float) -> tuple[int, ...]:
    """Rungs: grace, grace*eta, ... below max_epochs, and max_epochs itself."""
    found: list[int] = []
    at = float(grace_epochs)
    while round(at) < max_epochs:
        if not found or round(at) > found[-1]:
            found.append(round(at))
        at *= reduction_factor
    return (*found, max_epochs)


def audited(plan: Plan, cell: int, ended: int) -> list[int]:
    """Which of a cell's ended trials, in order, are audited: systematic sampling.

    From a seeded random start every 1/audit_share-th is taken, so each has the same chance, and
    the picks spread over the ranks.
    """
    start = random.Random(f"audit {plan.seed} {cell}").random()
    passed = [math.floor(place * plan.audit_share + start) for place in range(ended + 1)]
    return [place for place in range(ended) if passed[place + 1] > passed[place]]


def reaching(plan: Plan) -> list[int]:
    """Trials of a cell that train to each rung when nothing fails and nobody promotes early."""
    counts = [plan.trials_per_cell]
    for _ in plan.rungs[1:]:
        counts.append(plan.quota(counts[-1]))
    return counts


def reaching_at_most(plan: Plan) -> list[int]:
    """The same with every early promotion that the rule allows, all of them mistaken."""
    counts = [plan.trials_per_cell]
    for _ in plan.rungs[1:]:
        counts.append(min(counts[-1], plan.quota(counts[-1]) + plan.share(counts[-1])))
    return counts


def search_epochs(plan: Plan, counts: Sequence[int]) -> int:
    """Epochs that a cell's search trains, `counts[r]` trials to rung r."""
    before = (0, *plan.rungs)
    return sum(n * (to - since) for n, to, since in zip(counts, plan.rungs, before, strict=False))


def audit_epochs(plan: Plan, cell: int) -> int:
    """Epochs of a cell's audits when nothing fails and nobody promotes early."""
    counts = reaching(plan)
    ended = [counts[r] - counts[r + 1] for r in range(len(counts) - 1)]
    # as the scheduler lists them: those that came furthest first
    left = [plan.rungs[-1] - plan.rungs[r] for r in reversed(range(len(ended)))]
    each = [epochs for epochs, n in zip(left, reversed(ended), strict=True) for _ in range(n)]
    return sum(each[place] for place in audited(plan, cell, len(each)))


def audit_epochs_at_most(plan: Plan) -> int:
    """The same whatever happens: all but one trial ended at the first rung."""
    ended = max(plan.trials_per_cell - 1, 0)
    picks = math.ceil(ended * plan.audit_share)
    return picks * (plan.rungs[-1] - plan.rungs[0])


def expected_epochs(plan: Plan, cell: int) -> int:
    """Epochs that a cell takes, confirmation included, when nothing fails or promotes early."""
    confirm = len(plan.confirm_seeds) * plan.rungs[-1]
    return search_epochs(plan, reaching(plan)) + audit_epochs(plan, cell) + confirm
