"""study.json: what was asked for, of what data, with which versions; see search.record.Record."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from search import record
from search.spec.cells import make_plan
from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.engine.train import watched_split
from trainables.own_task import code_of
from trainables.resnet import describe_weights

PACKAGES = (
    "resnet-tune",
    "torch",
    "torchvision",
    "ray",
    "optuna",
    "numpy",
    "scipy",
    "pandas",
    "triton",
)


def create(
    folder: Path,
    spec: StudySpec,
    text: str,
    overrides: list[str],
    data: list[dict[str, Any]],
    weights: Mapping[int, Path],
    task_dir: Path | None = None,
) -> None:
    """Write study.json; its keys are documented in search.record."""
    task = find_task(spec.task)
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
        "weights": describe(spec, weights),
        "task_dir": None if task_dir is None else str(task_dir),
        "task_code": code_of(spec.task),
        **_here(),
        "sessions": [],
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / record.STUDY, study)


def describe(spec: StudySpec, weights: Mapping[int, Path]) -> dict[str, dict[str, Any]]:
    """Source, file name and checksum of the pretrained weights, by depth."""
    return {
        str(depth): {"source": spec.weights, **describe_weights(path)}
        for depth, path in weights.items()
    }


def _here() -> dict[str, Any]:
    """The code and the machine that run a session."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # run from its source folder
            versions[name] = "not installed"
    return {"versions": versions, "git": git(), "machine": _machine()}


def add_session(folder: Path, kind: str, places: Mapping[str, str]) -> None:
    """Note that a driver starts to work on the study: `kind` is run or resume."""
    study = record.load_study(folder)
    session = {"kind": kind, "started": _now(), "ended": None, **places, **_here()}
    study["sessions"].append({**session, "task_code": code_of(study["task"])})
    _write_json(folder / record.STUDY, study)


def add_packing(folder: Path, rows: list[dict[str, Any]] | None) -> None:
    """Keep what a trial of each depth was measured to take on a GPU; the first one stays first."""
    study = record.load_study(folder)
    held = study.get("packing", [])
    new = [row for row in rows or [] if row not in held]
    if new:
        study["packing"] = held + new
        _write_json(folder / record.STUDY, study)


def end_session(folder: Path) -> None:
    """Note that it has ended; a killed one never does."""
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


def cores() -> int:
    """CPU cores that this process may use: of its affinity, and of a container's quota."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = Path("/sys/fs/cgroup/cpu.max")  # "max 100000", or microseconds of each period
    try:
        most, period = quota.read_text().split()
        limit = math.ceil(int(most) / int(period))
    except (OSError, ValueError):
        limit = 0
    return min(usable or 1, limit) if limit else usable or 1


def git() -> dict[str, Any] | None:
    """Commit of the code that runs; None where it is no checkout."""
    here = Path(__file__).parent

    def run(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        # installed into an environment inside another project's checkout, that commit is not ours
        ours = run("ls-files", "--error-unmatch", Path(__file__).name)
        commit = run("rev-parse", "HEAD") if ours else ""
    except OSError:
        return None
    return {"commit": commit, "dirty": bool(run("status", "--porcelain"))} if commit else None


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
