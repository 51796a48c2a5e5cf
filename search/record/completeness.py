"""What a study still lacks of what it was asked for: decided here, told by every output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from search.record.read import Record

UNSCORED = "its scoring on test failed"  # how the reason of such a trial ends
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
    study, trials = held.study, held.trials
    seeds = study["confirm_seeds"]
    tested = trials[trials[f"test_{study['metric']}"].notna()]
    tested = tested[tested["stage"] == ("confirm" if seeds else tested["stage"])]
    per_cell = tested.groupby("cell").size()
    said = held.decisions[held.decisions["verdict"].isin(["short", "empty", "select"])]
    ends = said.groupby("cell")["verdict"].agg(list)  # an empty cell that was tried again has all
    short = {n for n, told in ends.items() if told[-1] == "empty" or "short" in told}
    wanted = len(seeds) or 1
    cells = range(len(study["cells"]))
    unscored = trials["reason"].str.endswith(UNSCORED).fillna(False)
    return Missing(
        cells=tuple(n for n in cells if per_cell.get(n, 0) < wanted or n in short),
        open=int(trials["status"].isin(OPEN).sum()),
        lost=trials[trials["status"].isin(["failed", "diverged"]) | unscored],
    )
