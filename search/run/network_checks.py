"""Networks and pretrained weights that a study needs, tried before its first trial."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from search.run.options import Options, PreflightError, weights_dir_fault
from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.errors import WeightsError
from trainables.networks import RESNET, is_own, without_memory
from trainables.resnet import (
    check_weights,
    describe_weights,
    find_own_weights,
    find_weights,
    is_there,
    read_origin,
    weights_name,
)
from trainables.task import Task
from trainables.tasks import synthetic

IMAGENET = "imagenet1k_v1"  # torchvision's weights, by their key in a study


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

    Those that would be fetched, and are only looked for, are left out.

    Raises:
        PreflightError: with every fault.
    """
    configs = [spec.config(cell, {}) for cell in spec.cell_values()]
    tuned = {n: int(c["depth"]) for n, c in enumerate(configs) if c.get("pretrained")}
    files, faults = dict[int, Path](), list[str]()
    absent = to_fetch(spec, options)
    looked_for = tuned and spec.weights != "synthetic"
    if looked_for and (fault := weights_dir_fault(options, bool(absent))):
        raise PreflightError(fault)
    for depth in sorted(set(tuned.values()) - set(absent if options.look_only else ())):
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
    return {number: files[depth] for number, depth in tuned.items() if depth in files}


def to_fetch(spec: StudySpec, options: Options) -> list[int]:
    """Depths whose weights `run` downloads."""
    configs = [spec.config(cell, {}) for cell in spec.cell_values()]
    depths = {int(c["depth"]) for c in configs if c.get("pretrained")}
    if spec.weights != IMAGENET or not options.download:
        return []
    return sorted(d for d in depths if not is_there(d, options.weights_dir / weights_name(d)))


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
