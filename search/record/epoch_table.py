"""The log of epochs in columns: of each line its trial, its epoch, its number and its quantities.

A line as a table of Python takes twenty times the memory, and a log of a large study has millions.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Int = NDArray[np.int64]
Float = NDArray[np.float64]
Epochs = Mapping[str, Collection[int]]  # trial -> epochs that it has rows of
Pairs = set[tuple[str, int]]  # trial and epoch


@dataclass(frozen=True)
class EpochTable:
    """Lines of a log of epochs, in its order.

    Attributes:
        trials: names, in the order in which they first appear.
        trial: `(lines,)` number of each line's trial.
        epoch: `(lines,)`.
        line: `(lines,)` the number that it was written with; 0 where lines had none.
        names: quantities.
        layouts: quantities of a line in its order, by their numbers.
        layout: `(lines,)` number of each line's layout.
        values: `(lines, names)`; NaN for null, and for what a line has not.
    """

    trials: Sequence[str]
    trial: Int
    epoch: Int
    line: Int
    names: Sequence[str]
    layouts: Sequence[Sequence[int]]
    layout: Int
    values: Float

    def __len__(self) -> int:
        """Lines."""
        return len(self.trial)

    @cached_property
    def _keys(self) -> tuple[Int, int]:
        """`(lines,)` number of each line's trial and epoch as a pair, and how many pairs are."""
        at, epochs = pd.factorize(self.epoch)
        codes, pairs = pd.factorize(self.trial * max(len(epochs), 1) + at)
        return codes.astype("int64"), len(pairs)

    @cached_property
    def latest(self) -> Int:
        """Lines that count, of a repeated epoch the later; trial by trial, as these first appear.

        Within a trial an epoch stands where it first appeared.
        """
        codes, pairs = self._keys
        last = np.arange(len(self), dtype="int64")
        if pairs < len(self):
            last = np.empty(pairs, dtype="int64")
            last[codes] = np.arange(len(self))  # the last of equal places stays
        return last[np.argsort(self.trial[last], kind="stable")]

    @cached_property
    def _bounds(self) -> Int:
        """Where each trial begins in `latest`, and its end."""
        return np.searchsorted(self.trial[self.latest], np.arange(len(self.trials) + 1))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.trials)}

    @cached_property
    def epochs(self) -> dict[str, list[int]]:
        """Trial -> epochs that it has rows of."""
        held, bounds = self.epoch[self.latest].tolist(), self._bounds.tolist()
        return {name: held[bounds[n] : bounds[n + 1]] for n, name in enumerate(self.trials)}

    def rows_of(self, trial: str) -> tuple[Int, Float] | None:
        """Epochs of a trial in order, and their rows of `values`; None for one that has none."""
        if (number := self._numbers.get(trial)) is None:
            return None
        rows = self.latest[self._bounds[number] : self._bounds[number + 1]]
        rows = rows[np.argsort(self.epoch[rows], kind="stable")]
        return self.epoch[rows], self.values[rows]

    def said_of(self, pairs: Collection[tuple[str, int]]) -> dict[tuple[str, int], Any]:
        """Trial and epoch -> the quantities of every line on it, in order."""
        wanted = self.trial[:0] if not pairs else self._of({trial for trial, _ in pairs})
        found: dict[tuple[str, int], list[dict[str, float]]] = {pair: [] for pair in pairs}
        for at in wanted.tolist():
            pair = (self.trials[self.trial[at]], int(self.epoch[at]))
            if pair in found:
                held = self.layouts[self.layout[at]]
                found[pair].append({self.names[n]: float(self.values[at, n]) for n in held})
        return found

    def _of(self, trials: Collection[str]) -> Int:
        """Lines of some trials."""
        numbers = [self._numbers[trial] for trial in trials if trial in self._numbers]
        return np.flatnonzero(np.isin(self.trial, numbers))

    def points(self) -> tuple[Int, NDArray[np.int32], Float]:
        """Of each line that counts how many quantities it has, and their numbers and values."""
        rows, kind = self.latest, np.min_scalar_type(-len(self.names) - 1)
        layouts = self.layout[rows]
        used = [n for n in range(len(self.layouts)) if len(self.layouts) == 1 or n in layouts]
        if len(used) == 1:
            held = np.asarray(self.layouts[used[0]], dtype=kind)
            whole = held.tolist() == list(range(len(self.names)))
            values = self.values[rows] if whole else self.values[np.ix_(rows, held)]
            counts = np.full(len(rows), len(held))
            return counts, np.tile(held, len(rows)), values.reshape(-1)
        counts = np.array([len(held) for held in self.layouts], dtype="int64")[layouts]
        first = np.cumsum(counts) - counts
        codes = np.empty(int(counts.sum()), dtype=kind)
        found = np.empty(len(codes), dtype="float64")
        for number in used:
            held = np.asarray(self.layouts[number], dtype=kind)
            of = np.flatnonzero(layouts == number)
            places = first[of][:, None] + np.arange(len(held))
            codes[places], found[places] = held, self.values[np.ix_(rows[of], held)]
        return counts, codes, found


