"""The course report's own numbers: its tables, kept here, and its learning curves, as a file."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

import pandas as pd

from search.record import UserError, reason

CURVE_COLUMNS = ("task", "part", "mode", "depth", "lr", "run", "epoch", "name", "value")


@cache
def published_frame() -> pd.DataFrame:
    """The course report's cells: table, task, part, mode, depth, lr, epochs, metric, value."""
    with files("analysis.findings").joinpath("published.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, comment="#", keep_default_na=False)


def load_published(path: Path) -> pd.DataFrame:
    """Learning curves of the course report.

    Raises:
        UserError: no readable csv with the columns CURVE_COLUMNS.
    """
    try:
        frame = pd.read_csv(path, keep_default_na=False, na_values={"value": [""]})
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as csv: {reason(error)}") from error
    missing = [name for name in CURVE_COLUMNS if name not in frame]
    if missing:
        raise UserError(f"{path}: has no column {', '.join(missing)}")
    return frame
