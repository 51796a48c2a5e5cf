"""What a scheduler keeps of a study: trials, rungs, cells, and the queue of jobs to hand out."""

from __future__ import annotations

import heapq
from collections import deque
from typing import Literal

from search.spec.plan import Job, Stage

Key = tuple[float, int]  # (value with its sign so that less is better, config): ties by config


class Trial:
    """A config of a cell, or its winner at another seed."""

    __slots__ = ("cell", "config", "failures", "goal", "key", "name", "seed", "stage", "stopped")

    def __init__(self, name: str, cell: int, config: int) -> None:
        self.name, self.cell, self.config = name, cell, config
        self.stage: Stage = "search"
        self.seed: int | None = None
        self.goal = 0  # the rung it may train to
        self.key: Key | None = None  # its place at that rung, once there
        self.stopped = False
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
    """One cell: its trials, its rungs, and how far its search is."""

    __slots__ = ("complete", "early", "epochs", "number", "rungs", "searched", "size", "trials")

    def __init__(self, number: int, size: float, count: int) -> None:
        self.number, self.size = number, size
        self.trials: list[Trial] = []  # of the search, by config
        self.rungs = [Rung() for _ in range(count)]
        self.epochs = 0  # handed out, to serve cells evenly
        self.complete = 0  # rungs that are complete and decided, from the bottom
        self.searched = False
        self.early: tuple[int, Trial] | Literal["unknown"] | None = "unknown"


class Queue:
    """Jobs to hand out: longest first, then large trials, then the cell given fewest epochs."""

    def __init__(self, cells: list[Cell]) -> None:
        self._cells = cells
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
            cell = self._cells[job.cell]
            heapq.heappush(self._heap, (-length, -cell.size, cell.epochs, cell.number))
        held.append(job)

    def of(self, cell: int) -> list[Job]:
        """Jobs of a cell that wait here."""
        return [job for (_, number), held in self._jobs.items() if number == cell for job in held]

    def pop(self) -> Job:
        """Take the first job out."""
        while True:
            length, size, epochs, number = self._heap[0]
            given = self._cells[number].epochs
            if given == epochs:
                break
            heapq.heapreplace(self._heap, (length, size, given, number))
        held = self._jobs[length, number]
        job = held.popleft()
        if not held:
            heapq.heappop(self._heap)
        return job
