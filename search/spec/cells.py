"""The cells of a study and the budget of their search."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from search.spec.plan import Job, Plan, rungs
from search.spec.study_spec import StudySpec
from search.spec.tables import Value
from trainables import find_task


def make_plan(spec: StudySpec) -> Plan:
    """The scheduler's budget: without a space to search, the cells go straight to their seeds."""
    budget = spec.budget
    whole = spec.scheduler in ("none", "ray-asha") or not spec.space
    steps = (
        (budget.max_epochs,)
        if whole
        else rungs(budget.max_epochs, budget.grace_epochs, budget.reduction_factor)
    )
    full = budget.trials_per_cell if spec.scheduler == "none" else budget.full_per_cell
    return Plan(
        trials_per_cell=budget.trials_per_cell if spec.space else 0,
        rungs=steps,
        reduction_factor=budget.reduction_factor,
        full_per_cell=full,
        mode=find_task(spec.task).mode,
        confirm_seeds=spec.confirm.seeds or (() if spec.space else (spec.seed,)),
        retries=spec.retries,
        audit_share=0.0 if whole else budget.audit_share,
        seed=spec.seed,
    )


def changed_settings(task: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a config that differ from the task's defaults."""
    defaults = find_task(task).settings
    return {key: value for key, value in config.items() if value != defaults[key].default}


def common_settings(spec: StudySpec) -> dict[str, Any]:
    """Settings that hold in every cell, defaults included."""
    config = spec.config(spec.cell_values()[0], {})
    return {k: v for k, v in config.items() if k not in spec.cells and k not in spec.space}


def seed_of(spec: StudySpec, job: Job) -> int:
    """The seed that a job trains with: its own, or the study's."""
    return spec.seed if job.seed is None else job.seed


def cell_seed(seed: int, cell: Mapping[str, Value]) -> int:
    """A seed of a cell's own, the same whatever other cells a study has."""
    text = json.dumps([seed, dict(cell)], sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
