"""Which job next? Cell-wise promotion ASHA as a pure ask/tell class: no Ray, no clock, no files.

Rungs are kept per cell, after Li et al. 2020 (arXiv 1810.05934): a trial leaves its worker at a
rung, and the best of its cell come back. When a rung of a cell is complete, max(full_per_cell,
floor(n/eta)) of its n trials go on and the others end. Nothing is ever compared across cells. A
cell whose search is over goes on by itself to its confirmation runs.

`ask` is a function of the tells and asks before it alone, so replaying a journal gives the same
scheduler back.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

RULE = "cell-asha/1"

Stage = Literal["search", "confirm"]
Ending = Literal["value", "diverged", "failed"]


@dataclass(frozen=True)
class Plan:
    """The budget that a scheduler works to.

    Attributes:
        trials_per_cell: configs drawn in each cell; 0 where there is nothing to search.
        rungs: epochs, increasing; the last one is the full budget.
        reduction_factor: eta, above 1, not necessarily whole.
        full_per_cell: trials a cell trains to the last rung at the least.
        mode: which metric values are better.
        confirm_seeds: seeds of each cell's confirmation runs; without any, the winner of the
            search is scored on test.
        retries: how often a failed job is run again.
    """

    trials_per_cell: int
    rungs: tuple[int, ...]
    reduction_factor: float
    full_per_cell: int
    mode: Literal["max", "min"]
    confirm_seeds: tuple[int, ...]
    retries: int = 1


@dataclass(frozen=True)
class Job:
    """One stay of one trial on a worker.

    Attributes:
        trial: name, unique in the study.
        stage: search or confirm.
        cell: number of the cell.
        config: number of the config in its cell; a confirm trial has its winner's.
        seed: of a confirm trial; None in the search.
        from_epoch: epochs already trained.
        to_epoch: the rung to reach.
        score_test: score test at the end.
    """

    trial: str
    stage: Stage
    cell: int
    config: int
    seed: int | None
    from_epoch: int
    to_epoch: int
    score_test: bool


@dataclass
class _Trial:
    name: str
    cell: int
    config: int
    stage: Stage = "search"
    seed: int | None = None
    values: list[float] = field(default_factory=list)  # by rung reached, larger is better
    promoted: int = 0  # rung it may train to; == len(values) while it is on its way
    dead: bool = False
    failures: int = 0

    def on_the_way_to(self, rung: int) -> bool:
        return not self.dead and self.promoted == rung == len(self.values)


@dataclass
class _Cell:
    number: int
    trials: list[_Trial] = field(default_factory=list)
    ready: deque[Job] = field(default_factory=deque)  # promotions and confirmations to hand out
    started: int = 0  # search trials handed out
    epochs: int = 0  # handed out, to serve cells evenly
    complete: int = 0  # rungs that are complete, from the bottom
    searched: bool = False
    stopped: set[str] = field(default_factory=set)


class CellASHA:
    """Cell-wise promotion ASHA.

    Args:
        cells: number of cells.
        plan: the budget.

    `ask` and `tell` append to `decisions`; whoever keeps a journal drains it.
    """

    def __init__(self, cells: int, plan: Plan) -> None:
        self.plan = plan
        self.decisions: list[dict[str, Any]] = []
        self._cells = [_Cell(number) for number in range(cells)]
        self._again: deque[Job] = deque()
        self._running: dict[str, Job] = {}
        self._trials: dict[str, _Trial] = {}
        for cell in self._cells:
            if plan.trials_per_cell == 0:
                cell.searched = True
                self._start_confirmation(cell, config=0)

    @property
    def running(self) -> list[Job]:
        """Jobs asked for and not yet told, oldest first."""
        return list(self._running.values())

    @property
    def done(self) -> bool:
        """Whether nothing runs and nothing is left to run."""
        return not self._running and not any(self._candidates())

    def ask(self) -> Job | None:
        """The next job; None while there is nothing to start (or nothing left: see `done`).

        Order: failed jobs again; promotions out of complete rungs and confirmations, longest
        first; new trials; then, for a worker that would idle, a promotion out of an incomplete
        rung. Among cells, the one that has been given the fewest epochs.
        """
        job = next(self._candidates(), None)
        if job is None:
            return None
        cell = self._cells[job.cell]
        if self._again and job is self._again[0]:
            self._again.popleft()
        elif cell.ready and job is cell.ready[0]:
            cell.ready.popleft()
        elif job.from_epoch == 0:
            cell.started += 1
            trial = _Trial(job.trial, job.cell, job.config)
            cell.trials.append(trial)
            self._trials[job.trial] = trial
        else:
            self._promote(cell, self._trials[job.trial], "promote early")
        cell.epochs += job.to_epoch - job.from_epoch
        self._running[job.trial] = job
        return job

    def tell(self, job: Job, ending: Ending, value: float = math.nan) -> None:
        """Take the outcome of a job.

        Args:
            job: as `ask` gave it.
            ending: "value", or how it went wrong. A value that is not finite counts as diverged.
            value: the metric by the study's checkpoint rule, at `job.to_epoch`.

        Raises:
            KeyError: this job is not running.
        """
        del self._running[job.trial]
        trial, cell = self._trials[job.trial], self._cells[job.cell]
        if ending == "failed":
            trial.failures += 1
            if trial.failures <= self.plan.retries:
                self._again.append(job)
                self._note(trial, job.to_epoch, "retry")
                return
        if ending == "value" and math.isfinite(value):
            if len(trial.values) == trial.promoted:  # a scoring job adds no value
                trial.values.append(value if self.plan.mode == "max" else -value)
        else:
            trial.dead = True
            self._note(trial, job.to_epoch, "failed" if ending == "failed" else "diverged")
        if trial.stage == "confirm":
            if not trial.dead:
                self._note(trial, job.to_epoch, "complete", value)
        elif not cell.searched:
            self._settle(cell)

    # -- candidates ---------------------------------------------------------------------------

    def _candidates(self) -> Iterator[Job]:
        """What `ask` would give, best first; lazily, since mostly the first is taken."""
        if self._again:
            yield self._again[0]
        yield from sorted(
            (cell.ready[0] for cell in self._cells if cell.ready),
            key=lambda job: (-job.to_epoch, self._cells[job.cell].epochs, job.cell),
        )
        fresh = [c for c in self._cells if c.started < self.plan.trials_per_cell]
        for cell in sorted(fresh, key=lambda c: (c.started, c.epochs, c.number)):
            name = f"{cell.number:02d}-{cell.started:03d}"
            yield self._job(_Trial(name, cell.number, cell.started), 0)
        for cell in sorted(self._cells, key=lambda c: (c.epochs, c.number)):
            if not cell.searched:
                yield from self._early(cell)

    def _early(self, cell: _Cell) -> Iterator[Job]:
        """The paper's own rule, for incomplete rungs: the best of floor(m/eta) seen so far.

        At most floor(m/eta) of m are promoted before the rung is complete, so a stream of ever
        better arrivals cannot take the whole cell along.
        """
        for rung in reversed(range(len(self.plan.rungs) - 1)):
            at = self._ranked(cell, rung)
            share = math.floor(len(at) / self.plan.reduction_factor + 1e-9)
            if sum(t.promoted > rung for t in at) < share:
                for trial in at[:share]:
                    if trial.promoted == rung and not trial.dead:
                        yield self._job(trial, rung + 1)
                        break

    def _job(self, trial: _Trial, rung: int) -> Job:
        rungs = self.plan.rungs
        last = rung == len(rungs) - 1
        return Job(
            trial.name,
            trial.stage,
            trial.cell,
            trial.config,
            trial.seed,
            0 if rung == 0 or trial.stage == "confirm" else rungs[rung - 1],
            rungs[rung],
            score_test=last and (trial.stage == "confirm"),
        )

    # -- rungs --------------------------------------------------------------------------------

    def _ranked(self, cell: _Cell, rung: int) -> list[_Trial]:
        """Trials with a value at the rung, best first; the earlier config wins a tie."""
        at = [t for t in cell.trials if t.stage == "search" and len(t.values) > rung]
        return sorted(at, key=lambda t: (-t.values[rung], t.config))

    def _settle(self, cell: _Cell) -> None:
        """Promote, or end, what the rungs that are complete by now decide."""
        last = len(self.plan.rungs) - 1
        waiting = cell.started < self.plan.trials_per_cell
        for rung in range(last + 1):
            # a job waits in `ready` only until the next free worker, and its trial is on its way
            if waiting or any(t.on_the_way_to(rung) for t in cell.trials):
                return
            cell.complete = max(cell.complete, rung + 1)
            if rung < last:
                self._decide(cell, rung)
        self._finish_search(cell)

    def _decide(self, cell: _Cell, rung: int) -> None:
        """Promote the best of a complete rung; replace leaders that died since."""
        at = self._ranked(cell, rung)
        full = self.plan.full_per_cell
        quota = max(full, math.floor(len(at) / self.plan.reduction_factor + 1e-9))
        for place, trial in enumerate(at):
            alive = sum(t.promoted > rung and not t.dead for t in at)
            if trial.promoted > rung or trial.dead:
                continue
            if place < quota or alive < full:
                verdict = "promote" if place < quota else "replace"
                cell.ready.append(self._promote(cell, trial, verdict))
            elif trial.name not in cell.stopped:
                cell.stopped.add(trial.name)
                self._note(trial, self.plan.rungs[rung], "stop")

    def _promote(self, cell: _Cell, trial: _Trial, verdict: str) -> Job:
        rung = trial.promoted
        self._note(trial, self.plan.rungs[rung], verdict)
        cell.stopped.discard(trial.name)
        trial.promoted = rung + 1
        return self._job(trial, rung + 1)

    def _finish_search(self, cell: _Cell) -> None:
        cell.searched = True
        full = self._ranked(cell, len(self.plan.rungs) - 1)
        for trial in full:
            self._note(trial, self.plan.rungs[-1], "complete")
        if not full:
            self._note_cell(cell, "empty")
            return
        winner = full[0]
        self._note(winner, self.plan.rungs[-1], "select")
        if self.plan.confirm_seeds:
            self._start_confirmation(cell, winner.config)
        else:
            epochs = self.plan.rungs[-1]
            cell.ready.append(
                Job(winner.name, "search", cell.number, winner.config, None, epochs, epochs, True)
            )

    def _start_confirmation(self, cell: _Cell, config: int) -> None:
        for seed in self.plan.confirm_seeds:
            name = f"{cell.number:02d}-seed{seed}"
            last = len(self.plan.rungs) - 1
            trial = _Trial(name, cell.number, config, "confirm", seed, promoted=last)
            trial.values = [math.nan] * last  # no rung on the way counts
            self._trials[name] = trial
            cell.trials.append(trial)
            cell.ready.append(self._job(trial, last))

    # -- the account --------------------------------------------------------------------------

    def _note(self, trial: _Trial, epoch: int, verdict: str, value: float | None = None) -> None:
        """Append a decision: the metric's value, and its rank among the rung's n so far."""
        rank = n = None
        rung = self.plan.rungs.index(epoch) if epoch in self.plan.rungs else 0
        if trial.stage == "search" and len(trial.values) > rung:
            at = self._ranked(self._cells[trial.cell], rung)
            rank, n = at.index(trial) + 1, len(at)
            value = trial.values[rung] * (1 if self.plan.mode == "max" else -1)
        self.decisions.append(
            {
                "trial": trial.name,
                "cell": trial.cell,
                "epoch": epoch,
                "value": value,
                "rank": rank,
                "n": n,
                "verdict": verdict,
                "rule": RULE,
            }
        )

    def _note_cell(self, cell: _Cell, verdict: str) -> None:
        self.decisions.append(
            {
                "trial": None,
                "cell": cell.number,
                "epoch": self.plan.rungs[-1],
                "value": None,
                "rank": None,
                "n": 0,
                "verdict": verdict,
                "rule": RULE,
            }
        )


def rungs(max_epochs: int, grace_epochs: int, reduction_factor: float) -> tuple[int, ...]:
    """Rungs: grace, grace*eta, ... below max_epochs, and max_epochs itself."""
    found: list[int] = []
    at = float(grace_epochs)
    while round(at) < max_epochs:
        if not found or round(at) > found[-1]:
            found.append(round(at))
        at *= reduction_factor
    return (*found, max_epochs)


def expected_epochs(plan: Plan) -> list[tuple[int, int]]:
    """What a cell costs when nothing fails: per rung, (trials, epochs that each trains)."""
    counts, before, n = [], 0, plan.trials_per_cell
    for rung in plan.rungs:
        counts.append((n, rung - before))
        n, before = (
            max(min(n, plan.full_per_cell), math.floor(n / plan.reduction_factor + 1e-9)),
            rung,
        )
    if not plan.trials_per_cell:
        counts = []
    return [*counts, (len(plan.confirm_seeds), plan.rungs[-1])]
