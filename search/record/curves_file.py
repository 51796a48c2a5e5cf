"""curves.parquet, of which a piece at a time is read, with its texts as categories.

A large study has millions of rows: a table of all of them beside the frame that is made of it
takes thrice the memory of the frame, and getting memory is most of the time that reading takes.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from search.record.columns import CURVES
from search.record.texts import categories, curve_columns

TEXTS = ("study", "trial", "name")  # columns of texts
PIECE = 2**18  # rows that are decoded at once


def read_curves(
    source: Path | pa.NativeFile, trials: Collection[str] | None = None
) -> pd.DataFrame:
    """The curves frame out of its file.

    Args:
        source: the file, which has the columns of curves.
        trials: those whose rows are wanted; None for all.
    """
    file = _opened(source)
    if _as_written(file.schema_arrow) and (found := _curves(file, trials)) is not None:
        return found
    frame: pd.DataFrame = file.read().to_pandas()  # told where it is held against the logs
    return frame if trials is None else frame[frame["trial"].isin([*trials])]


def _opened(source: Path | pa.NativeFile) -> pq.ParquetFile:
    return pq.ParquetFile(source, read_dictionary=[*TEXTS], page_checksum_verification=True)


def _as_written(schema: pa.Schema) -> bool:
    """Whether the columns of curves have the types that they are written with."""
    kinds = [schema.field(name).type for name in TEXTS]
    return bool(
        all(pa.types.is_dictionary(kind) and _is_text(kind.value_type) for kind in kinds)
        and pa.types.is_int64(schema.field("epoch").type)
        and pa.types.is_float64(schema.field("value").type)
    )


def _curves(file: pq.ParquetFile, trials: Collection[str] | None) -> pd.DataFrame | None:
    """Curves in pieces, put where they stay; None where a row has no epoch."""
    groups = _groups(file.metadata, trials)
    count, at = sum(file.metadata.row_group(n).num_rows for n in groups), 0
    epochs, values = np.empty(count, dtype="int64"), np.empty(count)
    texts = {name: _Texts(count) for name in TEXTS}
    for piece in file.iter_batches(PIECE, row_groups=groups):
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


def holds(path: Path, made: pd.DataFrame) -> bool:
    """Whether a file of curves is just this frame, row by row.

    False too where it cannot be read: `read_parquet` says why.
    """
    at = 0
    try:
        with _opened(path) as file:
            schema, count = file.schema_arrow, file.metadata.num_rows
            if schema.names != CURVES or not _as_written(schema) or count != len(made):
                return False
            for piece in file.iter_batches(PIECE):
                rows, at = made.iloc[at : at + len(piece)], at + len(piece)
                if not _same(piece, rows):
                    return False
    except Exception:  # pyarrow raises many kinds for a damaged file
        return False
    return True


def _same(piece: pa.RecordBatch, rows: pd.DataFrame) -> bool:
    """Whether rows of a file are these; NaN is like NaN, and like none."""
    if any(piece[name].null_count for name in (*TEXTS, "epoch")):
        return False
    value, known = piece["value"].to_numpy(zero_copy_only=False), rows["value"].to_numpy()
    return bool(
        ((value == known) | (np.isnan(value) & np.isnan(known))).all()
        and np.array_equal(piece["epoch"].to_numpy(), rows["epoch"].to_numpy(dtype="int64"))
        and all(_says(piece[name], rows[name]) for name in TEXTS)
    )


def _says(piece: pa.DictionaryArray, texts: pd.Series[Any]) -> bool:
    """Whether a piece of a column has these texts."""
    places = texts.cat.categories.get_indexer(piece.dictionary.to_pylist())
    codes = texts.cat.codes.to_numpy()
    return bool((codes >= 0).all() and np.array_equal(places[piece.indices.to_numpy()], codes))


def _groups(told: pq.FileMetaData, trials: Collection[str] | None) -> list[int]:
    """Row groups of curves that may have rows of some trials; all of them for None."""
    groups, place = list(range(told.num_row_groups)), CURVES.index("trial")
    if trials is None:
        return groups
    ends = [told.row_group(number).column(place).statistics for number in groups]
    return [
        number
        for number, held in zip(groups, ends, strict=True)
        if held is None
        or not held.has_min_max
        or any(held.min <= trial <= held.max for trial in trials)
    ]


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
