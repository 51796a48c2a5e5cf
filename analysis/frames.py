"""The record of studies as pandas frames, for a notebook: `from analysis import frames`.

Every function takes one or more runs, each a run folder or what `search.record.load` gave, and
returns one frame of all of them: a column `study` says whose a row is, and a setting that is a
cell's in one study alone stands in every row, as it held there. Settings that have the name of
another column are `setting_<name>`. Nothing is averaged over what is missing or unfinished:
`status` of `trials` and `cells` says what a row is worth.

    frames.trials("runs/a", "runs/b").groupby(["study", "depth"])["seconds"].sum()
    frames.curves("runs/a", wide=True).plot(x="epoch", y=["train_loss", "val_loss"])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.display import tables
from analysis.display.frames import long_frame
from analysis.findings.cells import cell_values
from analysis.findings.differences import cell_keys
from analysis.findings.facts import settings_of
from analysis.findings.importance import importance as _importance
from analysis.findings.marginals import marginals as _marginals
from analysis.findings.optimism import optimism as _optimism
from analysis.findings.reveals import reveal_frame
from analysis.findings.so_far import best_so_far as _best_so_far
from analysis.findings.tried import tried
from search.record import Record, UserError, load, setting_column
from search.record.image_parts import ERRORS
from search.record.naming import cell_label

__all__ = [
    *("best_so_far", "cells", "configs", "curves", "decisions", "images", "importance"),
    *("marginals", "optimism", "reveals", "seeds", "table", "trials"),
]

Run = Record | Path | str

INDEX = ["study", "trial", "epoch"]


def trials(*runs: Run) -> pd.DataFrame:
    """One row a trial ever started: the columns of trials.parquet, and `label`, its cell in words.

    Args:
        runs: at least one; see the module.

    Raises:
        UserError: no run, two studies of one name, or a run that cannot be read.
    """
    return _of_each(runs, lambda record, keys: _with_cells(record, keys, record.trials))


def curves(*runs: Run, wide: bool = False) -> pd.DataFrame:
    """What was measured after each epoch, with the trial's cell, stage and seed.

    Args:
        runs: see `trials`.
        wide: a row a trial and epoch, and a column a quantity, e.g. `val_accuracy`; else a row a
            trial, epoch and quantity, with `name` and `value`.

    Raises:
        UserError: see `trials`.
    """

    def made(record: Record, keys: Sequence[str]) -> pd.DataFrame:
        held = record.curves
        if wide:
            held = held.pivot(index=INDEX, columns="name", values="value").reset_index()
            held = held.rename_axis(columns=None).astype({"study": str, "trial": str})
            held.columns = held.columns.astype(str)
        return _of_trials(record, keys, held)

    return _of_each(runs, made)


def cells(*runs: Run) -> pd.DataFrame:
    """The verdict on each cell and metric in full precision: what every table is made of.

    Columns: analysis.display.frames.long_frame.

    Args:
        runs: see `trials`.

    Raises:
        UserError: see `trials`; trials of a cell cannot be averaged.
    """

    def made(record: Record, keys: Sequence[str]) -> pd.DataFrame:
        return _with_cells(record, keys, long_frame(record, cell_values(record), {}))

    return _of_each(runs, made)


def seeds(*runs: Run) -> pd.DataFrame:
    """The values behind each complete cell: a row a cell, metric and seed.

    Args:
        runs: see `trials`.

    Returns:
        Columns study, cell, label, the cells' settings, metric, split, seed, trial, value, and
        config, a dict of what was chosen for the cell.

    Raises:
        UserError: see `cells`.
    """

    def made(record: Record, keys: Sequence[str]) -> pd.DataFrame:
        rows = [
            {
                "study": v.study,
                "cell": v.cell,
                "metric": v.metric,
                "split": v.split,
                "seed": seed,
                "trial": trial,
                "value": value,
                "config": dict(v.config),
            }
            for v in cell_values(record)
            if v.status == "complete"
            for seed, trial, value in zip(v.seeds, v.trials, v.values, strict=True)
        ]
        names = ["study", "cell", "metric", "split", "seed", "trial", "value", "config"]
        return _with_cells(record, keys, pd.DataFrame(rows, columns=names))

    return _of_each(runs, made)


def images(*runs: Run) -> pd.DataFrame:
    """What each scored trial said of each image, with the trial's cell, stage and seed.

    Args:
        runs: see `trials`.

    Returns:
        The columns of per_image.parquet and `error`: prediction less truth where they are
        numbers; of classes, 1 where they differ and else 0.

    Raises:
        UserError: see `trials`.
    """

    def made(record: Record, keys: Sequence[str]) -> pd.DataFrame:
        held = record.per_image
        off = held["prediction"] - held["truth"]
        if not {*ERRORS} & {*record.study["metrics"]}:
            off = (off != 0).astype(int)
        return _of_trials(record, keys, held.assign(error=off))

    return _of_each(runs, made)


def decisions(*runs: Run) -> pd.DataFrame:
    """Every decision of the scheduler as it was taken: see search.record.Record.decisions.

    Args:
        runs: see `trials`.

    Raises:
        UserError: see `trials`.
    """

    def made(record: Record, keys: Sequence[str]) -> pd.DataFrame:
        held = record.decisions.astype(dict.fromkeys(("epoch", "rank", "n", "goes_on"), "Int64"))
        held.insert(0, "study", record.study["name"])
        return _with_cells(record, keys, held)

    return _of_each(runs, made)


def reveals(*runs: Run) -> pd.DataFrame:
    """Every score of test on record, by time: see analysis.findings.reveals.reveal_frame.

    Args:
        runs: see `trials`.

    Raises:
        UserError: see `trials`.
    """
    return _of_each(runs, lambda record, keys: _with_cells(record, keys, reveal_frame(record)))


def optimism(*runs: Run) -> pd.DataFrame:
    """What each cell's winner showed in the search and its seeds since.

    Columns: analysis.findings.optimism.optimism.

    Args:
        runs: see `trials`.

    Raises:
        UserError: see `trials`.
    """
    return _of_each(runs, _made(_optimism))


def configs(*runs: Run) -> pd.DataFrame:
    """What the search tried and what it gave: a row a config and rung that it came to.

    Columns: analysis.findings.tried.tried; what a parallel plot or a plot by a setting is of.

    Args:
        runs: see `trials`.

    Raises:
        UserError: see `trials`.
    """
    return _of_each(runs, _made(tried))


def best_so_far(*runs: Run) -> pd.DataFrame:
    """The best value that each cell had shown, by the seconds and GPU seconds of its search.

    Columns: analysis.findings.so_far.best_so_far.

    Args:
        runs: see `trials`.

    Raises:
        UserError: see `trials`.
    """
    return _of_each(runs, _made(_best_so_far))


def importance(*runs: Run) -> pd.DataFrame:
    """Importance of each searched setting, over each study and in each cell.

    Columns: analysis.findings.importance.importance.

    Args:
        runs: see `trials`.

    Raises:
        UserError: see `trials`.
    """
    return _of_each(runs, _made(_importance))


def marginals(*runs: Run) -> pd.DataFrame:
    """Marginal means of full grids, with intervals.

    Columns: analysis.findings.marginals.marginals.

    Args:
        runs: see `trials`.

    Raises:
        UserError: see `trials`.
    """
    return _of_each(runs, _made(_marginals))


def _made(find: Callable[[Record], pd.DataFrame]) -> Callable[..., pd.DataFrame]:
    """A finding as a frame with its study, and its cells' settings."""

    def made(record: Record, keys: Sequence[str]) -> pd.DataFrame:
        held = find(record).copy()
        held.insert(0, "study", record.study["name"])
        return _with_cells(record, keys, held)

    return made


