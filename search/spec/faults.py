"""Faults of a raw study file that pydantic cannot see: settings of the task, ranges, budgets.

They are looked for in the parsed TOML, whatever else is wrong with it, so that all are told
at once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel

from search.spec.overrides import HOMES
from search.spec.tables import Budget, Confirm, Log, Resources
from search.spec.unread import toml
from trainables import find_task
from trainables.errors import TaskError, did_you_mean
from trainables.task import Setting, Task

RANGE = ("low", "high", "log", "integer", "values")  # keys of a range; others are conditions


HERE = "no such key here"
TABLES: dict[str, type[BaseModel]] = {
    "budget": Budget,
    "confirm": Confirm,
    "log": Log,
    "resources": Resources,
}
BY_ROLE = {"any": ("fixed", "cells", "space"), "cell": ("cells", "fixed"), "study": ("fixed",)}


def misplaced(key: str) -> str:
    """What is said of a key of the study itself that stands in a table."""
    return f"{HERE}; {key} belongs above the first [table] of the file"


def elsewhere(key: str, settings: Mapping[str, Setting]) -> str:
    """Where a key belongs that another table has, before any guess at its spelling; else ""."""
    tables = [name for name, model in TABLES.items() if key in model.model_fields]
    if not tables and key in settings:
        tables = list(BY_ROLE[settings[key].role])
    return f"{HERE}; it is {' or '.join(f'{name}.{key}' for name in tables)}" if tables else ""


def settings_of_task(raw: Mapping[str, Any]) -> Mapping[str, Setting]:
    """The settings of a study file's task; none where it names none that is known."""
    try:
        return find_task(str(raw.get("task", ""))).settings
    except TaskError:
        return {}


def weights_faults(raw: dict[str, Any]) -> dict[str, str]:
    """Names of weights that would be taken for another source than they are."""
    name = raw.get("weights")
    if not isinstance(name, str) or name in ("imagenet1k_v1", "synthetic"):
        return {}
    if not name.lower().startswith(("imagenet", "synthetic")):
        return {}
    return {
        "weights": "must be 'imagenet1k_v1' (torchvision's, of that name for every depth), "
        f"'synthetic', or a folder of your own by another name than {name!r}"
    }


def _table(raw: Any, key: str) -> dict[str, Any]:
    found = raw.get(key)
    return found if isinstance(found, dict) else {}


def budget_faults(raw: dict[str, Any]) -> dict[str, str]:
    """Faults that need several keys of [budget], [space] and [confirm] to see; key -> fault."""
    budget, faults = _table(raw, "budget"), {}
    numbers = {k: v for k, v in budget.items() if isinstance(v, int) and not isinstance(v, bool)}
    most, trials = numbers.get("max_epochs"), numbers.get("trials_per_cell", 1)
    if most is not None and most >= 1 and (grace := numbers.get("grace_epochs", 1)) > most:
        # not lowered in silence: the first rung says how early a config may lose
        faults["budget.grace_epochs"] = (
            f"{grace} is above max_epochs ({most}), so no rung is left; lower it too, e.g. "
            "--set budget.grace_epochs=1"
        )
    if _table(raw, "space") and 1 <= trials < numbers.get("full_per_cell", 1):
        faults["budget.full_per_cell"] = (
            f"promises {numbers['full_per_cell']} full trainings a cell of {trials} trials; raise "
            "budget.trials_per_cell"
        )
    if not _table(raw, "space") and trials > 1:
        faults["budget.trials_per_cell"] = (
            f"{trials} trials need something to differ in: add [space.lr], or leave it out and "
            "repeat over confirm.seeds"
        )
    if raw.get("space") == {}:
        faults["space"] = "is empty; name what is tuned, e.g. [space.lr], or leave [space] out"
    seeds = _table(raw, "confirm").get("seeds", [])
    if isinstance(seeds, list) and len(set(map(repr, seeds))) < len(seeds):
        faults["confirm.seeds"] = f"the same seed twice in {seeds}"
    if _table(raw, "confirm").get("paired") is True and isinstance(seeds, list) and len(seeds) < 2:
        faults["confirm.paired"] = (
            "true needs two seeds to compare cells by; list them in confirm.seeds, or leave it out"
        )
    return faults


def contrast_faults(raw: dict[str, Any]) -> dict[str, str]:
    """Faults of [[contrast]] against [cells]; what is no table is left to the types."""
    faults, seen, cells = {}, list[str](), _table(raw, "cells")
    held = raw.get("contrast", [])
    for number, table in enumerate(held if isinstance(held, list) else []):
        if not isinstance(table, dict) or not {"key", "against"} <= set(table):
            continue
        key, against = table["key"], table["against"]
        values = cells.get(key) if isinstance(key, str) else None
        if not isinstance(values, list) or len(values) < 2:
            faults[f"contrast.{number}.key"] = (
                f"must be a key of [cells] with several values, not {key!r}"
            )
        elif repr(against) not in map(repr, values):  # 1 is not true
            said = ", ".join(map(toml, values))
            faults[f"contrast.{number}.against"] = f"must be one of {said}, not {toml(against)}"
        elif repr(table) in seen:
            faults[f"contrast.{number}"] = f"is there twice: {key} against {toml(against)}"
        seen.append(repr(table))
    return faults


def log_faults(raw: dict[str, Any]) -> dict[str, str]:
    """Faults of [log]: tables of what is not written to, and what would put a secret on record."""
    faults, held = {}, _table(raw, "log")
    named = held.get("to", [])
    for place in ("mlflow", "wandb"):
        if place in held and place not in (named if isinstance(named, list) else [named]):
            faults[f"log.{place}"] = (
                f"says where to, and log.to does not name it; add {toml(place)} there"
            )
    uri = _table(held, "mlflow").get("tracking_uri")
    if isinstance(uri, str) and re.search(r"://[^/]*@|^https?://.*[?#]", uri):
        faults["log.mlflow.tracking_uri"] = (
            "holds a user, a password or a query, and a study file is on record; give the URI "
            "without, and MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the "
            "environment (or all of it there, as MLFLOW_TRACKING_URI)"
        )
    return faults


