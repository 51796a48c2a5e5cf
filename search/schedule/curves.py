"""Learning curves to try a rule on: recorded ones, or a built-in synthetic family.

A table of curves (csv or parquet) has one row a cell, config and epoch: the study's cell columns,
`config`, optionally `seed`, `epoch` (from 1), a column named as the metric (accuracy, or as a
record calls it, val_accuracy), optionally `seconds` and `diverged` (true on the rows of a run that
ended there for good). What is refused and what is left out: search.schedule.curve_checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search import record
from search.schedule.curve_checks import RUN, checked_runs
from search.schedule.curve_table import CurvesError, metric_column, read_table
from trainables.judging import judged_epochs

Array = NDArray[np.float64]
FAMILIES = ("plain", "slow-start", "crossing", "noise", "step-decay")
RUNG_NOISE = 0.3  # sd of an epoch's value around its curve, in sd of final quality


@dataclass(frozen=True)
class Curves:
    """Full-length curves of the configs of each cell.

    Attributes:
        values: per cell `(configs, seeds, epochs)`: the metric after each epoch, by the study's
            checkpoint rule. NaN from where a trial diverged.
        seconds: per cell, of the same shape: what each epoch took. 1 where not recorded.
        mode: which values are better.
        timed: whether `seconds` were recorded.
        notes: what of a file is left out, or read otherwise than it stands there.
    """

    values: list[Array]
    seconds: list[Array]
    mode: Literal["max", "min"]
    timed: bool
    notes: tuple[str, ...] = ()

    def sample(self, configs: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw `configs` configs a cell, in random order, each with one of its seeds.

        Returns:
            values and seconds, both `(cells, configs, epochs)`.
        """
        picked = [
            (rng.permutation(len(held))[:configs], rng.integers(0, held.shape[1], configs))
            for held in self.values
        ]
        return tuple(  # type: ignore[return-value]
            np.stack([part[rows, seeds] for part, (rows, seeds) in zip(kind, picked, strict=True)])
            for kind in (self.values, self.seconds)
        )


def synthetic_curves(
    family: str, cells: int, configs: int, epochs: int, rng: np.random.Generator
) -> Curves:
    """Curves whose final quality is standard normal; larger is better.

    Args:
        family: "plain": configs differ in final quality alone; "slow-start": in every second cell
            all start 2 sd lower, which fades to nothing at the end; "crossing": each config has a
            rate of its own, from fast to slow, and slow ones end higher; "noise": thrice the
            noise; "step-decay": half of what a config gains comes in two jumps, after 0.45 and 0.7
            of the budget, and the more the better the config.
        cells: number of cells.
        configs: in each.
        epochs: length.
        rng: draws quality, rates and noise.
    """
    at = np.arange(1, epochs + 1) / epochs
    quality = rng.normal(size=(cells, configs, 1))
    noise = rng.normal(size=(cells, configs, epochs)) * RUNG_NOISE
    rise = -3 * np.exp(-8 * at) + 3 * np.exp(-8)  # to 0 at the end, the same for all
    values = quality + rise
    if family == "slow-start":
        values[1::2] -= 2 * (1 - at)
    elif family == "crossing":
        rate = rng.uniform(2, 12, (cells, configs, 1))
        slow = (12 - rate) / 10
        values = quality + slow - (2 + slow) * (np.exp(-rate * at) - np.exp(-rate))
    elif family == "step-decay":
        jumps = (at > 0.45).astype(float) * 0.6 + (at > 0.7) * 0.4
        values = quality * (0.5 + 0.5 * jumps) + rise + jumps - 1
    elif family == "noise":
        noise *= 3
    elif family != "plain":
        raise CurvesError(f"--curves synthetic:{family}: families are {', '.join(FAMILIES)}")
    noise[:, :, -1] = 0  # what is compared in the end is quality itself
    held = list((values + noise)[:, :, None, :])
    return Curves(held, [np.ones_like(part) for part in held], "max", timed=False)


def read_curves(
    path: Path,
    cells: Sequence[Mapping[str, Any]],
    metric: str,
    mode: Literal["max", "min"],
    epochs: int,
    rule: str,
    named: bool = False,
) -> Curves:
    """Curves of a study's cells, out of a run folder or a table.

    Args:
        path: a run folder, or a csv or parquet file; see the module.
        cells: values of the study's cells.
        metric: name of the metric, in a record with its split, e.g. val_accuracy.
        mode: which values are better.
        epochs: of a full training; shorter curves are left out, but for those that diverged.
        rule: "best" judges by the best epoch so far, "last" by the newest.
        named: whether the metric was asked for by just this name, where others are like it.

    Raises:
        CurvesError: a column or every full-length curve of a cell is missing, or what is there
            cannot be meant.
    """
    if shared := {*RUN, "epoch", "seconds", "diverged"} & set(cells[0] if cells else ()):
        raise CurvesError(
            f"{path}: a cell parameter is named {', '.join(sorted(shared))}, as a column of "
            "curves is; curves of such a study cannot be simulated"
        )
    if path.is_dir():
        frame, column = _of_run(path, metric)
    else:
        frame = read_table(path)
        column = metric_column(path, list(map(str, frame.columns)), metric, named)
    runs, notes = checked_runs(frame, path, cells, column)
    if column != metric:
        notes.insert(0, f"{metric} is read from the column {column}")
    notes += _length_notes(runs, epochs)
    pairs = [_of_cell(runs[runs["cell"] == n], cell, path, epochs) for n, cell in enumerate(cells)]
    values = [np.apply_along_axis(_by_rule, -1, v, rule, mode) for v, _ in pairs]
    told = tuple(f"{path}: {note}" for note in notes)
    return Curves(values, [s for _, s in pairs], mode, "seconds" in frame, told)


