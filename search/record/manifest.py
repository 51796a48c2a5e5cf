"""study.json: what was asked for, of what data, with which versions; see search.record.Record."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search import record
from search.record.study_form import study_fault
from search.spec.cells import common_settings, make_plan
from search.spec.questions import find_questions
from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.engine.train import watched_split
from trainables.errors import TaskError
from trainables.own_code import code_of
from trainables.resnet import describe_weights


def describe_study(
    spec: StudySpec,
    text: str,
    overrides: list[str],
    data: list[dict[str, Any]],
    weights: Mapping[int, Path],
    here: Mapping[str, Any],
    task_dir: Path | None = None,
) -> dict[str, Any]:
    """What study.json holds of a new study; its keys are documented in search.record.read.

    Args:
        spec: the study.
        text: of its file.
        overrides: applied to it.
        data: fingerprints.
        weights: files of pretrained weights; see `describe`.
        here: versions, commit and machine; see search.run.machine.
        task_dir: folder that a task of the user's own is imported from.

    Raises:
        TaskError: what a task of the user's own says of itself or of its data would be refused
            whenever the record is read.
    """
    task = find_task(spec.task)
    config = spec.config(spec.cell_values()[0], {})
    watched = watched_split(config)
    measured = [f"{watched}_{name}" for name in task.metrics]
    plan = make_plan(spec)
    study = {
        "format": record.FORMAT,
        "run_id": secrets.token_hex(8),
        "name": spec.name,
        "task": spec.task,
        "metric": task.metric,
        "mode": task.mode,
        "metrics": list(task.metrics),
        "also": list(task.also),
        "about": task.says,
        "row_metrics": ["train_loss", f"train_{task.metric}", *measured],
        "watched": watched,
        "shown_split": task.report_split if spec.protocol == "report" else "test",
        "protocol": spec.protocol,
        "checkpoint_rule": config["checkpoint_rule"],
        "synthetic": any(d["synthetic"] for d in data)
        or (spec.weights == "synthetic" and bool(weights)),
        "cells": spec.cell_values(),
        "space_keys": list(spec.space),
        "settings": common_settings(spec),
        "rungs": list(plan.rungs),
        "seed": spec.seed,
        "confirm_seeds": list(plan.confirm_seeds),
        "spec": spec.model_dump(mode="json", exclude_unset=True),
        "text": text,
        "overrides": overrides,
        "data": data,
        "questions": find_questions(spec, data),
        "weights": describe(spec, weights),
        "task_dir": None if task_dir is None else str(task_dir),
        "task_code": code_of(spec.own_code()),
        **here,
        "sessions": [],
    }
    if fault := study_fault(json.loads(json.dumps(study))):  # as it will be read
        raise TaskError(
            f"task {spec.task}: its record could not be read again: {fault}; mend what the task's "
            "about or fingerprint says"
        )
    return study


def describe(spec: StudySpec, weights: Mapping[int, Path]) -> dict[str, dict[str, Any]]:
    """Source, file name and checksum of the pretrained weights, by depth.

    Args:
        spec: the study.
        weights: number of a cell -> its file.
    """
    cells = spec.cell_values()
    by_depth = {str(spec.config(cells[n], {})["depth"]): path for n, path in weights.items()}
    return {
        depth: {"source": spec.weights, **describe_weights(path)}
        for depth, path in by_depth.items()
    }
