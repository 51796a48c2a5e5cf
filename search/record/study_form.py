"""The types of what study.json holds, and what its keys must be together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from search.record.forms import (
    Count,
    Epoch,
    Form,
    Number,
    Scores,
    Table,
    Texts,
    Value,
    fault_of,
    shown,
)


class Metric(Form):
    """See trainables.about."""

    title: str = ""
    mode: Literal["max", "min"] = "min"
    digits: Annotated[int, Field(ge=0, le=20)] = 4


class Skill(Form):
    """See trainables.about."""

    metric: str
    over: str


class Published(Form):
    """See trainables.about."""

    title: str
    where: Table
    has: Texts
    lacks: Texts
    first: str
    implied: Texts
    match: Texts
    only: Table
    split: str
    note: str


class Sheet(Form):
    """See trainables.about."""

    key: str
    name: str
    where: Table
    without: Texts
    metrics: Texts
    mode: str
    only: Table = Field(default_factory=dict)
    train: Literal["beside", "apart", "none"] = "beside"
    beside: Table = Field(default_factory=dict)


class About(Form):
    """See trainables.about."""

    title: str
    metrics: dict[str, Metric]
    formulas: str
    training: str = ""
    images: Texts
    side: str
    chance: dict[str, Scores]
    constants: Texts
    skill: Skill | None
    tables: dict[str, Published]
    sheets: list[Sheet]


class Data(Form):
    """A fingerprint of a data set."""

    data: str
    edition: Value
    synthetic: bool = False
    warnings: Texts = Field(default_factory=list)
    notes: Texts = Field(default_factory=list)


class Git(Form):
    """The commit that ran."""

    commit: str | None = None
    dirty: bool | None = None


class Machine(Form):
    """What it ran on."""

    processor: str | None = None
    cores: Count | None = None
    gpus: list[Any] | None = None


class Session(Form):
    """A run or resume."""

    started: str | None = None
    ended: str | None = None
    versions: Table | None = None
    code: str | None = None
    task_code: list[dict[str, str]] = Field(default_factory=list)
    accepted: Texts = Field(default_factory=list)
    git: Git | None = None
    data_dir: str = ""
    weights_dir: str = ""
    address: str = ""


class Weights(Form):
    """A file of pretrained weights."""

    source: str
    file: str
    sha256: str
    official: bool
    origin: Table = Field(default_factory=dict)


class Budget(Form):
    """Of the study file, as far as it was given."""

    trials_per_cell: Epoch = 1
    max_epochs: Epoch | None = None


class Confirm(Form):
    """Of the study file, as far as it was given."""

    paired: bool = False


class Range(Form):
    """What a searched parameter may take."""

    low: Number | None = None
    high: Number | None = None
    log: bool = False
    values: list[Value] = Field(default_factory=list)


class Space(Range):
    """What it may take, and what in some cells."""

    when: list[Range] = Field(default_factory=list)


class Spec(Form):
    """The study file; `resume` checks all of it."""

    description: str = ""
    scheduler: Literal["cell-promote", "cell-stop", "ray-asha", "none"] = "cell-promote"
    cells: dict[str, list[Value]] = Field(default_factory=dict)
    space: dict[str, Space] = Field(default_factory=dict)
    budget: Budget = Budget()
    confirm: Confirm = Confirm()


class Imported(Form):
    """Of a record made of learning curves from elsewhere: see search.record.imported."""

    file: str
    sha256: str
    faults: Texts
    unknown: Texts
    kind: str = ""
    guessed: Texts = Field(default_factory=list)
    revealed: dict[str, list[Epoch]] = Field(default_factory=dict)


class StudyFile(Form):
    """See search.record.read.Record."""

    run_id: str = ""
    store: str = ""
    name: str
    task: str
    metric: str
    mode: Literal["max", "min"]
    metrics: Texts
    also: Texts = Field(default_factory=list)
    row_metrics: Texts
    watched: Literal["val", "test"]
    shown_split: Literal["val", "test"]
    protocol: Literal["honest", "report"]
    checkpoint_rule: Literal["best", "last"]
    synthetic: bool
    cells: list[dict[str, Value]]
    space_keys: Texts
    settings: Table
    rungs: Annotated[list[Epoch], Field(min_length=1)]
    seed: Count = 0
    confirm_seeds: list[Count]
    spec: Spec
    text: str = ""
    overrides: Texts = Field(default_factory=list)
    data: list[Data]
    about: About
    weights: dict[str, Weights] | None = None
    task_dir: str | None = None
    task_code: list[dict[str, str]] = Field(default_factory=list)
    versions: Table | None = None
    code: str | None = None
    git: Git | None = None
    machine: Machine | None = None
    imported: Imported | None = None
    packing: list[Table] | None = None
    sessions: list[Session]


def study_fault(study: dict[str, Any]) -> str:
    """What is wrong with what study.json holds; "" if nothing is."""
    return fault_of(StudyFile, study) or _contradiction(study)


def _contradiction(study: Mapping[str, Any]) -> str:
    """Two keys of study.json, each sound, that no study has together.

    Settings and seeds that its spec has otherwise are no damage: `resume` lists them.
    """
    spec, metric = study["spec"], study["metric"]
    cells, most = spec.get("cells"), spec.get("budget", {}).get("max_epochs")
    said = study["about"]["metrics"].get(metric, {}).get("mode", study["mode"])
    rule = study["settings"].get("checkpoint_rule", study["checkpoint_rule"])
    rungs = study["rungs"]
    checks = {
        "rungs": rungs == sorted(set(rungs)) and most in (None, rungs[-1]),
        "cells": len({tuple(cell) for cell in study["cells"]}) < 2
        and (cells is None or _product(cells) == study["cells"]),
        "space_keys": "space" not in spec or [*spec["space"]] == study["space_keys"],
        "metric": metric in study["metrics"],
        "mode": said == study["mode"],
        "checkpoint_rule": rule == study["checkpoint_rule"],
        "shown_split": study["protocol"] == "report" or study["shown_split"] == "test",
        "synthetic": _synthetic(study) in (None, study["synthetic"]),
        "data": ":" in study["task"] or all(_edition_fits(held) for held in study["data"]),
        **{
            key: spec.get(key) in (None, study[key])
            for key in ("name", "task", "protocol")
            if key in study
        },
    }
    for key, holds in checks.items():
        if not holds:
            return f"{key} is {shown(study[key])}, which does not fit its other keys"
    return ""


def _product(cells: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    held: list[dict[str, Any]] = [{}]
    for key, values in cells.items():
        held = [{**cell, key: value} for cell in held for value in values]
    return held


def _synthetic(study: Mapping[str, Any]) -> bool | None:
    """Whether images or source weights are generated; None where it is not on record."""
    if any("synthetic" not in held for held in study["data"]):
        return None
    weights = study["spec"].get("weights") == "synthetic" and bool(study.get("weights"))
    return weights or any(held["synthetic"] for held in study["data"])


def _edition_fits(held: Mapping[str, Any]) -> bool:
    edition, synthetic = held["edition"], held.get("synthetic")
    return not isinstance(edition, str) or synthetic in (None, edition == "synthetic")
