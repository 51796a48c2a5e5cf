"""Writes run folders by hand, in the journal's own line format."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.display.sentences import answer_parts
from search.record import Record


def answer_sentences(record: Record) -> list[str]:
    """The answer as the page has it, a text for each set of test images."""
    return [" ".join(told) for told in answer_parts(record)]


CONSTANTS = {
    "zero": {"count": 0.0, "mae": 124.0, "rmse": 156.0},
    "training mean": {"count": 120.0, "mae": 75.0, "rmse": 95.0},
    "training median": {"count": 90.0, "mae": 68.0, "rmse": 98.0},
}
CHANCE = {"uniform guess": {"loss": math.log(10), "accuracy": 0.1}}


class Run:
    """A run folder in the making.

    Args:
        folder: where; made.
        task: cifar10 or shanghaitech.
        cells: values of every cell.
        study: keys of study.json to set otherwise.
    """

    def __init__(
        self, folder: Path, task: str = "cifar10", cells: Any = ({"depth": 18},), **study: Any
    ) -> None:
        crowd = task == "shanghaitech"
        metrics = ["mae", "rmse"] if crowd else ["loss", "accuracy"]
        watched = study.get("watched", "val")
        generated = study.get("synthetic", False)
        defaults = {
            "format": 1,
            "name": folder.name,
            "task": task,
            "metric": "mae" if crowd else "accuracy",
            "mode": "min" if crowd else "max",
            "metrics": metrics,
            "row_metrics": [f"{s}_{m}" for s in ("train", watched) for m in metrics],
            "watched": watched,
            "shown_split": "test",
            "protocol": "honest",
            "checkpoint_rule": "best",
            "synthetic": False,
            "cells": list(cells),
            "space_keys": ["lr"],
            "rungs": [1, 3, 9],
            "settings": {"pretrained": False, **({"part": "B", "depth": 18} if crowd else {})},
            "seed": 0,
            "confirm_seeds": [1, 2, 3],
            "spec": {"fixed": {}, "budget": {"trials_per_cell": 4}},
            "data": [
                {
                    "data": "ShanghaiTech Part B" if crowd else "CIFAR-10",
                    "edition": "synthetic" if generated else "files" if crowd else "parquet",
                    "synthetic": generated,
                    "train_images": 400 if crowd else 50000,
                    "test_images": 316 if crowd else 10000,
                }
            ],
            "weights": None,
            "versions": {"torch": "2.13"},
            "git": {"commit": "0123456789abcdef", "dirty": False},
            "machine": {"processor": "some", "cores": 2, "gpus": []},
            "sessions": [
                {"started": "2026-11-01T10:00:00", "ended": "2026-11-02T10:00:00", "kind": "run"}
            ],
        }
        self.folder = folder
        self.study = {**defaults, **study}
        self.crowd = crowd
        self._seconds = count()
        folder.mkdir(parents=True)
        (folder / "study.json").write_text(json.dumps(self.study), encoding="utf-8")

    def trial(
        self,
        name: str,
        cell: int = 0,
        *,
        value: float | None = None,
        epochs: int = 9,
        ending: str = "value",
        stage: str = "search",
        seed: int = 0,
        test: dict[str, float] | None = None,
        verdict: str | None = None,
        collapsed: bool | None = None,
        baselines: dict[str, Any] | None = None,
        **config: Any,
    ) -> None:
        """One trial: its ask, its epochs with a curve that ends at `value`, its tell.

        `ending` is value, diverged, failed, or running (no tell).
        """
        job = {"trial": name, "stage": stage, "cell": cell, "to_epoch": epochs}
        if test:
            job["score_test"] = True
        config = {**dict.fromkeys(self.study["space_keys"], 0.1), **config}
        self._log(event="ask", job=job, config=config, settings=config, seed=seed)
        for epoch in range(1, epochs + 1):
            self._epoch(name, epoch, epochs, value)
        if ending != "running":
            scored = CONSTANTS if self.crowd else CHANCE
            self._log(
                event="tell",
                trial=name,
                ending=ending,
                epoch=epochs,
                value=value,
                value_epoch=epochs,
                seconds=3600.0,
                test=test,
                baselines=(baselines or scored) if test else None,
                collapsed=collapsed,
                error="RuntimeError: out of memory" if ending == "failed" else None,
            )
        if verdict:
            entry = {"cell": cell, "epoch": epochs, "value": value, "rank": 2, "n": 4}
            self._log(
                event="decision", trial=name, **entry, verdict=verdict, rule="cell-promote/1"
            )

    def begin(self, session: int) -> None:
        """A driver begins to work, as one of the study's sessions."""
        self._log(event="session", number=session)

    def decide(
        self, trial: str | None, cell: int, verdict: str, value: float | None, epoch: int = 9
    ) -> None:
        """A verdict of the scheduler."""
        entry = {"trial": trial, "cell": cell, "epoch": epoch, "value": value, "rank": 2, "n": 4}
        self._log(event="decision", **entry, verdict=verdict, rule="cell-promote/2")

    def audit(self, trial: str, cell: int, then: float, end: float | None) -> None:
        """A trial that was stopped at epoch 1 runs on to epoch 9; it is lost without `end`."""
        self.decide(trial, cell, "audit", then, epoch=1)
        ending = "diverged" if end is None else "value"
        self.trial(trial, cell, value=end, stage="audit", ending=ending)
        if end is not None:
            self.decide(trial, cell, "audited", end)

    def confirm(self, cell: int, tests: list[dict[str, float]], **kept: Any) -> None:
        """One completed confirmation trial a seed, from seed 1."""
        for seed, test in enumerate(tests, 1):
            name = f"{cell:02d}-seed{seed}"
            value = kept.get("value", test[self.study["metric"]])
            self.trial(
                name,
                cell,
                **{**kept, "value": value},
                stage="confirm",
                seed=seed,
                test=test,
            )

    def images(self, trial: str, truth: Any, prediction: Any, names: Any = None) -> None:
        """What a worker writes of each test image of a trial."""
        names = range(len(truth)) if names is None else names
        columns = {"image": [str(name) for name in names], "truth": truth}
        frame = pd.DataFrame({**columns, "prediction": prediction})
        (self.folder / "parts").mkdir(exist_ok=True)
        frame.astype({"truth": float, "prediction": float}).to_parquet(
            self.folder / "parts" / f"{trial}.parquet"
        )

    def samples(self, trial: str, size: int = 16) -> None:
        """The maps of three images."""
        rng = np.random.default_rng(0)
        truth = rng.random((3, size, size))
        (self.folder / "samples").mkdir(exist_ok=True)
        np.savez(
            self.folder / "samples" / f"{trial}.npz",
            quantile=np.array([0.1, 0.5, 0.9]),
            name=np.array(["IMG_1", "IMG_2", "IMG_3"]),
            image=rng.integers(0, 255, (3, 3, size, size), dtype=np.uint8),
            truth_map=truth,
            predicted_map=truth * 0.5,
            truth=truth.sum((1, 2)),
            prediction=truth.sum((1, 2)) * 0.5,
        )

    def _epoch(self, name: str, epoch: int, last: int, value: float | None) -> None:
        end = value if value is not None else 1.0
        row: dict[str, Any] = {"epoch": epoch, "lr": 0.1, "seconds": 2.0}
        for column in self.study["row_metrics"]:
            same = column.endswith(("accuracy", "mae", self.study["metric"]))
            scale = 1.0 if same else 2.0
            row[column] = end * scale * (1 if epoch == last else 0.9)
        line = json.dumps({"trial": name, "row": row})
        with (self.folder / "epochs.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _log(self, **event: Any) -> None:
        time = datetime(2026, 11, 1, 10) + timedelta(seconds=next(self._seconds))
        line = json.dumps({"time": time.isoformat(), **event})
        with (self.folder / "decisions.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def cifar(folder: Path, **study: Any) -> Run:
    """A finished study of depth 18 and 34, both modes, three seeds; depth 34 is better."""
    cells = [{"depth": d, "pretrained": p} for d in (18, 34) for p in (False, True)]
    run = Run(folder, "cifar10", cells, **study)
    for cell in range(4):
        for number, lr in enumerate((0.01, 0.1)):
            run.trial(f"{cell:02d}-{number:03d}", cell, value=0.5 + 0.1 * number, lr=lr)
        run.trial(f"{cell:02d}-002", cell, value=0.4, epochs=1, verdict="stop", lr=0.001)
        run.trial(f"{cell:02d}-003", cell, epochs=2, ending="diverged", lr=0.3)
        mean = 0.6 + 0.1 * (cell // 2)
        tests = [{"loss": 1.0 + s / 100, "accuracy": mean + s / 100} for s in (-1, 0, 1)]
        run.confirm(cell, tests, lr=0.1)
    return run


def crowd(folder: Path, key: str = "lr", **study: Any) -> Run:
    """The report's own crowd grid, one seed a cell, as `protocol = "report"` runs it."""
    levels = (0.1, 0.01, 0.001) if key == "lr" else (18, 34, 50)
    cells = [{key: level, "part": part} for level in levels for part in ("A", "B")]
    defaults: dict[str, Any] = {
        "space_keys": [],
        "confirm_seeds": [42],
        "protocol": "report",
        "checkpoint_rule": "last",
        "watched": "test",
    }
    run = Run(folder, "shanghaitech", cells, **{**defaults, **study})
    for cell in range(6):
        a = cell % 2 == 0
        mae = (300.0 if a else 100.0) - cell
        factor = 6 if a else 2  # so that every cell beats them
        constants = {k: {m: v * factor for m, v in s.items()} for k, s in CONSTANTS.items()}
        run.trial(
            f"{cell:02d}-seed42",
            cell,
            value=mae,
            stage="confirm",
            seed=42,
            test={"mae": mae, "rmse": mae * 1.5},
            baselines=constants,
            collapsed=cell == 1,
        )
    return run
