"""What a study needs before its first trial: resources, data, pretrained weights."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from search.record import manifest
from search.run.packing import Packing, shares
from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.errors import UserError
from trainables.own_task import quoted
from trainables.resnet import (
    WeightsError,
    check_weights,
    describe_weights,
    find_own_weights,
    find_weights,
)
from trainables.task import DataError, MissingDataError
from trainables.tasks import synthetic


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
    """

    data_dir: Path
    weights_dir: Path
    runs_dir: Path
    address: str
    say: Callable[[str], None]
    download: bool = True
    make_data_dir: bool = True
    task_dir: Path | None = None


def check_local(spec: StudySpec, options: Options) -> None:
    """Refuse what this machine cannot give; what a cluster has is known when Ray is connected.

    Raises:
        PreflightError: with what there is.
    """
    asked = spec.resources.gpus_per_trial
    if isinstance(asked, dict):
        gpus_by_depth(spec, 0)  # an entry for every depth?
    if options.address != "local":
        return
    cores, gpus = manifest.cores(), torch.cuda.device_count()
    most = max(gpus_by_depth(spec, gpus).values())
    for key, want, held, name in (
        ("cpus_per_trial", spec.resources.cpus_per_trial, cores, "CPU cores"),
        ("gpus_per_trial", most, gpus, "GPUs"),
    ):
        if want > held:
            raise PreflightError(
                f"resources.{key} asks for {want:g}, and this machine has {held} {name}; lower "
                "it, or join a cluster with --address"
            )


def gpus_by_depth(
    spec: StudySpec, available: float, packing: Packing | None = None
) -> dict[int, float]:
    """GPUs a trial takes, by depth."""
    asked, depths = spec.resources.gpus_per_trial, _depths(spec)
    if asked == "auto" and packing:
        return shares(packing)
    if asked == "auto":
        return dict.fromkeys(depths, 1.0 if available else 0.0)
    if isinstance(asked, dict):
        missing = [d for d in depths if str(d) not in asked]
        if missing:
            raise PreflightError(
                f"resources.gpus_per_trial has no entry for depth {missing[0]}; it has "
                f"{', '.join(asked)}"
            )
        return {d: asked[str(d)] for d in depths}
    return dict.fromkeys(depths, float(asked))


def _depths(spec: StudySpec) -> list[int]:
    return sorted({int(spec.config(cell, {}).get("depth", 0)) for cell in spec.cell_values()})


def fingerprints(spec: StudySpec, options: Options) -> list[dict[str, Any]]:
    """What the data of the study's cells is."""
    found: list[dict[str, Any]] = []
    for cell in spec.cell_values():
        config = spec.config(cell, {})
        try:
            print_ = _fingerprint(spec.task, config, options)
        except DataError as error:
            raise PreflightError(str(error)) from error
        if ":" in spec.task:
            print_ = own_fingerprint(spec.task, print_)
        _check_limits(config, print_)
        if print_ not in found:
            found.append(print_)
    return found


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
    return {"data": find_task(name).name, "edition": "own", "synthetic": False, **held}


def _check_limits(config: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Refuse limits above what the data has: a table would name images that nobody saw."""
    share = config.get("val_fraction", 0) if "val_images" not in data else 0
    cut = share * data["train_images"]
    held = {
        "train": data["train_images"] - round(cut),
        "val": data.get("val_images", max(1, round(cut)) if cut else 0),
        "test": data["test_images"],
    }
    for split, count in held.items():
        limit = config.get(f"{split}_images")
        if limit is not None and limit > count:
            said = f" with val_fraction = {share:g}" if share else ""
            raise PreflightError(
                f"{split}_images = {limit}, but {data['data']} has {count} of them{said}; lower "
                "it, or leave it out to use all"
            )


def pretrained_files(spec: StudySpec, options: Options, folder: Path) -> dict[int, Path]:
    """Pretrained weights by depth, found, fetched or made once, and tried on their network."""
    configs = [spec.config(cell, {}) for cell in spec.cell_values()]
    depths = sorted({int(c["depth"]) for c in configs if c.get("pretrained")})
    found, faults = {}, []
    for depth in depths:
        try:
            if spec.weights == "synthetic":
                found[depth] = folder / "weights" / f"resnet{depth}-synthetic.pth"
                if not found[depth].is_file():
                    options.say(f"training ResNet-{depth} on a synthetic source task")
                    synthetic.make_source_weights(depth, found[depth])
            elif spec.weights == "imagenet1k_v1":
                found[depth] = find_weights(depth, options.weights_dir, options.download)
            else:
                found[depth] = find_own_weights(depth, options.weights_dir, spec.weights)
            check_weights(depth, found[depth])
            describe_weights(found[depth])  # an origin that cannot be read is told now
        except WeightsError as error:
            faults.append(str(error))
    if faults:
        raise PreflightError("\n".join(faults))
    return found


def check_split(spec: StudySpec, data: list[dict[str, Any]], weights: Mapping[int, Path]) -> None:
    """Refuse own weights that were trained on images which this study validates on.

    Raises:
        PreflightError: with the seed and the share that cut both alike.
    """
    own = (spec.seed, spec.config(spec.cell_values()[0], {}).get("val_fraction"))
    settings = find_task(spec.task).settings
    usual = settings["val_fraction"].default if "val_fraction" in settings else None
    for depth, path in weights.items():
        origin = describe_weights(path).get("origin") or {}
        held = origin.get("data")
        if "split_seed" not in origin or not isinstance(held, list):
            continue  # not written by search.run.weights
        theirs = (origin["split_seed"], origin["config"].get("val_fraction", usual))
        if theirs != own and any(found in held for found in data):
            raise PreflightError(
                f"depth {depth}: {path} was trained on images that this study validates on: both "
                f"use the same data, and study {origin['study']} cut validation off by seed = "
                f"{theirs[0]}, val_fraction = {theirs[1]}, not by {own[0]} and {own[1]}. Set both "
                "to its values"
            )
