"""Columns of many rows and few texts, as categories: a text once, a small number a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from search.record.columns import CURVES


def categories(codes: Any, texts: Sequence[str]) -> pd.Categorical:
    """A column of texts by their numbers.

    Args:
        codes: `(rows,)` numbers in `texts`; -1 for none.
        texts: the texts; one that is twice is one category.

    Returns:
        Categories are those that occur, in the order in which they first do, so that equal
        columns have equal ones.
    """
    codes, texts = np.asarray(codes), list(texts)
    numbers = {text: n for n, text in enumerate(dict.fromkeys(texts))}
    if len(numbers) < len(texts):
        codes = np.append(np.array([numbers[text] for text in texts]), -1)[codes]
        texts = list(numbers)
    order = pd.unique(codes)
    order = order[order >= 0]
    if not np.array_equal(order, np.arange(len(texts))):
        kind = np.min_scalar_type(-len(texts) - 1)
        places = np.full(len(texts) + 1, -1, dtype=kind)  # the last is that of -1
        places[order] = np.arange(len(order))
        codes, texts = places[codes], [texts[n] for n in order]
    held = pd.CategoricalDtype(pd.Index(texts, dtype="str"))
    return pd.Categorical.from_codes(codes, dtype=held)


def codes_of(column: pd.Series[Any], texts: pd.Index[Any]) -> np.ndarray[Any, Any]:
    """Numbers of a column's texts among others; -1 for one that is not there.

    Of a few bytes each: who reckons with them takes larger ones first.
    """
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(texts.get_indexer(pd.Index(column)))
    places = np.append(texts.get_indexer(column.cat.categories), -1)
    codes = column.cat.codes.to_numpy()
    if np.array_equal(places[:-1], np.arange(len(places) - 1)):
        return codes
    return np.asarray(places.astype(np.min_scalar_type(-len(texts) - 1))[codes])


def curve_columns(
    texts: Mapping[str, pd.Categorical], epochs: np.ndarray, values: np.ndarray
) -> pd.DataFrame:
    """A curves frame of its columns, none of which is copied."""
    times = pd.arrays.IntegerArray(epochs, np.zeros(len(epochs), dtype=bool))
    columns = {**texts, "epoch": times, "value": values}
    return pd.DataFrame({name: columns[name] for name in CURVES}, copy=False)
