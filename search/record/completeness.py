"""What a study still lacks of what it was asked for: decided here, told by every output."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from search.record.counts import counts, searched
from search.record.epoch_table import Epochs, Pairs

if TYPE_CHECKING:
    from search.record.read import Record

NAMED = 5  # trials that a note names
UNSCORED = "its scoring on test failed"  # how the reason of such a trial ends
LOST = "its job was lost"  # how that of one begins which nodes, processes or networks have ended
OPEN = ("running", "paused")


@dataclass(frozen=True)
class Missing:
    """What is not there.

    Attributes:
        cells: numbers of the cells that lack a test score of a seed (or of the winner, where there
            are no seeds), or trials trained in full that were promised.
        open: trials that run or wait, as last written.
        lost: rows of trials that failed or diverged, or whose scoring on test failed.
    """

    cells: tuple[int, ...]
    open: int
    lost: pd.DataFrame

    @property
    def anything(self) -> bool:
        """Whether a cell lacks something, or a trial is on its way."""
        return bool(self.cells or self.open)


def missing(held: Record) -> Missing:
    """What a record lacks."""
    trials = held.trials
    said = held.decisions[held.decisions["verdict"].isin(["short", "empty", "select"])]
    ends = said.groupby("cell")["verdict"].agg(list)  # an empty cell that was tried again has all
    short = {n for n, told in ends.items() if told[-1] == "empty" or "short" in told}
    seeds = {number: each.seeds for number, each in counts(held).items()}
    unscored = trials["reason"].str.endswith(UNSCORED).fillna(False)
    return Missing(
        cells=tuple(
            n
            for n, held_seeds in seeds.items()
            if held_seeds.complete < held_seeds.planned or n in short
        ),
        open=int(trials["status"].isin(OPEN).sum()),
        lost=trials[trials["status"].isin(["failed", "diverged"]) | unscored],
    )


@dataclass(frozen=True)
class Choice:
    """A cell that chooses among fewer configs than it was to.

    A config that diverged is none of those that are missing: it had its chance.

    Attributes:
        planned: configs that the study asks for.
        failed: trials that failed for good by their own fault.
        lost: trials that a node, a process or a network has ended once too often.
        made: whether the choice has been made; then it stands, and `--retry-failed` leaves it.
    """

    planned: int
    failed: tuple[str, ...]
    lost: tuple[str, ...]
    made: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The trials that are missing."""
        return (*self.failed, *self.lost)

    @property
    def words(self) -> str:
        """E.g. "chosen among 3 of 4 configs: 1 failed"."""
        left = self.planned - len(self.failed) - len(self.lost)
        counts = ((len(self.failed), "failed"), (len(self.lost), "lost"))
        why = ", ".join(f"{n} {what}" for n, what in counts if n)
        verb = "chosen" if self.made else "choosing"
        return f"{verb} among {left} of {self.planned} configs: {why}"


def short_choices(held: Record) -> dict[int, Choice]:
    """Cells that choose among fewer configs than planned, as far as there is a choice left."""
    study, trials = held.study, held.trials
    planned = {number: each.configs.planned for number, each in counts(held).items()}
    made = set(held.decisions.loc[held.decisions["verdict"] == "select", "cell"])
    if "imported" in study:  # seeds of a config are one config, and its choice is made
        trials = searched(held).assign(stage="search")
        made = set(range(len(study["cells"])))
    gone = trials[(trials["stage"] == "search") & (trials["status"] == "failed")]
    found = {}
    for cell, rows in gone.groupby("cell"):
        by_node = rows["reason"].str.startswith(LOST).fillna(False)
        failed, lost = (tuple(rows.loc[at, "trial"]) for at in (~by_node, by_node))
        number = int(str(cell))
        if study["space_keys"] and len(rows) < planned[number]:
            found[number] = Choice(planned[number], failed, lost, number in made)
    return found


def pairs_of(rows: Epochs) -> Pairs:
    """Trial and epoch of each row."""
    return {(trial, epoch) for trial, epochs in rows.items() for epoch in epochs}


def epochs_of_curves(curves: pd.DataFrame) -> Epochs:
    """What a curves frame is of."""
    pairs = curves[["trial", "epoch"]].drop_duplicates()
    held: dict[str, list[int]] = {}
    for trial, epoch in zip(pairs["trial"].to_list(), pairs["epoch"].to_list(), strict=True):
        held.setdefault(trial, []).append(epoch)
    return held


def lacking_epochs(events: Iterable[Mapping[str, Any]], there: Epochs) -> Pairs:
    """Epochs that jobs told of as trained, and that have no row.

    A row is written before the tell of its job, so whatever else was interrupted, failed or
    trained again, a trial that was told of at an epoch has the rows up to it.

    Args:
        events: of the journal.
        there: epochs that have a row.
    """
    reached: dict[str, int] = {}
    for event in events:
        if event["event"] == "tell" and event["ending"] != "failed":
            reached[event["trial"]] = max(reached.get(event["trial"], 0), event["epoch"])
    return {
        (trial, epoch)
        for trial, most in reached.items()
        for epoch in {*range(1, most + 1)}.difference(there.get(trial, ()))
    }


def named(trials: Iterable[str]) -> str:
    """Trials in a note: the first few by name."""
    names = sorted(set(trials))
    more = len(names) - NAMED
    return "trials " + ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def epochs_in_words(count: int) -> str:
    """So many epochs."""
    return f"{count} epoch{'s' * (count != 1)}"


def gap_notes(lacking: Pairs, kept: Collection[tuple[str, int]], other: str = "") -> list[str]:
    """What is to be said of a log of epochs that is not whole.

    Args:
        lacking: rows that it should have.
        kept: of these, those that an earlier frame still holds.
        other: what is said where it lacks none; "" for nothing.
    """
    if not lacking:
        return [other] if other else []
    one = len(lacking) == 1
    said = (
        f"epochs.jsonl lacks {epochs_in_words(len(lacking))} that the journal or curves.parquet "
        f"says {'was' if one else 'were'} trained, of {named(trial for trial, _ in lacking)}; "
        "restore it from a copy"
    )
    if len(kept) == len(lacking):
        read = "It is" if one else "They are"
        return [f"{said}. {read} read out of curves.parquet, which has {'it' if one else 'them'}"]
    left = f"{len(lacking) - len(kept)} of them" if kept else "it" if one else "they"
    return [
        f"{said}. Until then {left} {'is' if left == 'it' else 'are'} missing in curves and in "
        "validation values of finished trials; test scores are the journal's, and whole"
    ]
