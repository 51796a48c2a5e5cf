"""What a study needs before its first trial: resources, data, pretrained weights."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from search.run import machine
from search.run.packing import Packing, shares
from search.spec.split_sizes import share_for_val, split_sizes
from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.errors import UserError, WeightsError
from trainables.networks import RESNET, is_own, without_memory
from trainables.own_code import quoted
from trainables.resnet import (
    check_weights,
    describe_weights,
    find_own_weights,
    find_weights,
    read_origin,
)
from trainables.task import DataError, MissingDataError, Task
from trainables.tasks import synthetic

NETWORKS = frozenset({"depth", "pretrained", "network", "stem", "lr", "optimizer", "precision"})
IMAGENET = "imagenet1k_v1"  # torchvision's weights, by their key in a study


class PreflightError(UserError):
    """Something a study needs is missing; found before a trial starts."""


@dataclass(frozen=True)
class Options:
    """Where and how to run.

    Attributes:
        data_dir: folder of the data.
        weights_dir: folder of torchvision's weights files, and of folders of one's own.
        runs_dir: folder of run folders.
        address: "local", "auto" or a Ray address.
        say: told of every step before the first trial.
        download: fetch missing data and weights where a task and torchvision can.
        make_data_dir: make the data folder where it is missing, to download into it.
        task_dir: folder that a task of the user's own is imported from.
        store: URI that the study is handed in to; "" where all nodes see the run folder.
    """

    data_dir: Path
    weights_dir: Path
    runs_dir: Path
    address: str
    say: Callable[[str], None]
    download: bool = True
    make_data_dir: bool = True
    task_dir: Path | None = None
    store: str = ""


def check_local(spec: StudySpec, options: Options) -> None:
    """Refuse what this machine cannot give; what a cluster has is known when Ray is connected.

    Raises:
        PreflightError: with what there is.
    """
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
    asked, cells = spec.resources.gpus_per_trial, spec.cell_values()
    if asked == "auto" and packing:
        return shares(spec, packing)
    if asked == "auto":
        return dict.fromkeys(range(len(cells)), 1.0 if available else 0.0)
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


def fingerprints(spec: StudySpec, options: Options) -> list[dict[str, Any]]:
    """What the data of the study's cells is.

    Raises:
        PreflightError: with the faults of every cell's data.
    """
    found: list[dict[str, Any]] = []
    notes: dict[str, None] = {}
    faults: dict[str, UserError] = {}
    known: dict[str, dict[str, Any] | UserError] = {}
    for cell in spec.cell_values():
        config = spec.config(cell, {})
        # damaged data is read, and refused, once for all depths
        key = _of_data(spec, config)
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
        raise PreflightError("\n".join(faults)) from next(iter(faults.values()))
    for note in notes:
        options.say(note)
    return found


def _of_data(spec: StudySpec, config: Mapping[str, Any]) -> str:
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
    """
    task, there = find_task(name), options.data_dir.is_dir()
    try:
        return task.fingerprint(options.data_dir, config)
    except Exception as error:
        if not isinstance(error, MissingDataError):
            if ":" in name and not isinstance(error, UserError):
                raise PreflightError(f"the fingerprint of task {name}: {quoted(error)}") from error
            raise
        fetch = task.download if options.download else None
        if fetch is None or config.get("edition", "auto") not in ("auto", "binary"):
            raise
        if not (there or options.make_data_dir):
            raise PreflightError(
                f"--data-dir {options.data_dir} is no folder; name the one that holds the data, "
                f"or make it and {name} is downloaded into it"
            ) from error
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


def check_networks(spec: StudySpec) -> None:
    """Try networks that are not the ResNets on inputs of their cells' shape.

    Those of torchvision without arithmetic; a function of the user's own as it will run, with two
    inputs, since its code may do what the meta device cannot.

    Raises:
        PreflightError: one does not take them, or returns another shape than a ResNet.
    """
    task = find_task(spec.task)
    for cell in spec.cell_values():
        config = {**spec.config(cell, {}), "pretrained": False}
        name = config.get("network", RESNET)
        if name == RESNET or task.inputs is None:
            continue
        shapes = []
        try:
            for network in (RESNET, name):
                made = _outputs(task, {**config, "network": network, "skip_padding": False})
                shapes.append(tuple(made.shape) if isinstance(made, torch.Tensor) else made)
        except Exception as error:  # whatever a network may raise
            raise PreflightError(
                f"network = {name!r} does not take inputs of {task.inputs(config)}: "
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            ) from error
        if shapes[0] != shapes[1]:
            raise PreflightError(
                f"network = {name!r} returns {shapes[1]!r}, not {shapes[0]} (images, outputs)"
            )


def _outputs(task: Task, config: Mapping[str, Any]) -> Any:
    make, own = partial(task.network, config, None), is_own(config)
    with torch.random.fork_rng(devices=[]):
        net = make() if own else without_memory(config, make)
        assert task.inputs is not None
        images = torch.empty(2, *task.inputs(config), device="cpu" if own else "meta")
        return net.train()(images.zero_())


def pretrained_files(spec: StudySpec, options: Options, folder: Path) -> dict[int, Path]:
    """Pretrained weights by number of the cell: found, fetched or made, and tried once.

    Raises:
        PreflightError: with every fault.
    """
    configs = [spec.config(cell, {}) for cell in spec.cell_values()]
    tuned = {n: int(c["depth"]) for n, c in enumerate(configs) if c.get("pretrained")}
    files, faults = dict[int, Path](), list[str]()
    for depth in sorted(set(tuned.values())):
        try:
            files[depth] = _weights_file(spec, depth, options, folder)
        except WeightsError as error:
            faults.append(str(error))
            continue
        found, notes = _weights_faults(spec, depth, files[depth])
        faults += found
        for note in notes:
            options.say(f"note: {note}")
    if faults:
        raise PreflightError("\n".join(faults))
    return {number: files[depth] for number, depth in tuned.items()}


def _weights_faults(spec: StudySpec, depth: int, path: Path) -> tuple[list[str], list[str]]:
    """What is wrong with weights and with the origin beside them, and what is worth a word."""
    faults, notes = list[str](), list[str]()
    try:
        notes += check_weights(depth, path)
    except WeightsError as error:
        faults.append(str(error))
    try:
        read_origin(path)  # one that cannot be read is told now
    except WeightsError as error:
        faults.append(str(error))
    if not faults and spec.weights == IMAGENET and not describe_weights(path)["official"]:
        notes.append(
            f"depth {depth}: {path} has the name of torchvision's file and not its checksum; if "
            "it is another network's, name its source with weights"
        )
    return faults, notes


def _weights_file(spec: StudySpec, depth: int, options: Options, folder: Path) -> Path:
    if spec.weights == IMAGENET:
        return find_weights(depth, options.weights_dir, options.download)
    if spec.weights != "synthetic":
        return find_own_weights(depth, options.weights_dir, spec.weights)
    path = folder / "weights" / f"resnet{depth}-synthetic.pth"
    if not path.is_file():
        options.say(f"training ResNet-{depth} on a synthetic source task")
        synthetic.make_source_weights(depth, path)
    return path
