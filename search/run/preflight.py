"""What a study needs of its data and of this machine's devices, before its first trial."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import torch

from search.run import machine
from search.run.copies import check_logs
from search.run.options import Options, PreflightError, WouldFetchError, data_dir_fault
from search.run.packing import Packing, fixed_shares, shares
from search.spec.split_sizes import share_for_val, split_sizes
from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.errors import UserError
from trainables.own_code import quoted
from trainables.task import DataError, MissingDataError

NETWORKS = frozenset({"depth", "pretrained", "network", "stem", "lr", "optimizer", "precision"})


def check_local(spec: StudySpec, options: Options) -> None:
    """Refuse what this machine cannot give; what a cluster has is known when Ray is connected.

    Packages that [log] asks for are the driver's, wherever the jobs run.

    Raises:
        PreflightError: with what there is.
    """
    check_logs(spec)
    asked = spec.resources.gpus_per_trial
    if isinstance(asked, dict):
        gpus_by_cell(spec, 0)  # an entry for every depth?
    if options.address != "local":
        return
    cores, gpus = machine.cores(), torch.cuda.device_count()
    most = max(gpus_by_cell(spec, gpus).values())
    for key, want, held, name in (
        ("cpus_per_trial", spec.resources.cpus_per_trial, cores, "CPU cores"),
        ("gpus_per_trial", most, gpus, "GPUs"),
    ):
        if want > held:
            raise PreflightError(
                f"resources.{key} asks for {want:g}, and this machine has {held} {name}; lower "
                "it, or join a cluster with --address"
            )


def gpus_by_cell(
    spec: StudySpec, available: float, packing: Packing | None = None
) -> dict[int, float]:
    """GPUs that a trial takes, by number of its cell.

    Raises:
        PreflightError: the table by depth lacks one, or the task has no depth.
    """
    fixed = fixed_shares(spec)
    if fixed is not None:
        return fixed
    if packing:
        return shares(spec, packing)
    return dict.fromkeys(range(len(spec.cell_values())), 1.0 if available else 0.0)


def fingerprints(spec: StudySpec, options: Options) -> list[dict[str, Any]]:
    """What the data of the study's cells is.

    Raises:
        WouldFetchError: it would be downloaded, is only looked for, and there is no fault.
        PreflightError: with the faults of every cell's data.
    """
    found: list[dict[str, Any]] = []
    notes: dict[str, None] = {}
    faults: dict[str, UserError] = {}
    known: dict[str, dict[str, Any] | UserError] = {}
    for cell in spec.cell_values():
        config = spec.config(cell, {})
        # damaged data is read, and refused, once for all depths
        key = of_data(spec, config)
        if key not in known:
            known[key] = _looked_at(spec, config, options)
        held = known[key]
        try:
            if isinstance(held, UserError):
                raise held
            print_ = held
            _check_limits(config, print_)
        except UserError as error:
            faults.setdefault(str(error), error)
            continue
        notes |= dict.fromkeys(told_of(print_))
        notes |= dict.fromkeys(_late_milestones(spec, cell, print_))
        if print_ not in found:
            found.append(print_)
    if faults:
        first = next(iter(faults.values()))
        if all(isinstance(error, WouldFetchError) for error in faults.values()):
            raise first
        raise PreflightError("\n".join(faults)) from first
    for note in notes:
        options.say(note)
    return found


def of_data(spec: StudySpec, config: Mapping[str, Any]) -> str:
    """The settings that a fingerprint may hang on; of a task of the user's own, all."""
    free = frozenset() if ":" in spec.task else NETWORKS
    return json.dumps({k: v for k, v in config.items() if k not in free}, default=str)


def _looked_at(
    spec: StudySpec, config: Mapping[str, Any], options: Options
) -> dict[str, Any] | UserError:
    """A config's fingerprint, or why it has none."""
    try:
        found = _fingerprint(spec.task, config, options)
        return own_fingerprint(spec.task, found) if ":" in spec.task else found
    except UserError as error:
        return error


def told_by_data(spec: StudySpec, data: list[dict[str, Any]]) -> StudySpec:
    """The study with the settings that its data says, such as the number of classes, fixed.

    What the study says itself was compared with the data when its fingerprint was taken.
    """
    said = {key: value for found in data for key, value in found.get("settings", {}).items()}
    given = {**spec.fixed, **spec.cells, **spec.space}
    new = {key: value for key, value in said.items() if key not in given}
    return spec.model_copy(update={"fixed": {**spec.fixed, **new}}) if new else spec


