"""Trials to the result of each cell: its values, or how far it is, and which marks that earns.

A cell's result comes from its confirmation trials, one value a seed; where a study has none, from
the one search trial that was scored on test. Only trials trained to their full budget count. What
an unfinished trial shows is kept apart in `seen`, so that no mean and no comparison takes it in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.findings.facts import bounds, data_of, digits, direction, pairs_seeds
from analysis.findings.verdict import CellValue, Edge
from search.record import Counts, Record, UserError, counts, result_stage, trial_column

ENDED = ("failed", "diverged")


def results(record: Record) -> list[CellValue]:
    """Every cell and metric of a study, cells in order, metrics inside; not yet compared.

    Raises:
        UserError: trials of a cell differ in rule, budget, metric or config.
    """
    study, counted = record.study, counts(record)
    finals, held = _finals(record), dict[int, pd.DataFrame]()
    trials = record.trials[_columns(study, record.trials)]  # slices of few columns are quick
    for cell, rows in trials.groupby("cell"):
        held[int(str(cell))] = rows
    none = trials.iloc[:0]
    found = []
    for number, at in enumerate(study["cells"]):
        rows = held.get(number, none)
        final = rows[rows.index.isin(finals)]
        _require_alike(study, number, final)
        found += _of_cell(study, number, dict(at), rows, final, counted[number])
    return found


def _columns(study: Mapping[str, Any], trials: pd.DataFrame) -> list[str]:
    """The columns of trials that results are made of."""
    own = ("trial", "cell", "stage", "status", "seed", "epochs", "budget", "rule", "metric")
    measured = [
        f"{at}_{metric}"
        for metric in study["metrics"]
        for at in ("test", *(f"{w}_{s}" for w in ("value", "last") for s in ("val", "test")))
    ]
    searched = [trial_column(study, key) for key in study["space_keys"]]
    held = dict.fromkeys([*own, "collapsed", *searched, *measured])
    return [name for name in held if name in trials]


def _finals(record: Record) -> pd.Index[Any]:
    """Labels of the trials whose values are results: in full, and with a value of any metric."""
    study, trials = record.study, record.trials
    full = (trials["status"] == "completed") & (trials["epochs"] >= trials["budget"])
    stage = result_stage(study, trials)
    # of the search the winner alone is scored on test, whichever split is shown
    of = {**study, "shown_split": "test"} if stage == "search" else study
    scored = pd.concat([shown(trials, of, m).notna() for m in study["metrics"]], axis=1)
    return trials.index[full.fillna(False) & (trials["stage"] == stage) & scored.any(axis=1)]


def _require_alike(study: Mapping[str, Any], cell: int, rows: pd.DataFrame) -> None:
    searched = [trial_column(study, key) for key in study["space_keys"]]
    for name in ("rule", "budget", "metric", *searched):
        found = sorted({str(v) for v in rows[name]})
        if len(found) > 1:
            raise UserError(
                f"study {study['name']}, cell {cell}: its completed trials differ in {name} "
                f"({', '.join(found)}), so no mean of them is a result"
            )


def _of_cell(
    study: dict[str, Any],
    cell: int,
    at: dict[str, Any],
    rows: pd.DataFrame,
    final: pd.DataFrame,
    counted: Counts,
) -> list[CellValue]:
    """One value a metric."""
    make = partial(
        CellValue,
        study=study["name"],
        cell=cell,
        given=at,
        split=study["shown_split"],
        rule=study["checkpoint_rule"],
        data=data_of(study, at),
        budget=int(study["rungs"][-1]),
        counts=counted,
    )
    edges = _edges(study, rows, config_of(final.iloc[0], study)) if len(final) else ()
    rows = rows[rows["stage"] != "audit"]  # outside the selection, whatever it reached
    longest = _longest(rows, study)
    found = []
    for metric in study["metrics"]:
        one = partial(
            make,
            metric=metric,
            mode=direction(study, metric),
            digits=digits(study, metric),
            bounds=bounds(study, metric),
        )
        if len(final):
            found.append(_complete(one, study, final, edges, metric, counted))
        elif _came_to_nothing(rows, counted):
            found.append(_failed(one, rows, counted))
        elif len(longest):
            found.append(_partial(one, study, longest, metric, counted))
        else:
            found.append(one(status="empty"))
    return found


def _failed(make: partial[CellValue], rows: pd.DataFrame, counted: Counts) -> CellValue:
    return make(
        status="failed",
        epochs=int(rows["epochs"].max()),
        trials=tuple(rows["trial"]),
        marks=("failed",),
        details={"failed": counted.seeds.words if counted.seeds.lost else "no config is left"},
    )


def _came_to_nothing(rows: pd.DataFrame, counted: Counts) -> bool:
    """Whether all its trials, or all its seeds, ended without a value, and none is to come."""
    seeds = counted.seeds
    if seeds.lost and not seeds.to_come and not seeds.complete:
        return True
    configs = counted.configs
    return bool(len(rows) and rows["status"].isin(ENDED).all() and configs.run >= configs.planned)


def _complete(
    make: partial[CellValue],
    study: dict[str, Any],
    final: pd.DataFrame,
    edges: tuple[Edge, ...],
    metric: str,
    counted: Counts,
) -> CellValue:
    config = config_of(final.iloc[0], study)
    other = "val" if study["shown_split"] == "test" else "test"
    beside = shown(final, {**study, "shown_split": other}, metric).dropna()
    values = shown(final, study, metric).astype("float64")
    there = final[np.isfinite(values.to_numpy())]
    marks, details = [], {}
    if final["collapsed"].fillna(False).any():
        marks.append("collapsed")
    if counted.seeds.complete < counted.seeds.planned:
        marks.append("seeds missing")
        details["seeds missing"] = counted.seeds.words
    if len(there) < len(final):
        marks.append("not finite")
        lacking = len(final) - len(there)
        details["not finite"] = f"{metric} of {lacking} of {len(final)} seeds"
    if study["synthetic"]:
        marks.append("synthetic")
    if "imported" in study:
        marks.append("imported seeds" if len(final) > 1 else "imported")
    return make(
        status="complete" if len(there) else "failed",
        epochs=int(final["epochs"].min()),
        values=tuple(float(v) for v in values[there.index]),
        seeds=tuple(int(s) for s in there["seed"].dropna()),
        paired=pairs_seeds(study),
        beside=tuple(float(v) for v in beside),
        beside_split=other if len(beside) else "",
        config=config,
        trials=tuple(there["trial"]),
        edges=edges if len(there) else (),
        marks=tuple(marks),
        details=details,
    )


def _edges(
    study: Mapping[str, Any], rows: pd.DataFrame, config: Mapping[str, Any]
) -> tuple[Edge, ...]:
    """Searched numbers chosen where nothing lower, or higher, was tried.

    What failed tried nothing; what was audited had been tried before. Nothing is below 0, which a
    setting such as a weight decay has at its end by nature.
    """
    tried = rows[(rows["stage"] != "confirm") & (rows["status"] != "failed")]
    found = []
    for key, value in config.items():
        held = tried[trial_column(study, key)].dropna()
        if isinstance(value, bool | np.bool_ | str) or held.empty:
            continue
        low, high = value <= held.min(), value >= held.max()
        if low and high:
            found.append(Edge(key, value, "only"))
        elif (low and value != 0) or high:
            found.append(Edge(key, value, "lowest" if low else "highest"))
    return tuple(found)


def _partial(
    make: partial[CellValue],
    study: dict[str, Any],
    held: pd.DataFrame,
    metric: str,
    counted: Counts,
) -> CellValue:
    row = held.iloc[0]
    full = row["status"] == "completed" and int(row["epochs"]) >= int(row["budget"])
    mark = "unconfirmed" if full else "unfinished"
    mark = "imported" if "imported" in study else mark
    fallen = not pd.isna(row["collapsed"]) and bool(row["collapsed"])
    marks = [mark, *["collapsed"] * fallen, *["synthetic"] * bool(study["synthetic"])]
    seeds = counted.seeds
    return make(
        status="partial",
        epochs=int(row["epochs"]),
        seen=float(_seen(held, study, metric).iloc[0]),
        seen_split=study["watched"],
        config=config_of(row, study),
        trials=(str(row["trial"]),),
        marks=tuple(marks),
        details={mark: seeds.words} if seeds.begun else {},
    )


def _longest(rows: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """The trial that stands for an unfinished cell: most epochs, then best value; none of none."""
    seen = _seen(rows, study, study["metric"])
    held = rows[(rows["status"] != "diverged") & np.isfinite(seen.to_numpy())]
    sign = -1 if study["mode"] == "max" else 1
    order = pd.DataFrame({"epochs": -held["epochs"].astype(int), "value": sign * seen[held.index]})
    first: pd.DataFrame = held.loc[order.sort_values(["epochs", "value"], kind="stable").index[:1]]
    return first


def _seen(rows: pd.DataFrame, study: Mapping[str, Any], metric: str) -> pd.Series[Any]:
    """Values of unfinished trials, `(trials,)`; of a running one at its newest epoch.

    Only of a running trial do `epochs` count what was reported, not what a job ended with.
    """
    name = f"{study['watched']}_{metric}"
    nothing = pd.Series(math.nan, index=rows.index)
    value, last = (
        rows[f"{at}_{name}"].astype("float64") if f"{at}_{name}" in rows else nothing
        for at in ("value", "last")
    )
    return last.where((rows["status"] == "running") & last.notna(), value)


def shown(rows: pd.DataFrame, study: Mapping[str, Any], metric: str) -> pd.Series[Any]:
    """The shown value of finished trials, `(trials,)`, NA where not scored."""
    split = study["shown_split"]
    column = f"test_{metric}" if split == "test" else f"value_{split}_{metric}"
    return rows[column] if column in rows else pd.Series(pd.NA, index=rows.index, dtype="Float64")


def config_of(row: Any, study: Mapping[str, Any]) -> dict[str, Any]:
    """The searched parameters of a trial, by name; those that it has."""
    held = {key: row[trial_column(study, key)] for key in study["space_keys"]}
    return {key: value for key, value in held.items() if not pd.isna(value)}
