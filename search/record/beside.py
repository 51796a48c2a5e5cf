"""What else lies in a run folder, held against its journal: whatever it knows, the journal knows.

A job is asked for before it writes anything, and a log only grows. So rows and predictions that
nobody asked for, scores that are not those of the predictions, and frames that know more than the
logs say that the journal has lost lines or was changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from search.record.completeness import named
from search.record.epoch_log import unasked_note
from search.record.journal import RESTORE, JournalError, read_lines
from search.record.stored import EPOCHS, JOURNAL, STAMP, shrunk

Events = Iterable[Mapping[str, Any]]
LEFT = ("parts/*.parquet", "samples/*.npz", "checkpoints/*.pt")  # by workers


def check_size(folder: Path) -> None:
    """Refuse a journal that is shorter than when the frames were made.

    Raises:
        JournalError: it is.
    """
    if JOURNAL in (lost := shrunk(folder)):
        now, then = lost[JOURNAL]
        path = folder / JOURNAL
        lines = path.read_bytes().count(b"\n") if path.is_file() else 0
        raise JournalError(
            f"{path} is shorter than it was: it holds {lines} lines, {now} bytes, and {STAMP} "
            f"says that it held {then} bytes when trials.parquet was made, so lines are lost or "
            f"changed; {RESTORE}. Without one delete {STAMP}: what is lost is then left out, and "
            "run again by `resnet-search resume`"
        )


def traces(folder: Path) -> str:
    """What in a run folder says that trials were asked for, though no journal does; "" if nothing.

    Frames of a study that has not begun have no rows.
    """
    epochs = folder / EPOCHS
    if epochs.is_file() and epochs.stat().st_size:
        return f"{EPOCHS} says that epochs were trained"
    for frame in ("trials", "curves", "per_image"):
        if _has_rows(folder / f"{frame}.parquet"):
            return f"{frame}.parquet has rows"
    for frame in ("trials", "curves", "per_image"):
        path = folder / "csv" / f"{frame}.csv"
        if path.is_file() and path.read_bytes().count(b"\n") > 1:
            return f"csv/{frame}.csv has rows"
    for pattern in LEFT:
        if found := sorted(folder.glob(pattern)):
            return f"{found[0].relative_to(folder)} is there"
    return ""


def _has_rows(path: Path) -> bool:
    try:
        return path.is_file() and pq.read_metadata(path).num_rows > 0
    except Exception:  # pyarrow raises many kinds for a damaged file, which says nothing here
        return False


def changed_trial(
    made: pd.DataFrame, before: pd.DataFrame, settings: Iterable[str]
) -> tuple[str, str, Any, Any] | None:
    """What a journal says of a trial otherwise than a frame that was made from it.

    Cell, settings, seed and scores on test never change once they are there; what a job came to
    does not while no other job of the trial has ended or begun.

    Args:
        made: the trials frame of this journal.
        before: the frame as it was written.
        settings: columns of cell parameters and searched ones.

    Returns:
        The first of them: trial, column, value now and before; None for none.
    """
    old = before.set_index("trial")
    new = made.set_index("trial").reindex(old.index)
    still = (new[JOBS] == old[JOBS]).all(axis=1).fillna(False)
    every = pd.Series(True, index=old.index)
    tests = [column for column in old if str(column).startswith("test_")]
    always = ["cell", *settings, "config", "seed", *tests, "baselines"]
    checks = [*((column, every) for column in always), *((column, still) for column in TOLD)]
    for column, where in checks:
        other = old[column].notna() & (new[column] != old[column]).fillna(True) & where
        if other.any():
            at = int(other.to_numpy(dtype=bool).argmax())
            return str(old.index[at]), str(column), new[column].iloc[at], old[column].iloc[at]
    return None


JOBS = ["jobs", "attempts", "seconds"]
TOLD = ("value", "value_epoch", "parameters", "collapsed")


def check_trials(
    folder: Path, made: pd.DataFrame, before: pd.DataFrame, settings: Iterable[str]
) -> None:
    """Refuse a journal that the frame which was made from it denies; see `changed_trial`.

    Raises:
        JournalError: it does.
    """
    if found := changed_trial(made, before, settings):
        trial, column, now, then = found
        raise JournalError(
            f"{folder / JOURNAL}: trial {trial}: {column} is {_plain(now)} there, and "
            f"{_plain(then)} in trials.parquet, which was made from it. Which is right is not "
            f"known: {RESTORE}; without one delete {STAMP} and the journal counts"
        )


def _plain(value: Any) -> Any:
    return "nothing" if pd.isna(value) else value


def notes_on(
    folder: Path,
    study: Mapping[str, Any],
    events: Events,
    rows: set[tuple[str, int]],
    images: pd.DataFrame,
) -> list[str]:
    """What is to be said of rows and predictions that the journal does not account for.

    Args:
        folder: the run folder.
        study: its study.json.
        events: of its journal.
        rows: trial and epoch of all that the log of epochs, or its frame, has.
        images: the predictions.
    """
    scored = set(images["trial"].unique())
    beyond, untested = _unasked(events, rows, scored)
    if beyond or untested:  # the study may run, and have asked since the journal was read
        now = read_lines(folder / JOURNAL)
        beyond, untested = _unasked(now, beyond, untested)
    notes = unasked_note(beyond)
    if untested:
        notes.append(
            f"there are predictions of {named(untested)}, whose score on test {JOURNAL} never "
            "asked for: that has lost lines; restore it from a copy. Until then what they came to "
            "is left out"
        )
    if wrong := _misscored(study, events, images):
        notes.append(
            f"the predictions of {named(wrong)} (in parts/, else per_image.parquet) do not give "
            f"the score on test that {JOURNAL} tells: they are another trial's, or one of both "
            "was changed; restore the files from a copy"
        )
    return notes


def _unasked(
    events: Events, rows: set[tuple[str, int]], scored: set[str]
) -> tuple[set[tuple[str, int]], set[str]]:
    """Of rows those beyond what any ask allows, of scored trials those that no ask has scored."""
    most: dict[str, int] = {}
    tested = set()
    for event in events:
        if event["event"] == "ask":
            job = event["job"]
            most[job["trial"]] = max(most.get(job["trial"], 0), job["to_epoch"])
            if job.get("score_test"):
                tested.add(job["trial"])
    return {(t, epoch) for t, epoch in rows if epoch > most.get(t, 0)}, scored - tested


def _misscored(study: Mapping[str, Any], events: Events, images: pd.DataFrame) -> set[str]:
    """Trials whose predictions do not give the score that was told; of our own tasks."""
    metric = next((name for name in ("accuracy", "mae") if name in study["metrics"]), None)
    if metric is None or ":" in study["task"] or not len(images):
        return set()
    truth, answer = images["truth"], images["prediction"]
    each = truth == answer if metric == "accuracy" else (truth - answer).abs()
    means = each.astype(float).groupby(images["trial"], sort=False).mean()
    tells = (e for e in events if e["event"] == "tell" and e.get("test"))
    told = {tell["trial"]: tell["test"].get(metric) for tell in tells}
    return {
        str(trial)
        for trial, mean in means.items()
        if (said := told.get(trial)) is not None and abs(mean - said) > 1e-5 * max(1.0, abs(said))
    }
