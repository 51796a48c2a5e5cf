"""What a recorded search would take with other rungs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.record.counts import configs_planned
from search.spec.plan import ETA, FULL, Plan, reaching, rungs


def plan_from(study: Mapping[str, Any], first: int) -> Plan:
    """The search of a cell with another first rung; all else of its budget as it was.

    Args:
        study: study.json.
        first: epochs at the first rung.
    """
    held = study["spec"].get("budget", {})
    eta = float(held.get("reduction_factor", ETA))
    return Plan(
        trials_per_cell=configs_planned(study),
        rungs=rungs(int(study["rungs"][-1]), first, eta),
        reduction_factor=eta,
        full_per_cell=int(held.get("full_per_cell", FULL)),
        mode="max" if study["mode"] == "max" else "min",
        confirm_seeds=(),
    )


def epochs_of_cell(plan: Plan) -> int:
    """Epochs that the search of a cell takes when nothing fails and nobody promotes early."""
    steps = zip((0, *plan.rungs), plan.rungs, reaching(plan), strict=False)
    return sum(trials * (to - at) for at, to, trials in steps)