def task_faults(raw: dict[str, Any], top: Collection[str] = ()) -> dict[str, str]:
    """Faults of cells, space and fixed against the settings of the task.

    Args:
        raw: the study file, parsed.
        top: keys that stand above the tables.
    """
    name = raw.get("task", "")
    if not isinstance(name, str):
        return {}  # pydantic says so
    try:
        task = find_task(name)
    except TaskError as error:
        return {"task": str(error)}
    cells, space, fixed = (_table(raw, table) for table in HOMES)
    faults = _place_faults(raw, task, top)
    for key in task.settings.keys() & raw.keys() - set(top):
        faults[key] = f"is a setting of the task, of [fixed], [cells] or [space]: fixed.{key}"
    for key, values in cells.items():
        if isinstance(values, list) and key in task.settings:
            faults.update(_list_faults(f"cells.{key}", values, task.settings[key]))
    for key, value in fixed.items():
        if key in task.settings and (text := task.settings[key].fault(value)):
            faults[f"fixed.{key}"] = text
    for key, entry in space.items():
        if key in task.settings:
            faults.update(_space_faults(key, entry, task, raw))
    return {**faults, **_home_faults(raw)}


def _place_faults(raw: dict[str, Any], task: Task, top: Collection[str]) -> dict[str, str]:
    """Keys that no setting has, and settings in a table that their role keeps them out of."""
    faults = {}
    for table, key in [(t, k) for t in HOMES for k in _table(raw, t)]:
        if key not in task.settings:
            faults[f"{table}.{key}"] = misplaced(key) if key in top else _unknown(table, key, task)
        elif table == "space" and task.settings[key].role != "any":
            faults[f"space.{key}"] = (
                "changes what a value means and cannot be searched; list it in [cells]"
            )
        elif table == "cells" and task.settings[key].role == "study":
            faults[f"cells.{key}"] = (
                "must be the same in every cell of a table; put it under [fixed]"
            )
    return faults


def _home_faults(raw: dict[str, Any]) -> dict[str, str]:
    """Settings that stand in more than one table."""
    faults = {}
    for key in sorted({key for table in HOMES for key in _table(raw, table)}):
        first, *others = [table for table in HOMES if key in _table(raw, table)]
        if others:
            faults[f"{others[-1]}.{key}"] = f"is also in [{first}]; a parameter has one home"
    return faults


def _unknown(table: str, key: str, task: Task) -> str:
    """Where a key is near to none, those are named that may stand in its table."""
    if home := elsewhere(key, {}):
        return home
    roles = {"space": ("any",), "cells": ("any", "cell")}.get(table, ("any", "cell", "study"))
    known = sorted(name for name, held in task.settings.items() if held.role in roles)
    hint = did_you_mean(key, task.settings) or f"; known here are {', '.join(known)}"
    return f"no setting of task {task.name}{hint}"


def _list_faults(key: str, values: list[Any], setting: Setting) -> dict[str, str]:
    if not values:
        return {key: "is empty"}
    if len({repr(v) for v in values}) < len(values):
        return {key: f"the same value twice in {values}"}
    for value in values:
        if text := setting.fault(value):
            return {key: text}
    return {}


def _space_faults(key: str, entry: Any, task: Task, raw: dict[str, Any]) -> dict[str, str]:
    setting = task.settings[key]
    if isinstance(entry, list):
        return _list_faults(f"space.{key}", entry, setting)
    if not isinstance(entry, dict):
        return {}
    faults = _range_faults(f"space.{key}", entry, setting)
    when = entry.get("when", [])
    for number, condition in enumerate(when if isinstance(when, list) else []):
        where = f"space.{key}.when.{number}"
        if isinstance(condition, dict):
            faults |= _condition_faults(where, condition, task, raw)
            faults |= _range_faults(where, {"log": entry.get("log"), **condition}, setting)
    return faults


def _condition_faults(
    where: str, condition: dict[str, Any], task: Task, raw: dict[str, Any]
) -> dict[str, str]:
    """A condition asks for values of cell or fixed parameters; one that never holds is allowed."""
    known = {**_table(raw, "cells"), **_table(raw, "fixed")}
    names, faults = [name for name in condition if name not in RANGE], {}
    for name in names:
        if name not in known:
            faults[f"{where}.{name}"] = (
                f"is no cell or fixed parameter; those are {', '.join(known)}"
            )
        elif name in task.settings and (text := task.settings[name].fault(condition[name])):
            faults[f"{where}.{name}"] = text
    if not names:
        faults[where] = "names no cell parameter, so it would always hold"
    return faults


def _range_faults(key: str, entry: dict[str, Any], setting: Setting) -> dict[str, str]:
    if isinstance(entry.get("values"), list):
        return _list_faults(f"{key}.values", entry["values"], setting)
    faults = {}
    for end in ("low", "high"):
        value = entry.get(end)
        if end not in entry:
            faults[f"{key}.{end}"] = "must be given (or values = [...])"
        elif text := setting.fault(value):
            faults[f"{key}.{end}"] = text
    low, high = entry.get("low"), entry.get("high")
    if not faults and low >= high:  # type: ignore[operator]
        faults[f"{key}.low"] = f"must be below high ({high}), not {low!r}"
    if not faults and entry.get("log") and low <= 0:  # type: ignore[operator]
        faults[f"{key}.low"] = f"must be above 0 where log = true, not {low!r}"
    return faults
