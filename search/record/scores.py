"""Scores on test, computed again from the predictions of an image that made them.

The loss is not among them: what a network gave every class is not on record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas as pd

from search.record.compare import Difference
from search.record.image_parts import ERRORS, SHARES, image_part, score
from search.record.stored import JOURNAL

SLACK = 1e-5  # of a score, or of 1: the sums of a GPU are of 32 bits


METRICS = (*SHARES, "balanced_accuracy", *ERRORS)


def scores_of(images: pd.DataFrame, metrics: Iterable[str]) -> dict[str, dict[str, float]]:
    """Metric -> trial -> score, of the metrics that can be computed.

    Args:
        images: predictions as in per_image.parquet.
        metrics: of the study.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in metrics if name in METRICS}
    for trial, rows in images.groupby("trial", sort=False):
        truth, said = (rows[key].to_numpy(dtype=float) for key in ("truth", "prediction"))
        for name, scores in found.items():
            if part := image_part(name, truth, said):
                scores[str(trial)] = score(*part)
    return found


def told_scores(events: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Trial -> the tell of its scores on test, of a trial that was scored again the later one."""
    return {e["trial"]: e for e in events if e["event"] == "tell" and e.get("test")}


def recomputable(study: Mapping[str, Any]) -> bool:
    """Whether a study's metrics are known here: those of a task of the user's own are not."""
    return ":" not in study["task"] and any(name in METRICS for name in study["metrics"])


def misscored(
    study: Mapping[str, Any], events: Iterable[Mapping[str, Any]], images: pd.DataFrame
) -> list[Difference]:
    """Scores on test, and of constant predictions, that the predictions do not give.

    Args:
        study: study.json.
        events: of its journal.
        images: the predictions.
    """
    if not recomputable(study) or not len(images):
        return []
    told, found = told_scores(events), list[Difference]()
    for metric, scores in scores_of(images, study["metrics"]).items():
        for trial, again in scores.items():
            if trial in told:
                said = told[trial]["test"].get(metric)
                found += _unlike(trial, f"test.{metric}", said, again)
    return found + _constants(told, images)


def _constants(told: Mapping[str, Mapping[str, Any]], images: pd.DataFrame) -> list[Difference]:
    """Scores of constants that are not those of their count on the same images."""
    found = []
    for trial, rows in images.groupby("trial", sort=False):
        held = (told.get(str(trial)) or {}).get("baselines") or {}
        for name, said in held.items():
            if (count := said.get("count")) is None:
                continue
            again = scores_of(rows.assign(prediction=count), [m for m in said if m != "count"])
            for metric, scores in again.items():
                what = f"baselines.{name}.{metric}"
                found += _unlike(str(trial), what, said[metric], scores[str(trial)])
    return found


def _unlike(trial: str, what: str, said: float | None, again: float) -> list[Difference]:
    if said is None or abs(again - said) <= SLACK * max(1.0, abs(said)):
        return []
    return [Difference(JOURNAL, trial, what, repr(said), f"{again!r} by its predictions")]


def without_predictions(events: Iterable[Mapping[str, Any]], there: Collection[str]) -> list[str]:
    """Trials that were scored on test and of which no prediction is there."""
    return [trial for trial in told_scores(events) if trial not in there]
