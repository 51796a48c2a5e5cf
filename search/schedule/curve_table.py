"""A table of learning curves as it lies in a file: csv or parquet.

csv is UTF-8 (with or without a byte order mark), separated by commas. What its rows say is checked
in search.schedule.curve_checks.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from trainables.errors import UserError, reason

SPLITS = ("val_", "test_")  # before a metric's name in our own record


class CurvesError(UserError):
    """A file of curves cannot be used; the message names file, column, row and fix."""


def read_table(path: Path) -> pd.DataFrame:
    """The rows of a file: those of csv as texts, under their line numbers; of parquet as they are.

    Raises:
        CurvesError: it is no such file, or columns and rows do not fit.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == b"PAR1" or path.suffix.lower() == ".parquet":
            frame = pd.read_parquet(path)
            frame = frame.reset_index() if any(frame.index.names) else frame
            frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
        else:
            frame = _read_csv(path)
    except UnicodeDecodeError as error:
        raise CurvesError(f"{path} cannot be read as csv: {reason(error)}") from error
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, CurvesError):
            raise
        raise CurvesError(f"{path} cannot be read as csv or parquet: {reason(error)}") from error
    names = [str(name).strip() for name in frame.columns]
    if twice := [name for name, count in Counter(names).items() if name and count > 1]:
        raise CurvesError(f"{path}: column {twice[0]} is there twice; remove or rename one")
    if frame.empty:
        raise CurvesError(f"{path}: has no rows")
    return frame.set_axis(names, axis=1)


def _read_csv(path: Path) -> pd.DataFrame:
    """Every field as a text: pandas would take `NA` for blank and a wide row for an index."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)  # else an open quote takes the rest
        head = next(rows, [])
        if not any(name.strip() for name in head):
            raise CurvesError(f"{path}: is empty, or its first line names no columns")
        if len(head) == 1 and (other := next((c for c in ";\t|" if c in head[0]), "")):
            raise CurvesError(f"{path}: its columns are separated by {other!r}; write it with ','")
        lines, held = [], []
        for row in rows:
            if not any(field.strip() for field in row):
                continue
            if len(row) != len(head):
                raise CurvesError(
                    f"{path}: line {rows.line_num} has {len(row)} fields and the first line names "
                    f"{len(head)}; mend it"
                )
            lines.append(rows.line_num)
            held.append(row)
    return pd.DataFrame(held, columns=head, index=pd.Index(lines, name="line"), dtype=object)


def metric_column(path: Path, names: Sequence[str], metric: str, named: bool) -> str:
    """The column of a metric, which may be called as the study or as its record calls it.

    Args:
        path: for the message.
        names: of the columns.
        metric: e.g. accuracy.
        named: whether it was asked for by just this name.

    Raises:
        CurvesError: there is none, or more than one and none was named.
    """
    bare = metric
    for split in SPLITS:
        bare = bare.removeprefix(split)
    forms = dict.fromkeys((metric, bare, *(split + bare for split in SPLITS)))
    there = [name for name in forms if name in names]
    if metric in there and (named or len(there) == 1):
        return metric
    if not there:
        raise CurvesError(
            f"{path}: no column {metric} (or {', '.join(list(forms)[1:])}); it has "
            f"{', '.join(names)}; name it with --metric"
        )
    if len(there) > 1:
        raise CurvesError(
            f"{path}: columns {' and '.join(there)} may each be meant; name one with --metric"
        )
    return there[0]