def _fingerprint(name: str, config: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """What the data of a config is; fetched first where it is missing and the task can.

    Raises:
        DataError, PreflightError: it is damaged, or missing and cannot be fetched.
        WouldFetchError: it is missing, would be fetched, and is only looked for.
    """
    task, fetch = find_task(name), None
    try:
        return task.fingerprint(options.data_dir, config)
    except Exception as error:
        own, missing = ":" in name, isinstance(error, MissingDataError)
        if own and not isinstance(error, UserError):
            raise PreflightError(f"the fingerprint of task {name}: {quoted(error)}") from error
        if missing and options.download and config.get("edition", "auto") in ("auto", "binary"):
            fetch = task.download
        # a task of the user's own may take a file for its data, and says itself what it lacks
        if (fetch or not own) and isinstance(error, (DataError, OSError)):
            fault = data_dir_fault(options, name if fetch else "")
            if fault:
                raise PreflightError(fault) from error
        if fetch is None:
            raise
        if options.look_only:
            raise WouldFetchError(f"{name} is not in {options.data_dir}") from error
    there = options.data_dir.is_dir()
    options.say(f"no data in {options.data_dir}; downloading {name} into it")
    try:
        fetch(options.data_dir)
    except DataError:
        if not there:
            with contextlib.suppress(OSError):  # what did arrive stays
                options.data_dir.rmdir()
        raise
    return task.fingerprint(options.data_dir, config)


def own_fingerprint(name: str, found: Any) -> dict[str, Any]:
    """What a task of the user's own says of its data, as study.json will hold it.

    Raises:
        PreflightError: it is no JSON, or lacks a count.
    """
    said = f"the fingerprint of task {name}"
    try:
        # as it comes back from study.json, which `resume` compares: a tuple comes back as a list
        held = json.loads(json.dumps(found, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PreflightError(
            f"{said} must hold what JSON can (texts, numbers, lists): {error}"
        ) from error
    if not isinstance(held, dict):
        raise PreflightError(f"{said} must be a dict, not {found!r}")
    for key in ("train_images", "test_images"):
        if not isinstance(held.get(key), int) or held[key] < 1:
            raise PreflightError(
                f"{said} must hold {key}, how many there are, not {held.get(key)!r}"
            )
    for key in ("notes", "warnings"):
        if not _are_texts(held.get(key, [])):
            raise PreflightError(f"{said}: {key} must be a list of texts, not {held[key]!r}")
    return {"data": find_task(name).name, "edition": "own", "synthetic": False, **held}


def _are_texts(held: Any) -> bool:
    return isinstance(held, list) and all(isinstance(text, str) for text in held)


def told_of(found: Mapping[str, Any]) -> list[str]:
    """The lines in which `fingerprints` says what is odd in a data set."""
    return [f"note: {found['data']}: {note}" for note in data_notes(found)]


def data_notes(found: Mapping[str, Any]) -> list[str]:
    """What is odd in a data set, harmless or not, by its fingerprint."""
    return [*found.get("warnings", ()), *found.get("notes", ())]


def _check_limits(config: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Refuse limits above what the data has: a table would name images that nobody saw."""
    share = share_for_val(config, data)
    for split, count in split_sizes(config, data).items():
        limit = config.get(f"{split}_images")
        if limit is not None and limit > count:
            said = f" with val_fraction = {share:g}" if share else ""
            raise PreflightError(
                f"{split}_images = {limit}, but {data['data']} has {count} of them{said}; lower "
                "it, or leave it out to use all"
            )


def _late_milestones(
    spec: StudySpec, cell: Mapping[str, Any], data: Mapping[str, Any]
) -> list[str]:
    """What is said of milestones that no training reaches: lr would never drop there.

    Told and not refused: a short try of a study whose milestones are steps is no fault.
    """
    config = spec.config(cell, {})
    schedules = spec.space["schedule"].values if "schedule" in spec.space else ()
    if "step" not in (schedules or (config["schedule"],)) or "batch_size" not in config:
        return []
    batch = config["batch_size"]
    if "batch_size" in spec.space:
        held = spec.range_of("batch_size", cell)
        batch = min(held.values) if held.values else held.low
    images = config.get("train_images") or split_sizes(config, data)["train"]
    steps = -(-images // int(batch)) * spec.budget.max_epochs
    return [
        f"note: milestone {late:g} lies beyond the {steps:,} steps of {spec.budget.max_epochs} "
        "epochs, so lr never drops there; set fixed.milestones, below 1 as shares of the budget"
        for late in config["milestones"]
        if late >= 1 and late >= steps
    ]
