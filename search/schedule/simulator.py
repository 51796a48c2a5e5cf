"""A rule against learning curves in virtual time: the scheduler class itself, without Ray."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np

from search.schedule.cell_state import Decision
from search.schedule.curves import Array, Curves
from search.schedule.rules import SIMULATED
from search.schedule.scheduler import Scheduler
from search.spec.plan import Job, Plan

RUNG_VERDICTS = {"promote", "promote early", "replace", "stop"}


@dataclass(frozen=True)
class Outcome:
    """What one simulated search came to.

    Attributes:
        cells: how many there were.
        filled: cells with at least full_per_cell trials trained to the end (audits aside).
        any_full: cells with at least one.
        best_full: cells whose best config, by its value at the end, was trained to the end.
        regret: mean over filled cells of the best config's final value less the selected one's.
        cost: epochs trained, as a share of all trials trained to the end.
        wall: virtual seconds from start to end; epochs where no seconds are recorded.
        idle: share of worker time without a job.
        filled_cells: which those are.
        full_configs: per cell, the configs trained to the end, by their place in the draw.
        decisions: verdicts at rungs.
        seconds: real time that the scheduler took.
    """

    cells: int
    filled: int
    any_full: int
    best_full: int
    regret: float
    cost: float
    wall: float
    idle: float
    filled_cells: tuple[bool, ...]
    full_configs: tuple[tuple[int, ...], ...]
    decisions: int
    seconds: float


def plan_for(rule: str, plan: Plan) -> Plan:
    """The plan a rule works to: no seeds; "full" has one rung; Ray's rule audits nothing."""
    plan = replace(plan, confirm_seeds=())
    if rule == "full":
        return replace(plan, rungs=plan.rungs[-1:], full_per_cell=plan.trials_per_cell)
    return replace(plan, audit_share=0.0) if rule == "ray-asha" else plan


def drive(
    scheduler: Scheduler,
    workers: int,
    value: Callable[[Job], float],
    length: Callable[[Job], float],
) -> tuple[float, float, list[Decision]]:
    """Run a scheduler to its end on so many workers in virtual time.

    Args:
        scheduler: asked whenever a worker is free, told when a job ends.
        workers: jobs at once.
        value: of a job at its to_epoch; one that is not finite diverges.
        length: of a job, in virtual seconds.

    Returns:
        When the last job ended, worker seconds spent on jobs, and everything decided.
    """
    now = busy = 0.0
    running: list[tuple[float, int, Job]] = []
    made: list[Decision] = []
    count = 0
    while True:
        while len(running) < workers:
            job, decisions = scheduler.ask()
            if job is None:
                break
            made += decisions
            took = length(job)
            busy += took
            count += 1
            heapq.heappush(running, (now + took, count, job))
        if not running:
            return now, busy, made
        now, _, job = heapq.heappop(running)
        made += scheduler.tell(job, "value", value(job))


def simulate(rule: str, plan: Plan, curves: Curves, workers: int, seed: int) -> Outcome:
    """One search by a rule over a random choice of the curves' configs.

    Args:
        rule: key of SIMULATED.
        plan: the budget; its rungs may not be longer than the curves.
        curves: what trials would do.
        workers: trials at once.
        seed: of the choice of configs, seeds and order.
    """
    promised, plan = plan.full_per_cell, plan_for(rule, plan)
    values, seconds = curves.sample(plan.trials_per_cell, np.random.default_rng(seed))
    before = np.concatenate([np.zeros((*seconds.shape[:2], 1)), seconds.cumsum(-1)], axis=-1)
    scored, elapsed = values.tolist(), before.tolist()
    scheduler = Scheduler(len(values), plan, rule=SIMULATED[rule])
    spent = 0

    def length(job: Job) -> float:
        nonlocal spent
        spent += job.to_epoch - job.from_epoch
        held = elapsed[job.cell][job.config]
        return held[job.to_epoch] - held[job.from_epoch]  # type: ignore[no-any-return]

    started = time.perf_counter()
    wall, busy, made = drive(
        scheduler, workers, lambda job: scored[job.cell][job.config][job.to_epoch - 1], length
    )
    took = time.perf_counter() - started
    used = busy / (workers * wall)
    return _outcome(plan, promised, made, values, spent, wall, used, took)


def _outcome(
    plan: Plan,
    promised: int,
    made: list[Decision],
    values: Array,
    spent: int,
    wall: float,
    used: float,
    took: float,
) -> Outcome:
    sign = 1 if plan.mode == "max" else -1
    final = sign * values[:, :, plan.rungs[-1] - 1]
    full: list[set[int]] = [set() for _ in final]
    for decision in made:
        if decision.verdict == "complete" and decision.trial:
            full[decision.cell].add(int(decision.trial.split("-")[1]))
    best = [-1 if np.isnan(row).all() else int(np.nanargmax(row)) for row in final]
    regrets = [
        float(np.nanmax(row) - max(row[config] for config in held))
        for row, held in zip(final, full, strict=True)
        if held
    ]
    return Outcome(
        cells=len(final),
        filled=sum(len(held) >= promised for held in full),
        any_full=sum(bool(held) for held in full),
        best_full=sum(b in held for b, held in zip(best, full, strict=True)),
        regret=float(np.mean(regrets)) if regrets else float("nan"),
        cost=spent / (final.size * plan.rungs[-1]),
        wall=wall,
        idle=1 - used,
        filled_cells=tuple(len(held) >= promised for held in full),
        full_configs=tuple(tuple(sorted(held)) for held in full),
        decisions=sum(d.verdict in RUNG_VERDICTS for d in made),
        seconds=took,
    )


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def mean_outcome(outcomes: list[Outcome]) -> dict[str, float]:
    """Means over repeats, and `decisions_per_second` over all of them."""
    rows = [asdict(outcome) for outcome in outcomes]
    names = [name for name, value in rows[0].items() if not isinstance(value, tuple)]
    held = {name: _mean([row[name] for row in rows]) for name in names}
    total = sum(row["decisions"] for row in rows), sum(row["seconds"] for row in rows)
    return {**held, "decisions_per_second": total[0] / total[1], "repeats": float(len(rows))}
