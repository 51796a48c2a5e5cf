"""Cells, configs and seeds of a source's runs, and which of them a cell's result is made of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from search.record.foreign.curves import Curve
from search.record.foreign.mapping import CELLS, RATES, Meaning, base, shown
from search.record.foreign.runs import STATES, Row, Run, Source, count, number_of, plain
from trainables.errors import UserError


@dataclass
class Trial:
    """A run in its place.

    Attributes:
        curve: of the run.
        cell, config: its settings, by column.
        seed: None where it is not known.
        stage: search or confirm.
        status: as in a record: completed, stopped, diverged or failed.
        repeat: which of those alike it is, from 0, where no column says the seed.
    """

    curve: Curve
    cell: dict[str, Any]
    config: dict[str, Any]
    seed: int | None
    stage: str = ""
    status: str = ""
    repeat: int = 0

    @property
    def place(self) -> str:
        """Where the run stands in its source."""
        return self.curve.run.place

    @property
    def key(self) -> tuple[Any, ...]:
        """Of its config: cell and config."""
        return (*self.cell.values(), *self.config.values())


def grouped(source: Source, found: Meaning) -> list[Run]:
    """The runs of a source; rows of a csv by the column that tells them apart.

    Raises:
        UserError: nothing does, or a row has no run.
    """
    if source.grouped:
        return source.runs
    rows = source.runs[0].rows
    if not found.trial:
        if not found.epoch or len({r.values.get(found.epoch) for r in rows}) == len(rows):
            if found.epoch:
                return source.runs
            if found.given.trial is None:
                found.guesses.append("each row is a run: no column names runs or counts epochs")
            return [_of_rows(f"row{n}", [row], found) for n, row in enumerate(rows, 1)]
        raise UserError(_untold(source, rows, found))
    held: dict[str, list[Row]] = {}
    for row in rows:
        name = str(row.values.get(found.trial) or "").strip()
        if not name:
            raise UserError(f"{row.place}, column {found.trial}: is empty; name the run")
        held.setdefault(name, []).append(row)
    for name, own in held.items():
        if not found.epoch and len(own) > 1:
            raise UserError(
                f"{own[1].place}, column {found.trial}: {name!r} stands twice, and no column "
                "counts epochs; name one that does (epoch), or another that tells runs apart "
                '(trial; trial = "" makes each row one)'
            )
    return [_of_rows(name, own, found) for name, own in held.items()]


def _untold(source: Source, rows: Sequence[Row], found: Meaning) -> str:
    """That rows of several runs cannot be told apart, with the first that shows it."""
    seen = set[Any]()
    for row in rows:
        epoch = row.values.get(found.epoch)
        if epoch in seen:
            break
        seen.add(epoch)
    return (
        f"{row.place}, column {found.epoch}: {epoch} stands there before, so the rows are of "
        "several runs, and no column says of which: add a column run, or name one that tells runs "
        f'apart in a map (--map FILE.toml), trial = "..."; the others are '
        f"{shown(name for name in source.columns if name != found.epoch)}"
    )


def _of_rows(name: str, rows: list[Row], found: Meaning) -> Run:
    run = Run(name, rows[0].place, rows=rows)
    if found.state:
        told = [str(r.values.get(found.state) or "").strip() for r in rows]
        last = next((text for text in reversed(told) if text), "")
        if last and last.lower() not in STATES:
            raise UserError(
                f"{rows[-1].place}, column {found.state}: {last!r} is no end of a run that is "
                f'known: {", ".join(STATES)}; mend it, or say state = "" in the map'
            )
        run.state = STATES.get(last.lower(), "")
    if found.seconds:
        times = [number_of(r.place, found.seconds, r.values.get(found.seconds)) for r in rows]
        took = [t for t in times if t is not None and t >= 0]
        run.seconds = max(took, default=None)
    return run


def spread(source: Source, runs: Sequence[Run], found: Meaning) -> dict[str, set[Any]]:
    """Column -> its values, of columns with one a run; they become settings of the runs.

    Raises:
        UserError: a column that is named a setting has two in a run.
    """
    needed = {
        *(found.given.cells or ()), *(found.given.space or ()), found.seed, found.stage
    } - {"", *found.given.fixed}  # fmt: skip
    needed |= {n for n in source.columns if base(n) in CELLS and n not in found.given.leave_out}
    numbers = {found.trial, found.epoch, *found.curves, *found.tests}
    values: dict[str, set[Any]] = {}
    for column in source.columns:
        if column in numbers - needed:
            continue
        if held := _of_column(runs, column, column in needed):
            values[column] = held
        elif found.epoch and not found.rate and base(column) in RATES and _has(runs, column):
            found.rate = column
            found.guesses.append(f"learning rate of each epoch = {column!r}")
            values |= _greatest(runs, found)
    for run in runs:
        run.settings.update({k: v for k, v in found.given.fixed.items() if k not in run.settings})
    values.update({key: {value} for key, value in found.given.fixed.items()})
    return values


def _greatest(runs: Sequence[Run], found: Meaning) -> dict[str, set[Any]]:
    """The greatest rate of each run, by the rates' column, where they differ: a setting, then.

    Runs of two schedules would count as seeds of one config otherwise.
    """
    column, told = found.rate, list[dict[int, float]]()
    for run in runs:
        rates = [number_of(r.place, column, r.values.get(column)) for r in run.rows]
        told.append({at: rate for at, rate in enumerate(rates) if rate is not None})
    most = [max(rates.values(), default=None) for rates in told]
    if len(set(most)) > 1:
        for run, rate in zip(runs, most, strict=True):
            run.settings[column] = rate
        found.guesses.append(f"{column!r} of a run = the greatest of its epochs")
        return {column: {rate for rate in most if rate is not None}}
    if any(held[at] != told[0].get(at, held[at]) for held in told for at in held):
        found.guesses.append(
            f"runs whose {column!r} differs by epoch, though not in the greatest, are alike; name "
            "a column that says their schedule, if that is compared"
        )
    return {}


def _has(runs: Sequence[Run], column: str) -> bool:
    """Whether a column of rows has a value in any."""
    return any(plain(row.values.get(column)) is not None for run in runs for row in run.rows)


def _of_column(runs: Sequence[Run], column: str, needed: bool) -> set[Any]:
    """The values of a column, each of a run; none where a run has two and it is not needed."""
    held: list[Any] = []
    for run in runs:
        if column in run.settings:
            own = {repr(plain(run.settings[column])): (plain(run.settings[column]), run.place)}
        else:
            own = {
                repr(value): (value, row.place)
                for row in run.rows
                if (value := plain(row.values.get(column))) is not None
            }
        if len(own) > 1 and needed:
            (one, first), (other, second) = list(own.values())[:2]
            raise UserError(
                f"{second}, column {column}: {other!r} is another than {one!r} in {first}, of the "
                f"same run {run.name}; a setting is one a run"
            )
        if len(own) > 1:
            return set()
        held.append(next(iter(own.values()))[0] if own else None)
    for run, value in zip(runs, held, strict=True):
        run.settings[column] = value
    return {value for value in held if value is not None}


def trials_of(
    source: Source, curves: Sequence[Curve], found: Meaning, budget: int
) -> tuple[list[Trial], list[str]]:
    """Runs in their places, without those that no place can be found for, and what is to be told.

    Raises:
        UserError: two runs have the same place, or one lacks a setting.
    """
    said, trials, lost = list[str](), list[Trial](), Counter[str]()
    for curve in curves:
        if why := _unplaced(source, curve, found):
            lost[why] += 1
            continue
        trials.append(_trial(curve, found, budget))
    said += [f"{count(number, 'run')} left out: {why}" for why, number in lost.items()]
    if not trials:
        raise UserError(f"{source.file}: holds no run that can be taken; {'; '.join(said)}")
    trials, again = _once(source, trials, found)
    if again:
        said.append(f"{count(again, 'failed run')} left out: the same was run again")
    early = [t for t in trials if t.status == "stopped" and t.curve.run.state == "complete"]
    if early:
        said.append(
            f"{count(early, 'run')} called complete there with fewer epochs than {budget}, "
            "those of the longest (or `epochs`): counted as stopped, and for no table a "
            'result; where each has its own length, say epoch = "" and each stands as one'
        )
    if going := sum(t.curve.run.state == "open" for t in trials):
        said.append(f"{count(going, 'run')} not over when exported: taken as it stood then")
    return trials, said


def _unplaced(source: Source, curve: Curve, found: Meaning) -> str:
    """Why a run is left out; "" where it is not."""
    run, failed = curve.run, curve.run.state == "failed"
    lacking = [name for name in found.settings if run.settings.get(name) is None]
    if lacking and (failed or not curve.values):
        return f"{run.state or 'no value'}, and without {', '.join(lacking)}"
    if lacking:
        raise UserError(
            f"{run.place}: run {run.name} has no {lacking[0]}, which others have; give it one, or "
            f"leave the column out of cells and space (leave_out) if it changes nothing"
        )
    if not failed and not curve.diverged and not curve.mains(found.curves[found.metric]):
        return f"no value of {found.metric}"
    return ""


def _trial(curve: Curve, found: Meaning, budget: int) -> Trial:
    run = curve.run
    cell = {found.key(c): _whole(plain(run.settings[c])) for c in found.cells}
    config = {found.key(c): plain(run.settings[c]) for c in found.space}
    seed = plain(run.settings.get(found.seed)) if found.seed else None
    if isinstance(seed, float) and seed == int(seed):
        seed = int(seed)
    if seed is not None and (isinstance(seed, bool | float | str) or not 0 <= seed < 2**63):
        raise UserError(
            f"{run.place}, column {found.seed}: {seed!r} must be a whole number from 0 on"
        )
    stage = str(plain(run.settings.get(found.stage)) or "") if found.stage else ""
    if found.stage and stage not in ("search", "confirm"):
        raise UserError(
            f"{run.place}, column {found.stage}: {stage!r} must be search or confirm; mend it, or "
            'say stage = "" in the map'
        )
    if curve.diverged:
        status = "diverged"
    elif run.state == "failed":
        status = "failed"
    else:
        status = "completed" if curve.epochs >= budget else "stopped"
    return Trial(curve, cell, config, seed, stage, status)


def _whole(value: Any) -> Any:
    """18.0 as 18: a frame with a gap writes whole numbers so."""
    return int(value) if isinstance(value, float) and value == int(value) else value


def _once(source: Source, trials: list[Trial], found: Meaning) -> tuple[list[Trial], int]:
    """One trial a config, seed and stage; failed ones that were run again are left out."""
    held: dict[tuple[Any, ...], list[Trial]] = {}
    for trial in trials:
        held.setdefault((repr(trial.key), trial.seed, trial.stage), []).append(trial)
    again: set[int] = set()
    for alike in held.values():
        if alike[0].seed is None and found.given.repeats_are_seeds:
            for number, trial in enumerate(alike):
                trial.repeat = number
            continue
        rest = [t for t in alike if t.status != "failed"] or alike[-1:]
        if len(rest) > 1:
            raise UserError(_twice(source, rest[0], rest[1], found))
        again |= {id(t) for t in alike if t not in rest}
    return [t for t in trials if id(t) not in again], len(again)


def _twice(source: Source, one: Trial, other: Trial, found: Meaning) -> str:
    a, b = one.curve.run, other.curve.run
    differ = [
        c
        for c in source.columns
        if c not in (found.trial, found.seconds, found.state)
        and c in a.settings
        and plain(a.settings[c]) != plain(b.settings.get(c))
    ]
    same = {**one.cell, **one.config, **({found.seed: one.seed} if found.seed else {})}
    alike = ", ".join(f"{k} {v}" for k, v in same.items())
    where = f"they differ in {shown(differ)}: name what matters in cells or space, or seed"
    if not differ:
        where = "no column tells them apart: leave one out"
    if not found.seed:
        where += ", or say repeats_are_seeds = true if they differ in the seed alone"
    return f"{b.place}: run {b.name} is alike to run {a.name} ({a.place}) in {alike}; {where}"


def trial_name(trial: Trial, cell: int, taken: Collection[str]) -> str:
    """E.g. 00-820b3_00006: the cell, and the source's own name; once."""
    base = f"{cell:02d}-{re.sub(r'[^A-Za-z0-9._=-]+', '-', trial.curve.run.name)[:60]}"
    number = 2
    name = base
    while name in taken:
        name, number = f"{base}.{number}", number + 1
    return name
