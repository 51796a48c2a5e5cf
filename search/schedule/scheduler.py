"""Which job next? A scheduler over the searches of all cells, as a pure ask/tell class.

No Ray, no clock, no files. Nothing is ever compared across cells, unless a rule does so itself. A
cell whose search is over goes on by itself to its audits and confirmation runs.

`ask` is a function of the tells and asks before it alone, so replaying a journal gives the same
scheduler back.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Sequence
from functools import partial
from typing import Literal

from search.schedule.cell_state import Cell, Decision, Moves, Queue, Trial
from search.schedule.rules import Rule, cell_promote
from search.spec.plan import Job, Plan, audited

Ending = Literal["value", "diverged", "failed", "stopped"]


class Scheduler:
    """Hands out the jobs of a study: order among cells, retries, audits, seeds.

    Args:
        cells: number of cells.
        plan: the budget.
        sizes: `(cells,)`, share of the machine that a trial of each cell takes; among jobs of the
            same standing large ones go first, since small ones fit in anywhere.
        rule: makes the search of each cell.
    """

    def __init__(
        self, cells: int, plan: Plan, sizes: Sequence[float] = (), rule: Rule = cell_promote
    ) -> None:
        self.plan = plan
        self._searches = rule(cells, plan)
        self._cells = [search.cell for search in self._searches]
        self._sizes = list(sizes) or [1.0] * cells
        self._given = [0] * cells  # epochs handed out, to serve cells evenly
        self._again: deque[Job] = deque()
        self._running: dict[str, Job] = {}
        self._trials: dict[str, Trial] = {}
        self._given_up: dict[str, Job] = {}  # failed for good, by trial
        self._ready = Queue(self._sizes, self._given)  # promotions out of complete rungs
        self._final = Queue(self._sizes, self._given)  # confirmations, audits, scorings
        # heap of cells with configs not yet started: (started, -size, epochs given, number)
        self._fresh: list[tuple[int, float, int, int]] = []
        for cell in self._cells:
            if cell.searched:  # there is nothing to search
                self._confirm(cell, config=0)
            else:
                heapq.heappush(self._fresh, (0, -self._sizes[cell.number], 0, cell.number))

    @property
    def running(self) -> list[Job]:
        """Jobs asked for and not yet told, oldest first."""
        return list(self._running.values())

    @property
    def done(self) -> bool:
        """Whether nothing runs and nothing is left to run."""
        return not (self._running or self._again or self._ready or self._fresh or self._final)

    @property
    def ready(self) -> Counter[int]:
        """Number of a cell -> jobs of it that so many free workers could start at once.

        Without promotions out of incomplete rungs: no worker is worth having for those alone.
        """
        fresh = Counter({n: self.plan.trials_per_cell - begun for begun, _, _, n in self._fresh})
        return self.retries + fresh + self._ready.by_cell() + self._final.by_cell()

    @property
    def retries(self) -> Counter[int]:
        """Of these, jobs that have failed and are run again."""
        return Counter(job.cell for job in self._again)

    def wanted(self, cell: int) -> set[str] | None:
        """Trials of a cell that a job goes on from; None while it is searched: any of them may."""
        if not self._cells[cell].searched:
            return None
        jobs = [*self._running.values(), *self._again, *self._final.of(cell)]
        jobs += self.failed
        return {job.trial for job in jobs if job.cell == cell}

    def ask(self, beside: Job | None = None) -> tuple[Job | None, list[Decision]]:
        """The next job, and the decisions behind it.

        The job is None while there is nothing to start (or nothing left: see `done`). Order:
        failed jobs again; promotions out of complete rungs, highest rung first; new trials;
        confirmations and audits, longest first; then, for a worker that would idle, a promotion
        out of an incomplete rung. Among cells, large trials first, then the cell that has been
        given the fewest epochs.

        Args:
            beside: a job that is out, to be trained with others as an array: then only another of
                its cell, stage and epochs, and none that has failed before or would be promoted
                for want of work.
        """
        moves = Moves()
        if beside is not None:
            job: Job | None = self._beside(beside)
        elif self._again:
            job = self._again.popleft()
        elif self._ready:
            job = self._ready.pop()
        elif self._fresh:
            job = self._start()
        elif self._final:
            job = self._final.pop()
        else:
            job = self._promote_early(moves)
        if job is not None:
            self._given[job.cell] += job.to_epoch - job.from_epoch
            self._running[job.trial] = job
        return job, moves.decisions

    def tell(
        self,
        job: Job,
        ending: Ending,
        value: float = math.nan,
        epoch: int | None = None,
        again: bool = True,
        collapsed: bool = False,
    ) -> list[Decision]:
        """Take the outcome of a job; returns what is decided by it.

        Args:
            job: as `ask` gave it.
            ending: "value", or how it went otherwise. A value that is not finite counts as
                diverged; "stopped" is a job that another rule has ended before `job.to_epoch`.
            value: the metric by the study's checkpoint rule, at the job's last epoch.
            epoch: the last one, where it is not `job.to_epoch`.
            again: whether a failed job may end otherwise when it is run again.
            collapsed: whether the trial's predictions hardly differ any more; by the task's rule.

        Raises:
            KeyError: this job is not running.
        """
        del self._running[job.trial]
        moves, trial, cell = Moves(), self._trials[job.trial], self._cells[job.cell]
        if epoch is None:  # a failed job got somewhere on its way
            epoch = job.from_epoch if ending == "failed" else job.to_epoch
        sound = ending == "value" and math.isfinite(value)
        if ending == "failed":
            if self._may_fail_again(job, trial, again):
                cell.note(moves, trial, epoch, "retry")
                return moves.decisions
            cell.note(moves, trial, epoch, "failed")
        else:
            trial.failures, trial.collapsed = 0, collapsed
            if not sound and ending != "stopped":
                cell.note(moves, trial, epoch, "diverged")
        if job.stage != "search":
            if sound:
                verdict = "complete" if job.stage == "confirm" else "audited"
                cell.note(moves, trial, epoch, verdict, value)
        elif not cell.searched:  # else it was the winner, scored on test
            if ending == "stopped":
                trial.stopped = True
                cell.note(moves, trial, epoch, "stop", value)
            self._arrive(trial, value if sound else None, moves)
        return moves.decisions

    @property
    def failed(self) -> list[Job]:
        """Jobs that have failed for good and that `retry` puts back.

        Those of seeds, audits and scorings, and those of the search in a cell without a winner;
        one that has a winner keeps it.
        """
        decided = {cell.number for cell in self._cells if cell.searched and cell.winner()}
        jobs = self._given_up.values()
        return [job for job in jobs if job.cell not in decided or not _climbs(job)]

    def retry(self) -> list[Decision]:
        """Put back what has failed for good, to be handed out next; its rungs are decided anew."""
        moves = Moves()
        for job in self.failed:
            trial = self._trials[job.trial]
            if _climbs(job):
                self._searches[job.cell].reopen(trial)
            del self._given_up[job.trial]
            trial.failures = 0
            self._cells[job.cell].note(moves, trial, job.from_epoch, "retry")
            self._again.append(job)
        return moves.decisions

    def _may_fail_again(self, job: Job, trial: Trial, again: bool) -> bool:
        """Put a failed job back if it has tries left, else give it up."""
        trial.failures += 1
        if again and trial.failures <= self.plan.retries:
            self._again.append(job)
            return True
        self._given_up[job.trial] = job
        return False

    def _arrive(self, trial: Trial, value: float | None, moves: Moves) -> None:
        """Hand an outcome of the search to its cell, and take what it makes ready."""
        search = self._searches[trial.cell]
        search.arrive(trial, value, moves)
        for job in moves.jobs:
            self._ready.push(job.to_epoch, job)
        if search.cell.searched:
            self._conclude(search.cell, moves)

    def has_failed(self, job: Job) -> bool:
        """Whether a job has failed since its trial came an epoch further."""
        return self._trials[job.trial].failures > 0

    # -- what ask chooses from ----------------------------------------------------------------

    def _beside(self, job: Job) -> Job | None:
        alike = partial(can_be_beside, job)
        found = self._ready.take(alike, job.cell)
        if found is None and alike(job._replace(from_epoch=0, to_epoch=self.plan.rungs[0])):
            held = next((entry for entry in self._fresh if entry[3] == job.cell), None)
            if held is not None and job.stage == "search" and not job.score_test:
                self._fresh.remove(held)
                heapq.heapify(self._fresh)
                return self._begin(*held)
        return found or self._final.take(alike, job.cell)

    def _start(self) -> Job:
        """A new trial, in the cell that has started the fewest."""
        while True:
            started, size, epochs, number = self._fresh[0]
            if self._given[number] == epochs:
                break
            heapq.heapreplace(self._fresh, (started, size, self._given[number], number))
        return self._begin(*heapq.heappop(self._fresh))

    def _begin(self, started: int, size: float, epochs: int, number: int) -> Job:
        """A new trial of a cell that was taken out of the fresh ones."""
        if started + 1 < self.plan.trials_per_cell:
            heapq.heappush(self._fresh, (started + 1, size, epochs, number))
        cell = self._cells[number]
        trial = cell.start()
        self._trials[trial.name] = trial
        return cell.job(trial)

    def _promote_early(self, moves: Moves) -> Job | None:
        """The paper's own rule, for incomplete rungs, in the cell given the fewest epochs."""
        found = [
            (-self._sizes[number], self._given[number], number)
            for number, search in enumerate(self._searches)
            if search.early() is not None
        ]
        if not found:
            return None
        search = self._searches[min(found)[2]]
        trial = search.early()
        assert trial is not None
        return search.cell.advance(trial, "promote early", moves)

    # -- the end of a cell's search -----------------------------------------------------------

    def _conclude(self, cell: Cell, moves: Moves) -> None:
        """Audit a share of what was ended, and confirm the winner, if there is one."""
        winner = cell.winner()
        if winner is None:
            return
        self._audit(cell, moves)
        full = cell.rungs[cell.last].at
        epoch, value = self.plan.rungs[-1], cell.value(full[0])
        cell.write(moves, winner, epoch, "select", value, 1, len(full))
        self._confirm(cell, winner.config)

    def _audit(self, cell: Cell, moves: Moves) -> None:
        """Send a seeded share of the ended trials to the end, to see whether the rule was right.

        Only now: until here each of them might have been wanted as a replacement.
        """
        if not self.plan.audit_share:
            return
        ended = cell.ended()
        for place in audited(self.plan, cell.number, len(ended)):
            trial = ended[place]
            since, to = self.plan.rungs[trial.goal], self.plan.rungs[-1]
            cell.note(moves, trial, since, "audit")
            trial.stage = "audit"
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


def can_be_beside(job: Job, other: Job) -> bool:
    """Whether two jobs are of one cell, stage and epochs."""
    mine, theirs = (
        (j.cell, j.stage, j.from_epoch, j.to_epoch, j.score_test) for j in (job, other)
    )
    return mine == theirs


def _climbs(job: Job) -> bool:
    """Whether a rung waits for a job; a winner's scoring has no epochs to train."""
    return job.stage == "search" and job.from_epoch < job.to_epoch
