"""`--set key=value`: dotted keys into a study file, values in TOML."""

from __future__ import annotations

import argparse
import copy
import tomllib
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
            takes it out of the other two.

    Raises:
        OverrideError: no `=`, no key, or a key that leads through something that is no table.
    """
    changed = copy.deepcopy(raw)
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
            for other in {"fixed", "cells", "space"} - {parts[0]}:
                if isinstance(changed.get(other), dict):
                    changed[other].pop(parts[1], None)
    return changed


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
