"""What is kept of a search: trials, the rungs of a cell, decisions, and jobs in order."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from search.spec.plan import Job, Plan, Stage

Key = tuple[float, int]  # (value with its sign so that less is better, config): ties by config


class Decision(NamedTuple):
    """What was decided of a trial, or of a whole cell.

    Attributes:
        trial: its name; None where the cell itself is meant ("short", "empty").
        cell: its number.
        epoch: where the trial stood.
        value: the metric there, if it has one.
        rank: its place among the n trials of its rung, from 1; None where it has none.
        n: see `rank`.
        goes_on: how many of the n may go on; only of a trial stopped at a complete rung.
        verdict: e.g. promote, stop, select.
        rule: name and version of the rule that decided.
    """

    trial: str | None
    cell: int
    epoch: int
    value: float | None
    rank: int | None
    n: int | None
    goes_on: int | None
    verdict: str
    rule: str


@dataclass
class Moves:
    """What follows from one outcome: decisions in order, and the jobs they make ready."""

    decisions: list[Decision] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)


class Trial:
    """A config of a cell, or its winner at another seed."""

    __slots__ = (
        *("cell", "collapsed", "config", "failures", "goal", "key", "name", "seed", "stage"),
        "stopped",
    )

    def __init__(self, name: str, cell: int, config: int) -> None:
        self.name, self.cell, self.config = name, cell, config
        self.stage: Stage = "search"
        self.seed: int | None = None
        self.goal = 0  # the rung it may train to
        self.key: Key | None = None  # its place at that rung, once there
        self.stopped = False
        self.collapsed = False  # its predictions hardly differ, where it last stood
        self.failures = 0


class Rung:
    """The trials of a cell at one rung."""

    __slots__ = ("alive", "at", "coming", "gone", "waiting")

    def __init__(self) -> None:
        self.at: list[Key] = []  # all that arrived, best first
        self.waiting: list[Key] = []  # heap of those, the ones promoted since not yet taken out
        self.coming = 0  # on their way here
        self.gone = 0  # promoted from here
        self.alive = 0  # of those, not lost since


class Cell:
    """The trials and rungs of one cell; which of them go on is for a rule to say.

    Args:
        number: of the cell.
        plan: the budget.
        rule: name of the rule, for its decisions.
    """

    def __init__(self, number: int, plan: Plan, rule: str) -> None:
        self.number, self.plan, self.rule = number, plan, rule
        self.trials: list[Trial] = []  # of the search, by config
        self.rungs = [Rung() for _ in plan.rungs]
        self.searched = not plan.trials_per_cell
        self.last = len(plan.rungs) - 1
        self._sign = -1.0 if plan.mode == "max" else 1.0

    @property
    def all_started(self) -> bool:
        """Whether every config of the plan has been started."""
        return len(self.trials) == self.plan.trials_per_cell

    def any_coming(self) -> bool:
        """Whether any trial is on its way to a rung."""
        return any(rung.coming for rung in self.rungs)

    def value(self, key: Key) -> float:
        """The metric behind a key."""
        return self._sign * key[0]

    def start(self) -> Trial:
        """A new trial, on its way to the first rung."""
        config = len(self.trials)
        trial = Trial(f"{self.number:02d}-{config:03d}", self.number, config)
        self.trials.append(trial)
        self.rungs[0].coming += 1
        return trial

    def job(self, trial: Trial) -> Job:
        """The way of a search trial to its goal."""
        steps, goal = self.plan.rungs, trial.goal
        since = steps[goal - 1] if goal else 0
        return Job(
            trial.name, "search", self.number, trial.config, None, since, steps[goal], False
        )

    def enter(self, trial: Trial, value: float) -> None:
        """The trial has reached its rung with this value."""
        rung = self.rungs[trial.goal]
        rung.coming -= 1
        trial.key = (self._sign * value, trial.config)
        insort(rung.at, trial.key)
        heapq.heappush(rung.waiting, trial.key)

    def lose(self, trial: Trial) -> None:
        """The trial will not reach its rung: out of the rungs below, too."""
        self.rungs[trial.goal].coming -= 1
        for rung in self.rungs[: trial.goal]:
            rung.alive -= 1

    def reopen(self, trial: Trial) -> None:
        """A lost trial is on its way to its goal again: the contrary of `lose`."""
        for rung in self.rungs[: trial.goal]:
            rung.alive += 1
        self.rungs[trial.goal].coming += 1
        self.searched = False

    def advance(self, trial: Trial, verdict: str, moves: Moves, rank: int | None = None) -> Job:
        """Send a trial on from its rung; its rank is counted where it is not given."""
        rung, epoch = self.rungs[trial.goal], self.plan.rungs[trial.goal]
        if rank is None:
            self.note(moves, trial, epoch, verdict)
        else:
            value = self.value(rung.at[rank - 1])
            self.write(moves, trial, epoch, verdict, value, rank, len(rung.at))
        trial.stopped, trial.key = False, None
        trial.goal += 1
        rung.gone += 1
        rung.alive += 1
        self.rungs[trial.goal].coming += 1
        return self.job(trial)

    def finish(self, moves: Moves) -> None:
        """The search is over: which trials are complete, and whether they are enough."""
        self.searched = True
        full, epoch = self.rungs[self.last].at, self.plan.rungs[-1]
        for place, key in enumerate(full):
            trial = self.trials[key[1]]
            self.write(moves, trial, epoch, "complete", self.value(key), place + 1, len(full))
        if not full:
            self.write(moves, None, epoch, "empty", None, None, 0)
        elif len(full) < self.plan.full_per_cell:
            self.write(moves, None, epoch, "short", None, None, len(full))

    def winner(self) -> Trial | None:
        """The best of the complete trials, if there is one."""
        full = self.rungs[self.last].at
        return self.trials[full[0][1]] if full else None

    def ended(self) -> list[Trial]:
        """Trials that a rule has stopped at their rung, those that came furthest first."""
        return [
            trial
            for number in reversed(range(self.last))
            for key in self.rungs[number].at
            if (trial := self.trials[key[1]]).stopped and trial.goal == number
        ]

    def note(
        self,
        moves: Moves,
        trial: Trial,
        epoch: int,
        verdict: str,
        value: float | None = None,
    ) -> None:
        """A decision on one trial, with its rank among its rung's n so far."""
        rank = n = None
        if trial.key is not None and value is None:
            at = self.rungs[trial.goal].at
            rank, n, value = bisect_left(at, trial.key) + 1, len(at), self.value(trial.key)
        self.write(moves, trial, epoch, verdict, value, rank, n)

    def write(
        self,
        moves: Moves,
        trial: Trial | None,
        epoch: int,
        verdict: str,
        value: float | None,
        rank: int | None,
        n: int | None,
        goes_on: int | None = None,
    ) -> None:
        """A decision with everything given; None as the trial speaks of the cell."""
        name = trial.name if trial else None
        moves.decisions.append(
            Decision(name, self.number, epoch, value, rank, n, goes_on, verdict, self.rule)
        )


