"""Keys of a study file that follow from others: the space of a list, the size of a grid."""

from __future__ import annotations

import math
from typing import Any, TypeGuard


def with_derived(raw: dict[str, Any]) -> dict[str, Any]:
    """The parsed study file with what `points` and `sampler = "grid"` imply filled in.

    `[[points]]` are the configs themselves: they make the space (the values that occur), the
    sampler ("list") and trials_per_cell. A grid makes trials_per_cell. What is given stays, and
    `list_faults` says where it contradicts.
    """
    points, changed = raw.get("points"), dict(raw)
    if _are_points(points):
        keys = dict.fromkeys(key for point in points for key in point)
        values = {key: [p[key] for p in points if key in p] for key in keys}
        distinct = {k: list({repr(v): v for v in held}.values()) for k, held in values.items()}
        changed = {"sampler": "list", "space": distinct, **changed}
    budget = changed.get("budget")
    count = implied_trials(changed)
    if isinstance(budget, dict) and count:
        changed["budget"] = {"trials_per_cell": count, **budget}
    return changed


def implied_trials(raw: dict[str, Any]) -> int | None:
    """How many configs a cell has by its list or grid; None where neither says so."""
    if raw.get("sampler") == "list" and _are_points(raw.get("points")):
        return len(raw["points"])
    space = raw.get("space")
    if raw.get("sampler") != "grid" or not isinstance(space, dict):
        return None
    lengths = [len(held) for entry in space.values() if isinstance(held := _choices(entry), list)]
    return math.prod(lengths) if len(lengths) == len(space) else None


def list_faults(raw: dict[str, Any]) -> dict[str, str]:
    """Faults of lists and grids; key -> fault."""
    faults, points, sampler = {}, raw.get("points"), raw.get("sampler")
    if (sampler == "list") is not ("points" in raw):
        faults["points" if sampler == "list" else "sampler"] = (
            "sampler = 'list' and [[points]] go together: the points are the configs"
        )
    if _are_points(points):
        keys = list(dict.fromkeys(key for point in points for key in point))
        for number, point in enumerate(points):
            if missing := [key for key in keys if key not in point]:
                faults[f"points.{number}"] = f"lacks {', '.join(missing)}, which another point has"
        space = raw.get("space")
        if isinstance(space, dict) and set(space) != set(keys):
            faults["space"] = "is made from the points; leave it out"
    if sampler == "grid" and isinstance(raw.get("space"), dict):
        for key, entry in raw["space"].items():
            if not isinstance(_choices(entry), list):
                faults[f"space.{key}"] = (
                    "has no list of values, which sampler = 'grid' goes through"
                )
            elif isinstance(entry, dict) and entry.get("when"):
                faults[f"space.{key}.when"] = (
                    "a grid is the same in every cell; use sampler = 'quasi-random' or [[points]]"
                )
    count, budget = implied_trials(raw), raw.get("budget")
    given = budget.get("trials_per_cell") if isinstance(budget, dict) else None
    if count and given != count:
        faults["budget.trials_per_cell"] = (
            f"the {sampler} has {count} configs a cell, not {given!r}; leave this key out"
        )
    return faults


def _are_points(points: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(points, list) and bool(points) and all(isinstance(p, dict) for p in points)


def _choices(entry: Any) -> Any:
    """The list of values of a space entry, if it is one."""
    return entry.get("values") if isinstance(entry, dict) else entry