def pairs_in(lines: Iterable[Mapping[str, Any]]) -> Pairs:
    """Trial and epoch of lines that are tables."""
    return {(line["trial"], line["row"]["epoch"]) for line in lines}


def table_of(lines: Iterable[Mapping[str, Any]]) -> EpochTable:
    """Lines that are tables, in columns."""
    trials: dict[str, int] = {}
    names: dict[str, int] = {}
    layouts: dict[tuple[str, ...], int] = {}
    trial, epoch, number, layout = (array("q") for _ in range(4))
    values = array("d")
    for line in lines:
        row = line["row"]
        keys = tuple(name for name in row if name != "epoch")
        for name in keys:
            names.setdefault(name, len(names))
        trial.append(trials.setdefault(line["trial"], len(trials)))
        epoch.append(row["epoch"])
        number.append(line.get("line", 0))
        layout.append(layouts.setdefault(keys, len(layouts)))
        values.extend([math.nan if row[name] is None else row[name] for name in keys])
    held = [[names[name] for name in keys] for keys in layouts]
    columns = [np.asarray(column, dtype="int64") for column in (trial, epoch, number, layout)]
    wide = _wide(np.asarray(values, dtype="float64"), columns[3], held, len(names))
    return EpochTable(
        list(trials), columns[0], columns[1], columns[2], list(names), held, columns[3], wide
    )


def _wide(values: Float, layout: Int, layouts: Sequence[Sequence[int]], names: int) -> Float:
    """Values one after another as a row a line."""
    counts = np.array([len(held) for held in layouts], dtype="int64")[layout]
    first = np.cumsum(counts) - counts
    found = np.full((len(layout), names), np.nan)
    for number, held in enumerate(layouts):
        of = np.flatnonzero(layout == number)
        if len(held):
            found[np.ix_(of, np.asarray(held))] = values[first[of][:, None] + np.arange(len(held))]
    return found


def joined(parts: Sequence[EpochTable], places: Sequence[Int]) -> EpochTable:
    """One table of several.

    Args:
        parts: the tables.
        places: `(lines,)` of each, where its lines stand in the whole.
    """
    order = _order(np.concatenate(places))
    trials = list(dict.fromkeys(name for part in parts for name in part.trials))
    names = list(dict.fromkeys(name for part in parts for name in part.names))
    numbers = {name: number for number, name in enumerate(trials)}
    columns = {name: number for number, name in enumerate(names)}
    layouts: dict[tuple[int, ...], int] = {}
    trial, layout, values = list[Int](), list[Int](), list[Float]()
    for part in parts:
        own = [tuple(columns[part.names[n]] for n in held) for held in part.layouts]
        said = [layouts.setdefault(held, len(layouts)) for held in own]
        trial.append(np.array([numbers[name] for name in part.trials], dtype="int64")[part.trial])
        layout.append(np.array(said, dtype="int64")[part.layout])
        values.append(_spread(part, columns))
    codes, firsts = pd.factorize(np.concatenate(trial)[order])
    return EpochTable(
        [trials[n] for n in firsts],
        codes.astype("int64"),
        np.concatenate([part.epoch for part in parts])[order],
        np.concatenate([part.line for part in parts])[order],
        names,
        list(layouts),
        np.concatenate(layout)[order],
        _in_order(values, order),
    )


def _spread(part: EpochTable, columns: Mapping[str, int]) -> Float:
    """A part's values in the columns of the whole."""
    places = [columns[name] for name in part.names]
    if places == list(range(len(columns))):
        return part.values
    found = np.full((len(part), len(columns)), np.nan)
    found[:, places] = part.values
    return found


def _order(places: Int) -> Int | slice:
    """What puts lines in order; a slice, which copies nothing, where they are."""
    if (places[1:] > places[:-1]).all():
        return slice(None)
    return np.argsort(places, kind="stable")


def _in_order(values: list[Float], order: Int | slice) -> Float:
    whole = np.concatenate(values)
    values.clear()  # a large log's are most of the memory
    return whole[order]


def repeats(table: EpochTable) -> dict[str, tuple[int, float]]:
    """Trial -> epochs that were trained again after an interruption, and the seconds so lost.

    A row that is only reported again is the same to the last digit of its time. Trials of which
    nothing was are left out.
    """
    codes, pairs = table._keys
    if pairs == len(table):
        return {}
    again = np.flatnonzero(np.bincount(codes, minlength=pairs)[codes] > 1)
    place = list(table.names).index("seconds") if "seconds" in table.names else None
    held: dict[int, tuple[str, list[float | None]]] = {}
    for at in again.tolist():
        value = math.nan if place is None else float(table.values[at, place])
        seconds = None if math.isnan(value) else value
        times = held.setdefault(int(codes[at]), (table.trials[table.trial[at]], []))[1]
        if seconds not in times:
            times.append(seconds)
    lost: dict[str, tuple[int, float]] = {}
    for trial, times in (pair for pair in held.values() if len(pair[1]) > 1):
        count, so_far = lost.get(trial, (0, 0.0))
        lost[trial] = (count + len(times) - 1, so_far + sum(t or 0.0 for t in times[:-1]))
    return lost
