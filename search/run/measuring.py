"""How long an epoch of each cell takes: by a few real steps, or lent by studies run before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from search import record
from search.record.outlook import in_arrays
from search.run import machine
from search.run.options import Options
from search.run.packing import shapes_of
from search.spec.split_sizes import split_sizes
from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.engine.kit import FREE
from trainables.engine.probe import Taken, probe_each
from trainables.engine.train import watched_split

CPU_STEPS = 4  # of each shape; a step of depth 152 may take seconds there
SCORED = 256  # test images that are scored; the time of the others follows from theirs


@dataclass(frozen=True)
class EpochTime:
    """What an epoch of some cells takes.

    Attributes:
        cells: their numbers.
        seconds: of an epoch, evaluation included: of one trial alone where it was measured, else
            as it ran there, beside others.
        device: that it was measured on.
        source: "measured", or the study and the data that it is lent by.
    """

    cells: list[int]
    seconds: float
    device: str
    source: str


def measure(spec: StudySpec, data: list[dict[str, Any]], options: Options) -> list[EpochTime]:
    """A few real steps, and one evaluation, of each shape of trial.

    Args:
        spec: the study, with what its data says.
        data: fingerprints of its data.
        options: `data_dir` and `say` are read.
    """
    task, kind = find_task(spec.task), "cuda" if torch.cuda.is_available() else "cpu"
    found = []
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, int(spec.resources.cpus_per_trial)))  # as a trial's worker does
    try:
        for cells, config, settings in shapes_of(spec):
            told = ", ".join(f"{key} {value}" for key, value in settings.items()) or "every trial"
            options.say(f"measuring {told}")
            few = {"test_images": min(config.get("test_images") or SCORED, SCORED)}
            few = few if "test_images" in task.settings else {}
            steps = (CPU_STEPS,) if kind == "cpu" else ()
            (taken,) = probe_each(
                task, [{**config, **few}], options.data_dir, spec.seed, kind, *steps
            )
            there = _data_of(config, data)["test_images"]
            scored = min(few.get("test_images", there), there)
            seconds = _epoch(taken, scored, _evaluated(config, data))
            found.append(EpochTime(cells, seconds, taken.device, "measured"))
    finally:
        torch.set_num_threads(before)
    return found


def _epoch(taken: Taken, scored: int, evaluated: int) -> float:
    return taken.steps * taken.step_ms / 1e3 + taken.test_s * evaluated / scored


def _data_of(config: Mapping[str, Any], data: list[dict[str, Any]]) -> dict[str, Any]:
    """The fingerprint of a config's data, among those of its study."""
    return next((d for d in data if d.get("part", "") == config.get("part", "")), data[0])


def _evaluated(config: Mapping[str, Any], data: list[dict[str, Any]]) -> int:
    """Images that are evaluated after each epoch: of the split that is watched."""
    held = _data_of(config, data)
    split = watched_split(config)
    return int(config.get(f"{split}_images") or split_sizes(config, held)[split])


def times_of(spec: StudySpec, held: record.Record) -> list[EpochTime]:
    """What epochs of the study's cells took in one that ran on this kind of machine before.

    Args:
        spec: the study.
        held: the record of the other.
    """
    here, study = machine.here()["machine"], held.study
    if study.get("machine") != here:
        return []
    try:
        times, lender = _recorded(held), f"{study['name']}, on {study['data'][0]['data']}"
    except LookupError:  # of an earlier version, or of no data
        return []
    device = (here["gpus"] or [here["processor"]])[0]
    found = dict[int, EpochTime]()
    for number, cell in enumerate(spec.cell_values()):
        shape = shape_of(spec.config(cell, {}), spec)
        for theirs, seconds in times:
            if all(theirs.get(key, value) == value for key, value in shape.items()):
                found[number] = EpochTime([number], seconds, device, lender)
    return list(found.values())


def shape_of(config: Mapping[str, Any], spec: StudySpec) -> dict[str, Any]:
    """The settings that an epoch's time hangs on, but for searched ones."""
    shape = {k: v for k, v in config.items() if k not in FREE and k not in spec.space}
    found: dict[str, Any] = json.loads(json.dumps(shape))  # as study.json holds it
    return found


def _recorded(held: record.Record) -> list[tuple[dict[str, Any], float]]:
    """Settings of each cell, and the median seconds of an epoch in it, of trials by themselves."""
    if in_arrays(held.study):
        return []
    curves = held.curves[held.curves["name"] == "seconds"]
    cells = held.trials.set_index("trial")["cell"]
    medians = curves.groupby(curves["trial"].map(cells))["value"].median()
    return [
        ({**held.study["settings"], **held.study["cells"][int(cell)]}, float(seconds))
        for cell, seconds in zip(medians.index.to_list(), medians.to_list(), strict=True)
        if seconds > 0
    ]
