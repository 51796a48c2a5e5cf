"""`--set key=value`: dotted keys into a study file, values in TOML."""

from __future__ import annotations

import copy
import tomllib
from typing import Any


def apply_overrides(raw: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """The study with the overrides in place.

    Args:
        raw: the parsed study file; left as it is.
        overrides: e.g. `budget.max_epochs=30`, `cells.depth=[18, 34]`, `fixed.part=A`. A value
            that is not TOML is taken as text. Setting a parameter in [fixed], [cells] or [space]
            takes it out of the other two.

    Raises:
        ValueError: no `=`, no key, or a key that leads through something that is no table.
    """
    changed = copy.deepcopy(raw)
    for override in overrides:
        key, found, text = override.partition("=")
        parts = key.strip().split(".")
        if not found or not all(parts):
            raise ValueError(
                f"--set {override}: must have the form key=value, e.g. budget.max_epochs=30"
            )
        table = changed
        for part in parts[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ValueError(f"--set {override}: {part} is no table")
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
