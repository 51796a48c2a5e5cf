"""Which job next? Cell-wise promotion ASHA as a pure ask/tell class: no Ray, no clock, no files.

Rungs are kept per cell, after Li et al. 2020 (arXiv 1810.05934): a trial leaves its worker at a
rung, and the best of its cell come back. When a rung of a cell is complete, max(full_per_cell,
floor(n/eta)) of its n trials go on and the others end. Nothing is ever compared across cells. A
cell whose search is over goes on by itself to its audits and confirmation runs.

`ask` is a function of the tells and asks before it alone, so replaying a journal gives the same
scheduler back.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

from search.schedule.cell_state import Cell, Queue, Trial
from search.spec.plan import Job, Plan, audited

Ending = Literal["value", "diverged", "failed", "stopped"]


class CellASHA:
    """Cell-wise promotion ASHA.

    Args:
        cells: number of cells.
        plan: the budget.
        sizes: `(cells,)`, share of the machine that a trial of each cell takes; among jobs of the
            same standing large ones go first, since small ones fit in anywhere.

    `ask` and `tell` append to `decisions`; whoever keeps a journal drains it.
    """

    rule = "cell-promote/3"

    def __init__(self, cells: int, plan: Plan, sizes: Sequence[float] = ()) -> None:
        self.plan = plan
        self.decisions: list[dict[str, Any]] = []
        self._last = len(plan.rungs) - 1
        self._sign = -1.0 if plan.mode == "max" else 1.0
        held = sizes or [1.0] * cells
        self._cells = [Cell(n, held[n], len(plan.rungs)) for n in range(cells)]
        self._again: deque[Job] = deque()
        self._running: dict[str, Job] = {}
        self._trials: dict[str, Trial] = {}
        self._given_up: dict[str, Job] = {}  # failed for good, by trial
        self._ready = Queue(self._cells)  # promotions out of complete rungs
        self._final = Queue(self._cells)  # confirmations, audits, scorings
        # heap of cells with configs not yet started: (started, -size, epochs given, number)
        self._fresh: list[tuple[int, float, int, int]] = []
        for cell in self._cells:
            if plan.trials_per_cell:
                heapq.heappush(self._fresh, (0, -cell.size, 0, cell.number))
            else:
                cell.searched = True
                self._confirm(cell, config=0)

    @property
    def running(self) -> list[Job]:
        """Jobs asked for and not yet told, oldest first."""
        return list(self._running.values())

    @property
    def done(self) -> bool:
        """Whether nothing runs and nothing is left to run."""
        return not (self._running or self._again or self._ready or self._fresh or self._final)

    def wanted(self, cell: int) -> set[str] | None:
        """Trials of a cell that a job goes on from; None while it is searched: any of them may."""
        if not self._cells[cell].searched:
            return None
        jobs = [*self._running.values(), *self._again, *self._final.of(cell)]
        jobs += self.failed
        return {job.trial for job in jobs if job.cell == cell}

    def ask(self) -> Job | None:
        """The next job; None while there is nothing to start (or nothing left: see `done`).

        Order: failed jobs again; promotions out of complete rungs, highest rung first; new trials;
        confirmations and audits, longest first; then, for a worker that would idle, a promotion
        out of an incomplete rung. Among cells, large trials first, then the cell that has been
        given the fewest epochs.
        """
        if self._again:
            job: Job | None = self._again.popleft()
        elif self._ready:
            job = self._ready.pop()
        elif self._fresh:
            job = self._start()
        elif self._final:
            job = self._final.pop()
        else:
            job = self._promote_early()
        if job is not None:
            self._cells[job.cell].epochs += job.to_epoch - job.from_epoch
            self._running[job.trial] = job
        return job

    def tell(
        self,
        job: Job,
        ending: Ending,
        value: float = math.nan,
        epoch: int | None = None,
        again: bool = True,
    ) -> None:
        """Take the outcome of a job.

        Args:
            job: as `ask` gave it.
            ending: "value", or how it went otherwise. A value that is not finite counts as
                diverged; "stopped" is a job that another rule has ended before `job.to_epoch`.
            value: the metric by the study's checkpoint rule, at the job's last epoch.
            epoch: the last one, where it is not `job.to_epoch`.
            again: whether a failed job may end otherwise when it is run again.

        Raises:
            KeyError: this job is not running.
        """
        del self._running[job.trial]
        trial, cell = self._trials[job.trial], self._cells[job.cell]
        if epoch is None:  # a failed job got somewhere on its way
            epoch = job.from_epoch if ending == "failed" else job.to_epoch
        if ending != "failed":
            trial.failures = 0
        else:
            trial.failures += 1
            if again and trial.failures <= self.plan.retries:
                self._again.append(job)
                self._note(trial, epoch, "retry")
                return
        sound = ending == "value" and math.isfinite(value)
        if ending == "failed":
            self._given_up[job.trial] = job
        if not sound and ending != "stopped":
            self._note(trial, epoch, "failed" if ending == "failed" else "diverged")
        if job.stage != "search":
            if sound:
                verdict = "complete" if job.stage == "confirm" else "audited"
                self._note(trial, epoch, verdict, value)
        elif not cell.searched:  # else it was the winner, scored on test
            if ending == "stopped":
                trial.stopped = True
                self._note(trial, epoch, "stop", value)
            self._arrive(cell, trial, value, sound)
            self._settle(cell)

    @property
    def failed(self) -> list[Job]:
        """Jobs that have failed for good and that `retry` puts back.

        Those of seeds, audits and scorings, and those of the search in a cell without a winner;
        one that has a winner keeps it.
        """
        decided = {cell.number for cell in self._cells if cell.searched and cell.rungs[-1].at}
        jobs = self._given_up.values()
        return [job for job in jobs if job.cell not in decided or not self._searches(job)]

    def retry(self) -> None:
        """Put back what has failed for good, to be handed out next; its rungs are decided anew."""
        for job in self.failed:
            trial = self._trials[job.trial]
            if self._searches(job):
                self._reopen(self._cells[job.cell], trial)
            del self._given_up[job.trial]
            trial.failures = 0
            self._note(trial, job.from_epoch, "retry")
            self._again.append(job)

    @staticmethod
    def _searches(job: Job) -> bool:
        """Whether a rung waits for it; a winner's scoring has no epochs to train."""
        return job.stage == "search" and job.from_epoch < job.to_epoch

    # -- what ask chooses from ----------------------------------------------------------------

    def _start(self) -> Job:
        """A new trial, in the cell that has started the fewest."""
        while True:
            started, size, epochs, number = self._fresh[0]
            cell = self._cells[number]
            if cell.epochs == epochs:
                break
            heapq.heapreplace(self._fresh, (started, size, cell.epochs, number))
        heapq.heappop(self._fresh)
        if started + 1 < self.plan.trials_per_cell:
            heapq.heappush(self._fresh, (started + 1, size, epochs, number))
        trial = Trial(f"{number:02d}-{started:03d}", number, started)
        cell.trials.append(trial)
        self._trials[trial.name] = trial
        cell.rungs[0].coming += 1
        return self._job(trial)

    def _promote_early(self) -> Job | None:
        """The paper's own rule, for incomplete rungs, in the cell given the fewest epochs."""
        found = []
        for cell in self._cells:
            if cell.early == "unknown":
                cell.early = None if cell.searched else self._early(cell)
            if cell.early is not None:
                found.append((-cell.size, cell.epochs, cell.number))
        if not found:
            return None
        cell = self._cells[min(found)[2]]
        assert isinstance(cell.early, tuple)
        rung, trial = cell.early
        return self._promote(cell, trial, rung, "promote early")

    def _early(self, cell: Cell) -> tuple[int, Trial] | None:
        """The best of the floor(m/eta) best of the m trials seen at a rung, if still there.

        At most floor(m/eta) of m are promoted before the rung is complete, so a stream of ever
        better arrivals cannot take the whole cell along.
        """
        for number in reversed(range(self._last)):
            rung = cell.rungs[number]
            share = self.plan.share(len(rung.at))
            if rung.gone >= share:
                continue
            while rung.waiting and cell.trials[rung.waiting[0][1]].goal > number:
                heapq.heappop(rung.waiting)
            if rung.waiting and bisect_left(rung.at, rung.waiting[0]) < share:
                return number, cell.trials[rung.waiting[0][1]]
        return None

    def _job(self, trial: Trial) -> Job:
        """The way of a search trial to its goal."""
        steps, goal = self.plan.rungs, trial.goal
        since = steps[goal - 1] if goal else 0
        return Job(trial.name, "search", trial.cell, trial.config, None, since, steps[goal], False)

    # -- rungs --------------------------------------------------------------------------------

    def _arrive(self, cell: Cell, trial: Trial, value: float, sound: bool) -> None:
        """Enter a trial of the search at its rung, or take it out of the rungs below."""
        goal = trial.goal
        cell.early = "unknown"
        cell.rungs[goal].coming -= 1
        if sound:
            key = (self._sign * value, trial.config)
            trial.key = key
            insort(cell.rungs[goal].at, key)
            heapq.heappush(cell.rungs[goal].waiting, key)
            return
        for rung in cell.rungs[:goal]:
            rung.alive -= 1
        self._replace(cell, goal)

    def _reopen(self, cell: Cell, trial: Trial) -> None:
        """A lost trial is on its way to its goal again: the contrary of its loss in `_arrive`."""
        for rung in cell.rungs[: trial.goal]:
            rung.alive += 1
        cell.rungs[trial.goal].coming += 1
        cell.complete = min(cell.complete, trial.goal)
        cell.searched, cell.early = False, "unknown"

    def _settle(self, cell: Cell) -> None:
        """Decide the rungs that are complete by now; after the last one the search is over."""
        while cell.complete <= self._last:
            started = cell.complete or len(cell.trials) == self.plan.trials_per_cell
            if not started or cell.rungs[cell.complete].coming:
                return
            if cell.complete < self._last:
                self._decide(cell, cell.complete)
            cell.complete += 1
        self._finish(cell)

    def _decide(self, cell: Cell, number: int) -> None:
        """Promote the best of a complete rung, end the others."""
        rung, epoch = cell.rungs[number], self.plan.rungs[number]
        n = len(rung.at)
        quota = self.plan.quota(n)
        for place, key in enumerate(rung.at):
            trial = cell.trials[key[1]]
            if trial.goal > number:
                continue
            if place < quota or rung.alive < self.plan.full_per_cell:
                verdict = "promote" if place < quota else "replace"
                job = self._promote(cell, trial, number, verdict, place + 1)
                self._ready.push(job.to_epoch, job)
            elif not trial.stopped:
                trial.stopped = True
                self._write(trial, epoch, "stop", self._sign * key[0], place + 1, n)
                self.decisions[-1]["goes_on"] = quota

    def _replace(self, cell: Cell, goal: int) -> None:
        """After a loss on the way to `goal`: the next best of the highest rung that has one."""
        for number in reversed(range(min(goal, cell.complete))):
            rung = cell.rungs[number]
            if rung.alive >= self.plan.full_per_cell:
                continue
            for place, key in enumerate(rung.at):
                trial = cell.trials[key[1]]
                if trial.goal == number:
                    job = self._promote(cell, trial, number, "replace", place + 1)
                    self._ready.push(job.to_epoch, job)
                    # the rung that it comes to is decided anew
                    cell.complete = number + 1
                    return

    def _promote(
        self, cell: Cell, trial: Trial, number: int, verdict: str, rank: int | None = None
    ) -> Job:
        rung = cell.rungs[number]
        if rank is None:
            self._note(trial, self.plan.rungs[number], verdict)
        else:
            value = self._sign * rung.at[rank - 1][0]
            self._write(trial, self.plan.rungs[number], verdict, value, rank, len(rung.at))
        trial.stopped, trial.key = False, None
        trial.goal = number + 1
        rung.gone += 1
        rung.alive += 1
        cell.rungs[number + 1].coming += 1
        cell.early = "unknown"
        return self._job(trial)

    # -- the end of a cell's search -----------------------------------------------------------

    def _finish(self, cell: Cell) -> None:
        cell.searched, cell.early = True, None
        full = cell.rungs[self._last].at
        epoch = self.plan.rungs[-1]
        for place, key in enumerate(full):
            trial = cell.trials[key[1]]
            self._write(trial, epoch, "complete", self._sign * key[0], place + 1, len(full))
        if full:
            if len(full) < self.plan.full_per_cell:
                self._write(None, epoch, "short", None, None, len(full), cell.number)
            self._audit(cell)
            winner = cell.trials[full[0][1]]
            self._write(winner, epoch, "select", self._sign * full[0][0], 1, len(full))
            self._confirm(cell, winner.config)
        else:
            self._write(None, epoch, "empty", None, None, 0, cell.number)

    def _audit(self, cell: Cell) -> None:
        """Send a seeded share of the ended trials to the end, to see whether the rule was right.

        Only now: until here each of them might have been wanted as a replacement.
        """
        if not self.plan.audit_share:
            return
        ended = [
            (number, cell.trials[key[1]])
            for number in reversed(range(self._last))
            for key in cell.rungs[number].at
            if cell.trials[key[1]].stopped and cell.trials[key[1]].goal == number
        ]
        for place in audited(self.plan, cell.number, len(ended)):
            number, trial = ended[place]
            self._note(trial, self.plan.rungs[number], "audit")
            trial.stage = "audit"
            since, to = self.plan.rungs[number], self.plan.rungs[-1]
            job = Job(trial.name, "audit", cell.number, trial.config, None, since, to, False)
            self._final.push(job.to_epoch - job.from_epoch, job)

    def _confirm(self, cell: Cell, config: int) -> None:
        """The winner again at every seed; without seeds it is scored on test as it is."""
        epochs = self.plan.rungs[-1]
        for seed in self.plan.confirm_seeds:
            trial = Trial(f"{cell.number:02d}-seed{seed}", cell.number, config)
            trial.stage, trial.seed = "confirm", seed
            self._trials[trial.name] = trial
            job = Job(trial.name, "confirm", cell.number, config, seed, 0, epochs, True)
            self._final.push(job.to_epoch - job.from_epoch, job)
        if not self.plan.confirm_seeds:
            name = cell.trials[config].name
            job = Job(name, "search", cell.number, config, None, epochs, epochs, True)
            self._final.push(job.to_epoch - job.from_epoch, job)

    # -- the account --------------------------------------------------------------------------

    def _note(self, trial: Trial, epoch: int, verdict: str, value: float | None = None) -> None:
        """Append a decision on one trial, with its rank among its rung's n so far."""
        rank = n = None
        if trial.key is not None and value is None:
            at = self._cells[trial.cell].rungs[trial.goal].at
            rank, n, value = bisect_left(at, trial.key) + 1, len(at), self._sign * trial.key[0]
        self._write(trial, epoch, verdict, value, rank, n)

    def _write(
        self,
        trial: Trial | None,
        epoch: int,
        verdict: str,
        value: float | None,
        rank: int | None,
        n: int | None,
        cell: int = -1,
    ) -> None:
        self.decisions.append(
            {
                "trial": trial and trial.name,
                "cell": trial.cell if trial else cell,
                "epoch": epoch,
                "value": value,
                "rank": rank,
                "n": n,
                "goes_on": None,
                "verdict": verdict,
                "rule": self.rule,
            }
        )
