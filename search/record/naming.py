"""Settings and cells in words, as `status`, tables, figures and the page say them alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

WRITTEN = 6  # significant digits of a number that somebody has written
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


def as_varied(study: Mapping[str, Any], title: str) -> str:
    """A report's title, without "by depth" or "by lr" where no cell of the study has that."""
    keys = {key for at in study["cells"] for key in at}
    for key in ("depth", "lr"):
        if key not in keys:
            title = title.replace(f" by {key}", "")
    return title


def named(key: str) -> str:
    """A setting's name where there is room for words, e.g. "learning rate"."""
    return NAMES.get(key, key)


def number(value: Any) -> str:
    """A parameter's value in one line.

    Truth as a study file has it; floats as somebody wrote them, up to WRITTEN significant digits,
    those that were drawn to three (0.9999 is not 1, and 0.0316227766 is 0.0316).
    """
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if not isinstance(value, float):
        return " ".join(str(value).split())
    written = f"{value:.{WRITTEN}g}"
    return written if float(written) == value else f"{value:.3g}"
