"""The cells of an import, and which runs of each are seeds of the config that it chose."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from search.record.foreign.mapping import Meaning
from search.record.foreign.runs import count
from search.record.foreign.trials import Trial


def cells_of(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """The cells that occur, sorted by each key where its values can be."""
    keys = list(trials[0].cell)
    ranks = [_ranks([t.cell[key] for t in trials]) for key in keys]
    found = {repr(t.cell): t.cell for t in trials}
    return sorted(
        found.values(),
        key=lambda cell: [rank[repr(cell[k])] for k, rank in zip(keys, ranks, strict=True)],
    )


def _ranks(values: Sequence[Any]) -> dict[str, int]:
    held = {repr(value): value for value in values}
    numbers = all(isinstance(v, bool | int | float) for v in held.values())
    order = sorted(held, key=lambda text: held[text]) if numbers else list(held)
    return {text: number for number, text in enumerate(order)}


def confirm(trials: Collection[Trial], found: Meaning, value: Mapping[int, float]) -> list[str]:
    """Say which runs of a cell its result is made of: seeds of the config that it chose.

    The config with most runs is taken for the one that was chosen, by what is watched among
    several; one run alone confirms nothing.

    Args:
        trials: of a cell; their stages are set.
        found: what columns are.
        value: id of a trial -> what is watched of it, for completed ones.

    Returns:
        What is to be told.
    """
    if any(t.stage for t in trials):
        return []
    configs: dict[str, list[Trial]] = {}
    for trial in trials:
        trial.stage = "search"
        configs.setdefault(repr(trial.key), []).append(trial)
    ended = {k: [t for t in held if t.status != "stopped"] for k, held in configs.items()}
    done = {k: [t for t in held if t.status == "completed"] for k, held in configs.items()}
    full = {k: held for k, held in done.items() if held}
    if not full:
        return []
    most = max(len(ended[k]) for k in full)  # as they were begun: a lost seed is told, not hidden
    sign = 1 if found.mode == "max" else -1
    means = {k: sign * sum(value[id(t)] for t in held) / len(held) for k, held in full.items()}
    chosen = max((k for k in full if len(ended[k]) == most), key=lambda k: means[k])
    own = ended[chosen]
    if len(own) < 2:
        return []
    for trial in own:
        trial.stage = "confirm"
    better = [k for k in full if means[k] > means[chosen]]
    cell = ", ".join(f"{k} {v}" for k, v in own[0].cell.items())
    return [
        f"{cell}: config {_config(full[k][0])} of {count(full[k], 'run')} is better by "
        f"{found.metric} than {_config(own[0])} of {len(done[chosen])}, which is shown for "
        "its seeds"
        for k in better
    ]


def _config(trial: Trial) -> str:
    return ", ".join(f"{k} {v}" for k, v in trial.config.items())
