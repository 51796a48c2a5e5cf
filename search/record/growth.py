"""Frames of a record whose logs have grown since: of what is new alone, beside what was written.

Two million lines take half a minute to read; what a running study adds between two looks does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from search.record.changed_rows import kept_rows
from search.record.columns import row_columns, trial_columns
from search.record.completeness import epochs_of_curves, lacking_epochs, pairs_of
from search.record.curves_file import TEXTS
from search.record.epoch_log import check_rows, read_new_epochs
from search.record.epoch_table import Epochs, EpochTable, Int, table_of
from search.record.frame_files import written_frames
from search.record.frames import curves_frame, trials_frame
from search.record.journal import out_of_order
from search.record.stored import EPOCHS, JOURNAL
from search.record.texts import categories, codes_of, curve_columns

Lines = list[dict[str, Any]]
DEARER = 8  # a byte of the log line by line, in time, than one of the whole log in columns
LITTLE = 2**23  # bytes for which that does not matter; they take 15 times as much memory


def grown_frames(
    folder: Path, study: dict[str, Any], events: Lines, sizes: Mapping[str, int]
) -> tuple[pd.DataFrame, GrownCurves, Epochs] | None:
    """The trials frame, what makes the curves, and the rows of all trials that changed.

    None where the frames as written are not of the beginning of these logs by checksum, or where
    what is new is not simply more (an epoch that was trained again, or one that is missing), or
    is of so many trials that reading the logs in full is cheaper.

    Args:
        folder: the run folder.
        study: its study.json.
        events: of its journal.
        sizes: bytes of its logs.

    Raises:
        JournalError: a new number is one that its quantity cannot have.
    """
    written = written_frames(folder, sizes, trial_columns(study))
    if written is None:
        return None
    known, there = (held.get(EPOCHS, 0) for held in (written.sizes, sizes))
    if _dear(there - known, there):
        return None
    new = read_new_epochs(folder, known, there)
    if new is None or not _in_order(new):
        return None
    if not new and written.sizes == sizes:
        return written.trials, GrownCurves(written.curves), {}
    touched = {line["trial"] for line in new} | _told(folder, events, written.sizes)
    if touched - {event["job"]["trial"] for event in events if event["event"] == "ask"}:
        return None
    if _dear(there - known + known * _share(touched, written.trials), there):
        return None
    old = written.rows_of(touched)
    lines = [*kept_rows(old, pairs_of(epochs_of_curves(old))), *new]
    log, more = table_of(lines), table_of(new)
    if len(log.latest) < len(lines) or _lacking(events, log.epochs, touched):
        return None
    fresh = curves_frame(study["name"], more)
    check_rows(folder, more, fresh, None, ":" not in study["task"])
    trials = _trials(study, events, log, touched, written.trials)
    return trials, GrownCurves(written.curves, fresh), log.epochs


def _dear(size: float, whole: int) -> bool:
    """Whether so many bytes line by line cost more than all of the log in columns."""
    return size > LITTLE and size * DEARER > whole


def _share(trials: set[str], frame: pd.DataFrame) -> float:
    """Of the epochs of a trials frame, those of some trials."""
    own = frame.loc[frame["trial"].isin(trials), "epochs"].sum()
    return float(own / max(frame["epochs"].sum(), 1))


def _in_order(lines: Lines) -> bool:
    """Whether they are numbered one after another; lines of before they were numbered are."""
    first = lines[0].get("line", 1) - 1 if lines else 0
    held = [{**line, "line": line["line"] - first} if "line" in line else line for line in lines]
    return not out_of_order(held)


def _told(folder: Path, events: Lines, sizes: Mapping[str, int]) -> set[str]:
    """Trials that were asked for or told of since: what comes of rows hangs on these alone.

    A decision does not count: the last one of a cell has a line on each of its trials.
    """
    with (folder / JOURNAL).open("rb") as file:
        known = file.read(sizes.get(JOURNAL, 0)).count(b"\n")
    fresh = events[known:]
    asked = {event["job"]["trial"] for event in fresh if event["event"] == "ask"}
    return asked | {event["trial"] for event in fresh if event["event"] == "tell"}


def _lacking(events: Lines, there: Epochs, touched: set[str]) -> bool:
    tells = (e for e in events if e["event"] == "tell" and e["trial"] in touched)
    return bool(lacking_epochs(tells, there))


def _trials(
    study: dict[str, Any],
    events: Lines,
    log: EpochTable,
    touched: set[str],
    before: pd.DataFrame,
) -> pd.DataFrame:
    """The trials frame of which the columns that come of rows are new for some trials alone."""
    made = trials_frame(study, events, log, {})
    old = before.set_index("trial").reindex(made["trial"])
    kept = ~made["trial"].isin(touched).to_numpy(dtype=bool)
    for column in row_columns(study):
        was = old[column].set_axis(made.index)
        made[column] = made[column].where(~kept, was)
    known = made["trial"].isin(before["trial"]).to_numpy(dtype=bool)
    for column in ("repeated_epochs", "lost_seconds"):  # no epoch of these is new twice
        made[column] = made[column].where(~known, old[column].set_axis(made.index))
    return made


class Inserted(NamedTuple):
    """Rows that were put between those of a frame.

    Attributes:
        rows: in order.
        places: `(rows,)` before which row of the frame as it was each stands.
    """

    rows: pd.DataFrame
    places: Int


class GrownCurves:
    """Curves as they were written, with what is new behind the other rows of its trial.

    Args:
        before: reads them as they were written.
        new: rows of which there are none; None for no new row.
    """

    def __init__(
        self, before: Callable[[], pd.DataFrame], new: pd.DataFrame | None = None
    ) -> None:
        self._before, self._new = before, new

    def __call__(self) -> pd.DataFrame:
        """The whole frame."""
        return self.made()[0]

    def made(self) -> tuple[pd.DataFrame, Inserted | None]:
        """The whole frame, and what of it is new; None for the latter where that is not told."""
        old = self._before()
        if self._new is None:
            return old, None
        frames = (old, self._new)
        texts = {name: _all_texts(*(frame[name] for frame in frames)) for name in TEXTS}
        # in the order in which trials first appear their codes are sorted
        trials, more = (codes_of(frame["trial"], texts["trial"]) for frame in frames)
        if mixed := bool((trials[1:] < trials[:-1]).any()):  # by an earlier version
            old = old.iloc[np.argsort(trials, kind="stable")]
            trials = np.sort(trials)
        order = np.argsort(more, kind="stable")
        new, places = self._new.iloc[order], np.searchsorted(trials, more[order], side="right")
        columns = {name: _inserted(old[name], new[name], places, texts[name]) for name in texts}
        epochs, values = (
            np.insert(old[name].to_numpy(dtype=kind), places, new[name].to_numpy(dtype=kind))
            for name, kind in (("epoch", "int64"), ("value", "float64"))
        )
        made = curve_columns(columns, epochs, values)
        return made, None if mixed else Inserted(new, places)


def _inserted(
    old: pd.Series[Any], new: pd.Series[Any], places: Int, texts: pd.Index[Any]
) -> pd.Categorical:
    """A column of texts with new rows at places of it."""
    codes, more = codes_of(old, texts), codes_of(new, texts)
    wide = codes.astype(np.result_type(codes, more))  # np.insert takes the kind of the first
    return categories(np.insert(wide, places, more), [*texts])


def _all_texts(old: pd.Series[Any], new: pd.Series[Any]) -> pd.Index[Any]:
    return old.cat.categories.append(new.cat.categories).unique()
