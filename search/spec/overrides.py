"""`--set key=value`: dotted keys into a study file, values in TOML."""

from __future__ import annotations

import argparse
import copy
import tomllib
from collections.abc import Collection
from typing import Any

from trainables.errors import UserError

# `--epochs 50` is short for `--set budget.max_epochs=50`; these are the report's own switches
SHORT = {
    "part": ("cells", "data class, A or B"),
    "batch_size": ("fixed", "images a step"),
    "epochs": ("budget.max_epochs", "epochs of a full training"),
    "depth": ("cells", "layers of the ResNet, e.g. 18 or 18,34"),
    "lr": ("cells", "learning rate, e.g. 0.01 or 0.1,0.01"),
}


class OverrideError(UserError):
    """`--set` cannot be applied; the message quotes it."""


def apply_overrides(raw: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """The study with the overrides in place.

    Args:
        raw: the parsed study file; left as it is.
        overrides: e.g. `budget.max_epochs=30`, `cells.depth=[18, 34]`, `fixed.part=A`. A value
            that is not TOML is taken as text. Setting a parameter in [fixed], [cells] or [space]
            takes it out of the other two, and out of [[points]]. What the file has only for the
            sake of what was overridden goes with it: the keys of a search where nothing is left to
            search, a first rung that is longer than the new budget.

    Raises:
        OverrideError: no `=`, no key, or a key that leads through something that is no table.
    """
    changed = copy.deepcopy(raw)
    given = [override.partition("=")[0].strip() for override in overrides]
    for override in overrides:
        key, found, text = override.partition("=")
        parts = key.strip().split(".")
        if not found or not all(parts):
            raise OverrideError(
                f"--set {override}: must have the form key=value, e.g. budget.max_epochs=30"
            )
        table = changed
        for part in parts[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise OverrideError(f"--set {override}: {part} is no table")
        table[parts[-1]] = _value(text.strip())
        if len(parts) == 2 and parts[0] in ("fixed", "cells", "space"):
            _take_out(changed, parts[1], parts[0])
    if changed.get("space") == {} and raw.get("space"):
        del changed["space"]
    if not changed.get("space") and not changed.get("points"):
        _drop(changed, "budget", ("trials_per_cell", "full_per_cell"), given)
        _drop(changed, "", ("sampler",), given)
    _fit_first_rung(raw, changed, given)
    return changed


def _take_out(changed: dict[str, Any], key: str, home: str) -> None:
    """Out of every table but its new home, and out of the configs that are listed."""
    for other in {"fixed", "cells", "space"} - {home}:
        if isinstance(changed.get(other), dict):
            changed[other].pop(key, None)
    points = changed.get("points")
    if home != "space" and isinstance(points, list) and all(isinstance(p, dict) for p in points):
        left = [{k: v for k, v in point.items() if k != key} for point in points]
        if left != points:
            different = {repr(sorted(point.items())): point for point in left if point}
            changed["points"] = list(different.values())
            if not different:
                del changed["points"]


def _drop(changed: dict[str, Any], table: str, keys: Collection[str], given: list[str]) -> None:
    """Remove keys that the file gave, and no override."""
    held = changed.get(table) if table else changed
    for key in keys:
        if isinstance(held, dict) and (f"{table}.{key}" if table else key) not in given:
            held.pop(key, None)


def _fit_first_rung(raw: dict[str, Any], changed: dict[str, Any], given: list[str]) -> None:
    """Shorten the file's first rung with the budget, where it would not fit a smaller one."""
    grace, old = (_whole(raw, key) for key in ("grace_epochs", "max_epochs"))
    new = _whole(changed, "max_epochs")
    if "budget.grace_epochs" not in given and 0 < new < grace <= old:
        changed["budget"]["grace_epochs"] = max(1, round(grace * new / old))


def _whole(raw: dict[str, Any], key: str) -> int:
    """A whole number of [budget]; 0 where it is none."""
    table = raw.get("budget")
    held = table.get(key) if isinstance(table, dict) else None
    return held if isinstance(held, int) and not isinstance(held, bool) else 0


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Give a command the options that change a study."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change a key of the study, e.g. budget.max_epochs=30 or cells.depth=[18,34]",
    )
    for name, (_, text) in SHORT.items():
        parser.add_argument(f"--{name.replace('_', '-')}", help=text)


def given_overrides(arguments: argparse.Namespace) -> list[str]:
    """KEY=VALUE for every option that was given, `--set` last."""
    found = []
    for name, (home, _) in SHORT.items():
        value = getattr(arguments, name)
        if value is None:
            continue
        if home == "cells":
            values = value.split(",")
            quoted = [v if _is_number(v) else f'"{v}"' for v in values]
            found.append(f"cells.{name}=[{', '.join(quoted)}]")
        else:
            found.append(f"{home if '.' in home else f'{home}.{name}'}={value}")
    return [*found, *arguments.overrides]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
