"""Settings and cells in words, as `status`, tables, figures and the page say them alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

NAMES = {"lr": "learning rate", "weight_decay": "weight decay", "batch_size": "batch size"}


def cell_label(at: Mapping[str, Any], without: Iterable[str] = ()) -> str:
    """A cell in words, e.g. "depth 18, fine-tuned"."""
    skip = set(without)
    return ", ".join(_setting(key, value) for key, value in at.items() if key not in skip) or "all"


def _setting(key: str, value: Any) -> str:
    said = setting(key, value)
    return said if key == "pretrained" else f"{key} {said}"


def setting(key: str, value: Any) -> str:
    """A setting's value, as all outputs say it."""
    if key == "pretrained" and isinstance(value, bool | np.bool_):
        return "fine-tuned" if value else "from scratch"
    return number(value)


def named(key: str) -> str:
    """A setting's name where there is room for words, e.g. "learning rate"."""
    return NAMES.get(key, key)


def number(value: Any) -> str:
    """A parameter's value, floats to three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
