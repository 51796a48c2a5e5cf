"""epochs.jsonl as it is read: each line checked, what is lost found, held against earlier frames.

The curves frame was made from the log. So what the frame has and the log lacks was lost, and a
number that differs was changed in one of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from search.record.changed_rows import changed_row, kept_rows
from search.record.completeness import (
    epochs_in_words,
    epochs_of_curves,
    gap_notes,
    lacking_epochs,
    named,
    pairs_of,
)
from search.record.epoch_table import EpochTable, pairs_in, repeats, table_of
from search.record.forms import from_json, line_fault, out_of_bounds
from search.record.frame_files import Frames, curves_of
from search.record.journal import RESTORE, JournalError, read_lines
from search.record.plain_lines import plain_table
from search.record.stored import EPOCHS, STAMP, shrunk, stamp_of, tells_of_logs


def read_epochs(folder: Path, size: int | None = None) -> list[dict[str, Any]]:
    """Every line of a run folder's log of epochs.

    Args:
        folder: the run folder.
        size: read so many bytes of it; None for all.

    Raises:
        JournalError: a line is damaged.
    """
    path = folder / EPOCHS
    lines = read_lines(path, size)
    for number, line in enumerate(lines, 1):
        if fault := line_fault(line):
            raise JournalError(
                f"{path}, line {number} is no trial's epoch: {fault}; {RESTORE}, or take the line "
                "out: what is then lacking is told"
            )
    return lines


def read_new_epochs(folder: Path, start: int, size: int) -> list[dict[str, Any]] | None:
    """The lines of a log of epochs behind its first bytes.

    None where no line begins there, or one is damaged: it is told where all lines are read.
    """
    path = folder / EPOCHS
    if size == start:
        return []
    with path.open("rb") as file:
        file.seek(max(start - 1, 0))
        held = file.read(size - max(start - 1, 0))
    if start and held[:1] != b"\n":
        return None
    lines = []
    for text in held[bool(start) :].split(b"\n")[:-1]:
        try:
            lines.append(from_json(text))
        except ValueError:
            return None
    return None if any(line_fault(line) for line in lines) else lines


def read_table(folder: Path, size: int | None = None) -> EpochTable:
    """Every line of a run folder's log of epochs, in columns.

    Args:
        folder: the run folder.
        size: read so many bytes of it; None for all.

    Raises:
        JournalError: a line is damaged.
    """
    found = plain_table(folder / EPOCHS, size)
    return table_of(read_epochs(folder, size)) if found is None else found


def whole_epochs(
    folder: Path, events: list[dict[str, Any]], size: int | None = None
) -> tuple[EpochTable, list[str]]:
    """The log of epochs, with what it has lost and an earlier frame still holds; and notes on it.

    Args:
        folder: the run folder.
        events: its journal.
        size: read so many bytes of the log; None for all.

    Raises:
        JournalError: a line is damaged.
    """
    shorter = EPOCHS in shrunk(folder)
    unsure = shorter or not tells_of_logs(stamp_of(folder))
    log = read_table(folder, size)
    lacking = lacking_epochs(events, log.epochs)
    curves = curves_of(folder) if lacking or unsure else None
    if curves is not None and unsure and len(curves):  # of jobs too that no tell is known of
        lost = pairs_of(epochs_of_curves(curves)) - pairs_of(log.epochs)
        if lost:  # it may have grown
            lacking |= lost - pairs_of(read_table(folder).epochs)
    kept = kept_rows(curves, lacking) if curves is not None and lacking else []
    notes = gap_notes(lacking, pairs_in(kept), _other(folder, size, log, shorter))
    return table_of([*kept, *read_epochs(folder, size)]) if kept else log, notes


def misplaced(log: EpochTable) -> int:
    """The number of the first line that is not where it was written, 0 if all are.

    Lines of before they were numbered are taken to be there.
    """
    wrong = (log.line != np.arange(1, len(log) + 1)) & (log.line != 0)
    return int(wrong.argmax()) + 1 if wrong.any() else 0


def _other(folder: Path, size: int | None, log: EpochTable, shorter: bool) -> str:
    """What is to be said of a log that lacks no epoch; "" if nothing is."""
    if moved := misplaced(log):
        lines = read_epochs(folder, size)
        said = (
            f"epochs.jsonl, line {moved} is not where it was written: lines before it are gone, "
            "doubled or moved, and no epoch lacks its row"
        )
        return (
            f"{said}{'; no figure is another for it' * _all_there(lines)}; restore it from a copy"
        )
    if shorter:
        return (
            f"epochs.jsonl is shorter than {STAMP} says that it was, and no epoch lacks its row: "
            "lines of it are lost or changed; restore it from a copy"
        )
    return ""


def _all_there(lines: list[dict[str, Any]]) -> bool:
    """Whether lines out of order are each there, and give the rows that they gave in order."""
    ordered = {line.get("line", 0): line for line in lines}
    if set(ordered) != set(range(1, len(ordered) + 1)):
        return False
    whole = [ordered[number] for number in sorted(ordered)]
    same = all(line == ordered[line["line"]] for line in lines)  # doubled, not written over
    again = [repeats(table_of(held)) for held in (whole, lines)]
    return same and _latest(whole) == _latest(lines) and again[0] == again[1]


def _latest(lines: list[dict[str, Any]]) -> dict[tuple[str, int], Any]:
    """The row of every trial and epoch; of a repeated epoch the later report counts."""
    return {(line["trial"], line["row"]["epoch"]): line["row"] for line in lines}


def impossible_row(curves: pd.DataFrame) -> str:
    """The first number of a curves frame that its quantity cannot have; "" if all can."""
    codes, values = curves["name"].cat.codes.to_numpy(), curves["value"].to_numpy()
    for number, name in enumerate(curves["name"].cat.categories):
        of = np.flatnonzero(codes == number)
        wrong = [limit for limit in _ends(values[of]) if out_of_bounds(name, limit)]
        if wrong:
            at = next(place for place in of if out_of_bounds(name, float(values[place])))
            row = curves.iloc[at]
            fault = out_of_bounds(name, float(row["value"]))
            return f"trial {row['trial']}, epoch {row['epoch']}: {fault}"
    return ""


def _ends(values: np.ndarray[Any, Any]) -> list[float]:
    """The least and the greatest of those that are numbers."""
    held = values[~np.isnan(values)]
    return [float(held.min()), float(held.max())] if len(held) else []


def check_rows(
    folder: Path, log: EpochTable, made: pd.DataFrame, before: Frames | None, ours: bool
) -> None:
    """Refuse a log of epochs with numbers that cannot be, or that the earlier frame denies.

    Args:
        folder: the run folder.
        log: its lines.
        made: the curves frame of these lines.
        before: frames made from the log as it was; None where they are not known to be.
        ours: whether the task is one of this project's, whose quantities are known.

    Raises:
        JournalError: see above.
    """
    if ours and (fault := impossible_row(made)):
        raise JournalError(f"{folder / EPOCHS}: {fault}; {RESTORE}")
    if before is not None and (fault := changed_row(log, made, before.curves)):
        raise JournalError(
            f"{folder / EPOCHS}: {fault}. Which is right is not known: {RESTORE}; without one "
            f"delete {STAMP} and the log counts"
        )


def unasked_note(beyond: set[tuple[str, int]]) -> list[str]:
    """What is to be said of rows that no ask of the journal allows."""
    if not beyond:
        return []
    return [
        f"epochs.jsonl holds {epochs_in_words(len(beyond))} of "
        f"{named(trial for trial, _ in beyond)} that decisions.jsonl never asked for: that has "
        "lost lines; restore it from a copy. Until then what they came to is left out"
    ]
