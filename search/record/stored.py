"""The parquet files of a record: frames as they were written, and what workers wrote an image.

What is in them is checked: each page has a checksum (in files of this version), each frame the
columns that it should have.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from trainables.errors import UserError
from trainables.files import contents, unfit

JOURNAL, EPOCHS, STUDY = "decisions.jsonl", "epochs.jsonl", "study.json"
LOGS = (JOURNAL, EPOCHS)
STAMP = "frames.json"  # says how much of the logs the parquet files hold
PER_IMAGE = "per_image.parquet"
FRAMES = ("trials", "curves", "per_image")
PARQUET = tuple(f"{name}.parquet" for name in FRAMES)
CSV = tuple(f"csv/{name}.csv" for name in FRAMES)
IMAGE = ["study", "trial", "split", "image", "truth", "prediction"]


class RecordError(UserError):
    """A run folder is missing or damaged; the message names file and fix."""


def sizes_of(folder: Path) -> dict[str, int]:
    """Bytes of the logs, which only grow; the journal first, so that no tell lacks its rows."""
    logs = (folder / JOURNAL, folder / EPOCHS)
    return {path.name: path.stat().st_size for path in logs if path.is_file()}


def stamp_of(folder: Path) -> dict[str, Any] | None:
    """What `write` said of the logs that it made the frames from; None if that is not known.

    Their bytes by name and, of later stamps, `sums`: the checksum of so many bytes; of stamps of
    this version `frames` too: the checksum of each file that was written.
    """
    path = folder / STAMP
    try:
        held = None if unfit(path) else json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(held, dict):
        return None
    sums = [held.get(key, {}) for key in ("sums", "frames")]
    if not all(isinstance(table, dict) for table in sums):
        return None
    numbers = [held.get(name, 0) for name in LOGS] + [n for t in sums for n in t.values()]
    return held if all(type(number) is int for number in numbers) else None


def make_stamp(folder: Path, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The stamp of frames made from so many bytes of the logs, which it first forces to disk.

    A stamp that a power cut leaves while it takes the end of a log would call that log damaged.
    """
    for name in sizes:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    return {**sizes, "sums": {name: checksum(folder / name, n) for name, n in sizes.items()}}


def sums_of_frames(folder: Path) -> dict[str, int]:
    """The checksum of each file of a frame that is there, by name."""
    return {n: checksum(folder / n) for n in (*PARQUET, *CSV) if (folder / n).is_file()}


def checksum(path: Path, size: int | None = None) -> int:
    """CRC-32 of a file, or of its first bytes."""
    found, left = 0, path.stat().st_size if size is None else size
    with path.open("rb") as file:
        while left > 0 and (piece := file.read(min(left, PIECE))):
            found, left = zlib.crc32(piece, found), left - len(piece)
    return found


PIECE = 2**22  # bytes in memory at once


def changed_files(folder: Path, stamp: Mapping[str, Any], names: Collection[str]) -> list[str]:
    """Files of frames that are not as they were written by their checksums, or that are gone.

    Args:
        folder: the run folder.
        stamp: as `stamp_of` gives it.
        names: of PARQUET and CSV, those to look at; one that the stamp does not tell of is none.
    """
    held: Mapping[str, int] = stamp.get("frames", {})
    found = []
    for name in (n for n in names if n in held):
        path = folder / name
        if not path.is_file() or checksum(path) != held[name]:
            found.append(name)
    # a running study removes its stamp before it replaces them
    return found if not found or stamp_of(folder) == stamp else []


def shrunk(folder: Path) -> dict[str, tuple[int, int]]:
    """Logs that are shorter than when the frames were made: name -> bytes now, bytes then.

    They only grow, so each has lost lines since. The stamp is read first: a study that runs may
    write both meanwhile.
    """
    stamp = stamp_of(folder) or {}
    sizes = sizes_of(folder)
    pairs = {name: (sizes.get(name, 0), stamp.get(name, 0)) for name in LOGS}
    return {name: pair for name, pair in pairs.items() if pair[0] < pair[1]}


@dataclass(frozen=True)
class Frames:
    """The trials and curves frames as they were written, of the logs that `stamp` tells of."""

    trials: pd.DataFrame
    curves: pd.DataFrame
    stamp: Mapping[str, Any]


