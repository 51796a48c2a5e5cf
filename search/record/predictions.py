"""Predictions of an image: what workers wrote, one file a trial, and the frame of all."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from search.record.frame_files import read_parquet
from search.record.stored import IMAGE, PER_IMAGE, RecordError


def per_image(folder: Path, study: str) -> pd.DataFrame:
    """All parts that workers have written, one file a trial.

    Rows that only the frame itself holds stay: a record may have come here without its parts.

    Raises:
        RecordError: a part, or the frame, is damaged; the message says what can be kept, and how.
    """
    parts = sorted((folder / "parts").glob("*.parquet"))
    path = folder / PER_IMAGE
    before, fault = pd.DataFrame(columns=IMAGE), None
    fix = "restore it from a copy"
    fix += ", or delete it: the next session makes it of parts/" if parts else ""
    try:
        if path.exists() or path.is_symlink():
            before = _predictions(path, IMAGE, fix)
    except RecordError as error:
        if not parts:
            raise
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
    frame = _predictions(path, IMAGE[3:], fix)
    of = set(frame["trial"].unique()) if "trial" in frame else set()  # not in older parts
    if of - {path.stem}:
        raise RecordError(f"{path} holds predictions of {', '.join(map(str, of))}; {fix}")
    return frame.assign(trial=path.stem)


def _predictions(path: Path, columns: list[str], fix: str) -> pd.DataFrame:
    frame = read_parquet(path, fix)
    lacking = [name for name in columns if name not in frame]
    numbers = [name for name in IMAGE[4:] if name in frame and len(frame)]
    wrong = [name for name in numbers if not pd.api.types.is_numeric_dtype(frame[name])]
    if lacking or wrong:
        said = f"has no {', '.join(lacking)}" if lacking else f"has texts as {', '.join(wrong)}"
        raise RecordError(f"{path} is damaged (it {said}); {fix}")
    return frame
