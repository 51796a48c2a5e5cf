"""Trials to typed cell values: a number with its metric, split, rule, epochs, budget and seeds.

A cell's result comes from its confirmation trials, one value a seed; where a study has none, from
the one search trial that was scored on test. Only trials trained to their full budget count. What
an unfinished trial shows is kept apart in `seen`, so that no mean and no comparison takes it in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import pandas as pd

from analysis.findings.facts import Mode, data_of, digits, direction, seeds_due
from analysis.findings.stats import interval, mean_sd
from search.record import Choice, Record, UserError, short_choices, trial_column

Status = Literal["complete", "partial", "failed", "empty"]

# what a cell's value may be marked with; signs and words: analysis.display.words
MARKS = (
    *("unfinished", "unconfirmed", "no skill", "collapsed", "seeds missing", "edge"),
    *("synthetic", "failed", "mixed", "fewer configs"),
)
NO_VALUE = "no value"  # what keeps a cell out that has nothing to compare yet


@dataclass(frozen=True)
class CellValue:
    """One metric of one cell.

    Attributes:
        study: name of the study.
        cell: number of the cell, from 0.
        given: values of the cell parameters.
        metric: e.g. accuracy (a fraction), mae (people an image).
        mode: which values are better.
        digits: behind the point, at which it is shown.
        split: split that `values` are of.
        rule: checkpoint rule.
        data: the images, where a study has several kinds (a crowd part); else "".
        budget: epochs of a full training.
        status: complete (at least one seed at full budget), partial (only `seen`), failed, empty.
        epochs: epochs trained by what is shown.
        values: `(n,)`, one a seed, of completed trials only.
        beside: `(n,)`, the same metric of the same checkpoints on `beside_split`.
        beside_split: the other of val and test; "" where the study has no such split.
        seeds: `(n,)`.
        seeds_due: seeds that the study asks for.
        seen: value of an unfinished cell's longest trial, NaN otherwise.
        seen_split: split that `seen` is of.
        config: searched parameters of what is shown, e.g. lr.
        trials: names of the trials shown.
        marks: keys of MARKS.
        details: of a mark of this cell, what is to be said of it here; by mark.
    """

    study: str
    cell: int
    given: Mapping[str, Any]
    metric: str
    mode: Mode
    digits: int
    split: str
    rule: str
    data: str
    budget: int
    status: Status
    epochs: int = 0
    values: tuple[float, ...] = ()
    beside: tuple[float, ...] = ()
    beside_split: str = ""
    seeds: tuple[int, ...] = ()
    seeds_due: int = 1
    seen: float = math.nan
    seen_split: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    trials: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of seeds behind `mean`."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean over seeds; NaN unless complete."""
        return mean_sd(self.values)[0]

    @property
    def sd(self) -> float:
        """Sample standard deviation over seeds; NaN below two."""
        return mean_sd(self.values)[1]

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high end: 95 % t interval from three seeds, the range of two."""
        return interval(self.values)


def cell_values(record: Record) -> list[CellValue]:
    """A value for every cell and metric of a study, cells in order, metrics inside.

    Raises:
        UserError: trials of a cell differ in rule, budget, metric or config.
    """
    study, choices = record.study, short_choices(record)
    values = [
        _cell_value(record, number, dict(at), metric)
        for number, at in enumerate(study["cells"])
        for metric in study["metrics"]
    ]
    return [_with_details(record, value, choices.get(value.cell)) for value in values]


def _with_details(record: Record, value: CellValue, choice: Choice | None) -> CellValue:
    """A value with the marks of what is behind it as a whole: mixed parts, configs that lack."""
    details = dict[str, str]()
    if mixed := record.mixed.cells.get(value.cell):
        details["mixed"] = "; ".join(mixed)
    if choice:
        details["fewer configs"] = choice.words
    if not details or value.status in ("empty", "failed"):
        return value
    return replace(value, marks=(*value.marks, *details), details=details)


def require_comparable(values: Iterable[CellValue]) -> None:
    """Refuse values that say different things.

    Raises:
        UserError: metric, split, rule, budget or data differ; names the first that does.
    """
    held = list(values)
    for name in ("metric", "split", "rule", "budget", "data"):
        found = sorted({str(getattr(v, name)) for v in held})
        if len(found) > 1:
            raise UserError(
                f"cells cannot be compared: they differ in {name} ({', '.join(found)}); compare "
                f"cells of one {name} at a time"
            )


def kept_out(value: CellValue, allowed: Collection[str] = ("edge",)) -> tuple[str, ...]:
    """What keeps a cell from being compared with others: marks, or NO_VALUE; () if nothing does.

    Args:
        value: of the cell.
        allowed: marks that keep no cell out. At an edge of its rates it may do better yet.
    """
    found = tuple(mark for mark in value.marks if mark not in allowed)
    if not found and (value.status != "complete" or not math.isfinite(value.mean)):
        return (NO_VALUE,)
    return found


def best(values: Iterable[CellValue]) -> frozenset[int]:
    """Cells with the best mean among two or more that are complete and carry no mark but "edge".

    Raises:
        UserError: the values cannot be compared.
    """
    held = list(values)
    require_comparable(held)
    sound = [v for v in held if not kept_out(v)]
    if len(sound) < 2:
        return frozenset()
    pick = max if sound[0].mode == "max" else min
    top = pick(v.mean for v in sound)
    return frozenset(v.cell for v in sound if v.mean == top)


def final_trials(record: Record, cell: int) -> pd.DataFrame:
    """The trials whose values are the cell's result; rows as in the record, maybe none.

    Raises:
        UserError: they differ in rule, budget, metric or config.
    """
    study, trials = record.study, record.trials
    confirms = bool(study.get("confirm_seeds")) or bool((trials["stage"] == "confirm").any())
    full = (trials["status"] == "completed") & (trials["epochs"] >= trials["budget"])
    rows = trials[
        full.fillna(False)
        & (trials["cell"] == cell)
        & (trials["stage"] == ("confirm" if confirms else "search"))
    ]
    rows = rows[_shown(rows, study, study["metric"]).notna()]
    searched = [trial_column(study, key) for key in study["space_keys"]]
    for name in ("rule", "budget", "metric", *searched):
        found = sorted({str(v) for v in rows[name]})
        if len(found) > 1:
            raise UserError(
                f"study {study['name']}, cell {cell}: its completed trials differ in {name} "
                f"({', '.join(found)}), so no mean of them is a result"
            )
    return rows


def _cell_value(record: Record, cell: int, at: dict[str, Any], metric: str) -> CellValue:
    study = record.study
    rows = record.trials[record.trials["cell"] == cell]
    rows = rows[rows["stage"] != "audit"]  # outside the selection, whatever it reached
    final = final_trials(record, cell)
    make = partial(
        CellValue,
        study=study["name"],
        cell=cell,
        given=at,
        metric=metric,
        mode=direction(study, metric),
        digits=digits(study, metric),
        split=study["shown_split"],
        rule=study["checkpoint_rule"],
        data=data_of(study, at),
        budget=int(study["rungs"][-1]),
        seeds_due=seeds_due(study),
    )
    if len(final):
        return _complete(make, record, final, metric)
    shown = _longest(rows, study)
    if shown is not None:
        return _partial(make, study, shown, metric)
    ended = rows["status"].isin(["failed", "diverged"])
    if len(rows) and ended.all():
        return make(
            status="failed",
            epochs=int(rows["epochs"].max()),
            trials=tuple(rows["trial"]),
            marks=("failed",),
        )
    return make(status="empty")


def _complete(
    make: partial[CellValue], record: Record, rows: pd.DataFrame, metric: str
) -> CellValue:
    study = record.study
    config = config_of(rows.iloc[0], study)
    other = "val" if study["shown_split"] == "test" else "test"
    beside = _shown(rows, {**study, "shown_split": other}, metric).dropna()
    marks = []
    if _at_edge(record, int(rows["cell"].iloc[0]), config.get("lr", math.nan)):
        marks.append("edge")
    if not _beats_constants(study, rows):
        marks.append("no skill")
    if rows["collapsed"].fillna(False).any():
        marks.append("collapsed")
    if len(rows) < seeds_due(study):
        marks.append("seeds missing")
    if study["synthetic"]:
        marks.append("synthetic")
    return make(
        status="complete",
        epochs=int(rows["epochs"].min()),
        values=tuple(float(v) for v in _shown(rows, study, metric).dropna()),
        beside=tuple(float(v) for v in beside),
        beside_split=other if len(beside) else "",
        seeds=tuple(int(s) for s in rows["seed"].dropna()),
        config=config,
        trials=tuple(rows["trial"]),
        marks=tuple(marks),
    )


def _at_edge(record: Record, cell: int, lr: float) -> bool:
    """Whether no lower, or no higher, lr was tried in a cell that tried three or more."""
    trials = record.trials
    rows = trials[(trials["cell"] == cell) & (trials["stage"] != "confirm")]
    tried = sorted(set(rows["lr"].dropna())) if "lr" in rows else []
    return len(tried) > 2 and lr in (tried[0], tried[-1])


def _beats_constants(study: Mapping[str, Any], rows: pd.DataFrame) -> bool:
    """Whether the mean over seeds beats every constant predictor, where those are on record."""
    metric, held = study["metric"], rows["baselines"].dropna()
    if held.empty or study["shown_split"] != "test":
        return True
    scores = [s[metric] for s in json.loads(held.iloc[0]).values() if metric in s]
    mean = _shown(rows, study, metric).mean()
    if not scores or pd.isna(mean):
        return True
    return bool(mean > max(scores) if study["mode"] == "max" else mean < min(scores))


def _partial(
    make: partial[CellValue], study: dict[str, Any], row: pd.Series[Any], metric: str
) -> CellValue:
    full = row["status"] == "completed" and int(row["epochs"]) >= int(row["budget"])
    marks = ["unconfirmed" if full else "unfinished"]
    if study["synthetic"]:
        marks.append("synthetic")
    return make(
        status="partial",
        epochs=int(row["epochs"]),
        seen=_seen(row, study, metric),
        seen_split=study["watched"],
        config=config_of(row, study),
        trials=(str(row["trial"]),),
        marks=tuple(marks),
    )


def _longest(rows: pd.DataFrame, study: dict[str, Any]) -> pd.Series[Any] | None:
    """The trial that stands for an unfinished cell: most epochs, then best value; None if none."""
    sign = 1 if study["mode"] == "max" else -1
    held = [
        (int(row["epochs"]), sign * _seen(row, study, study["metric"]), -place, row)
        for place, (_, row) in enumerate(rows.iterrows())
        if row["status"] != "diverged" and math.isfinite(_seen(row, study, study["metric"]))
    ]
    return max(held, key=lambda entry: entry[:3])[3] if held else None


def _seen(row: pd.Series[Any], study: Mapping[str, Any], metric: str) -> float:
    """Value of an unfinished trial; of a running one at its newest epoch, not its last rung."""
    name = f"{study['watched']}_{metric}"
    # only of a running trial do `epochs` count what was reported, not what a job ended with
    for at in ("last", "value") if row["status"] == "running" else ("value",):
        value = row.get(f"{at}_{name}")
        if value is not None and not pd.isna(value):
            return float(value)
    return math.nan


def _shown(rows: pd.DataFrame, study: Mapping[str, Any], metric: str) -> pd.Series[Any]:
    """The shown value of finished trials, `(trials,)`, NA where not scored."""
    split = study["shown_split"]
    column = f"test_{metric}" if split == "test" else f"value_{split}_{metric}"
    return rows[column] if column in rows else pd.Series(pd.NA, index=rows.index, dtype="Float64")


def config_of(row: Any, study: Mapping[str, Any]) -> dict[str, Any]:
    """The searched parameters of a trial, by name; those that it has."""
    held = {key: row[trial_column(study, key)] for key in study["space_keys"]}
    return {key: value for key, value in held.items() if not pd.isna(value)}
