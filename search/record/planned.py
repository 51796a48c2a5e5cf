"""The budget of a recorded study, and what its search would take with other rungs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from search.record.counts import configs_planned
from search.spec.plan import AUDIT, ETA, FULL, Plan, reaching, rungs


def plan_of(study: Mapping[str, Any]) -> Plan:
    """The budget that a recorded study works to, as `make_plan` has it of its file."""
    held, steps = study["spec"].get("budget", {}), tuple(int(rung) for rung in study["rungs"])
    searched, trials = len(steps) > 1, configs_planned(study)
    every = study["spec"].get("scheduler") == "none"
    return Plan(
        trials_per_cell=trials,
        rungs=steps,
        reduction_factor=float(held.get("reduction_factor", ETA)),
        full_per_cell=trials if every else int(held.get("full_per_cell", FULL)),
        mode="max" if study["mode"] == "max" else "min",
        confirm_seeds=tuple(study["confirm_seeds"]),
        audit_share=float(held.get("audit_share", AUDIT)) if searched else 0.0,
        seed=int(study["seed"]),
    )


def plan_from(study: Mapping[str, Any], first: int) -> Plan:
    """The search of a cell with another first rung; all else of its budget as it was.

    Args:
        study: study.json.
        first: epochs at the first rung.
    """
    plan = plan_of(study)
    full = int(study["spec"].get("budget", {}).get("full_per_cell", FULL))
    steps = rungs(plan.rungs[-1], first, plan.reduction_factor)
    return replace(plan, rungs=steps, full_per_cell=full, confirm_seeds=(), audit_share=0.0)


def epochs_of_cell(plan: Plan) -> int:
    """Epochs that the search of a cell takes when nothing fails and nobody promotes early."""
    steps = zip((0, *plan.rungs), plan.rungs, reaching(plan), strict=False)
    return sum(trials * (to - at) for at, to, trials in steps)
