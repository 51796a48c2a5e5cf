"""Studies that were run before, of which a planned one may learn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from search import record
from trainables.errors import UserError

UNREADABLE = (UserError, OSError, LookupError)  # what reading a record may fail by


def earlier_studies(runs_dir: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Run folders under a folder, by name, and their study.json; those that cannot be read not."""
    for path in sorted(runs_dir.glob(f"*/{record.STUDY}")):
        try:
            study = record.load_study(path.parent)
        except UNREADABLE:
            continue
        yield path.parent, study
