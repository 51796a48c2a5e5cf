"""The parquet files of a record: frames as they were written.

What is in them is checked: each page has a checksum (in files of this version), each frame the
columns that it should have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from search.record.columns import CURVES
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
from search.record.texts import categories
from trainables.files import contents, unfit

TEXTS = ("study", "trial", "name")  # columns of curves.parquet
PIECE = 2**18  # rows of curves that are decoded at once


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
        return read_frame(self._file)

    def rows_of(self, trials: Collection[str]) -> pd.DataFrame:
        """The curves of some trials."""
        if not trials:
            return pd.DataFrame(columns=CURVES)
        return read_frame(self._file, trials)


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
        return read_frame(path)
    except PermissionError:
        raise
    except Exception as error:  # pyarrow raises many kinds for a damaged file
        said = str(error).strip().partition("\n")[0].replace(f" '{path}'", "")[:200]
        if found := contents(path, "parquet"):
            said = f"it is {found}"
        raise RecordError(f"{path} is damaged ({said}); {fix}") from error


def read_frame(
    source: Path | pa.NativeFile, trials: Collection[str] | None = None
) -> pd.DataFrame:
    """A frame out of a parquet file; the texts of curves are categories, as they are made.

    Args:
        source: the file.
        trials: of curves, those whose rows are wanted; None for all.
    """
    if pq.read_schema(source).names != CURVES:
        return pd.read_parquet(source, page_checksum_verification=True)
    file = pq.ParquetFile(source, read_dictionary=[*TEXTS], page_checksum_verification=True)
    if _as_written(file.schema_arrow) and (found := _curves(file, trials)) is not None:
        return found
    frame: pd.DataFrame = file.read().to_pandas()  # told where it is held against the logs
    return frame if trials is None else frame[frame["trial"].isin([*trials])]


def _as_written(schema: pa.Schema) -> bool:
    """Whether the columns of curves have the types that they are written with."""
    kinds = [schema.field(name).type for name in TEXTS]
    return bool(
        all(pa.types.is_dictionary(kind) and _is_text(kind.value_type) for kind in kinds)
        and pa.types.is_int64(schema.field("epoch").type)
        and pa.types.is_float64(schema.field("value").type)
    )


def _curves(file: pq.ParquetFile, trials: Collection[str] | None) -> pd.DataFrame | None:
    """Curves in pieces, put where they stay: a table of all beside it takes thrice the memory.

    None where a row has no epoch.
    """
    count, at = file.metadata.num_rows, 0
    epochs, values = np.empty(count, dtype="int64"), np.empty(count)
    texts = {name: _Texts(count) for name in TEXTS}
    for piece in file.iter_batches(PIECE):
        if trials is not None:
            piece = piece.filter(pc.is_in(piece["trial"], pa.array([*trials], pa.string())))
        if piece["epoch"].null_count:
            return None
        rows = slice(at, at + len(piece))
        epochs[rows] = piece["epoch"].to_numpy()
        values[rows] = piece["value"].to_numpy(zero_copy_only=False)
        for name, held in texts.items():
            held.put(rows, piece[name])
        at = rows.stop
    columns = {name: held.column(at) for name, held in texts.items()}
    return curve_columns(columns, epochs[:at], values[:at])


def curve_columns(
    texts: Mapping[str, pd.Categorical], epochs: np.ndarray, values: np.ndarray
) -> pd.DataFrame:
    """A curves frame of its columns, none of which is copied."""
    times = pd.arrays.IntegerArray(epochs, np.zeros(len(epochs), dtype=bool))
    columns = {**texts, "epoch": times, "value": values}
    return pd.DataFrame({name: columns[name] for name in CURVES}, copy=False)


class _Texts:
    """The codes of a column that comes in pieces, each with a dictionary."""

    def __init__(self, count: int) -> None:
        self._codes = np.empty(count, dtype="int8")
        self._numbers: dict[str, int] = {}
        self._known: pa.Array | None = None  # the dictionary that `_places` are of
        self._places = np.empty(0, dtype="int8")

    def put(self, rows: slice, piece: pa.DictionaryArray) -> None:
        """A piece, in these rows."""
        if self._known is None or not self._known.equals(piece.dictionary):
            self._know(piece.dictionary)
        at = piece.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        np.take(self._places, at, out=self._codes[rows], mode="wrap")  # -1 is the last

    def _know(self, dictionary: pa.Array) -> None:
        numbers = self._numbers
        places = [numbers.setdefault(text, len(numbers)) for text in dictionary.to_pylist()]
        kind = np.min_scalar_type(-len(numbers) - 1)
        if kind.itemsize > self._codes.dtype.itemsize:
            self._codes = self._codes.astype(kind)
        self._known, self._places = dictionary, np.array([*places, -1], self._codes.dtype)

    def column(self, count: int) -> pd.Categorical:
        """The first rows of it."""
        return categories(self._codes[:count], list(self._numbers))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
