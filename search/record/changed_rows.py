"""Rows of the log of epochs that the curves frame, made from it, still has or has otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from search.record.epoch_table import EpochTable
from search.record.stored import EPOCHS
from search.record.texts import codes_of


def kept_rows(curves: pd.DataFrame, lacking: Collection[tuple[str, int]]) -> list[dict[str, Any]]:
    """Lines of the log of epochs, out of the curves frame, for these trials and epochs.

    The frame was made from the log: where that has lost lines since, it may have them still.
    """
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    held = curves[curves["trial"].isin({trial for trial, _ in lacking})]
    columns = (held[name].to_list() for name in ("trial", "epoch", "name", "value"))
    for trial, epoch, name, value in zip(*columns, strict=True):
        if (trial, epoch) in lacking:
            at = rows.setdefault((trial, epoch), {"epoch": int(epoch)})
            at[name] = None if pd.isna(value) else float(value)
    return [{"trial": trial, "row": row} for (trial, _), row in rows.items()]


def changed_row(log: EpochTable, made: pd.DataFrame, before: pd.DataFrame) -> str:
    """What a log of epochs says of an epoch otherwise than a frame that was made from it.

    A line that came later on the same epoch may differ: then an earlier line is the frame's.

    Args:
        log: its lines.
        made: the curves frame of these lines.
        before: the frame as it was written.

    Returns:
        The first of them: trial, epoch, quantity and both values; "" for none.
    """
    pairs = _differing(made, before)
    if not pairs:
        return ""
    said = log.said_of(pairs)
    held = {(k["trial"], k["row"]["epoch"]): _numbers(k["row"]) for k in kept_rows(before, pairs)}
    for (trial, epoch), rows in said.items():
        row = held[trial, epoch]
        if rows and not any(_same(row, other) for other in rows):
            newest = rows[-1]
            name = next(n for n in {**newest, **row} if not _same_value(newest.get(n), row.get(n)))
            return (
                f"trial {trial}, epoch {epoch}: {name} is {_shown(newest, name)} in {EPOCHS}, and "
                f"{_shown(row, name)} in curves.parquet, which was made from it"
            )
    return ""


def _differing(made: pd.DataFrame, before: pd.DataFrame) -> list[tuple[str, int]]:
    """Trials and epochs of which two curves frames hold other numbers, in order."""
    trials, names = (made[key].cat.categories for key in ("trial", "name"))
    most = int(made["epoch"].max()) + 1 if len(made) else 1
    if most * len(trials) * len(names) >= 2**63:
        most = 1  # an epoch that no study has: told as one never asked for
    keys = []
    for frame in (made, before):
        epoch = frame["epoch"].to_numpy(dtype="int64")
        trial, name = (codes_of(frame[k], i) for i, k in ((trials, "trial"), (names, "name")))
        trial, name = trial.astype("int64"), name.astype("int64")
        fits = (trial >= 0) & (epoch < most)
        keys.append(np.where(fits, (trial * most + epoch) * (len(names) + 1) + name, -2))
    order = np.argsort(keys[0], kind="stable")
    place = np.searchsorted(keys[0], keys[1], sorter=order).clip(max=max(len(order) - 1, 0))
    if not len(order):
        return []
    found = order[place]
    new, old = made["value"].to_numpy()[found], before["value"].to_numpy()
    there = keys[0][found] == keys[1]
    same = there & ((new == old) | (np.isnan(new) & np.isnan(old)))
    rows = before[~same & (keys[1] != -2)][["trial", "epoch"]].drop_duplicates()
    return list(zip(rows["trial"].to_list(), rows["epoch"].to_list(), strict=True))


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {k: float("nan") if v is None else float(v) for k, v in row.items() if k != "epoch"}


def _same(row: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return row.keys() == other.keys() and all(_same_value(row[k], other[k]) for k in row)


def _same_value(one: float | None, other: float | None) -> bool:
    return one == other or (
        one is not None and other is not None and one != one and other != other
    )


def _shown(row: Mapping[str, float], name: str) -> str:
    return repr(row[name]) if name in row else "not there"
