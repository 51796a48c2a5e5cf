"""Which trials are trained together as an array: `resources.array`, cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from search.spec.study_spec import StudySpec
from trainables import find_task


def array_sizes(
    spec: StudySpec,
    packing: Sequence[Mapping[str, Any]],
    say: Callable[[str], None],
    gpus: bool = True,
) -> dict[int, int]:
    """Number of a cell -> trials that are trained as one, at most; told where they cannot be.

    Args:
        spec: the study.
        packing: what was measured on the GPUs that are here; see search.run.packing.
        say: told why cells have none, once a reason, and that a CPU gains nothing.
        gpus: whether trials have any.
    """
    most = spec.resources.array
    if most == 1:
        return {}
    if most == "auto":
        if not packing:
            say("note: resources.array = 'auto' trains singly here: on a CPU arrays are no faster")
        measured: dict[int, int] = {}
        values = spec.cell_values()
        for row in packing:  # a row a shape and kind of GPU: a job may run on any
            for cell in row.get("cells", ()):
                size = 1 if why_single(spec, values[cell]) else int(row.get("array", 1))
                measured[cell] = min(size, measured.get(cell, size))
        return measured
    found: dict[int, int] = {}
    told: dict[str, list[int]] = {}
    for number, cell in enumerate(spec.cell_values()):
        if why := why_single(spec, cell):
            told.setdefault(why, []).append(number)
        else:
            found[number] = most
    if found and not gpus:
        say(f"note: resources.array = {most} on a CPU: an array is no faster than trials singly")
    for why, cells in told.items():
        which = "trials" if not found and len(told) == 1 else f"trials of cells {cells}"
        say(f"note: {which} are trained singly, not as arrays: {why}")
    return found


def why_single(spec: StudySpec, cell: Mapping[str, Any]) -> str:
    """Why trials of a cell are trained singly, in words; "" where they can be members of one."""
    from trainables.engine.arrays.fits import FREE
    from trainables.engine.arrays.fits import why_single as of_jobs
    from trainables.engine.job import TrainJob

    if spec.scheduler == "ray-asha":
        return "scheduler = 'ray-asha' ends them one by one"
    if other := sorted(set(spec.space) - FREE):
        return f"{', '.join(other)} of [space] makes networks or batches of other shapes"
    # nothing that is searched changes the network: one config speaks for all
    config = spec.config(cell, {})
    job = TrainJob(config, 0, 0, 1, 1, False, Path(), None, "cpu", Path())
    return of_jobs(find_task(spec.task), [job, job])
