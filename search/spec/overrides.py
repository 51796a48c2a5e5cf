"""`--set key=value`: dotted keys into a study file, values in TOML."""

from __future__ import annotations

import argparse
import copy
import json
import re
import tomllib
from collections.abc import Iterable
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


HOMES = ("cells", "space", "fixed")  # of a task's setting; it stands in one of them
# keys of [budget] that say how a search goes, and nothing without one
OF_A_SEARCH = (
    "trials_per_cell",
    "grace_epochs",
    "reduction_factor",
    "full_per_cell",
    "audit_share",
)


class OverrideError(UserError):
    """`--set` cannot be applied; the message quotes it."""


def apply_overrides(raw: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """The study with the overrides in place.

    Args:
        raw: the parsed study file; left as it is.
        overrides: e.g. `budget.max_epochs=30`, `cells.depth=[18, 34]`, `fixed.part=A`. A value
            that is not TOML is taken as text. Setting a parameter in [fixed], [cells] or [space]
            takes it out of the other two, and [cells] and [fixed] take it out of [[points]]; where
            nothing is left to search, the file's search goes, see `_without_search`.

    Raises:
        OverrideError: no `=`, no key, or a key that leads through something that is no table.
    """
    changed, given, moved = copy.deepcopy(raw), set(), set()
    for override in overrides:
        parts = _set(changed, override)
        given.add(".".join(parts))
        if len(parts) > 1 and parts[0] in HOMES:
            for other in set(HOMES) - {parts[0]}:
                _table(changed, other).pop(parts[1], None)
            if parts[0] != "space":
                moved.add(parts[1])
    if _table(raw, "cells") and changed.get("cells") == {} and "cells" not in given:
        gone = moved | set(_table(changed, "space"))
        key = next(key for key in _table(raw, "cells") if key in gone)
        raise OverrideError(
            f"{key} set elsewhere leaves [cells] empty, and nothing to compare: keep it there, as "
            f"cells.{key}=[...], or name another parameter of [cells] too"
        )
    _settle(changed, raw, moved, given)
    return changed


def _set(changed: dict[str, Any], override: str) -> list[str]:
    """Put one override in place; returns the parts of its key."""
    _, found, text = override.partition("=")
    parts = key_of(override)
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
    return parts


def key_of(override: str) -> list[str]:
    """The parts of the key that `key=value` sets."""
    return [part.strip() for part in override.partition("=")[0].split(".")]


def _table(raw: dict[str, Any], key: str) -> dict[str, Any]:
    found = raw.get(key)
    return found if isinstance(found, dict) else {}


def _settle(
    changed: dict[str, Any], raw: dict[str, Any], moved: set[str], given: set[str]
) -> None:
    """Make the rest of the file follow where a parameter has left its search.

    Args:
        changed: the study, changed in place.
        raw: the file as it was.
        moved: parameters that were set in [cells] or [fixed].
        given: keys that the user set; they stay, and a contradiction is a fault.
    """
    points, searched = changed.get("points"), set(_table(raw, "space"))
    if isinstance(points, list) and "points" not in given:
        tables = [point for point in points if isinstance(point, dict)]
        searched |= {key for point in tables for key in point}
        left = [{k: v for k, v in point.items() if k not in moved} for point in tables]
        if len(tables) == len(points) and moved & searched:
            # two points that differed in it alone are one now
            changed["points"] = list({repr(point): point for point in left if point}.values())
    if not moved & searched - set(_table(changed, "space")):
        return
    if not changed.get("space") and "space" not in given and not changed.get("points"):
        _without_search(changed, given)
    elif changed.get("sampler") == "grid" or changed.get("points"):
        # there are fewer now, and the number follows from them
        _drop(_table(changed, "budget"), ["trials_per_cell"], "budget.", given)


def _without_search(changed: dict[str, Any], given: set[str]) -> None:
    """What the file says of a search goes with the last parameter that was searched."""
    changed.pop("space", None)
    _drop(changed, ["points", "sampler"], "", given)
    _drop(_table(changed, "budget"), OF_A_SEARCH, "budget.", given)


def _drop(table: dict[str, Any], keys: Iterable[str], above: str, given: set[str]) -> None:
    for key in keys:
        if above + key not in given and above[:-1] not in given:
            table.pop(key, None)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


class _Once(argparse.Action):
    """An option whose second value would take the place of the first, in silence."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        """Keep the value."""
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option_string} is given twice; several values are one: 0.1,0.2")
        setattr(namespace, self.dest, values)


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
        parser.add_argument(f"--{name.replace('_', '-')}", help=text, action=_Once)


def given_overrides(arguments: argparse.Namespace) -> list[str]:
    """KEY=VALUE for every option that was given, `--set` last."""
    found = []
    for name, (home, _) in SHORT.items():
        value = getattr(arguments, name)
        if value is None:
            continue
        if home == "cells":
            found.append(f"cells.{name}=[{', '.join(map(_quoted, value.split(',')))}]")
        else:
            found.append(f"{home if '.' in home else f'{home}.{name}'}={value}")
    return [*found, *arguments.overrides]


def _quoted(text: str) -> str:
    """A value of an option in TOML, which has no `.1`, `1.` or `007`."""
    text = text.strip()
    try:
        return str(int(text)) if re.fullmatch(r"[+-]?\d+", text) else repr(float(text))
    except ValueError:
        return json.dumps(text)
