"""The parquet files of a record: frames as they were written.

What is in them is checked: each page has a checksum (in files of this version), each frame the
columns that it should have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from search.record.columns import CURVES
from search.record.curves_file import read_curves
from search.record.stored import (
    LOGS,
    PARQUET,
    RecordError,
    changed_files,
    logs_begin_so,
    shrunk,
    sizes_in,
    stamp_of,
    tells_of_logs,
)
from trainables.files import contents, unfit


@dataclass(frozen=True)
class Frames:
    """The trials and curves frames as they were written, of the logs that `stamp` tells of."""

    trials: pd.DataFrame
    curves: pd.DataFrame
    stamp: Mapping[str, Any]


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
        return read_curves(self._file)

    def rows_of(self, trials: Collection[str]) -> pd.DataFrame:
        """The curves of some trials."""
        if not trials:
            return pd.DataFrame(columns=CURVES)
        return read_curves(self._file, trials)


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
    if stamp is None or not tells_of_logs(stamp) or not all(path.is_file() for path in paths):
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
        return _read(path)
    except PermissionError:
        raise
    except Exception as error:  # pyarrow raises many kinds for a damaged file
        said = str(error).strip().partition("\n")[0].replace(f" '{path}'", "")[:200]
        if found := contents(path, "parquet"):
            said = f"it is {found}"
        raise RecordError(f"{path} is damaged ({said}); {fix}") from error


def _read(path: Path) -> pd.DataFrame:
    """A frame out of a parquet file; the texts of curves are categories, as they are made."""
    if pq.read_schema(path).names == CURVES:
        return read_curves(path)
    return pd.read_parquet(path, page_checksum_verification=True)
