"""The rows of a table of learning curves, checked before they are believed.

A run is the rows of one cell, config and seed; its epochs are 1 to n, each once. Cells are
compared as values: 18, 18.0 and "18" are one depth; true, 1 and yes are one answer. Rows of no
cell of the study are left out and told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from search.schedule.curve_table import CurvesError

RUN = ["cell", "config", "seed"]
EXACT = 2**53  # whole numbers up to here are told apart as floats
SHOWN = 3  # rows, or values, told of one kind
ANSWERS = {
    **dict.fromkeys(("true", "yes", "1", "1.0"), True),
    **dict.fromkeys(("false", "no", "0", "0.0"), False),
}


def checked_runs(
    frame: pd.DataFrame, path: Path, cells: Sequence[Mapping[str, Any]], metric: str
) -> tuple[pd.DataFrame, list[str]]:
    """The rows of the study's cells, typed, each run's in the order of its epochs.

    Args:
        frame: columns of the cells, config, epoch, the metric, optionally seed, seconds, diverged.
        path: for messages.
        cells: values of the study's cells.
        metric: its column.

    Returns:
        Columns cell (its number), config, seed (-1 where it has none), epoch, value (NaN where a
        run diverged), seconds (1 where not recorded), diverged (of the whole run); notes.

    Raises:
        CurvesError: what is there cannot be meant.
    """
    keys = list(cells[0]) if cells else []
    for name in [*keys, "config", "epoch"]:
        if name not in frame:
            raise CurvesError(f"{path}: no column {name}; it has {', '.join(map(str, frame))}")
    cell, notes = _cells_of(frame, path, cells)
    frame, cell = frame[cell >= 0], cell[cell >= 0]
    config = _texts(frame["config"])
    _refuse(path, "config", config == "", "is blank", "name the config that the row is of")
    held = pd.DataFrame(
        {
            "cell": cell,
            "config": config,
            "seed": _seeds(frame, path),
            "epoch": _epochs(frame, path),
        }
    )
    held["diverged"] = _diverged(frame, path)
    held["diverged"] = held.groupby(RUN)["diverged"].transform("any")
    _check_epochs(held, path)
    held["value"] = _values(frame, path, metric, held["diverged"])
    held["seconds"] = _seconds(frame, path, held)
    return held.sort_values([*RUN, "epoch"]), notes + _range_notes(held["value"], metric)


def _cells_of(
    frame: pd.DataFrame, path: Path, cells: Sequence[Mapping[str, Any]]
) -> tuple[pd.Series, list[str]]:
    """Number of each row's cell, -1 of none; what is said of those."""
    found = pd.Series(-1, frame.index)
    keys = list(cells[0]) if cells else []
    held = {key: _as_compared(frame[key], path, key, [c[key] for c in cells]) for key in keys}
    for number, cell in enumerate(cells):
        here = pd.Series(True, frame.index)
        for key in keys:
            value = cell[key]
            if isinstance(value, (bool, str)):
                here &= held[key] == value
            else:  # what a spreadsheet or another program made of 0.1
                here &= np.isclose(held[key].astype(float), value, rtol=1e-6, atol=0)
        found[here] = number
    strange = frame[found < 0]
    if strange.empty:
        return found, []
    rows = Counter(tuple(map(_text, row)) for row in strange[keys].itertuples(index=False))
    told = "; ".join(
        ", ".join(f"{key} = {value}" for key, value in zip(keys, values, strict=True))
        + f": {count}"
        for values, count in rows.most_common(SHOWN)
    )
    more = f", and {len(rows) - SHOWN} other cells" if len(rows) > SHOWN else ""
    text = f"{len(strange):,} of {len(frame):,} rows are of no cell of the study ({told}{more})"
    if len(strange) == len(frame):
        raise CurvesError(
            f"{path}: {text}; the study's are {', '.join(map(str, map(dict, cells)))}"
        )
    return found, [f"{text} and are left out"]


def _as_compared(held: pd.Series, path: Path, key: str, wanted: list[Any]) -> pd.Series:
    """A cell's column in the type of the study's values."""
    texts = _texts(held)
    _refuse(path, key, texts == "", "is blank", "say of which cell the row is")
    if all(isinstance(value, bool) for value in wanted):
        return _answers(texts, path, key)
    if any(isinstance(value, str) for value in wanted):
        return texts
    return _numbers(held, path, key)


def _answers(texts: pd.Series, path: Path, key: str) -> pd.Series:
    answers = texts.str.lower().map(ANSWERS)
    _refuse(path, key, answers.isna(), "is not true or false", "write one of them", texts)
    return answers.astype(bool)


def _numbers(held: pd.Series, path: Path, key: str) -> pd.Series:
    """Floats; NaN where there is a blank, or `nan`."""
    texts = _texts(held)
    numbers = pd.to_numeric(texts.where(texts != ""), errors="coerce").astype(float)
    strange = numbers.isna() & ~texts.str.lower().isin(["", "nan", "+nan", "-nan"])
    _refuse(path, key, strange, "is no number", "mend it", texts)
    return numbers


def _text(value: Any) -> str:
    """A field as text; "" for a blank one."""
    return "" if pd.isna(value) is True else str(value).strip()


def _texts(held: pd.Series) -> pd.Series:
    return held.astype(object).map(_text)


