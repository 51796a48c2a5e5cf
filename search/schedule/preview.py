"""What a study will take, before it takes it: trials, epochs, wall time, memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from search.record.naming import cell_label
from search.spec.cells import make_plan
from search.spec.plan import (
    Plan,
    audit_epochs,
    audit_epochs_at_most,
    reaching,
    reaching_at_most,
    search_epochs,
)
from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.networks import without_memory

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Preview:
    """What a study will take; epochs are whole-study sums unless said otherwise.

    Attributes:
        cells: number of cells.
        trials: configs drawn, over all cells.
        rungs: epochs, the last one the full budget.
        reaching: trials of a cell that train to each rung when nothing goes wrong.
        reaching_at_most: the same with every early promotion a mistake; by a stopping rule, with
            trials that arrive each better than the last.
        search_epochs: expected, and at most as long as no trial fails or diverges. By cell-stop
            the first is an estimate, since a trial stops by what came before it; by ray-asha both
            are of every config in full, since Ray decides as it goes.
        audit_epochs: of the late-bloomer audit, expected and at most.
        confirm_epochs: of the seeds.
        full_epochs: of every config trained in full, which no search exceeds, epochs that a
            retry or a kill repeats aside.
        share: expected and largest share of full_epochs, search and audit.
        workers: jobs at once; trials that are trained together are one.
        wall_epochs: shortest and longest wall time, in epochs of one trial, while nothing fails
            or diverges: no schedule beats the first, and none that keeps its workers busy exceeds
            the second (Graham 1969). Where an array is faster than its members one by one, as it
            may be on a GPU, both are too long by as much.
        wall_hours: the same in hours where the seconds of an epoch were given, else None.
        memory_mb: cell -> MiB of weights, gradients, optimizer state and best weights: a trial
            needs this and its activations.
    """

    cells: int
    trials: int
    rungs: tuple[int, ...]
    reaching: tuple[int, ...]
    reaching_at_most: tuple[int, ...]
    search_epochs: tuple[int, int]
    audit_epochs: tuple[int, int]
    confirm_epochs: int
    full_epochs: int
    share: tuple[float, float]
    workers: int
    wall_epochs: tuple[float, float]
    wall_hours: tuple[float, float] | None
    memory_mb: dict[str, float]


def preview(spec: StudySpec, workers: int, epoch_seconds: float | None = None) -> Preview:
    """The account of a study before it runs.

    Args:
        spec: the study.
        workers: jobs at once.
        epoch_seconds: of one epoch of one trial, if known.
    """
    plan, cells = make_plan(spec), spec.cell_values()
    least, most = _counts(spec, plan)
    count, longest = len(cells), plan.rungs[-1]
    search = count * search_epochs(plan, least), count * search_epochs(plan, most)
    audit = (
        sum(audit_epochs(plan, cell) for cell in range(count)),
        count * audit_epochs_at_most(plan),
    )
    confirm = count * len(plan.confirm_seeds) * longest
    full = count * plan.trials_per_cell * longest
    # the longest way that one job after another must take: a winner's search, then a seed of it
    chain = longest * (bool(plan.trials_per_cell) + bool(plan.confirm_seeds))
    with_audit = max(chain, 2 * longest - plan.rungs[0] if audit[1] else 0)
    fewest = search[0]
    if spec.scheduler in ("cell-stop", "ray-asha"):  # each arrival worse than all before it
        first = plan.rungs[0] if spec.scheduler == "cell-stop" else spec.budget.grace_epochs
        fewest = count * plan.trials_per_cell * first
        if spec.scheduler == "cell-stop":  # but the first of a cell passes every rung
            fewest += count * (plan.rungs[-1] - first)
    # a member of an array goes at the pace of all, where they take turns
    beside = spec.resources.array if isinstance(spec.resources.array, int) else 1
    wall = (
        max((fewest + audit[0] + confirm) / workers, chain),
        (search[1] + audit[1] + confirm) / workers + beside * with_audit * (1 - 1 / workers),
    )
    hours = epoch_seconds and tuple(epochs * epoch_seconds / 3600 for epochs in wall)
    return Preview(
        cells=count,
        trials=count * plan.trials_per_cell,
        rungs=plan.rungs,
        reaching=tuple(least),
        reaching_at_most=tuple(most),
        search_epochs=search,
        audit_epochs=audit,
        confirm_epochs=confirm,
        full_epochs=full,
        share=(_share(search[0] + audit[0], full), _share(search[1] + audit[1], full)),
        workers=workers,
        wall_epochs=wall,
        wall_hours=hours or None,  # type: ignore[arg-type]
        memory_mb=_memory(spec),
    )


def _share(epochs: int, full: int) -> float:
    """Share of training every config in full; 1 where there is nothing to search."""
    return min(epochs / full, 1.0) if full else 1.0


def _counts(spec: StudySpec, plan: Plan) -> tuple[list[int], list[int]]:
    """Trials of a cell that train to each rung: expected, and at most."""
    if spec.scheduler == "cell-stop":
        n = plan.trials_per_cell
        # the first arrival passes every rung, and a rung that grows lets its best third pass
        return reaching(plan), [n] * len(plan.rungs)
    return reaching(plan), reaching_at_most(plan)


def _memory(spec: StudySpec) -> dict[str, float]:
    """Cell, by what its network depends on -> MiB of everything as large as the weights."""
    task, found = find_task(spec.task), {}
    counts: dict[str, tuple[int, int, int]] = {}
    for cell in spec.cell_values():
        config = spec.config(cell, {})
        fresh = {**config, "pretrained": False}
        key = repr(fresh)  # from scratch and fine-tuned are one network
        if key not in counts:
            net = without_memory(config, partial(task.network, fresh, None))
            parts = (net.parameters(), net.buffers(), net.state_dict().values())
            weights, apart, best = (sum(held.numel() for held in part) for part in parts)
            counts[key] = weights, apart, best
        weights, apart, best = counts[key]
        if config["checkpoint_rule"] != "best":
            best = 0
        found[cell_label(cell)] = FLOAT * (weights * _copies(config) + apart + best) / 2**20
    return found


def _copies(config: Mapping[str, Any]) -> int:
    """How many times the trained weights are held: themselves, gradients, optimizer state."""
    return 2 + (2 if config["optimizer"] == "adam" else int(config["momentum"] > 0))
