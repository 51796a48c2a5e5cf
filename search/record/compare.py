"""Frames as they were written, held against what the logs give, value by value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from search.record.texts import codes_of

KEYS = {  # of a row in the file of a frame
    "trials": ["trial"],
    "curves": ["trial", "epoch", "name"],
    "per_image": ["trial", "image"],
}
TOLD = 20  # differences of one kind and file that are told one by one


@dataclass(frozen=True)
class Difference:
    """Two values of one thing in a record that should be one.

    Attributes:
        file: where the doubtful one stands.
        trial: of what trial; "" where it is of none.
        what: the thing, e.g. test_accuracy.
        there: its value in the file, in words; "" where `what` says it all.
        other: its value by what it was made of, in words.
    """

    file: str
    trial: str
    what: str
    there: str
    other: str

    @property
    def text(self) -> str:
        """In a line: file, trial, both values."""
        of = f"trial {self.trial}, " if self.trial else ""
        said = f" is {self.there} there, {self.other}" if self.there else ""
        return f"{self.file}: {of}{self.what}{said}"


def differences(made: pd.DataFrame, held: pd.DataFrame, name: str, file: str) -> list[Difference]:
    """What a frame as written says otherwise than the one that is made now.

    A column that an earlier version did not write is none where it would say nothing.

    Args:
        made: the frame by the logs; of predictions by the parts.
        held: the frame as written.
        name: key of KEYS.
        file: that `held` was read from.

    Returns:
        Columns and rows that only one has, then values that differ; of each kind the first TOLD,
        and a line that counts the rest.
    """
    by, keys = "by parts/" if name == "per_image" else "by the logs", KEYS[name]
    lacking = [column for column in made if column not in held and _says_something(made[column])]
    found = [Difference(file, "", f"column {c}", "missing", f"and not {by}") for c in lacking]
    if any(key not in held for key in keys):
        return found
    if not _same_rows(made, held, keys):
        made, held = (_keyed(frame, keys) for frame in (made, held))
        for here, frame, others in (("missing", made, held), ("one row more", held, made)):
            only = frame.index.difference(others.index, sort=False)
            rows = [(str(key[0]), _place(key[1:-1], keys)) for key in only[:TOLD]]
            other = f"and {'there' if here == 'missing' else 'nothing'} {by}"
            found += [Difference(file, trial, f"row{at}", here, other) for trial, at in rows]
            found += _rest(file, len(only), f"rows that are {here}")
        common = made.index.intersection(held.index, sort=False)
        made, held = (frame.loc[common].reset_index(drop=True) for frame in (made, held))
    return found + _values(made, held, keys, file, by)


def _says_something(column: pd.Series[Any]) -> bool:
    """Whether it has a value that is neither empty nor nought."""
    values = column.dropna()
    return bool((values != 0).any()) if pd.api.types.is_numeric_dtype(values) else len(values) > 0


def _same_rows(made: pd.DataFrame, held: pd.DataFrame, keys: Sequence[str]) -> bool:
    return len(made) == len(held) and not any(_unlike(made[k], held[k]).any() for k in keys)


def _keyed(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """A frame by its keys as texts, and by the how-manieth row of just these keys it is."""
    texts = frame[keys].astype("string").fillna("")
    index = pd.MultiIndex.from_arrays([*(texts[k] for k in keys), texts.groupby(keys).cumcount()])
    return frame.set_axis(index)


def _place(rest: Sequence[str], keys: Sequence[str]) -> str:
    """E.g. " of epoch 3, name val_loss", of the keys behind the trial."""
    said = ", ".join(f"{key} {value}" for key, value in zip(keys[1:], rest, strict=True))
    return f" of {said}" if said else ""


def _values(
    made: pd.DataFrame, held: pd.DataFrame, keys: list[str], file: str, by: str
) -> list[Difference]:
    """Values that differ in two frames of the same rows."""
    found = list[Difference]()
    count = 0
    for column in (c for c in made if c in held and c not in keys):
        at = np.flatnonzero(_unlike(made[column], held[column]))
        count += len(at)
        for row in at[: TOLD - len(found)]:
            place = _place([str(made[key].iloc[row]) for key in keys[1:]], keys)
            there, other = (shown(frame[column].iloc[row]) for frame in (held, made))
            trial = str(made["trial"].iloc[row])
            found.append(Difference(file, trial, f"{column}{place}", there, f"{other} {by}"))
    return found + _rest(file, count, "values that differ")


def _rest(file: str, count: int, what: str) -> list[Difference]:
    more = count - TOLD
    said = f"{more} more {what}, {count} in all"
    return [Difference(file, "", said, "", "")] if more > 0 else []


def _unlike(made: pd.Series[Any], held: pd.Series[Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where two columns of one length differ; empty is like empty, and 1 like 1.0."""
    one, two = made.reset_index(drop=True), held.reset_index(drop=True)
    texts = [isinstance(column.dtype, pd.CategoricalDtype) for column in (one, two)]
    if all(texts):
        known = one.cat.categories.append(two.cat.categories).unique()
        return np.asarray(codes_of(one, known) != codes_of(two, known))
    if (numbers := _numbers(one, two)) is not None:
        return numbers
    if any(texts):
        one, two = one.astype("string"), two.astype("string")
    try:
        same = (one == two).fillna(False)
    except (TypeError, ValueError):  # a text where a number should be
        same = one.astype(object) == two.astype(object)
    same |= one.isna() & two.isna()
    return ~same.to_numpy(dtype=bool)


def _numbers(
    one: pd.Series[Any], two: pd.Series[Any]
) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """As `_unlike`, of columns of one kind of numbers; None for others, or if some are empty."""
    if one.dtype != two.dtype:
        return None
    if one.dtype == "float64":
        first, second = one.to_numpy(), two.to_numpy()
        return np.asarray((first != second) & ~(np.isnan(first) & np.isnan(second)))
    if one.dtype == "Int64" and not (one.hasnans or two.hasnans):
        return np.asarray(one.to_numpy(dtype="int64") != two.to_numpy(dtype="int64"))
    return None


def shown(value: Any) -> str:
    """A value in a line."""
    return "empty" if pd.isna(value) else str(value)