def _seeds(frame: pd.DataFrame, path: Path) -> pd.Series:
    if "seed" not in frame:
        return pd.Series(-1, frame.index)
    seeds = _numbers(frame["seed"], path, "seed")
    strange = seeds.notna() & ~((seeds % 1 == 0) & (seeds >= 0) & (seeds < EXACT))
    _refuse(path, "seed", strange, "is no whole number", "mend it", frame["seed"])
    return seeds.fillna(-1).astype(np.int64)


def _epochs(frame: pd.DataFrame, path: Path) -> pd.Series:
    epochs = _numbers(frame["epoch"], path, "epoch")
    strange = ~((epochs % 1 == 0) & (epochs >= 1) & (epochs < EXACT))
    fix = "epochs are whole and count from 1"
    _refuse(path, "epoch", strange, "is no epoch", fix, frame["epoch"])
    return epochs.astype(np.int64)


def _diverged(frame: pd.DataFrame, path: Path) -> pd.Series:
    if "diverged" not in frame:
        return pd.Series(False, frame.index)
    texts = _texts(frame["diverged"])
    return _answers(texts.where(texts != "", "false"), path, "diverged")


def _check_epochs(held: pd.DataFrame, path: Path) -> None:
    """Refuse runs whose epochs are not 1 to n: shifted ones would be judged at others' rungs."""
    fix = "a run's epochs are 1 to n, once each; runs differ in cell, config or seed"
    again = held.duplicated([*RUN, "epoch"], keep=False)
    if again.any():
        row = held[again].iloc[0]
        same = (held[[*RUN, "epoch"]] == row[[*RUN, "epoch"]]).all(axis=1)
        what = f"is {row['epoch']} again in the {_run(row)}"
        _fail(path, "epoch", held.index[same.to_numpy(bool)], what, fix)
    sizes = held.groupby(RUN)["epoch"].transform("size")
    over = held[held["epoch"] > sizes]
    if not over.empty:
        row = over.iloc[0]
        run = held[(held[RUN] == row[RUN]).all(axis=1)]
        lacks = min(set(range(1, len(run) + 1)) - set(run["epoch"]))
        after = run[run["epoch"] > lacks].sort_values("epoch").index[:1]
        _fail(path, "epoch", after, f"{lacks} is missing before it, in the {_run(row)}", fix)


def _run(row: pd.Series) -> str:
    seed = f", seed {row['seed']}" if row["seed"] >= 0 else ""
    return f"run of cell {row['cell']}, config {row['config']}{seed}"


def _values(frame: pd.DataFrame, path: Path, metric: str, diverged: pd.Series) -> pd.Series:
    values = _numbers(frame[metric], path, metric)
    values = values.where(np.isfinite(values))
    lost = values.isna() & ~diverged
    fix = "fill it; where the run ended there for good, say true in a column diverged"
    _refuse(path, metric, lost, "is blank or not finite", fix)
    if metric.endswith("accuracy"):
        fix = "an accuracy is a fraction (0 to 1) or percent (0 to 100)"
        _refuse(path, metric, (values < 0) | (values > 100), "is none", fix, frame[metric])
    return values


def _seconds(frame: pd.DataFrame, path: Path, held: pd.DataFrame) -> pd.Series:
    if "seconds" not in frame:
        return pd.Series(1.0, frame.index)
    seconds, whole = _numbers(frame["seconds"], path, "seconds"), ~held["diverged"]
    fix = "fill it, or leave the column out"
    lost = ~np.isfinite(seconds) & (whole | seconds.notna())
    _refuse(path, "seconds", lost, "is blank or not finite", fix)
    _refuse(path, "seconds", seconds < 0, "is negative", fix, frame["seconds"])
    totals = seconds.groupby([held[key] for key in RUN]).transform("sum")
    _refuse(path, "seconds", whole & (totals == 0), "is 0 in the whole run", fix)
    return seconds.fillna(0.0)


def _range_notes(values: pd.Series, metric: str) -> list[str]:
    low, high = values.min(), values.max()
    if metric.endswith("accuracy") and high > 1:
        return [
            f"{metric} is {low:g} to {high:g}, and accuracy is a fraction elsewhere here; as "
            "percent it ranks alike, and regret is in percent then"
        ]
    if metric.endswith(("mae", "rmse", "error")) and low < 0:
        return [f"{metric} is down to {low:g}, and an error is not negative; is its sign turned?"]
    return []


def _refuse(
    path: Path,
    column: str,
    bad: pd.Series,
    what: str,
    fix: str,
    shown: pd.Series | None = None,
) -> None:
    """Raise CurvesError where any row is bad."""
    if bad.any():
        rows = bad.index[bad.to_numpy(bool)]
        value = "" if shown is None else f" ({_text(shown.loc[rows[0]])!r})"
        _fail(path, column, rows, what + value, fix)


def _fail(path: Path, column: str, rows: pd.Index, what: str, fix: str) -> NoReturn:
    more = f" and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else ""
    name = f"{rows.name or 'row'}{'s' if len(rows) > 1 else ''}"
    where = f"{name} {', '.join(map(str, rows[:SHOWN]))}{more}"
    raise CurvesError(f"{path}: {where}: {column} {what}; {fix}")
