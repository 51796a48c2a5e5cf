"""One cell's search: which of its trials go on. Pure: no Ray, no clock, no files.

The rule of this tool is promotion ASHA with rungs of each cell's own, after Li et al. 2020 (arXiv
1810.05934): a trial leaves its worker at a rung, and the best of its cell come back. When a rung
is complete, max(full_per_cell, floor(n/eta)) of its n trials go on and the others end. Of these
one that has collapsed ends too where full_per_cell better ones go on; never for the sake of a
worse one, which may have exploded. `rules.py` has other objects of the same form.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from typing import Literal, Protocol

from search.schedule.cell_state import Cell, Moves, Trial


class CellSearch(Protocol):
    """What a scheduler asks of a rule, for one cell."""

    cell: Cell

    def arrive(self, trial: Trial, value: float | None, moves: Moves) -> None:
        """A trial has reached its goal with this value, or (None) never will.

        Appends to `moves` what is decided by it; `cell.finish` is called when the search is over.
        """

    def early(self) -> Trial | None:
        """The trial that may go on though its rung is incomplete, if any."""

    def reopen(self, trial: Trial) -> None:
        """A lost trial is on its way to its goal again; its rungs are decided anew."""


class CellPromote:
    """Cell-wise promotion ASHA.

    Args:
        cell: new, of this object alone.
    """

    rule = "cell-promote/4"

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._complete = 0  # rungs that are complete and decided, from the bottom
        # a walk over the rungs: kept until something arrives, or that trial goes on
        self._early: Trial | Literal["unknown"] | None = "unknown"
        self._early_goal = 0

    def arrive(self, trial: Trial, value: float | None, moves: Moves) -> None:
        """See CellSearch."""
        self._early = "unknown"
        if value is None:
            self.cell.lose(trial)
            self._replace(trial.goal, moves)
        else:
            self.cell.enter(trial, value)
        self._settle(moves)

    def early(self) -> Trial | None:
        """The best of the floor(m/eta) best of the m trials seen at a rung, if still there.

        At most floor(m/eta) of m are promoted before the rung is complete, so a stream of ever
        better arrivals cannot take the whole cell along.
        """
        if self._early == "unknown" or (self._early and self._early.goal != self._early_goal):
            self._early = None if self.cell.searched else self._find_early()
            self._early_goal = self._early.goal if self._early else 0
        return self._early

    def reopen(self, trial: Trial) -> None:
        """See CellSearch."""
        self.cell.reopen(trial)
        self._complete = min(self._complete, trial.goal)
        self._early = "unknown"

    def _find_early(self) -> Trial | None:
        cell = self.cell
        for number in reversed(range(cell.last)):
            rung = cell.rungs[number]
            share = cell.plan.share(len(rung.at))
            if rung.gone >= share:
                continue
            while rung.waiting and _over(cell.trials[rung.waiting[0][1]], number):
                heapq.heappop(rung.waiting)
            if rung.waiting and bisect_left(rung.at, rung.waiting[0]) < share:
                return cell.trials[rung.waiting[0][1]]
        return None

    def _settle(self, moves: Moves) -> None:
        """Decide the rungs that are complete by now; after the last one the search is over."""
        cell = self.cell
        while self._complete <= cell.last:
            if not (self._complete or cell.all_started) or cell.rungs[self._complete].coming:
                return
            if self._complete < cell.last:
                self._decide(self._complete, moves)
            self._complete += 1
        cell.finish(moves)

    def _decide(self, number: int, moves: Moves) -> None:
        """Promote the best of a complete rung, end the others."""
        cell = self.cell
        rung, epoch = cell.rungs[number], cell.plan.rungs[number]
        n = len(rung.at)
        quota = cell.plan.quota(n)
        full, better = cell.plan.full_per_cell, 0  # those of a better rank that go on
        for place, key in enumerate(rung.at):
            trial = cell.trials[key[1]]
            if trial.goal > number:
                better += 1
                continue
            good = place < quota
            over = not good or (trial.collapsed and better >= full)
            if not over or rung.alive < full:
                better += 1
                verdict = "promote" if good else "replace"
                moves.jobs.append(cell.advance(trial, verdict, moves, place + 1))
            elif not trial.stopped:
                trial.stopped = True
                verdict = "collapsed" if good else "stop"
                cell.write(moves, trial, epoch, verdict, cell.value(key), place + 1, n, quota)

    def _replace(self, goal: int, moves: Moves) -> None:
        """After a loss on the way to `goal`; the rung that the next best comes to is open anew."""
        number = send_next_best(self.cell, min(goal, self._complete), moves)
        if number is not None:
            self._complete = number + 1


def _over(trial: Trial, number: int) -> bool:
    """Whether a trial that came to a rung is no candidate of an early promotion from it."""
    return trial.goal > number or trial.collapsed


def send_next_best(cell: Cell, below: int, moves: Moves) -> int | None:
    """Send the next best trial on, of the highest of the first `below` rungs that lacks one.

    Returns:
        That rung; None if every rung has full_per_cell trials alive above it, or none to send.
    """
    for number in reversed(range(below)):
        rung = cell.rungs[number]
        if rung.alive >= cell.plan.full_per_cell:
            continue
        for place, key in enumerate(rung.at):
            trial = cell.trials[key[1]]
            if trial.goal == number:
                moves.jobs.append(cell.advance(trial, "replace", moves, place + 1))
                return number
    return None
