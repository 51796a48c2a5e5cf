"""Facts that study.json states indirectly: directions, seeds, and which images a cell is of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from search.record import setting_column

Mode = Literal["max", "min"]

# cell parameters that say which images a value is of: never compared across
DATA_KEYS = ("edition", "part")


def direction(study: Mapping[str, Any], metric: str) -> Mode:
    """Which values of a metric are better."""
    if metric == study["metric"]:
        return "max" if study["mode"] == "max" else "min"
    return "max" if metric.endswith("accuracy") else "min"


def beside(settings: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    """Settings as columns of a row that has these of its own; see search.record.setting_column."""
    return {setting_column(key, own): value for key, value in settings.items()}


def seeds_due(study: Mapping[str, Any]) -> int:
    """Seeds that every cell's result is asked to have."""
    return max(1, len(study.get("confirm_seeds") or ()))


def settings_of(study: Mapping[str, Any], at: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting that holds in a cell, but for the searched ones."""
    return {**study["settings"], **at}


def data_of(study: Mapping[str, Any], at: Mapping[str, Any]) -> str:
    """Which images a cell is of: the values of DATA_KEYS, e.g. "files A"."""
    held = settings_of(study, at)
    return " ".join(str(held[key]) for key in DATA_KEYS if key in held)


def part_of(study: Mapping[str, Any], at: Mapping[str, Any]) -> str:
    """The crowd part of a cell, e.g. "A"; "" where there is none."""
    return str(settings_of(study, at).get("part", ""))
