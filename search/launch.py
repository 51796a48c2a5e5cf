"""From a spec to a finished record: preflight, run folder, Ray, and back; `resume` likewise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from search import manifest, record
from search.packing import Packing, measured, shares
from search.spec import StudySpec, parse_spec
from search.study import Places, Study, Watcher
from search.trial import mps_active
from trainables import TASKS, synthetic
from trainables.resnet import WeightsError, check_weights, find_own_weights, find_weights
from trainables.task import DataError, MissingDataError

MPS = {
    True: "CUDA MPS is active: trials that share a GPU overlap",
    False: "CUDA MPS is absent: trials that share a GPU take turns",
}


class PreflightError(ValueError):
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
    """

    data_dir: Path
    weights_dir: Path
    runs_dir: Path
    address: str
    say: Callable[[str], None]
    download: bool = True
    make_data_dir: bool = True


def start(
    spec: StudySpec, text: str, overrides: list[str], options: Options, watcher: Watcher
) -> tuple[Path, bool]:
    """Run a new study.

    Args:
        spec: the study.
        text: of its file, for the record.
        overrides: applied to it, for the record.
        options: see Options.
        watcher: sees what happens.

    Returns:
        The run folder, and whether the study is done (False: interrupted).

    Raises:
        PreflightError: something is missing.
        ExecutionError: Ray cannot run it.
    """
    folder = (options.runs_dir / spec.name).resolve()
    if (folder / record.STUDY).exists():
        raise PreflightError(
            f"{folder} already holds a study. Go on with it: `resnet-search resume {folder}`; or "
            "keep it and run beside it: --name ANOTHER"
        )
    _check_local(spec, options)
    try:
        options.runs_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PreflightError(
            f"--runs-dir {options.runs_dir}: no folder can be made there ({error})"
        ) from error
    data = _fingerprints(spec, options)
    weights = _weights(spec, options, folder)

    def create() -> None:
        manifest.create(folder, spec, text, overrides, data, weights)

    return folder, _execute(spec, folder, options, weights, watcher, create)


def resume(folder: Path, options: Options, watcher: Watcher, retry_failed: bool = False) -> bool:
    """Go on with a study from its journal; nothing that finished is run again.

    Args:
        folder: the run folder.
        options: see Options.
        watcher: sees what happens.
        retry_failed: run again what has failed for good, too.

    Returns:
        Whether the study is done (False: interrupted).

    Raises:
        RecordError, PreflightError, JournalError, ExecutionError: see there.
    """
    folder = folder.resolve()
    held = record.load_study(folder)
    spec = parse_spec(held["spec"], str(folder / record.STUDY))
    if _is_done(spec, folder, watcher, retry_failed):
        return True
    _check_local(spec, options)
    data = _fingerprints(spec, options)
    if data != held["data"]:
        raise PreflightError(
            f"the data under {options.data_dir} is not what {folder.name} was started with: found "
            f"{_short(data)}, on record {_short(held['data'])}. Name the right one with --data-dir"
        )
    weights = _weights(spec, options, folder)
    if manifest.describe(spec, weights) != held["weights"]:
        raise PreflightError(
            f"the pretrained weights under {options.weights_dir} are not those that {folder.name} "
            "was started with; name the right ones with --weights-dir"
        )
    return _execute(spec, folder, options, weights, watcher, retry_failed=retry_failed)


def _is_done(spec: StudySpec, folder: Path, watcher: Watcher, retry_failed: bool = False) -> bool:
    """Whether nothing is left to run; also refuses a folder that is in use or damaged."""
    sizes = _sizes(spec, folder)
    study = Study(spec, folder, Places(folder, {}, {}, sizes), watcher)
    done = study.done and not (retry_failed and study.failed)
    study.close()
    return done


def _check_local(spec: StudySpec, options: Options) -> None:
    """Refuse what this machine cannot give; what a cluster has is known when Ray is connected.

    Raises:
        PreflightError: with what there is.
    """
    asked = spec.resources.gpus_per_trial
    if isinstance(asked, dict):
        _gpus(spec, 0)  # an entry for every depth?
    if options.address != "local":
        return
    cores, gpus = manifest.cores(), torch.cuda.device_count()
    most = max(_gpus(spec, gpus).values())
    for key, want, held, name in (
        ("cpus_per_trial", spec.resources.cpus_per_trial, cores, "CPU cores"),
        ("gpus_per_trial", most, gpus, "GPUs"),
    ):
        if want > held:
            raise PreflightError(
                f"resources.{key} asks for {want:g}, and this machine has {held} {name}; lower "
                "it, or join a cluster with --address"
            )


def places(options: Options) -> dict[str, str]:
    """Where a session looks, so that the next one can look there by itself."""
    return {
        "data_dir": str(options.data_dir),
        "weights_dir": str(options.weights_dir),
        "address": options.address,
    }


def _short(data: list[dict[str, Any]]) -> str:
    return ", ".join(
        f"{d['data']} ({d['edition']}, {d['train_images']} + {d['test_images']} images)"
        for d in data
    )


