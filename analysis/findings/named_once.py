"""Run folders as they are named on a command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from search.record import UserError


def require_once(runs: Sequence[Path]) -> None:
    """Refuse a folder that is named more than once, whatever its spellings.

    Raises:
        UserError: one is.
    """
    folders = [run.resolve() for run in runs]
    for run, folder in zip(runs, folders, strict=True):
        if folders.count(folder) > 1:
            raise UserError(f"{run} is named twice; name it once")