def table(run: Run, key: str = "cells") -> tables.Table:
    """A table as the page has it; a notebook shows it, `data` is its numbers.

    Args:
        run: see `trials`.
        key: T1 to T4 where the cells fit, cells, settled, search, configs, audit, reveals, ...:
            a wrong name is told those that the study has.

    Raises:
        UserError: the study has no such table.
    """
    return tables.named(_loaded(run), key)


def _loaded(run: Run) -> Record:
    return run if isinstance(run, Record) else load(run)


def _of_each(
    runs: Sequence[Run], make: Callable[[Record, Sequence[str]], pd.DataFrame]
) -> pd.DataFrame:
    """The frames of all runs, one below the other."""
    if not runs:
        raise UserError("no run is given; name at least one run folder")
    if several := next((run for run in runs if isinstance(run, list | tuple)), None):
        raise UserError(f"{several!r} is a list; give the runs one by one: frames.trials(*runs)")
    records = [_loaded(run) for run in runs]
    names = [record.study["name"] for record in records]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(
            f"two runs are of a study {twice[0]}, so `study` would not tell their rows apart; "
            "give one at a time, and a column of your own"
        )
    keys = cell_keys(records)
    made = [make(record, keys) for record in records]
    return made[0] if len(made) == 1 else pd.concat(made, ignore_index=True)


def _with_cells(record: Record, keys: Sequence[str], frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its cells' settings and label behind `cell`, where it has not got them."""
    added = _columns(record, keys, frame)
    held = frame.copy(deep=False)
    for place, (name, by_cell) in enumerate(added.items(), [*held.columns].index("cell") + 1):
        held.insert(place, name, held["cell"].map(by_cell))
    return held


def _columns(
    record: Record, keys: Sequence[str], frame: pd.DataFrame
) -> dict[str, Mapping[int, Any]]:
    """Name of a column -> its value by cell, of those that the frame lacks."""
    given = list(enumerate(record.study["cells"]))
    found: dict[str, Mapping[int, Any]] = {"label": {n: cell_label(at) for n, at in given}}
    own = {key for at in record.study["cells"] for key in at}
    for key in keys:
        there = key in own and {key, f"setting_{key}"} & {*frame.columns}
        if not there:
            name = setting_column(key, [*frame.columns, *found])
            found[name] = {n: settings_of(record.study, at).get(key) for n, at in given}
    return found


def _of_trials(record: Record, keys: Sequence[str], frame: pd.DataFrame) -> pd.DataFrame:
    """A frame of trials' rows with cell, stage and seed of each trial in front."""
    held = record.trials.set_index("trial")
    names, made = frame["trial"].astype(str), frame.copy(deep=False)
    for place, name in enumerate(("cell", "stage", "seed"), [*made.columns].index("trial") + 1):
        made.insert(place, name, names.map(held[name]))
    return _with_cells(record, keys, made)