def sizes_in(stamp: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of the logs that a stamp tells of, by name."""
    return {name: stamp[name] for name in LOGS if name in stamp}


def logs_begin_so(folder: Path, stamp: Mapping[str, Any]) -> bool:
    """Whether the logs begin with the bytes that a stamp tells of, by its checksums if it has any.

    Args:
        folder: the run folder.
        stamp: as `stamp_of` gives it.
    """
    paths = {folder / name: (stamp.get(name, 0), n) for name, n in stamp.get("sums", {}).items()}
    return all(p.is_file() and checksum(p, size) == n for p, (size, n) in paths.items())


@dataclass(frozen=True)
class Written:
    """Frames that are as they were written, by checksum, of logs that begin with just these bytes.

    Attributes:
        trials: the trials frame.
        sizes: bytes of the logs that they were made of, by name.
    """

    trials: pd.DataFrame
    sizes: Mapping[str, int]
    _file: pa.NativeFile  # of the curves; stays what it is, whatever takes its place

    def curves(self) -> pd.DataFrame:
        """The curves, which are not read before: of a large study they are most of it."""
        return pd.read_parquet(self._file)

    def rows_of(self, trials: Collection[str]) -> pd.DataFrame:
        """The curves of some trials."""
        if not trials:
            return pd.DataFrame(columns=CURVES)
        return pd.read_parquet(self._file, filters=[("trial", "in", [*trials])])


def written_frames(
    folder: Path, sizes: Mapping[str, int], columns: Collection[str]
) -> Written | None:
    """The frames as written, where nothing of them and of what they were made of is otherwise.

    Args:
        folder: the run folder.
        sizes: of its logs, which may have grown since.
        columns: that the trials frame should have.
    """
    stamp = stamp_of(folder)
    if stamp is None or not {*PARQUET} <= {*stamp.get("frames", {})}:
        return None
    then = sizes_in(stamp)
    if any(size > sizes.get(name, 0) for name, size in then.items()):
        return None
    if changed_files(folder, stamp, PARQUET) or not logs_begin_so(folder, stamp):
        return None
    try:
        file = pa.OSFile(str(folder / "curves.parquet"))
        trials = read_parquet(folder / "trials.parquet")
    except (OSError, RecordError):  # gone or replaced meanwhile
        return None
    # a running study removes its stamp before it replaces them
    if stamp_of(folder) != stamp or list(trials) != list(columns):
        return None
    return Written(trials, then, file)


def frames_of(folder: Path, sizes: Mapping[str, int], columns: Collection[str]) -> Frames | None:
    """The frames as written, where a stamp says from how much of the logs.

    Args:
        folder: the run folder.
        sizes: of its logs; of frames that hold more than so much None is returned, unless the
            logs have lost it since.
        columns: that the trials frame should have; None is returned where it does not fit.

    Raises:
        RecordError: a frame is damaged, and the logs have not grown since.
    """
    paths = [folder / f"{name}.parquet" for name in ("trials", "curves")]
    stamp = stamp_of(folder)
    if stamp is None or not all(path.is_file() for path in paths):
        return None
    newer = any(stamp.get(name, 0) > sizes.get(name, 0) for name in LOGS)
    if newer and not shrunk(folder):  # a study runs, and has written them since
        return None
    try:
        trials, curves = (read_parquet(path) for path in paths)
    except RecordError:
        if {name: stamp[name] for name in LOGS if name in stamp} == sizes:
            raise
        return None  # it is made again
    # a running study may have replaced them between the two looks
    if stamp_of(folder) != stamp or list(trials) != list(columns) or list(curves) != CURVES:
        return None
    return Frames(trials, curves, stamp)


CURVES = ["study", "trial", "epoch", "name", "value"]


def curves_of(folder: Path) -> pd.DataFrame:
    """The curves frame as written, of whatever state of the logs; empty where none can be read."""
    path = folder / "curves.parquet"
    try:
        frame = read_parquet(path) if path.is_file() else pd.DataFrame()
    except RecordError:  # it cannot be made again, but nothing is known of it either
        frame = pd.DataFrame()
    return frame if list(frame) == CURVES else pd.DataFrame(columns=CURVES)


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
        said = str(error).strip().partition("\n")[0].replace(f" '{path}'", "")[:200]
        if found := contents(path, "parquet"):
            said = f"it is {found}"
        raise RecordError(f"{path} is damaged ({said}); {fix}") from error


def kept_rows(curves: pd.DataFrame, lacking: Collection[tuple[str, int]]) -> list[dict[str, Any]]:
    """Lines of the log of epochs, out of the curves frame, for these trials and epochs.

    The frame was made from the log: where that has lost lines since, it may have them still.
    """
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for trial, epoch, name, value in curves[CURVES[1:]].itertuples(index=False):
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
