"""The types of the journal's events, by their kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from search.record.forms import (
    Amount,
    Count,
    Epoch,
    Form,
    Moment,
    Number,
    Scores,
    Table,
    Texts,
    Value,
    fault_of,
    shown,
)


class _Event(Form):
    time: Moment
    line: Epoch = 1


class Job(Form):
    """See search.spec.plan.Job."""

    trial: str
    stage: Literal["search", "confirm", "audit"]
    cell: Count
    to_epoch: Epoch
    from_epoch: Count = 0
    config: Count = 0
    seed: Count | None = None
    score_test: bool = False


class Ask(_Event):
    """A job that is handed out; `config` are the searched settings, `settings` all that differ."""

    job: Job
    config: dict[str, Value]
    settings: Table
    seed: Count | None  # None of a run that was imported without one
    beside: str | None = None  # trial that it is trained with as an array, and asked for after


class _Tell(_Event):
    trial: str
    seconds: Amount | None = None
    gpu_seconds: Amount | None = None
    peak_mb: Amount | None = None
    began_at: Count | None = None
    checkpoints: Count | None = None
    checkpoint_mb: Amount | None = None
    checkpoint_seconds: Amount | None = None
    parameters: Count | None = None
    precision: str | None = None
    step: str | None = None
    node: str | None = None
    device: str | None = None
    code: str | None = None
    error: str | None = None
    out_of_memory: bool = False
    lost: bool = False
    for_good: bool = False
    members: Count = 0  # of the array, where there was no memory for so many together


class Reached(_Tell):
    """A job that has ended with a value; scored on test, it has the constants' scores too."""

    epoch: Epoch
    value: Number
    value_epoch: Epoch
    test: Scores | None = None
    baselines: dict[str, Scores] | None = None
    collapsed: bool | None = None


class Diverged(_Tell):
    """A job that ended in an epoch that was not finite."""

    epoch: Epoch
    value: Number | None = None
    value_epoch: Epoch = 1


class Failed(_Tell):
    """A job that ended with an error."""


class _Decision(_Event):
    cell: Count
    epoch: Count
    value: Number | None
    rank: Epoch | None
    n: Count | None
    goes_on: Count | None = None
    rule: str = ""


class OfTrial(_Decision):
    """A decision on a trial; see search.schedule.cell_state.Decision."""

    trial: str


class OfCell(_Decision):
    """A decision on a cell."""

    trial: None


class OfJob(_Event):
    """A job is put back, or handed out again, with these settings."""

    trial: str
    from_epoch: Count = 0
    settings: Table | None = None
    seed: Count | None = None
    beside: str | None = None  # see Ask


class Retried(_Event):
    """Trials that had failed run again."""

    trials: Texts


class Died(_Event):
    """Ray's experiment has."""

    error: str


class Lost(_Event):
    """A job that its node, process or network has ended; see search.run.failures."""

    trial: str
    cause: str
    node: str
    error: str
    epoch: int = 0  # reported by then
    apart: bool = False  # its array's, and of no one's doing: it goes on by itself
    members: int = 0  # of the array, where it got no memory for so many


class OtherCheckpoint(_Event):
    """Under a trial's name was the checkpoint of another one, which was taken for none."""

    trial: str
    differs: str


class Node(_Event):
    """A node that was asked what it has, and whether it may take jobs; see search.run.nodes."""

    node: str
    id: str
    address: str
    used: bool
    why_not: Texts
    clock_offset: Number
    clock_bound: Number | None = None  # seconds by which that may be wrong


class NodeGone(_Event):
    """A node that is there no more."""

    node: str
    id: str


class Quarantine(_Event):
    """A node that takes no jobs for so many seconds, and is asked again then."""

    node: str
    id: str
    seconds: Amount


class SessionBegun(_Event):
    """A driver starts to work; what it runs with is in `sessions` of study.json, at `number`."""

    number: Count


class Cut(_Event):
    """A last line was not whole."""

    bytes: Count


class LogEnded(_Event):
    """A copy of what happens, for another tool, that could not be written any more."""

    to: str
    error: str


class SetAside(_Event):
    """What the folder held of jobs that the journal had lost."""

    rows: Count
    files: Count
    trials: list[str]


VERDICTS = {
    **dict.fromkeys(
        ("promote", "promote early", "replace", "stop", "collapsed", "complete", "select"), OfTrial
    ),
    **dict.fromkeys(("audit", "audited", "retry", "failed", "diverged"), OfTrial),
    **dict.fromkeys(("empty", "short"), OfCell),
}
ENDINGS = {"value": Reached, "stopped": Reached, "diverged": Diverged, "failed": Failed}
# event -> its form, or the key that says which form it has, and the forms by that
EVENTS: dict[str, Any] = {
    "ask": Ask,
    "tell": ("ending", ENDINGS),
    "decision": ("verdict", VERDICTS),
    "again": OfJob,
    "put back": OfJob,
    "retry failed": Retried,
    "ray died": Died,
    "cut": Cut,
    "set aside": SetAside,
    "lost": Lost,
    "other checkpoint": OtherCheckpoint,
    "node": Node,
    "node gone": NodeGone,
    "quarantine": Quarantine,
    "session": SessionBegun,
    "log ended": LogEnded,
}


def event_fault(event: Any) -> str:
    """What is wrong with a line of the journal; "" if nothing is."""
    if not isinstance(event, dict):
        return f"it has the event None: it is no table, but {shown(event)}"
    form = _chosen(event, "event", EVENTS)
    if isinstance(form, tuple):
        form = _chosen(event, *form)
    if isinstance(form, str):
        return form
    fault = fault_of(form, event)
    if not fault and event.get("test") is not None and event.get("baselines") is None:
        return "it lacks baselines beside the scores on test"
    return fault


def _chosen(event: dict[str, Any], key: str, forms: Mapping[str, Any]) -> Any:
    """The form that a key chooses, or what is wrong with the key."""
    held = event.get(key)
    if isinstance(held, str) and held in forms:
        return forms[held]
    return f"it has the {key} {shown(held)}, which is none of {', '.join(forms)}"
