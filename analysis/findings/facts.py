"""Facts that study.json states indirectly: directions, seeds, and which images a cell is of."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Literal

from search.record import setting_column
from search.record.forms import BOUNDS

Mode = Literal["max", "min"]
DASH = "—"


def direction(study: Mapping[str, Any], metric: str) -> Mode:
    """Which values of a metric are better."""
    held = study["mode"] if metric == study["metric"] else _of_metric(study, metric)["mode"]
    return "max" if held == "max" else "min"


def digits(study: Mapping[str, Any], metric: str) -> int:
    """Digits behind the point at which a metric is shown."""
    return int(_of_metric(study, metric)["digits"])


def fixed_point(value: float, digits: int, sign: str = "") -> str:
    """A number at so many digits, or in powers of ten from 100,000; a dash for NaN.

    Args:
        value: the number.
        digits: behind the point.
        sign: "+" for one before a positive number too.
    """
    if not math.isfinite(value):
        return DASH
    return f"{value:{sign}.{digits}f}" if abs(value) < 1e5 else f"{value:{sign}.3g}"


def metric_name(study: Mapping[str, Any], metric: str) -> str:
    """A metric as tables head it."""
    return str(_of_metric(study, metric)["title"])


def _of_metric(study: Mapping[str, Any], metric: str) -> Mapping[str, Any]:
    unsaid = {"title": metric, "mode": "min", "digits": 4}
    return {**unsaid, **study["about"]["metrics"].get(metric, {})}


def beside(settings: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    """Settings as columns of a row that has these of its own; see search.record.setting_column."""
    return {setting_column(key, own): value for key, value in settings.items()}


def seeds_due(study: Mapping[str, Any]) -> int:
    """Seeds that every cell's result is asked to have."""
    return max(1, len(study.get("confirm_seeds") or ()))


def settings_of(study: Mapping[str, Any], at: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting that holds in a cell, but for the searched ones."""
    return {**study["settings"], **at}


def pairs_seeds(study: Mapping[str, Any]) -> bool:
    """Whether the study says that a seed is the same thing in every cell."""
    return bool(study["spec"].get("confirm", {}).get("paired", False))


def data_of(study: Mapping[str, Any], at: Mapping[str, Any]) -> str:
    """Which images a cell is of, by the settings that the task names for it, e.g. "files A"."""
    held = settings_of(study, at)
    return " ".join(str(held[key]) for key in study["about"]["images"] if key in held)


def side_of(study: Mapping[str, Any], at: Mapping[str, Any]) -> str:
    """What a cell stands under where tables are split, e.g. part "A"; "" where they are not."""
    side = study["about"]["side"]
    return str(settings_of(study, at).get(side, "")) if side else ""


def has_settings(
    study: Mapping[str, Any], at: Mapping[str, Any], wanted: Mapping[str, Any]
) -> bool:
    """Whether a cell has these settings."""
    held = settings_of(study, at)
    return all(held.get(key) == value for key, value in wanted.items())


def training_compares(study: Mapping[str, Any], at: Mapping[str, Any]) -> bool:
    """Whether training values of a cell are of the same kind as those of the watched split.

    They are where the task says nothing of them, or of cells with these settings that they do.
    """
    about = study["about"]
    like = [sheet["beside"] for sheet in about["sheets"] if sheet.get("beside")]
    return not about.get("training") or any(has_settings(study, at, held) for held in like)


def is_of_published(
    study: Mapping[str, Any], at: Mapping[str, Any], only: Mapping[str, Any]
) -> bool:
    """Whether what was published under these settings may stand beside a cell.

    A setting that the study does not have, as one of before it was there, holds.
    """
    held = settings_of(study, at)
    return all(held.get(key, value) == value for key, value in only.items())


def bounds(study: Mapping[str, Any], metric: str) -> tuple[float, float]:
    """What a metric of a task that ships can be, low and high; of a user's own, anything."""
    if ":" in study["task"]:
        return -math.inf, math.inf
    return {**BOUNDS, "loss": (0.0, math.inf)}.get(
        metric.rpartition("_")[2], (-math.inf, math.inf)
    )


def images_of_cell(study: Mapping[str, Any], at: Mapping[str, Any], split: str = "") -> str:
    """Which images a cell's values are of, by its settings: data, and what cuts the split.

    Cells that differ here are of different images; those that agree are of the same ones unless
    results of each image say otherwise.

    Args:
        study: study.json.
        at: values of the cell's parameters.
        split: of the values; the one that is shown unless given.
    """
    held, split = settings_of(study, at), split or study["shown_split"]
    keys = [f"{split}_images", *["val_fraction"] * (split == "val")]
    cuts = [f"{key} {held[key]}" for key in keys if held.get(key) is not None]
    return " ".join(part for part in (data_of(study, at), *cuts) if part)
