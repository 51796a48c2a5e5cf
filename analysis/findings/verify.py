"""What a check of a record found: in lines, and as notes of the record that a page is made of."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

from search.record import Record, RecordWarning, Verification, verify

SHOWN = 5  # things that do not hold on a page; `resnet-report verify` lists all


def verdict_lines(found: Verification) -> list[str]:
    """What does not hold, what there was nothing to check by, what was checked, and the digest.

    Args:
        found: of a record.
    """
    lines = [f"does not hold: {fault}" for fault in found.faults]
    lines += [f"not checked: {text}" for text in found.unchecked]
    return [*lines, _summary(found), f"sha256 {found.record.digest}"]


def _summary(found: Verification) -> str:
    frames = ", ".join(found.frames) or "no frame"
    trials = f"{found.scores} trial{'' if found.scores == 1 else 's'}"
    counts = ((len(found.faults), "not holding"), (len(found.unchecked), "not checked"))
    short = ", ".join(f"{n} {what}" for n, what in counts if n)
    if "imported" in found.record.study:
        return (
            f"{found.record.study['name']}: {frames} held against what the import wrote; there "
            f"are no logs of its runs, nor results of images to compute a score from: {short}"
        )
    return (
        f"{found.record.study['name']}: {frames} held against the logs, scores on test of "
        f"{trials} computed again: {short or 'all of it holds'}"
    )


def verified(run: Path) -> Record:
    """A record as its logs give it, with all that does not hold among its notes.

    Raises:
        RecordError, JournalError: it cannot be read.

    Warns:
        RecordWarning: of each of the notes.
    """
    found = verify(run)
    notes, more = found.faults[:SHOWN], len(found.faults) - SHOWN
    if more > 0:
        notes = (*notes, f"{more} more things do not hold: `resnet-report verify` lists them")
    for note in notes:
        warnings.warn(f"{run}: {note}", RecordWarning, stacklevel=2)
    return replace(found.record, notes=notes)
