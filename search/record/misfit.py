"""Events of the journal held against study.json, and asks against themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.record.forms import out_of_bounds, shown
from search.record.stored import STUDY


def misfit(study: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """What of an event is of another study than study.json's; "" if nothing is."""
    asks = event["event"] == "ask"
    cell = event["job"]["cell"] if asks else event.get("cell", 0)
    if cell >= len(study["cells"]):
        key = "job.cell" if asks else "cell"
        return f"{key} is {cell}: the study has {len(study['cells'])} cells, counted from 0"
    if not asks:
        return "" if ":" in study["task"] else _impossible(study, event)
    config, keys = event["config"], study["space_keys"]
    if set(config) != set(keys):
        return f"config has {', '.join(config) or 'no key'}, the study searches {', '.join(keys)}"
    for key, value in config.items():
        kinds = _kinds(study["spec"].get("space", {}).get(key, {}))
        if kinds and _kind(value) not in kinds:
            return f"config.{key} is {shown(value)}, not of what the study searches in"
    return _other_settings(study, event)


def _other_settings(study: Mapping[str, Any], ask: Mapping[str, Any]) -> str:
    """What an ask says twice, or its cell too, and not alike; "" if nothing.

    Other settings than the study's may have been accepted: see search.record.mixed.
    """
    job, settings = ask["job"], ask["settings"]
    homes = {
        "config": ask["config"],
        f"cell {job['cell']} of {STUDY}": study["cells"][job["cell"]],
    }
    for home, held in homes.items():
        for key, value in settings.items():
            if key in held and held[key] != value:
                return f"settings.{key} is {shown(value)}, and {shown(held[key])} in {home}"
    seed = job.get("seed")
    if seed is not None and seed != ask["seed"]:
        return f"seed is {ask['seed']}, and {seed} in job"
    return ""


def _impossible(study: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """A score that its metric cannot have; "" if all can."""
    if event["event"] != "tell" or event["ending"] == "failed":
        return ""
    scores = {"value": (study["metric"], event.get("value"))}
    scores |= {f"test.{name}": (name, value) for name, value in (event.get("test") or {}).items()}
    for key, (name, value) in scores.items():
        if fault := out_of_bounds(name, value):
            return f"{key}: {fault}"
    return ""


def _kinds(space: Mapping[str, Any]) -> set[type]:
    """Of the values that a searched parameter may take."""
    held = [space, *space.get("when", [])]
    values = [v for part in held for v in (*part.get("values", ()), part.get("low"))]
    return {_kind(value) for value in values if value is not None}


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)
