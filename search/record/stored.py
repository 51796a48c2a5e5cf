"""The parquet files of a record: frames as they were written, and what workers wrote an image.

What is in them is checked: each page has a checksum (in files of this version), each frame the
columns that it should have.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from trainables.errors import UserError
from trainables.files import unfit

JOURNAL, EPOCHS, STUDY = "decisions.jsonl", "epochs.jsonl", "study.json"
STAMP = "frames.json"  # says how much of the logs the parquet files hold
PER_IMAGE = "per_image.parquet"
IMAGE = ["study", "trial", "split", "image", "truth", "prediction"]


class RecordError(UserError):
    """A run folder is missing or damaged; the message names file and fix."""


def sizes_of(folder: Path) -> dict[str, int]:
    """Bytes of the logs, which only grow; the journal first, so that no tell lacks its rows."""
    logs = (folder / JOURNAL, folder / EPOCHS)
    return {path.name: path.stat().st_size for path in logs if path.is_file()}


def stamp_of(folder: Path) -> Any:
    """Bytes of the logs that the frames were made from; None if that is not known."""
    path = folder / STAMP
    try:
        return None if unfit(path) else json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def frames_of(
    folder: Path, sizes: dict[str, int], trials: Collection[str], columns: Collection[str]
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """The trials and curves frames as written, where they hold just so much of the logs.

    Args:
        folder: the run folder.
        sizes: of its logs.
        trials: that the journal asks for.
        columns: that the trials frame should have; None is returned where it does not fit.

    Raises:
        RecordError: a frame is damaged.
    """
    paths = [folder / f"{name}.parquet" for name in ("trials", "curves")]
    if stamp_of(folder) != sizes or not all(path.is_file() for path in paths):
        return None
    made, curves = (read_parquet(path) for path in paths)
    # a running study may have replaced them between the two looks
    if stamp_of(folder) != sizes or list(made) != list(columns) or list(curves) != CURVES:
        return None
    return (made, curves) if set(made["trial"]) == set(trials) else None


CURVES = ["study", "trial", "epoch", "name", "value"]


def read_parquet(
    path: Path, fix: str = "delete it, it is made again from the logs"
) -> pd.DataFrame:
    """A frame.

    Args:
        path: the file.
        fix: what to do if it is damaged.

    Raises:
        RecordError: it is.
    """
    if fault := unfit(path):
        raise RecordError(f"{path} {fault}; {fix}")
    try:
        return pd.read_parquet(path, page_checksum_verification=True)
    except PermissionError:
        raise
    except Exception as error:  # pyarrow raises many kinds for a damaged file
        said = str(error).strip().partition("\n")[0][:200]
        raise RecordError(f"{path} is damaged ({said}); {fix}") from error


def kept_rows(folder: Path, lacking: Collection[tuple[str, int]]) -> list[dict[str, Any]]:
    """Lines of the log of epochs, out of the curves frame, for these trials and epochs.

    The frame was made from the log: where that has lost lines since, it may have them still.
    """
    path = folder / "curves.parquet"
    try:
        frame = read_parquet(path) if path.is_file() else pd.DataFrame()
    except RecordError:  # it cannot be made again, but nothing is known of it either
        return []
    if list(frame) != CURVES:
        return []
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for trial, epoch, name, value in frame[CURVES[1:]].itertuples(index=False):
        if (trial, epoch) in lacking:
            at = rows.setdefault((trial, epoch), {"epoch": int(epoch)})
            at[name] = None if pd.isna(value) else float(value)
    return [{"trial": trial, "row": row} for (trial, _), row in rows.items()]


def per_image(folder: Path, study: str) -> pd.DataFrame:
    """All parts that workers have written, one file a trial.

    Rows that only the frame itself holds stay: a record may have come here without its parts.

    Raises:
        RecordError: a part, or the frame, is damaged; the message says what can be kept, and how.
    """
    parts = sorted((folder / "parts").glob("*.parquet"))
    path = folder / PER_IMAGE
    before, fault = pd.DataFrame(columns=IMAGE), None
    try:
        if path.exists() or path.is_symlink():
            before = _predictions(path, IMAGE, "delete it: the next session makes it of parts/")
    except RecordError as error:
        fault = error
    known = set(before["trial"].unique())
    frames = [_part(part, known) for part in parts]
    if fault:
        raise RecordError(
            f"{fault}, but for predictions of trials that have no file there, as of a record that "
            "came without parts/; those are lost unless the file comes from a copy"
        ) from fault
    frames.append(before[~before["trial"].isin([p.stem for p in parts])])
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pd.DataFrame(columns=IMAGE)
    held = pd.concat(frames, ignore_index=True).sort_values("trial", kind="stable")
    return held.assign(study=study, split="test")[IMAGE].reset_index(drop=True)


def _part(path: Path, known: Collection[str]) -> pd.DataFrame:
    """What a worker has written of a trial; `known` are those that the frame holds too."""
    if path.stem in known:
        fix = f"delete it: {PER_IMAGE} beside parts/ holds the same predictions, and keeps them"
    else:
        fix = (
            f"restore it from a copy. No other file holds the predictions of trial {path.stem}: "
            "without a copy, move it out of parts/ and they are left out; its scores stay"
        )
    return _predictions(path, IMAGE[3:], fix).assign(trial=path.stem)


def _predictions(path: Path, columns: list[str], fix: str) -> pd.DataFrame:
    frame = read_parquet(path, fix)
    lacking = [name for name in columns if name not in frame]
    numbers = [name for name in IMAGE[4:] if name in frame and len(frame)]
    wrong = [name for name in numbers if not pd.api.types.is_numeric_dtype(frame[name])]
    if lacking or wrong:
        said = f"has no {', '.join(lacking)}" if lacking else f"has texts as {', '.join(wrong)}"
        raise RecordError(f"{path} is damaged (it {said}); {fix}")
    return frame