class Queue:
    """Jobs to hand out: longest first, then large trials, then the cell given fewest epochs.

    Args:
        sizes: `(cells,)`, share of the machine that a trial of each cell takes.
        given: `(cells,)`, epochs handed out so far; the owner of the queue counts them up.
    """

    def __init__(self, sizes: Sequence[float], given: Sequence[int]) -> None:
        self._sizes, self._given = sizes, given
        # one entry for all jobs of a cell and length; what a cell has been given only grows, so
        # an entry is put right when it comes up
        self._heap: list[tuple[int, float, int, int]] = []
        self._jobs: dict[tuple[int, int], deque[Job]] = {}

    def __bool__(self) -> bool:
        """Whether a job waits."""
        return bool(self._heap)

    def push(self, length: int, job: Job) -> None:
        """Add a job of so many epochs."""
        held = self._jobs.setdefault((-length, job.cell), deque())
        if not held:
            place = (-length, -self._sizes[job.cell], self._given[job.cell], job.cell)
            heapq.heappush(self._heap, place)
        held.append(job)

    def of(self, cell: int) -> list[Job]:
        """Jobs of a cell that wait here."""
        return [job for (_, number), held in self._jobs.items() if number == cell for job in held]

    def by_cell(self) -> Counter[int]:
        """Number of a cell -> jobs of it that wait here."""
        found = Counter[int]()
        for (_, cell), held in self._jobs.items():
            found[cell] += len(held)
        return found

    def take(self, alike: Callable[[Job], bool], cell: int) -> Job | None:
        """Take the first job of a cell out that is as told; None where none is."""
        for place, held in self._jobs.items():
            job = next(filter(alike, held), None) if place[1] == cell else None
            if job is None:
                continue
            held.remove(job)
            if not held:
                self._heap = [entry for entry in self._heap if (entry[0], entry[3]) != place]
                heapq.heapify(self._heap)
            return job
        return None

    def pop(self) -> Job:
        """Take the first job out."""
        while True:
            length, size, epochs, number = self._heap[0]
            given = self._given[number]
            if given == epochs:
                break
            heapq.heapreplace(self._heap, (length, size, given, number))
        held = self._jobs[length, number]
        job = held.popleft()
        if not held:
            heapq.heappop(self._heap)
        return job