def _execute(
    spec: StudySpec,
    folder: Path,
    options: Options,
    weights: Mapping[int, Path],
    watcher: Watcher,
    create: Callable[[], None] | None = None,
    retry_failed: bool = False,
) -> bool:
    """Run what is left of a study; a new one is created when nothing can refuse it any more."""
    # imports ray, which takes seconds: not before the preflight is over
    from search import cluster, executor

    options.say(f"starting Ray ({options.address})")
    cluster.connect(options.address, manifest.cores())
    try:
        if options.address != "local":
            options.say(f"joined {cluster.joined()}")
        packing = _packing(spec, None if create else folder, options)
        gpus = _gpus(spec, cluster.gpus_in_cluster(), packing)
        for share in set(gpus.values()):
            cluster.check_feasible(spec.resources.cpus_per_trial, share)
        if any(0 < share < 1 for share in gpus.values()):
            options.say(MPS[mps_active()])
        if create:
            create()
        manifest.add_packing(folder, packing)
        executor.storage_ready(folder)
        there = Places(options.data_dir.resolve(), weights, gpus, _sizes(spec, folder))
        study = Study(spec, folder, there, watcher)
        manifest.add_session(folder, "run" if create else "resume", places(options))
        try:
            if retry_failed:
                options.say(f"run again: {', '.join(study.failed) or 'nothing failed'}")
                study.retry_failed()
            return executor.execute(study)
        finally:
            study.close()
            manifest.end_session(folder)
    finally:
        cluster.disconnect()


def _packing(spec: StudySpec, folder: Path | None, options: Options) -> Packing | None:
    """What a trial was measured to need on the GPU that is here, for `gpus_per_trial = "auto"`.

    Args:
        spec: the study.
        folder: of a study that is resumed; what it measured on such a GPU is not measured again.
        options: see Options.

    Raises:
        PreflightError: the study has run on a GPU, and here is none.
    """
    from search import cluster

    held = (record.load_study(folder).get("packing") or []) if folder else []
    gpus = cluster.gpus_in_cluster()
    if held and not gpus:
        raise PreflightError(
            f"{folder} has run on {held[0]['device']}, and here is no GPU: resume it where there "
            "is one, or join a cluster with --address"
        )
    if spec.resources.gpus_per_trial != "auto" or not gpus or (folder and not held):
        return None
    if held:
        here = cluster.on_gpu(torch.cuda.get_device_name)
        known = [row for row in held if row["device"] == here]
        if known:
            return known
    options.say("measuring how many trials fit a GPU")
    try:
        return measured(spec, options.data_dir.resolve(), cluster.on_gpu, options.say)
    except Exception as error:  # whatever a trial may raise on a GPU
        lines = str(error).strip().splitlines() or [type(error).__name__]
        options.say(f"that failed, so each trial gets a GPU to itself: {lines[-1]}")
        return None


def _sizes(spec: StudySpec, folder: Path) -> dict[int, float]:
    """The GPU shares that the study began with, by depth: the order of its jobs hangs on them."""
    rows = record.load_study(folder).get("packing") or []
    return _gpus(spec, 1, [row for row in rows if row["device"] == rows[0]["device"]])


def _gpus(spec: StudySpec, available: float, packing: Packing | None = None) -> dict[int, float]:
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
    return sorted({int(spec.config(cell, {})["depth"]) for cell in spec.cell_values()})


def _fingerprints(spec: StudySpec, options: Options) -> list[dict[str, Any]]:
    """What the data of the study's cells is."""
    found: list[dict[str, Any]] = []
    for cell in spec.cell_values():
        config = spec.config(cell, {})
        try:
            print_ = _fingerprint(spec.task, config, options)
        except DataError as error:
            raise PreflightError(str(error)) from error
        _check_limits(config, print_)
        if print_ not in found:
            found.append(print_)
    return found


def _fingerprint(name: str, config: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """What the data of a config is; fetched first where it is missing and the task can.

    Raises:
        DataError, PreflightError: it is damaged, or missing and cannot be fetched.
    """
    task, there = TASKS[name], options.data_dir.is_dir()
    try:
        return task.fingerprint(options.data_dir, config)
    except MissingDataError as error:
        fetch = task.download if options.download else None
        if fetch is None or config["edition"] not in ("auto", "binary"):
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


def _check_limits(config: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Refuse limits above what the data has: a table would name images that nobody saw."""
    cut = config["val_fraction"] * data["train_images"]
    held = {
        "train": data["train_images"] - round(cut),
        "val": max(1, round(cut)) if cut else 0,
        "test": data["test_images"],
    }
    for split, count in held.items():
        limit = config[f"{split}_images"]
        if limit is not None and limit > count:
            raise PreflightError(
                f"{split}_images = {limit}, but {data['data']} has {count} of them with "
                f"val_fraction = {config['val_fraction']:g}; lower it, or leave it out to use all"
            )


def _weights(spec: StudySpec, options: Options, folder: Path) -> dict[int, Path]:
    """Pretrained weights by depth, found, fetched or made once, and tried on their network."""
    configs = [spec.config(cell, {}) for cell in spec.cell_values()]
    depths = sorted({int(c["depth"]) for c in configs if c["pretrained"]})
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
        except WeightsError as error:
            faults.append(str(error))
    if faults:
        raise PreflightError("\n".join(faults))
    return found
