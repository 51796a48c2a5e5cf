"""epochs.jsonl as it is read: each line checked, what is lost found, held against earlier frames.

The curves frame was made from the log. So what the frame has and the log lacks was lost, and a
number that differs was changed in one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from search.record.completeness import (
    epochs_in_words,
    gap_notes,
    lacking_epochs,
    named,
    rows_of_curves,
    rows_of_log,
)
from search.record.forms import from_json, line_fault, out_of_bounds
from search.record.frames import latest_rows, repeats
from search.record.journal import RESTORE, JournalError, out_of_order, read_lines
from search.record.stored import EPOCHS, STAMP, Frames, curves_of, kept_rows, shrunk, stamp_of


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


def whole_epochs(
    folder: Path, events: list[dict[str, Any]], size: int | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """The log of epochs, with what it has lost and an earlier frame still holds; and notes on it.

    Args:
        folder: the run folder.
        events: its journal.
        size: read so many bytes of the log; None for all.

    Raises:
        JournalError: a line is damaged.
    """
    shorter = EPOCHS in shrunk(folder)
    unsure = shorter or stamp_of(folder) is None
    lines = read_epochs(folder, size)
    there = rows_of_log(lines)
    lacking = lacking_epochs(events, there)
    curves = curves_of(folder) if lacking or unsure else None
    if curves is not None and unsure:  # of jobs too that no tell is known of
        lost = rows_of_curves(curves) - there
        lacking |= lost - rows_of_log(read_epochs(folder)) if lost else lost  # it may have grown
    kept = kept_rows(curves, lacking) if curves is not None and lacking else []
    return [*kept, *lines], gap_notes(lacking, rows_of_log(kept), _other(lines, shorter))


def _other(lines: list[dict[str, Any]], shorter: bool) -> str:
    """What is to be said of a log that lacks no epoch; "" if nothing is."""
    if moved := out_of_order(lines):
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
    return same and latest_rows(whole) == latest_rows(lines) and repeats(whole) == repeats(lines)


def changed_row(lines: list[dict[str, Any]], made: pd.DataFrame, before: pd.DataFrame) -> str:
    """What a log of epochs says of an epoch otherwise than a frame that was made from it.

    A line that came later on the same epoch may differ: then an earlier line is the frame's.

    Args:
        lines: of the log.
        made: the curves frame of these lines.
        before: the frame as it was written.

    Returns:
        The first of them: trial, epoch, quantity and both values; "" for none.
    """
    pairs = _differing(made, before)
    if not pairs:
        return ""
    said: dict[tuple[str, int], list[dict[str, float]]] = {pair: [] for pair in pairs}
    for line in lines:
        if (pair := (line["trial"], line["row"]["epoch"])) in said:
            said[pair].append(_numbers(line["row"]))
    held = {(k["trial"], k["row"]["epoch"]): _numbers(k["row"]) for k in kept_rows(before, pairs)}
    for (trial, epoch), rows in said.items():
        row = held[trial, epoch]
        if rows and not any(_same(row, other) for other in rows):
            newest = rows[-1]
            name = next(n for n in {**newest, **row} if not _same_value(newest.get(n), row.get(n)))
            return (
                f"trial {trial}, epoch {epoch}: {name} is {_shown(newest, name)} in {EPOCHS}, and "
                f"{_shown(row, name)} in curves.parquet, which was made from it"
            )
    return ""


def _differing(made: pd.DataFrame, before: pd.DataFrame) -> list[tuple[str, int]]:
    """Trials and epochs of which two curves frames hold other numbers, in order."""
    trials, names = (pd.Index(made[key].unique()) for key in ("trial", "name"))
    most = int(made["epoch"].max()) + 1 if len(made) else 1
    if most * len(trials) * len(names) >= 2**63:
        most = 1  # an epoch that no study has: told as one never asked for
    keys = []
    for frame in (made, before):
        epoch = frame["epoch"].to_numpy(dtype="int64")
        trial, name = (i.get_indexer(frame[k]) for i, k in ((trials, "trial"), (names, "name")))
        fits = (trial >= 0) & (epoch < most)
        keys.append(np.where(fits, (trial * most + epoch) * (len(names) + 1) + name, -2))
    order = np.argsort(keys[0], kind="stable")
    place = np.searchsorted(keys[0], keys[1], sorter=order).clip(max=max(len(order) - 1, 0))
    if not len(order):
        return []
    found = order[place]
    new, old = made["value"].to_numpy()[found], before["value"].to_numpy()
    there = keys[0][found] == keys[1]
    same = there & ((new == old) | (np.isnan(new) & np.isnan(old)))
    rows = before[~same & (keys[1] != -2)][["trial", "epoch"]].drop_duplicates()
    return list(zip(rows["trial"].to_list(), rows["epoch"].to_list(), strict=True))


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {k: float("nan") if v is None else float(v) for k, v in row.items() if k != "epoch"}


def _same(row: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return row.keys() == other.keys() and all(_same_value(row[k], other[k]) for k in row)


def _same_value(one: float | None, other: float | None) -> bool:
    return one == other or (
        one is not None and other is not None and one != one and other != other
    )


def _shown(row: Mapping[str, float], name: str) -> str:
    return repr(row[name]) if name in row else "not there"


def impossible_row(curves: pd.DataFrame) -> str:
    """The first number of a curves frame that its quantity cannot have; "" if all can."""
    for name in curves["name"].unique():
        values = curves.loc[curves["name"] == name]
        low, high = values["value"].min(), values["value"].max()
        if out_of_bounds(name, low) or out_of_bounds(name, high):
            at = next(row for row in values.itertuples() if out_of_bounds(name, row.value))
            return f"trial {at.trial}, epoch {at.epoch}: {out_of_bounds(name, at.value)}"
    return ""


def check_rows(
    folder: Path,
    lines: list[dict[str, Any]],
    made: pd.DataFrame,
    before: Frames | None,
    ours: bool,
) -> None:
    """Refuse a log of epochs with numbers that cannot be, or that the earlier frame denies.

    Args:
        folder: the run folder.
        lines: of the log.
        made: the curves frame of these lines.
        before: frames made from the log as it was; None where they are not known to be.
        ours: whether the task is one of this project's, whose quantities are known.

    Raises:
        JournalError: see above.
    """
    if ours and (fault := impossible_row(made)):
        raise JournalError(f"{folder / EPOCHS}: {fault}; {RESTORE}")
    if before is not None and (fault := changed_row(lines, made, before.curves)):
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
