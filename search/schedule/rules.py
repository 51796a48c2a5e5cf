"""Other rules in place of promotion ASHA, for comparison, and every rule by its name.

`cell-stop` is the stopping kind of ASHA, one rung system a cell; a newcomer is ranked with its
rung. `RayASHA` computes what Ray's AsyncHyperBandScheduler decides, for the simulator; a study
with `scheduler = "ray-asha"` runs Ray's own.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable

from search.schedule.cell_search import CellPromote, CellSearch, send_next_best
from search.schedule.cell_state import Cell, Moves, Trial
from search.spec.plan import Plan

Rule = Callable[[int, Plan], list[CellSearch]]  # (cells, plan) -> the search of each cell


class CellStop:
    """Cell-wise stopping ASHA: at a rung a trial goes on at once if it is in its top 1/eta.

    The rank counts the newcomer itself, and the best of a rung always goes on, unless it has
    collapsed. When all of a cell's trials have ended, ended ones go on until full_per_cell are
    complete.

    Args:
        cell: new, of this object alone.
    """

    rule = "cell-stop/2"

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._decided = 0  # rungs whose ended trials may be taken back

    def arrive(self, trial: Trial, value: float | None, moves: Moves) -> None:
        """See CellSearch."""
        cell = self.cell
        if value is None:
            cell.lose(trial)
            self._replace(trial.goal, moves)  # until the end newcomers may do better
        else:
            cell.enter(trial, value)
            if trial.goal < cell.last:
                self._judge(trial, moves)
        self._settle(moves)

    def early(self) -> Trial | None:
        """None: nothing waits at a rung."""
        return None

    def reopen(self, trial: Trial) -> None:
        """See CellSearch."""
        self.cell.reopen(trial)
        self._decided = min(self._decided, trial.goal)

    def _judge(self, trial: Trial, moves: Moves) -> None:
        at = self.cell.rungs[trial.goal].at
        assert trial.key is not None
        rank = bisect_left(at, trial.key) + 1
        good = rank <= max(1, self.cell.plan.share(len(at)))
        if good and not trial.collapsed:
            moves.jobs.append(self.cell.advance(trial, "promote", moves, rank))
        else:
            trial.stopped = True
            verdict = "collapsed" if good else "stop"
            self.cell.note(moves, trial, self.cell.plan.rungs[trial.goal], verdict)

    def _settle(self, moves: Moves) -> None:
        cell = self.cell
        if not cell.all_started or cell.any_coming():
            return
        if len(cell.rungs[cell.last].at) < cell.plan.full_per_cell:
            self._decided = cell.last
            self._replace(cell.last, moves)
            if cell.any_coming():
                return
        cell.finish(moves)

    def _replace(self, goal: int, moves: Moves) -> None:
        number = send_next_best(self.cell, min(goal, self._decided), moves)
        if number is not None:
            self._decided = number + 1


class RayASHA:
    """Ray's AsyncHyperBandScheduler: one rung system over all cells, jobs from rung to rung.

    A trial goes on unless it is below the percentile of the values that the rung had before it,
    so first arrivals pass; a value that is not finite ends its trial here, as our workers do.

    Args:
        cell: new, of this object alone.
        seen: by rung, the values that arrived there from any cell, larger is better, sorted;
            one list for all cells.
    """

    rule = "ray-asha"

    def __init__(self, cell: Cell, seen: list[list[float]]) -> None:
        self.cell, self._seen = cell, seen

    def arrive(self, trial: Trial, value: float | None, moves: Moves) -> None:
        """See CellSearch."""
        cell = self.cell
        if value is None:
            cell.lose(trial)
        else:
            cell.enter(trial, value)
            if trial.goal < cell.last:
                self._judge(trial, value, moves)
        if cell.all_started and not cell.any_coming():
            cell.finish(moves)

    def early(self) -> Trial | None:
        """None: nothing waits at a rung."""
        return None

    def reopen(self, trial: Trial) -> None:
        """See CellSearch."""
        self.cell.reopen(trial)

    def _judge(self, trial: Trial, value: float, moves: Moves) -> None:
        plan, seen = self.cell.plan, self._seen[trial.goal]
        held = value if plan.mode == "max" else -value
        cutoff = _percentile(seen, 1 - 1 / plan.reduction_factor) if seen else held
        insort(seen, held)
        if held < cutoff:
            trial.stopped = True
            self.cell.note(moves, trial, plan.rungs[trial.goal], "stop")
        else:
            moves.jobs.append(self.cell.advance(trial, "promote", moves))


def _percentile(held: list[float], share: float) -> float:
    """Numpy's linear percentile of sorted values, without its overhead."""
    at = (len(held) - 1) * share
    low = int(at)
    high = min(low + 1, len(held) - 1)
    return held[low] + (held[high] - held[low]) * (at - low)


def cell_promote(cells: int, plan: Plan) -> list[CellSearch]:
    """Promotion ASHA in each cell; with one rung every config is trained in full."""
    return [CellPromote(Cell(number, plan, CellPromote.rule)) for number in range(cells)]


def cell_stop(cells: int, plan: Plan) -> list[CellSearch]:
    """Stopping ASHA in each cell."""
    return [CellStop(Cell(number, plan, CellStop.rule)) for number in range(cells)]


def ray_asha(cells: int, plan: Plan) -> list[CellSearch]:
    """Ray's rule over all cells together."""
    seen: list[list[float]] = [[] for _ in plan.rungs]
    return [RayASHA(Cell(number, plan, RayASHA.rule), seen) for number in range(cells)]


# name in a study file -> who decides. "none" trains every config in full: one rung, nobody ends.
# With "ray-asha" a study's jobs are whole trainings too, and Ray ends them.
RULES: dict[str, Rule] = {
    "cell-promote": cell_promote,
    "cell-stop": cell_stop,
    "ray-asha": cell_promote,
    "none": cell_promote,
}
# name in `simulate --rule` -> who decides in virtual time
SIMULATED: dict[str, Rule] = {
    "cell-promote": cell_promote,
    "cell-stop": cell_stop,
    "ray-asha": ray_asha,
    "full": cell_promote,
}
