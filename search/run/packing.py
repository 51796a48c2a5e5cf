"""`gpus_per_trial = "auto"`: how many trials share a GPU, by what one was measured to take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from search.record.run_folder import RunFolder
from search.run.arrays import why_single
from search.run.device import mps_active
from search.run.options import Options, PreflightError
from search.spec.study_spec import StudySpec
from search.spec.tables import Range, Value
from trainables import find_task
from trainables.engine.kit import FREE
from trainables.engine.probe import Taken, probe_arrays, probe_each
from trainables.own_code import import_from
from trainables.task import Config

if TYPE_CHECKING:
    from search.run.nodes import Nodes

HEAD_ROOM = 0.9  # of a GPU's memory is given out
CONTEXT_MB = 600  # a process's own on a GPU: context, kernels, cuDNN's plans
# collocating small trainings gave up to 4 times the throughput (arXiv 2209.06018), not more
MOST = 4

# what four packed trials do, one being 1, at depth 18 on an H200 (README, Speed; of the depths the
# most): arrays must beat that. Under MPS kernels of theirs overlap; without they take turns, and
# four did 0.95 (depth 18 and 152)
PACKED = {True: 1.8, False: 1.0}
ARRAYS = (2, 4, 8)  # sizes that are measured

Packing = list[dict[str, Any]]


def share(taken: Taken) -> float:
    """The share of a GPU that a trial needs, as one over a whole number of trials.

    Args:
        taken: what one trial took on that GPU.

    Returns:
        1 over the number of trials whose memory fits, at most MOST; 1 if not even one fits.
    """
    fit = int(HEAD_ROOM * taken.total_mb / (taken.peak_mb + CONTEXT_MB))
    return 1 / max(1, min(MOST, fit))


def measured(
    spec: StudySpec,
    data_dir: Path,
    on_gpu: Callable[..., Any],
    say: Callable[[str], None],
    task_dir: str = "",
) -> Packing:
    """One row a shape of trial, for the record: cells, settings, device, peak_mb, ..., share.

    Args:
        spec: the study; of each cell the largest config is measured, cells of one shape once.
        data_dir: where the data is, on every node.
        on_gpu: runs a function with its arguments alone on a GPU of the cluster.
        say: told of each measurement.
        task_dir: folder that code of the user's own is imported from; "" for none.
    """
    shapes = shapes_of(spec)
    # in one process: to start another for each shape takes longer than to measure it
    held = [config for _, config, _ in shapes]
    found: list[Taken] = on_gpu(probe_task, spec.task, held, data_dir, spec.seed, "cuda", task_dir)
    rows, asked = [], fixed_shares(spec)
    fit = "share a GPU" if asked is None else "would fit a GPU"
    for (cells, _, settings), taken in zip(shapes, found, strict=True):
        part = share(taken)
        told = ", ".join(f"{key} {value}" for key, value in settings.items()) or "every trial"
        say(
            f"{told}: {taken.peak_mb:,.0f} of {taken.total_mb:,.0f} MiB and "
            f"{taken.step_ms:.2f} ms a step on {taken.device}; {1 / part:.0f} trials {fit}"
        )
        rows.append({"cells": cells, "settings": settings, **asdict(taken), "share": part})
    if spec.resources.array != "auto":
        return rows
    mps = bool(on_gpu(mps_active))  # there, not where the driver is
    for (cells, config, _), taken, row in zip(shapes, found, rows, strict=True):
        if why := why_single(spec, spec.cell_values()[cells[0]]):
            say(f"note: trials of cells {cells} are trained singly, not as arrays: {why}")
            continue
        arrays: dict[int, Taken] = on_gpu(
            probe_task_arrays, spec.task, config, data_dir, spec.seed, "cuda", task_dir
        )
        row["arrays"] = {str(size): asdict(one) for size, one in arrays.items()}
        part = row["share"] if asked is None else max(asked[cell] for cell in cells)
        row["array"] = fastest(taken, part, arrays, mps)
        told = ", ".join(f"{size} in {one.step_ms:.2f} ms" for size, one in arrays.items())
        say(f"steps of arrays: {told or 'none fits'}; {row['array']} trained as one")
    return rows


def fastest(single: Taken, part: float, arrays: Mapping[int, Taken], mps: bool) -> int:
    """How many trials are best trained as one, by what a few steps took.

    Args:
        single: of one trial.
        part: its share of the GPU, as it will have it.
        arrays: of arrays, by size.
        mps: whether kernels of trials that share the GPU overlap.

    Returns:
        The size of the fastest array that fits the shares of its members; 1 where none does more
        than single trials, packed where they can be.
    """
    least = (PACKED[mps] if part <= 0.5 else 1.0) / single.step_ms
    rates = {
        size / taken.step_ms: size
        for size, taken in arrays.items()
        if taken.peak_mb + CONTEXT_MB <= HEAD_ROOM * taken.total_mb * min(1.0, part * size)
    }
    best = max(rates, default=0.0)
    return rates[best] if best > least else 1


def probe_task(
    name: str, configs: list[Config], data_dir: Path, split_seed: int, kind: str, task_dir: str
) -> list[Taken]:
    """`probe_each` of a task by its name: in another process it is imported, as a worker does."""
    if task_dir:
        import_from(task_dir)
    return probe_each(find_task(name), configs, data_dir, split_seed, kind)


def probe_task_arrays(
    name: str, config: Config, data_dir: Path, split_seed: int, kind: str, task_dir: str
) -> dict[int, Taken]:
    """`probe_arrays` of a task by its name; see `probe_task`."""
    if task_dir:
        import_from(task_dir)
    return probe_arrays(find_task(name), config, data_dir, split_seed, kind, ARRAYS)


def fixed_shares(spec: StudySpec) -> dict[int, float] | None:
    """Number of a cell -> share of a GPU that the study asks for; None where it is measured.

    Raises:
        PreflightError: the table by depth lacks one, or the task has no depth.
    """
    asked, cells = spec.resources.gpus_per_trial, spec.cell_values()
    if asked == "auto":
        return None
    if not isinstance(asked, dict):
        return dict.fromkeys(range(len(cells)), float(asked))
    found = {}
    for number, cell in enumerate(cells):
        depth = spec.config(cell, {}).get("depth")
        if str(depth) not in asked:
            raise PreflightError(
                f"resources.gpus_per_trial has no entry for depth {depth}; it has "
                f"{', '.join(asked)}"
            )
        found[number] = asked[str(depth)]
    return found


def shares(spec: StudySpec, packing: Packing) -> dict[int, float]:
    """Number of a cell -> share of a GPU, of its largest shape; 1 where none was measured."""
    found = {}
    for number, cell in enumerate(spec.cell_values()):
        depth = spec.config(cell, {}).get("depth")
        # rows of records from before shapes were told apart are by depth alone
        rows = [r for r in packing if number in r.get("cells", ()) or r.get("depth", "") == depth]
        found[number] = max((float(row["share"]) for row in rows), default=1.0)
    return found


def shapes_of(spec: StudySpec) -> list[tuple[list[int], dict[str, Any], dict[str, Any]]]:
    """Of each shape: its cells, a config of it, and the settings that tell it from the others."""
    held: dict[str, tuple[list[int], dict[str, Any]]] = {}
    for number, cell in enumerate(spec.cell_values()):
        space = {key: spec.range_of(key, cell) for key in spec.space}
        for drawn in spec.points or _largest(space):
            config = spec.config(cell, drawn)
            # a searched number that is no size, such as a rate, makes no other shape
            free = {k for k in drawn if isinstance(config[k], float)} | FREE
            shape = {key: value for key, value in config.items() if key not in free}
            cells, _ = held.setdefault(json.dumps(shape, default=str), ([], config))
            if number not in cells:
                cells.append(number)
    configs = [config for _, config in held.values()]
    varied = [key for key in configs[0] if len({repr(c[key]) for c in configs}) > 1]
    told = [key for key in varied if key not in FREE]
    return [(cells, c, {key: c[key] for key in told}) for cells, c in held.values()]


def _high(held: Range) -> Value:
    assert held.high is not None  # a range without values has ends
    return round(held.high) if held.integer else held.high


def _largest(space: dict[str, Range]) -> Iterator[dict[str, Value]]:
    """Draws at the largest value of every number, with each of the other choices in turn."""
    choices = []
    for held in space.values():
        numbers = [v for v in held.values if not isinstance(v, bool | str)]
        if held.values and len(numbers) < len(held.values):
            choices.append(held.values)
        else:
            choices.append((max(numbers) if numbers else _high(held),))
    yield from (dict(zip(space, values, strict=True)) for values in product(*choices))


def packing_here(
    spec: StudySpec, run: RunFolder | None, options: Options, nodes: Nodes | None
) -> Packing | None:
    """What a trial was measured to need on every kind of GPU here, for `gpus_per_trial = "auto"`.

    Args:
        spec: the study.
        run: of a study that is resumed; what it measured on such a GPU is not measured again.
        options: see Options.
        nodes: of a cluster, who may take jobs.

    Returns:
        Rows of each kind, one after another; see `shares`.

    Raises:
        PreflightError: the study has run on a GPU, and here is none.
    """
    from search.run import cluster

    held = (run.study.get("packing") or []) if run else []
    gpus = cluster.gpus_of(nodes.resources() if nodes else cluster.resources())
    if held and not gpus:
        raise PreflightError(
            f"the study has run on {held[0]['device']}, and here is no GPU: resume it where there "
            "is one, or join a cluster with --address"
        )
    asked = (spec.resources.gpus_per_trial, spec.resources.array)
    if "auto" not in asked or not gpus or (run and not held):
        return None
    if not any((fixed_shares(spec) or {0: 1.0}).values()):
        return None  # no trial takes a GPU
    rows: Packing = []
    try:
        for labels in nodes.gpu_kinds() if nodes else [None]:
            rows += _packing_at(spec, held, options, partial(cluster.on_gpu, labels))
    except Exception as error:  # whatever a trial may raise on a GPU
        lines = str(error).strip().splitlines() or [type(error).__name__]
        options.say(f"that failed, so each trial gets a GPU to itself: {lines[-1]}")
        return None
    return rows


def _packing_at(
    spec: StudySpec, held: Packing, options: Options, on_gpu: Callable[..., Any]
) -> Packing:
    """The same on one kind of GPU."""
    if held:
        here = on_gpu(torch.cuda.get_device_name)
        if known := [row for row in held if row["device"] == here]:
            return known
    options.say("measuring how many trials fit a GPU")
    at, folder = options.data_dir.resolve(), str(options.task_dir or "")
    return measured(spec, at, on_gpu, options.say, folder)
