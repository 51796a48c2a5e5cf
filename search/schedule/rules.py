"""Other rules behind the same ask and tell, for comparison, and every rule by its name.

`cell-stop` is the stopping kind of ASHA, one rung system a cell; a newcomer is ranked with its
rung. `RayASHA` computes what Ray's AsyncHyperBandScheduler decides, for the simulator; a study
with `scheduler = "ray-asha"` runs Ray's own.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from search.schedule.cell_state import Cell, Trial
from search.schedule.scheduler import CellASHA
from search.spec.plan import Plan


class CellStop(CellASHA):
    """Cell-wise stopping ASHA: at a rung a trial goes on at once if it is in its top 1/eta.

    The rank counts the newcomer itself, and the best of a rung always goes on. When all of a
    cell's trials have ended, ended ones go on until full_per_cell are complete.
    """

    rule = "cell-stop/1"

    def _arrive(self, cell: Cell, trial: Trial, value: float, sound: bool) -> None:
        super()._arrive(cell, trial, value, sound)
        if not sound or trial.goal == self._last:
            return
        rung = cell.rungs[trial.goal]
        assert trial.key is not None
        rank = bisect_left(rung.at, trial.key) + 1
        if rank <= max(1, self.plan.share(len(rung.at))):
            job = self._promote(cell, trial, trial.goal, "promote", rank)
            self._ready.push(job.to_epoch, job)
        else:
            trial.stopped = True
            self._note(trial, self.plan.rungs[trial.goal], "stop")

    def _settle(self, cell: Cell) -> None:
        if len(cell.trials) < self.plan.trials_per_cell or any(r.coming for r in cell.rungs):
            return
        if len(cell.rungs[self._last].at) < self.plan.full_per_cell:
            cell.complete = self._last  # every rung is decided: the next best may be taken
            self._replace(cell, self._last)
            if any(r.coming for r in cell.rungs):
                return
        self._finish(cell)

    def _replace(self, cell: Cell, goal: int) -> None:
        """Only at the end: until then newcomers may do better."""
        if cell.complete:
            super()._replace(cell, goal)

    def _early(self, cell: Cell) -> None:
        return None


class RayASHA(CellASHA):
    """Ray's AsyncHyperBandScheduler: one rung system over all cells, jobs from rung to rung.

    A trial goes on unless it is below the percentile of the values that the rung had before it,
    so first arrivals pass; a value that is not finite ends its trial here, as our workers do.
    """

    rule = "ray-asha"

    def __init__(self, cells: int, plan: Plan, sizes: Sequence[float] = ()) -> None:
        super().__init__(cells, plan, sizes)
        self._seen: list[list[float]] = [[] for _ in plan.rungs]  # larger is better, sorted

    def _arrive(self, cell: Cell, trial: Trial, value: float, sound: bool) -> None:
        super()._arrive(cell, trial, value, sound)
        if not sound or trial.goal == self._last:
            return
        seen, held = self._seen[trial.goal], -self._sign * value
        cutoff = _percentile(seen, 1 - 1 / self.plan.reduction_factor) if seen else held
        insort(seen, held)
        if held < cutoff:
            trial.stopped = True
            self._note(trial, self.plan.rungs[trial.goal], "stop")
        else:
            job = self._promote(cell, trial, trial.goal, "promote")
            self._ready.push(job.to_epoch, job)

    def _settle(self, cell: Cell) -> None:
        started = len(cell.trials) == self.plan.trials_per_cell
        if started and not any(r.coming for r in cell.rungs):
            self._finish(cell)

    def _replace(self, cell: Cell, goal: int) -> None:
        return None

    def _early(self, cell: Cell) -> None:
        return None


def _percentile(held: list[float], share: float) -> float:
    """Numpy's linear percentile of sorted values, without its overhead."""
    at = (len(held) - 1) * share
    low = int(at)
    high = min(low + 1, len(held) - 1)
    return held[low] + (held[high] - held[low]) * (at - low)


# name in a study file -> who decides. "none" trains every config in full: one rung, nobody ends.
# With "ray-asha" a study's jobs are whole trainings too, and Ray ends them.
SCHEDULERS: dict[str, type[CellASHA]] = {
    "cell-promote": CellASHA,
    "cell-stop": CellStop,
    "ray-asha": CellASHA,
    "none": CellASHA,
}
# name in `simulate --rule` -> who decides in virtual time
SIMULATED: dict[str, type[CellASHA]] = {
    "cell-promote": CellASHA,
    "cell-stop": CellStop,
    "ray-asha": RayASHA,
    "full": CellASHA,
}