def _length_notes(runs: pd.DataFrame, epochs: int) -> list[str]:
    """What is said of runs that are not as long as a full training, and of seeds."""
    ends = runs.groupby(RUN).agg(
        last=("epoch", "max"), diverged=("diverged", "any"), value=("value", "last")
    )
    short = int(((ends["last"] < epochs) & ~ends["diverged"]).sum())
    long = int((ends["last"] > epochs).sum())
    notes = []
    if short:
        notes.append(
            f"{short:,} of {len(ends):,} runs are shorter than {epochs} epochs and did not "
            "diverge; they are left out"
        )
    if long:
        notes.append(
            f"{long:,} of {len(ends):,} runs are longer than {epochs} epochs and count up to "
            "there; a schedule laid out over more epochs is another one"
        )
    full = int((ends["diverged"] & (ends["last"] == epochs) & ends["value"].notna()).sum())
    if full:
        notes.append(
            f"{full:,} runs say that they diverged and have values of all {epochs} epochs; they "
            "count as whole"
        )
    whole = ends[(ends["last"] >= epochs) | ends["diverged"]]
    seeds = whole.groupby(["cell", "config"]).size()
    if len(seeds) and seeds.min() < seeds.max():
        notes.append(
            f"configs have {seeds.min()} to {seeds.max()} seeds; those with fewer stand in with "
            "these again"
        )
    return notes


def _by_rule(curve: Array, rule: str, mode: str) -> Array:
    """`(epochs,)`: what a trial is judged by after each epoch; NaN where by nothing."""
    return np.array([curve[at - 1] if at else np.nan for at in judged_epochs(curve, rule, mode)])


def _of_cell(
    rows: pd.DataFrame, cell: Mapping[str, Any], path: Path, epochs: int
) -> tuple[Array, Array]:
    """`(configs, seeds, epochs)` of values and seconds; every config has as many seeds."""
    values, seconds = [], []
    groups = [(name, of_config) for (name,), of_config in rows.groupby(["config"])]
    for _, of_config in sorted(groups, key=lambda pair: _order(str(pair[0]))):
        runs = [run for _, run in of_config.groupby("seed", sort=True)]
        whole = [run for run in runs if len(run) >= epochs or bool(run["diverged"].any())]
        if whole:
            values.append(
                [_padded(run["value"][:epochs].to_numpy(float), epochs, np.nan) for run in whole]
            )
            times = [run["seconds"][:epochs].to_numpy(float) for run in whole]
            # an epoch that was never trained would have cost what the last one did
            seconds.append([_padded(time, epochs, float(time[-1])) for time in times])
    if not values:
        raise CurvesError(
            f"{path}: no curve of {epochs} epochs for the cell {dict(cell)}; record whole ones "
            "with scheduler = 'none', or simulate fewer epochs with --set budget.max_epochs=..."
        )
    seeds = max(map(len, values))
    # a config with fewer seeds repeats them in turn
    filled = [np.stack([part[i % len(part)] for i in range(seeds)]) for part in values]
    spent = [np.stack([part[i % len(part)] for i in range(seeds)]) for part in seconds]
    return np.stack(filled), np.stack(spent)


def _order(config: str) -> tuple[float, str]:
    """Numbers as numbers, so that 10 comes after 9."""
    try:
        return float(config), config
    except ValueError:
        return np.inf, config


def _padded(values: Array, epochs: int, by: float) -> Array:
    return np.concatenate([values, np.full(epochs - len(values), by)])


def _of_run(path: Path, metric: str) -> tuple[pd.DataFrame, str]:
    """The curves of a record, and the metric's column; each trial of the search is a config.

    Of what was recorded each epoch only what is used comes along: a curve may have a setting's
    name, as `lr` has, which can be a cell parameter.
    """
    held = record.load(path)
    wide = held.curves.pivot(index=["trial", "epoch"], columns="name", values="value")
    try:
        metric = metric_column(path, list(map(str, wide)), metric, named=True)
    except CurvesError as error:
        raise CurvesError(
            f"{path}: no curve {metric}; it has {', '.join(sorted(map(str, wide)))}"
        ) from error
    wide = wide[[name for name in (metric, "seconds") if name in wide]]
    keys = list(held.study["cells"][0])
    trials = held.trials.set_index("trial")
    trials = trials.assign(diverged=trials["status"] == "diverged")
    columns = ["stage", "seed", "diverged"]
    at = {key: trials[record.trial_column(held.study, key)] for key in keys}
    given = trials[columns].assign(**at)
    frame = wide.reset_index().join(given, on="trial")
    # by trial, not by settings: two trials may have drawn the same ones
    frame = frame[frame["stage"] != "confirm"].rename(columns={"trial": "config"})
    return frame, metric
