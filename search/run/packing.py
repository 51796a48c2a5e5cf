"""`gpus_per_trial = "auto"`: how many trials share a GPU, by what one was measured to take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from search.record.run_folder import RunFolder
from search.run.arrays import why_single
from search.run.device import mps_active
from search.run.digest import code_digest
from search.run.earlier import earlier_studies
from search.run.options import Options, PreflightError
from search.run.ways import ALONE, NO_MPS, measured_ways, share, task_named
from search.spec.study_spec import StudySpec
from search.spec.tables import Range, Value
from trainables.engine.kit import FREE
from trainables.engine.probe import Taken, probe_each
from trainables.task import Config

if TYPE_CHECKING:
    from search.run.nodes import Nodes

Packing = list[dict[str, Any]]


def measured(
    spec: StudySpec,
    data_dir: Path,
    on_gpu: Callable[..., Any],
    say: Callable[[str], None],
    task_dir: str = "",
    lent: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None,
) -> Packing:
    """One row a shape of trial, for the record: cells, settings, device, peak_mb, ..., share.

    Args:
        spec: the study; of each cell the largest config is measured, cells of one shape once.
        data_dir: where the data is, on every node.
        on_gpu: runs a function with its arguments alone on a GPU of the cluster.
        say: told of each measurement.
        task_dir: folder that code of the user's own is imported from; "" for none.
        lent: what another study has measured of such trials, by what they are; None for nothing.
    """
    shapes = shapes_of(spec)
    values = spec.cell_values()
    able = [not why_single(spec, values[cells[0]]) for cells, _, _ in shapes]
    what = [
        of_trial(spec, config, data_dir, can)
        for (_, config, _), can in zip(shapes, able, strict=True)
    ]
    known = [lent(wanted) for wanted in what]
    # in one process: to start another for each shape takes longer than to measure it
    held = [config for (_, config, _), row in zip(shapes, known, strict=True) if row is None]
    told = (spec.task, held, data_dir, spec.seed, "cuda", task_dir)
    found = iter(on_gpu(probe_task, *told) if held else ())
    rows, asked = [], fixed_shares(spec)
    for (cells, config, settings), row, of in zip(shapes, known, what, strict=True):
        name = ", ".join(f"{key} {value}" for key, value in settings.items()) or "every trial"
        own = None if asked is None else max(asked[cell] for cell in cells)
        if row is not None:
            say(f"{name}: as {row.pop('study')} has measured it on {row['device']}")
        else:
            taken = next(found)
            row = {**asdict(taken), "share": share(taken), "of": of}
            say(_told(name, taken, own))
            if spec.resources.array == "auto" and _arrays(spec, cells, say):
                row |= measured_ways(spec, config, taken, own, on_gpu, data_dir, task_dir, say)
        rows.append({**row, "cells": cells, "settings": settings})
    return rows


def _told(name: str, taken: Taken, asked: float | None) -> str:
    fit = "share a GPU" if asked is None else "would fit a GPU"
    return (
        f"{name}: {taken.peak_mb:,.0f} of {taken.total_mb:,.0f} MiB and "
        f"{taken.step_ms:.2f} ms a step on {taken.device}; {1 / share(taken):.0f} trials {fit}"
    )


def _arrays(spec: StudySpec, cells: Sequence[int], say: Callable[[str], None]) -> bool:
    """Whether trials of a shape can be members of arrays; says why not."""
    if why := why_single(spec, spec.cell_values()[cells[0]]):
        say(f"note: trials of cells {cells} are trained singly, not as arrays: {why}")
    return not why


def of_trial(
    spec: StudySpec, config: Config, data_dir: Path, arrays: bool = True
) -> dict[str, Any]:
    """What a measurement hangs on, but for the device: another study's of the same is as good.

    Args:
        spec: the study.
        config: the largest of a shape.
        data_dir: where the data is.
        arrays: whether trials of it can be trained as one, which hangs on the study's space too.
    """
    asked = spec.resources
    held = {key: value for key, value in config.items() if key not in FREE}
    found = {
        "task": spec.task,
        "shape": held,
        "data_dir": str(data_dir),
        "resources": [asked.gpus_per_trial, asked.array, asked.cpus_per_trial],
        "arrays": arrays,
        "code": code_digest(),
        "torch": torch.__version__,
    }
    return dict(json.loads(json.dumps(found, default=str)))


def lent_by(
    runs_dir: Path, device: Callable[[], str], mps: Callable[[], bool]
) -> Callable[[dict[str, Any]], dict[str, Any] | None]:
    """What studies under a folder have measured of such trials; see `measured`.

    Args:
        runs_dir: of run folders; those that cannot be read lend nothing.
        device: asks for the name of the GPU here, where any study may lend.
        mps: asks whether an MPS daemon is there; only of such a one are packs known.
    """
    rows = [
        {**row, "study": study["name"]}
        for _, study in earlier_studies(runs_dir)
        for row in study.get("packing") or []
    ]
    here, overlap = cache(device), cache(mps)

    def lent(wanted: dict[str, Any]) -> dict[str, Any] | None:
        for row in reversed(rows):
            if row.get("of") != wanted or row["device"] != here():
                continue
            why = row.get("no_packs", ALONE)  # else one that failed, which may have passed
            if why == ALONE or (why in ("", NO_MPS) and overlap() == (why != NO_MPS)):
                return dict(row)
        return None

    return lent


def probe_task(
    name: str, configs: list[Config], data_dir: Path, split_seed: int, kind: str, task_dir: str
) -> list[Taken]:
    """`probe_each` of a task by its name."""
    return probe_each(task_named(name, task_dir), configs, data_dir, split_seed, kind)


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
    # code of the user's own may be another by now
    others = Path() / "none" if spec.own_code() else options.runs_dir
    lent = lent_by(
        others, partial(on_gpu, torch.cuda.get_device_name), partial(on_gpu, mps_active)
    )
    return measured(spec, at, on_gpu, options.say, folder, lent)
