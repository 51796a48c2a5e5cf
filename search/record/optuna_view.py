"""The search as Optuna sees it: one study a cell, in a file of the run folder.

`optuna-dashboard runs/<study>/optuna.log` opens it. It is a view, made anew from the journal when
a study is resumed: a trial waiting or on its way is RUNNING, one ended at a rung PRUNED with its
values at the rungs, one that diverged or failed FAIL, one trained to the end COMPLETE. An audited
trial stays PRUNED. Confirmation runs are none of the search's and not in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

ENDS = {
    "stop": TrialState.PRUNED,
    "complete": TrialState.COMPLETE,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}


class _Log(BaseJournalBackend):
    """Optuna's journal in memory; `flush` appends what is new to the file, in one write.

    Optuna's own file backend forces every operation to disk under a lock, which costs as much as
    a short job; here one process writes, and what a crash loses is made again.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lines, self._written = path, list[dict[str, Any]](), 0

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._lines.extend(logs)

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        return self._lines[log_number_from:]

    def flush(self) -> None:
        new = self._lines[self._written :]
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in new)
        if self._written:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        else:  # a file of an earlier session is replaced only by one that is as complete
            partial = self._path.with_suffix(".partial")
            partial.write_text(text, encoding="utf-8")
            partial.replace(self._path)
        self._written = len(self._lines)


class OptunaStore:
    """Follows asks, values and decisions of a search.

    Args:
        path: the file; one that exists is made anew.
        names: of the cells.
        spaces: of the cells, parameter -> distribution.
        mode: which values are better.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        spaces: Sequence[Mapping[str, BaseDistribution]],
        mode: Literal["max", "min"],
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # its lines would break ours
        direction = StudyDirection.MAXIMIZE if mode == "max" else StudyDirection.MINIMIZE
        self._log = _Log(path)
        self._storage = JournalStorage(self._log)
        self._spaces = spaces
        self._studies = [self._storage.create_new_study([direction], name) for name in names]
        self._trials: dict[str, int] = {}  # ours -> Optuna's
        self._held: dict[str, FrozenTrial] = {}

    def asked(self, trial: str, cell: int, params: Mapping[str, Any]) -> None:
        """A config is tried for the first time."""
        if trial in self._trials:
            return
        self._held[trial] = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=dict(self._spaces[cell]),
            user_attrs={"trial": trial},
        )
        self._open(trial, cell)

    def valued(self, trial: str, epoch: int, value: float | None) -> None:
        """A trial has reached a rung."""
        if value is not None:
            number = self._trials[trial]
            self._storage.set_trial_intermediate_value(number, epoch, value)
            self._held[trial].intermediate_values[epoch] = value

    def decided(self, decision: Mapping[str, Any]) -> None:
        """A verdict of the scheduler; one on anything but a trial of the search is passed over."""
        trial, verdict = decision["trial"], decision["verdict"]
        if trial not in self._trials:
            return
        number = self._trials[trial]
        state = self._storage.get_trial(number).state
        ended = state.is_finished()
        # an ended Optuna trial cannot go on: a new one does
        if (ended and verdict == "replace") or (state is TrialState.FAIL and verdict == "retry"):
            self._open(trial, decision["cell"])
        elif not ended and verdict in ENDS:
            values = [decision["value"]] if verdict == "complete" else None
            self._storage.set_trial_state_values(number, ENDS[verdict], values)

    def flush(self) -> None:
        """Write what is new to the file."""
        self._log.flush()

    def _open(self, trial: str, cell: int) -> None:
        study = self._studies[cell]
        self._trials[trial] = self._storage.create_new_trial(study, self._held[trial])


def load(path: Path) -> dict[str, optuna.Study]:
    """The studies of a file, by cell name."""
    storage = JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage) for name in names}
