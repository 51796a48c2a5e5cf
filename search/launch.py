"""From a spec to a finished record: preflight, run folder, Ray, and back; `resume` likewise."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from search import record
from search.spec import SpecError, StudySpec, parse_spec
from search.study import Places, Study, Watcher, make_plan
from trainables import TASKS, synthetic
from trainables.resnet import WeightsError, check_weights, describe_weights, find_weights
from trainables.task import DataError
from trainables.train import watched_split

PACKAGES = ("resnet-tune", "torch", "torchvision", "ray", "optuna", "numpy", "scipy", "pandas")


class PreflightError(ValueError):
    """Something a study needs is missing; found before a trial starts. Lists all of it."""


@dataclass(frozen=True)
class Options:
    """Where and how to run.

    Attributes:
        data_dir: folder of the data.
        weights_dir: folder of torchvision's weights files.
        runs_dir: folder of run folders.
        address: "local", "auto" or a Ray address.
        say: told of every step before the first trial.
        download: fetch missing data and weights where a task and torchvision can.
    """

    data_dir: Path
    weights_dir: Path
    runs_dir: Path
    address: str
    say: Callable[[str], None]
    download: bool = True


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
    data = _fingerprints(spec, options)
    weights = _weights(spec, options, folder)
    _create(folder, spec, text, overrides, data, weights)
    return folder, _execute(spec, folder, options, weights, "run", watcher)


def resume(folder: Path, options: Options, watcher: Watcher) -> bool:
    """Go on with a study from its journal; nothing that finished is run again.

    Returns:
        Whether the study is done (False: interrupted).

    Raises:
        RecordError, PreflightError, JournalError, ExecutionError: see there.
    """
    folder = folder.resolve()
    held = record.load_study(folder)
    spec = parse_spec(held["spec"], str(folder / record.STUDY))
    data = _fingerprints(spec, options)
    if data != held["data"]:
        raise PreflightError(
            f"the data under {options.data_dir} is not what {folder.name} was started with: found "
            f"{_short(data)}, on record {_short(held['data'])}. Name the right one with --data-dir"
        )
    weights = _weights(spec, options, folder)
    return _execute(spec, folder, options, weights, "resume", watcher)


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
    kind: str,
    watcher: Watcher,
) -> bool:
    from search import (
        executor,
    )  # imports ray, which takes seconds: not before the preflight is over

    executor.storage_ready(folder)
    options.say(f"starting Ray ({options.address})")
    executor.connect(options.address)
    try:
        gpus = _gpus(spec, executor.gpus_in_cluster())
        for share in set(gpus.values()):
            executor.check_feasible(spec.resources.cpus_per_trial, share)
        study = Study(spec, folder, Places(options.data_dir.resolve(), weights, gpus), watcher)
        _add_session(folder, kind, options.address)
        try:
            return executor.execute(study)
        finally:
            study.close()
            _end_session(folder)
    finally:
        executor.disconnect()


def _gpus(spec: StudySpec, available: float) -> dict[int, float]:
    """GPUs a trial takes, by depth."""
    asked, depths = spec.resources.gpus_per_trial, _depths(spec)
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
    """What the data of the study's cells is; fetched first where the task can."""
    task, found = TASKS[spec.task], []
    for cell in spec.cell_values():
        config = spec.config(cell, {})
        try:
            print_ = task.fingerprint(options.data_dir, config)
        except DataError as error:
            fetch = task.download if options.download else None
            if fetch is None or config["edition"] not in ("auto", "binary"):
                raise PreflightError(str(error)) from error
            options.say(f"no data in {options.data_dir}; downloading {spec.task} into it")
            try:
                fetch(options.data_dir)
                print_ = task.fingerprint(options.data_dir, config)
            except DataError as second:
                raise PreflightError(str(second)) from second
        if print_ not in found:
            found.append(print_)
    return found


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
            else:
                found[depth] = find_weights(depth, options.weights_dir, options.download)
            check_weights(depth, found[depth])
        except WeightsError as error:
            faults.append(str(error))
    if faults:
        raise PreflightError("\n".join(faults))
    return found


def _create(
    folder: Path,
    spec: StudySpec,
    text: str,
    overrides: list[str],
    data: list[dict[str, Any]],
    weights: Mapping[int, Path],
) -> None:
    """Write study.json; its keys are documented in search.record."""
    task = TASKS[spec.task]
    config = spec.config(spec.cell_values()[0], {})
    watched = watched_split(config)
    measured = [f"{watched}_{name}" for name in task.metrics]
    plan = make_plan(spec)
    study = {
        "format": record.FORMAT,
        "name": spec.name,
        "task": spec.task,
        "metric": task.metric,
        "mode": task.mode,
        "metrics": list(task.metrics),
        "row_metrics": ["train_loss", f"train_{task.metric}", *measured],
        "watched": watched,
        "shown_split": task.report_split if spec.protocol == "report" else "test",
        "protocol": spec.protocol,
        "checkpoint_rule": config["checkpoint_rule"],
        "synthetic": any(d["synthetic"] for d in data)
        or (spec.weights == "synthetic" and bool(weights)),
        "cells": spec.cell_values(),
        "space_keys": list(spec.space),
        "settings": {k: config[k] for k in config if k not in spec.cells and k not in spec.space},
        "rungs": list(plan.rungs),
        "seed": spec.seed,
        "confirm_seeds": list(plan.confirm_seeds),
        "spec": spec.model_dump(mode="json", exclude_unset=True),
        "text": text,
        "overrides": overrides,
        "data": data,
        "weights": {
            str(d): {"source": spec.weights, **describe_weights(p)} for d, p in weights.items()
        },
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "git": _git(),
        "machine": _machine(),
        "sessions": [],
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / record.STUDY, study)


def _add_session(folder: Path, kind: str, address: str) -> None:
    study = record.load_study(folder)
    study["sessions"].append({"kind": kind, "address": address, "started": _now(), "ended": None})
    _write_json(folder / record.STUDY, study)


def _end_session(folder: Path) -> None:
    study = record.load_study(folder)
    study["sessions"][-1]["ended"] = _now()
    _write_json(folder / record.STUDY, study)


def _write_json(path: Path, held: dict[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(held, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git() -> dict[str, Any] | None:
    """Commit of the code that runs; None where it is no checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "HEAD")
    except OSError:
        return None
    return {"commit": commit, "dirty": bool(git("status", "--porcelain"))} if commit else None


def _machine() -> dict[str, Any]:
    """The driver's machine; a trial's own device is in its row."""
    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "processor": f"{processor} ({torch.backends.cpu.get_cpu_capability()})",
        "cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


__all__ = ["Options", "PreflightError", "SpecError", "resume", "start"]
