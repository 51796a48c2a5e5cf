"""The search as Optuna sees it: one study a cell, made from the journal when asked for.

`resnet-search optuna RUN` writes it to `optuna.log` in the run folder, for `optuna-dashboard`; so
does the end of a session. A trial waiting or on its way is RUNNING, one ended at a rung PRUNED
with its values at the rungs, one that diverged or failed FAIL, one trained to the end COMPLETE. An
ended Optuna trial cannot go on: one of ours that does is a second one. An audited trial stays
PRUNED. Confirmation runs are none of the search's and not in it. Times are the journal's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.record.journal import Event
from search.record.read import read_events
from search.record.stored import STUDY
from search.record.study_file import load_study
from search.spec.distributions import space_of
from search.spec.study_spec import recorded_spec
from trainables.files import whole

FILE = "optuna.log"
ENDS = {
    "stop": TrialState.PRUNED,
    "collapsed": TrialState.PRUNED,
    "complete": TrialState.COMPLETE,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}


@dataclass
class _Attempt:
    """What becomes one Optuna trial."""

    trial: str
    cell: int
    params: dict[str, Any]
    started: str
    values: dict[int, float] = field(default_factory=dict)  # by epoch
    state: TrialState = TrialState.RUNNING
    value: float | None = None
    ended: str | None = None


class _Log(BaseJournalBackend):
    """Optuna's journal in memory: its own file backend forces every line to disk under a lock."""

    def __init__(self) -> None:
        self.lines = list[dict[str, Any]]()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.lines.extend(logs)

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        return self.lines[log_number_from:]


def write(run: Path) -> Path:
    """Write `optuna.log` of a run folder, whole or not at all; an earlier one is replaced.

    Returns:
        The file.

    Raises:
        RecordError, JournalError: see search.record.load.
    """
    log = _Log()
    study = load_study(run)
    spec = recorded_spec(study, str(run / STUDY))
    storage = JournalStorage(log)
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # its lines would break ours
    direction = StudyDirection.MAXIMIZE if study["mode"] == "max" else StudyDirection.MINIMIZE
    names = [" ".join(f"{k}={v}" for k, v in cell.items()) for cell in study["cells"]]
    studies = [
        optuna.create_study(storage=storage, study_name=name, direction=direction)
        for name in names
    ]
    spaces = [space_of(spec, cell) for cell in spec.cell_values()]
    for attempt in _attempts(read_events(run, study=study)):
        studies[attempt.cell].add_trial(_frozen(attempt, spaces[attempt.cell]))
    path = run / FILE
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in log.lines)
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def load(path: Path) -> dict[str, optuna.Study]:
    """The studies of a file, by cell name."""
    storage = JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage) for name in names}


def _attempts(events: Sequence[Event]) -> list[_Attempt]:
    """Optuna's trials out of a journal, in the order in which they began."""
    found: list[_Attempt] = []
    newest: dict[str, _Attempt] = {}
    jobs: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["event"] == "ask":
            job = event["job"]
            jobs[job["trial"]] = job
            if job["stage"] == "search" and job["trial"] not in newest:
                attempt = _Attempt(job["trial"], job["cell"], event["config"], event["time"])
                newest[job["trial"]] = attempt
                found.append(attempt)
        elif event["event"] == "tell":
            _tell(newest.get(event["trial"]), jobs[event["trial"]], event)
        elif event["event"] == "decision" and event["trial"] in newest:
            held = newest[event["trial"]]
            newest[event["trial"]] = _decide(held, event)
            if newest[event["trial"]] is not held:
                found.append(newest[event["trial"]])
    return found


def _tell(attempt: _Attempt | None, job: dict[str, Any], event: Event) -> None:
    """A trial has reached a rung."""
    climbed = job["stage"] == "search" and job["from_epoch"] < job["to_epoch"]
    if attempt and climbed and event["ending"] != "failed" and event.get("value") is not None:
        epoch = job["to_epoch"] if event["ending"] == "value" else event["epoch"]
        attempt.values[epoch] = event["value"]


def _decide(attempt: _Attempt, event: Event) -> _Attempt:
    """The attempt that a trial is at after a verdict: this one, or another where it had ended."""
    verdict, ended = event["verdict"], attempt.state.is_finished()
    failed = attempt.state is TrialState.FAIL
    if (ended and verdict == "replace") or (failed and verdict == "retry"):
        held = copy.deepcopy(attempt)
        held.started, held.state, held.value, held.ended = (
            event["time"], TrialState.RUNNING, None, None,
        )  # fmt: skip
        return held
    if not ended and verdict in ENDS:
        attempt.state, attempt.ended = ENDS[verdict], event["time"]
        attempt.value = event["value"] if verdict == "complete" else None
    return attempt


def _frozen(attempt: _Attempt, space: dict[str, BaseDistribution]) -> FrozenTrial:
    trial = create_trial(
        state=attempt.state,
        value=attempt.value,
        params=attempt.params,
        distributions=space,
        intermediate_values=attempt.values,
        user_attrs={"trial": attempt.trial},
    )
    trial.datetime_start = _local(attempt.started)
    trial.datetime_complete = _local(attempt.ended) if attempt.ended else None
    return trial


def _local(time: str) -> datetime:
    """Optuna's times are local and say no zone."""
    return datetime.fromisoformat(time).astimezone().replace(tzinfo=None)
