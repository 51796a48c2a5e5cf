"""Which trials are trained together as an array: `resources.array`, cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from search.spec.study_spec import StudySpec
from trainables import find_task


def array_sizes(spec: StudySpec, say: Callable[[str], None]) -> dict[int, int]:
    """Number of a cell -> trials that are trained as one, at most; told where they cannot be.

    Args:
        spec: the study.
        say: told why cells have none, once a reason.
    """
    if spec.resources.array == 1:
        return {}
    found: dict[int, int] = {}
    told: dict[str, list[int]] = {}
    for number, cell in enumerate(spec.cell_values()):
        if why := _why_single(spec, cell):
            told.setdefault(why, []).append(number)
        else:
            found[number] = spec.resources.array
    for why, cells in told.items():
        which = "trials" if not found and len(told) == 1 else f"trials of cells {cells}"
        say(f"note: {which} are trained singly, not as arrays: {why}")
    return found


def _why_single(spec: StudySpec, cell: Mapping[str, Any]) -> str:
    from trainables.engine.arrays.fits import FREE, why_single
    from trainables.engine.job import TrainJob

    if spec.scheduler == "ray-asha":
        return "scheduler = 'ray-asha' ends them one by one"
    if other := sorted(set(spec.space) - FREE):
        return f"{', '.join(other)} of [space] makes networks or batches of other shapes"
    # nothing that is searched changes the network: one config speaks for all
    config = spec.config(cell, {})
    job = TrainJob(config, 0, 0, 1, 1, False, Path(), None, "cpu", Path())
    return why_single(find_task(spec.task), [job, job])
