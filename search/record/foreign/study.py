"""What an import says of all its runs: task, metrics, seeds, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search.record.foreign.map_file import Map
from search.record.foreign.mapping import Meaning
from search.record.foreign.names import known_mode
from search.record.foreign.runs import Source
from search.record.foreign.trials import Trial
from search.record.imported import UNKNOWN, ImportedStudy, tasks
from trainables.about import plain
from trainables.errors import UserError

RUNGS = 8  # of more lengths than these the full one alone is named


def about_of(source: Source, found: Meaning, trials: Sequence[Trial]) -> dict[str, Any]:
    """What is said of the task; of one that ships its own, which must have the metrics."""
    given, shipped = found.given, tasks()
    if given.task is not None and given.task in shipped:
        about = dict(shipped[given.task])
        metrics = about["metrics"]
        if found.quantity not in metrics or metrics[found.quantity]["mode"] != found.mode:
            has = ", ".join(f"{k} ({v['mode']})" for k, v in metrics.items())
            raise UserError(
                f"{source.file}: metric {found.metric} is {found.quantity} ({found.mode}), and "
                f"task {given.task} has {has}; leave task out, or name another metric"
            )
        for held in (found.curves, found.tests):
            for column, name in list(held.items()):
                if name.removeprefix("train_").removeprefix(f"{found.split}_") not in metrics:
                    del held[column]
                    found.left_out.append(column)
        return about
    names = [name.partition("_")[2] for name in found.curves.values()]
    watched = [n.partition("_")[2] for n in found.curves.values() if n.startswith(found.split)]
    modes = {n: given.modes.get(n) or known_mode(n) or "min" for n in names if n in watched}
    modes[found.quantity] = found.mode
    about = dict(plain(given.task or source.file, found.quantity, found.mode, modes))
    name = found.curves[found.metric]
    most = max((abs(v) for t in trials for v in t.curve.mains(name).values()), default=0.0)
    if most > 10:
        digits = 2 if most < 1000 else 1
        metrics = dict(about["metrics"])
        metrics[found.quantity] = {**metrics[found.quantity], "digits": digits}
        about["metrics"] = metrics
    return about


def study_of(
    source: Source,
    found: Meaning,
    about: dict[str, Any],
    trials: Sequence[Trial],
    cells: list[dict[str, Any]],
    budget: int,
    faults: Sequence[str],
) -> ImportedStudy:
    """What holds for all runs; `faults` is what was told of them, which is kept."""
    given = found.given
    ends = sorted({t.curve.epochs for t in trials if t.status == "stopped"})
    rungs = (*ends, budget) if len(ends) < RUNGS else (budget,)
    configs = [{repr(t.key) for t in trials if t.cell == cell} for cell in cells]
    task = given.task if given.task in tasks() else f"{source.kind}:{given.task or source.file}"
    seeds = _seeds(trials, cells, given)
    known = bool(seeds) and all(t.seed is not None for t in trials if t.stage == "confirm")
    return ImportedStudy(
        task=str(task),
        cells=cells,
        settings=_constants(source, found, trials),
        watched=found.split,
        origin={
            "file": source.file,
            "sha256": source.sha256,
            "kind": source.kind,
            "faults": list(faults),
            "guessed": list(found.guesses),
        },
        metric=found.quantity,
        metrics=_shown_metrics(found, about),
        about=None if given.task in tasks() else about,
        rows=tuple(found.curves.values()),
        space=tuple(found.key(column) for column in found.space),
        shown="test" if found.tests or found.split == "test" else "val",
        rule=given.rule,
        rungs=tuple(rungs),
        seeds=seeds,
        paired=given.paired,
        configs=max(len(held) for held in configs),
        unknown=(
            *(text for text in UNKNOWN if text != "seeds" or not known),
            *(["epochs: each run stands as one"] if not found.epoch else []),
        ),
    )


def _shown_metrics(found: Meaning, about: dict[str, Any]) -> tuple[str, ...]:
    """Those with a value on the split that is shown, in the task's order."""
    watched = f"{found.split}_"
    held = {n.removeprefix(watched) for n in found.curves.values() if n.startswith(watched)}
    if found.tests:
        held = set(found.tests.values())
    return tuple(name for name in about["metrics"] if name in held)


def _seeds(
    trials: Sequence[Trial], cells: Sequence[dict[str, Any]], given: Map
) -> tuple[int, ...]:
    """The seeds that each cell was to have: as the map counts them, else as the fullest has."""
    own = [[t for t in trials if t.cell == cell and t.stage == "confirm"] for cell in cells]
    most = max(own, key=len)
    if not most:
        return ()
    held = [t.repeat if t.seed is None else t.seed for t in most]
    if given.seeds is None:
        return tuple(sorted(held))
    new = (number for number in range(len(held) + given.seeds) if number not in held)
    return tuple([*held, *new][: given.seeds])


def _constants(source: Source, found: Meaning, trials: Sequence[Trial]) -> dict[str, Any]:
    """Settings that hold in every run."""
    skip = {*found.settings, found.seed, found.stage, found.state}
    held = dict(found.given.fixed)
    for key in trials[0].curve.run.settings:
        own = {repr(t.curve.run.settings.get(key)) for t in trials}
        value = trials[0].curve.run.settings.get(key)
        known = source.columns.get(key) == "setting" or key in found.constant
        if key not in skip and len(own) == 1 and known:
            held[key] = value if isinstance(value, bool | int | float | str) else str(value)
    return {key: value for key, value in held.items() if key not in found.settings}
