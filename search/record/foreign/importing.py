"""From a source and a map to a run folder: the steps in order, and what is told of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.record.foreign import curves as numbers
from search.record.foreign.csv_files import read_csv, read_wandb
from search.record.foreign.curves import Curve, curves_of
from search.record.foreign.map_file import Map, read_map
from search.record.foreign.mapping import Meaning, meaning_of, shown, with_settings
from search.record.foreign.mlflow_store import read_mlflow
from search.record.foreign.optuna_storage import read_optuna
from search.record.foreign.ray_folder import read_ray
from search.record.foreign.runs import Source, count
from search.record.foreign.stages import cells_of, confirm
from search.record.foreign.study import about_of, study_of
from search.record.foreign.trials import (
    Trial,
    grouped,
    spread,
    trial_name,
    trials_of,
)
from search.record.imported import (
    ImportedRun,
    require_free,
    write_imported,
)
from trainables.errors import UserError

READERS: dict[str, Callable[[str, str], Source]] = {
    "ray": lambda source, study: read_ray(Path(source)),
    "optuna": read_optuna,
    "wandb-csv": lambda source, study: read_wandb(Path(source)),
    "mlflow": lambda source, study: read_mlflow(Path(source), study),
    "csv": lambda source, study: read_csv(Path(source)),
}
NAMES_STUDIES = ("optuna", "mlflow")


@dataclass(frozen=True)
class Import:
    """What was done.

    Attributes:
        run: the run folder.
        said: what was guessed, left out and found, a line each.
    """

    run: Path
    said: tuple[str, ...]


def import_runs(
    kind: str, source: str, out: Path, mapped: Path | None = None, study: str = ""
) -> Import:
    """Write a record of the runs that another tool has.

    Args:
        kind: of READERS.
        source: a file or folder, of Optuna a URL too.
        out: the run folder, which must be free.
        mapped: a map file; see `mapping.Map`.
        study: name of the Optuna study or MLflow experiment, where the source has several.

    Raises:
        UserError: source or map is at fault, or the folder is taken; nothing is written then.
        OSError: the system refuses it.
    """
    require_free(out)
    if study and kind not in NAMES_STUDIES:
        raise UserError(f"--study names one of {' and '.join(NAMES_STUDIES)}; leave it out")
    given = read_map(mapped)
    where = str(mapped) if mapped else "a map (--map FILE.toml)"
    held = READERS[kind](source, study)
    found = meaning_of(held, given, where)
    runs = grouped(held, found)
    values = spread(held, runs, found)
    with_settings(held, found, values, where)
    curves, said = curves_of(held, runs, found)
    budget = _budget(held, curves, given)
    trials, more = trials_of(held, curves, found, budget)
    if not found.cells:
        for trial in trials:
            trial.cell = {"study": out.name}
        found.guesses.append(f"one cell, study {out.name}: no column was taken for a cell")
    about = about_of(held, found, trials)
    cells = cells_of(trials)
    more += _stages(trials, cells, found)
    told = [*held.said, *said, *more]
    renamed = [f"{c} is {found.key(c)}" for c in found.settings if found.key(c) != c]
    if renamed:
        told.append(f"named otherwise here: {', '.join(renamed)}")
    vary = [name for name in found.left_out if len(values.get(name, ())) > 1]
    rest = [name for name in found.left_out if name not in vary]
    if vary:
        told.append(
            f"{count(vary, 'column')} left out though runs differ there: {shown(vary)}; what "
            "changes a result belongs in cells or space"
        )
    if rest:
        told.append(f"{count(rest, 'more column')} left out: {shown(rest)}")
    said = [f"guessed: {text}" for text in found.guesses] + [f"note: {text}" for text in told]
    form = study_of(held, found, about, trials, cells, budget, told)
    write_imported(out, form, _runs(trials, cells, found, budget))
    return Import(out, (*said, _counted(trials, cells)))


def _budget(source: Source, curves: Sequence[Curve], given: Map) -> int:
    longest = max((curve.epochs for curve in curves), default=0)
    if not longest:
        raise UserError(f"{source.file}: no run has a value; there is nothing to import")
    if given.epochs is not None and given.epochs < longest:
        run = next(c.run for c in curves if c.epochs == longest)
        raise UserError(
            f"{run.place}: run {run.name} has {longest} epochs, more than epochs = {given.epochs} "
            "of the map"
        )
    return given.epochs or longest


def _main_value(trial: Trial, found: Meaning) -> tuple[int, float]:
    """Epoch and value that count of a trial; 0 and 0 where it has none."""
    name = found.curves[found.metric]
    at = numbers.value_epoch(trial.curve, name, found.given.rule, found.mode)
    return at, trial.curve.values[at][name] if at else 0.0


def _stages(trials: Sequence[Trial], cells: Sequence[dict[str, Any]], found: Meaning) -> list[str]:
    said = []
    for cell in cells:
        own = [t for t in trials if t.cell == cell]
        value = {id(t): _main_value(t, found)[1] for t in own if t.status == "completed"}
        said += confirm(own, found, value)
    seeds = {repr(c): sum(t.cell == c and t.stage == "confirm" for t in trials) for c in cells}
    if alone := [c for c, n in seeds.items() if n < 2]:
        said.append(
            f"{len(alone)} of {count(cells, 'cell')} without two seeds of one config trained in "
            "full: their results are marked as imported, and compared with none"
        )
    if found.split == "test":
        said.append(
            "the metric is of test images: configs were chosen by the values that are shown"
            * bool(found.space)
            or "the metric is of test images"
        )
    elif not found.tests:
        said.append("no scores on test: validation values are shown, by which configs were chosen")
    return said


def _runs(
    trials: Sequence[Trial], cells: Sequence[dict[str, Any]], found: Meaning, budget: int
) -> list[ImportedRun]:
    made: dict[str, ImportedRun] = {}
    confirms = any(t.stage == "confirm" for t in trials)
    for number, cell in enumerate(cells):
        own = [t for t in trials if t.cell == cell]
        winner = None if confirms else _winner(own, found)
        for trial in own:
            name = trial_name(trial, number, made)
            made[name] = _run(trial, name, number, found, trial is winner)
    return list(made.values())


def _winner(trials: Sequence[Trial], found: Meaning) -> Trial | None:
    """Of a cell without seeds the run that it chose, by what is watched."""
    full = [t for t in trials if t.status == "completed"]
    sign = 1 if found.mode == "max" else -1
    return max(full, key=lambda t: sign * _main_value(t, found)[1], default=None)


def _run(trial: Trial, name: str, cell: int, found: Meaning, selected: bool) -> ImportedRun:
    curve, main = trial.curve, found.curves[found.metric]
    at, value = _main_value(trial, found)
    rows: list[dict[str, float | None]] = []
    for epoch in range(1, curve.epochs + 1):
        known = {*found.curves.values(), "lr"}
        held = {n: v for n, v in curve.values.get(epoch, {}).items() if n in known}
        rows.append({n: None if n == main and v != v else v for n, v in held.items()})
    test: dict[str, float] | None = None
    if trial.status == "completed" and (trial.stage == "confirm" or selected):
        test = numbers.test_scores(curve, at)
        if found.split == "test":
            test = {found.quantity: value}
            row = curve.values[at]
            test |= {n.partition("_")[2]: v for n, v in row.items() if n.startswith("test_")}
        test = {q: v for q, v in test.items() if v == v} or None
    return ImportedRun(
        name=name,
        cell=cell,
        rows=tuple(rows),
        config=trial.config,
        seed=trial.seed,
        stage=trial.stage,
        status=trial.status,
        value_epoch=at,
        test=test,
        selected=selected,
        revealed=tuple(sorted({e for own in curve.tests.values() for e in own})),
        seconds=curve.run.seconds,
        error=curve.run.error,
    )


def _counted(trials: Sequence[Trial], cells: Sequence[Any]) -> str:
    states = {
        s: sum(t.status == s for t in trials) for s in dict.fromkeys(t.status for t in trials)
    }
    seeds = sum(t.stage == "confirm" for t in trials)
    told = ", ".join(f"{n} {state}" for state, n in states.items())
    runs = f"{count(trials, 'run')} in {count(cells, 'cell')}"
    return f"{runs}: {told}; {seeds} of them seeds of a cell's result"
