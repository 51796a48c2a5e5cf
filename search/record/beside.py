"""What else lies in a run folder, held against its journal: whatever it knows, the journal knows.

A job is asked for before it writes anything, and a log only grows. So rows and predictions that
nobody asked for, scores that are not those of the predictions, and frames that know more than the
logs say that the journal has lost lines or was changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from search.record.compare import Difference, differences
from search.record.completeness import named
from search.record.epoch_log import unasked_note
from search.record.epoch_table import Epochs, Pairs
from search.record.frame_files import read_parquet
from search.record.journal import RESTORE, JournalError, read_lines
from search.record.scores import misscored
from search.record.stored import (
    EPOCHS,
    JOURNAL,
    PER_IMAGE,
    STAMP,
    STUDY,
    shrunk,
    stamp_of,
    study_sum,
)

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


def frame_notes(
    folder: Path, made: Mapping[str, pd.DataFrame], changed: Collection[str], exact: bool
) -> list[str]:
    """What is to be said of frames that are not known to be as they were written.

    Args:
        folder: the run folder.
        made: name -> the frame by the logs, which counts.
        changed: files that are not as they were written.
        exact: whether the files were made from just as much of the logs.

    Raises:
        RecordError: a file is damaged.
    """
    notes = []
    for name, frame in made.items():
        file = f"{name}.parquet"
        if not (folder / file).is_file():
            continue
        if exact:
            if found := differences(frame, read_parquet(folder / file), name, file):
                notes.append(f"{_first(found)}: {CHANGED if file in changed else EITHER}")
        elif file in changed:
            notes.append(f"{file} has another checksum than {STAMP} tells: {CHANGED}")
    return notes


CHANGED = (
    "it was changed after it was made of the logs, and these count; delete it, it is made again"
)
EITHER = (  # a record of before files had checksums
    "one of the two was changed since, which is not known; the logs count. Restore the folder "
    "from a copy, or, where the logs are right, delete the file: it is made again"
)


def image_notes(folder: Path, images: pd.DataFrame, changed: Collection[str]) -> list[str]:
    """What is to be said of a frame of predictions that is not as it was written.

    Args:
        folder: the run folder.
        images: the predictions, those of parts first.
        changed: files that are not as they were written.
    """
    path = folder / PER_IMAGE
    if PER_IMAGE not in changed or not path.is_file():
        return []
    held = read_parquet(path)
    if found := differences(images, held, "per_image", PER_IMAGE):
        return [f"{_first(found)}: it was changed, and the parts count; delete it"]
    parts = {part.stem for part in (folder / "parts").glob("*.parquet")}
    alone = set(held["trial"].unique()) - parts
    if not alone:
        return []
    return [
        f"{PER_IMAGE} has another checksum than {STAMP} tells, and no file of parts/ holds the "
        f"predictions of {named(alone)}: it was changed; restore it from a copy"
    ]


def _first(found: Sequence[Difference]) -> str:
    more = f" (and {len(found) - 1} more; `resnet-report verify` lists them)" * (len(found) > 1)
    return f"{found[0].text}{more}"


def notes_on(folder: Path, events: Events, rows: Epochs, images: pd.DataFrame) -> list[str]:
    """What is to be said of rows and predictions that the journal does not account for.

    Args:
        folder: the run folder.
        events: of its journal.
        rows: what the log of epochs, or its frame, has.
        images: the predictions.
    """
    scored = set(images["trial"].unique())
    beyond, untested = _unasked(events, rows, scored)
    if beyond or untested:  # the study may run, and have asked since the journal was read
        now = read_lines(folder / JOURNAL)
        beyond, untested = _unasked(now, rows, untested)
    notes = unasked_note(beyond)
    if untested:
        notes.append(
            f"there are predictions of {named(untested)}, whose score on test {JOURNAL} never "
            "asked for: that has lost lines; restore it from a copy. Until then what they came to "
            "is left out"
        )
    return notes


def study_notes(folder: Path) -> list[str]:
    """What is to be said of a study.json that was changed after the frames were written."""
    stamp = stamp_of(folder)
    told = (stamp or {}).get("study")
    if told is None or told == study_sum(folder) or stamp_of(folder) != stamp:
        return []  # a running study removes the checksum before it replaces the file
    return [
        f"{STUDY} has another checksum than {STAMP} tells: it was changed, so what it says of "
        "settings, data and machine is not known to be so; restore it from a copy"
    ]


def lost_images(folder: Path, images: pd.DataFrame) -> list[str]:
    """What is to be said of results of each image that were on record and are all gone."""
    told = (stamp_of(folder) or {}).get("frames", {})
    if PER_IMAGE not in told or len(images) or (folder / PER_IMAGE).is_file():
        return []
    return [
        f"{PER_IMAGE}, whose checksum {STAMP} tells, is gone, and parts/ holds none of it: "
        "restore it from a copy. Until then intervals know nothing of the test images"
    ]


def score_notes(study: Mapping[str, Any], events: Events, images: pd.DataFrame) -> list[str]:
    """What is to be said of predictions that do not give the scores that the journal tells."""
    wrong = {difference.trial for difference in misscored(study, events, images)}
    if not wrong:
        return []
    return [
        f"the predictions of {named(wrong)} (in parts/, else per_image.parquet) do not give "
        f"the score on test that {JOURNAL} tells: they are another trial's, or one of both "
        "was changed; restore the files from a copy"
    ]


def _unasked(events: Events, rows: Epochs, scored: set[str]) -> tuple[Pairs, set[str]]:
    """Of rows those beyond what any ask allows, of scored trials those that no ask has scored."""
    asks = [event["job"] for event in events if event["event"] == "ask"]
    tested, most = {job["trial"] for job in asks if job.get("score_test")}, asked_to(asks)
    beyond = {
        (trial, epoch)
        for trial, epochs in rows.items()
        if epochs and max(epochs) > most.get(trial, 0)
        for epoch in epochs
        if epoch > most.get(trial, 0)
    }
    return beyond, scored - tested


def asked_to(jobs: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Trial -> the last epoch that any of its jobs was to reach."""
    most: dict[str, int] = {}
    for job in jobs:
        most[job["trial"]] = max(most.get(job["trial"], 0), job["to_epoch"])
    return most


def unasked(events: Events, rows: Epochs) -> bool:
    """Whether there are rows that no ask of the journal allows; see `notes_on`."""
    return bool(_unasked(events, rows, set())[0])
