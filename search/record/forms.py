"""The types of all that the two logs of a record hold; those of study.json are in `study_form`.

That is an event of the journal, by its kind, and a line of the log of epochs. What is read is held
against them, key by key, and stays as it was. A key that is not named may hold anything: no figure
is made of it.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

LONGEST = 200  # characters told of a bad value


def _moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _scalar(held: Any) -> Any:
    if isinstance(held, bool | str) or (isinstance(held, int) and abs(held) < 2**63):
        return held
    if isinstance(held, float) and math.isfinite(held):
        return held
    raise ValueError("it should be true, false, a text or a finite number")


Count = Annotated[int, Field(ge=0, lt=2**63)]
Epoch = Annotated[int, Field(ge=1, lt=2**63)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(allow_inf_nan=False, ge=0)]
Moment = Annotated[str, AfterValidator(_moment)]
Value = Annotated[Any, AfterValidator(_scalar)]
Scores = dict[str, Number | None]
Texts = list[str]
Table = dict[str, Any]


class Form(BaseModel):
    """A table with these keys, and maybe others; a number is no text, and true no number."""

    model_config = ConfigDict(strict=True, extra="allow")


# ---- the journal


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


# ---- the log of epochs


class Row(Form):
    """An epoch's numbers."""

    epoch: Epoch
    __pydantic_extra__: dict[str, Number | None]


class Line(Form):
    """An epoch of a trial."""

    trial: str
    row: Row
    line: Epoch = 1


def line_fault(line: Any) -> str:
    """What is wrong with a line of the log of epochs; "" if nothing is."""
    return "" if _is_plain(line) else fault_of(Line, line)


def _is_plain(line: Any) -> bool:
    """Whether a line is sound at first sight, in a tenth of the time that its form takes."""
    if type(line) is not dict or type(line.get("trial")) is not str:
        return False
    row, number = line.get("row"), line.get("line", 1)
    if type(row) is not dict or type(number) is not int or not 1 <= number < 2**63:
        return False
    at = row.get("epoch")
    if type(at) is not int or not 1 <= at < 2**63:
        return False
    kinds = set(map(type, row.values()))
    return kinds <= {int, float} and all(-1e300 < value < 1e300 for value in row.values())


def out_of_bounds(name: str, value: float | None) -> str:
    """What is wrong with a number of a quantity of our tasks; "" if nothing is, or none is known.

    Args:
        name: of the quantity, perhaps with its split: val_accuracy.
        value: the number; None and NaN stand for one that is none.
    """
    quantity = name.rpartition("_")[2]
    if value is None or quantity not in BOUNDS:
        return ""
    low, high = BOUNDS[quantity]
    between = "at least 0" if high == math.inf else f"from {low} to {high}"
    return f"{name} is {value!r}, and can only be {between}" if value < low or value > high else ""


BOUNDS = {
    "accuracy": (0.0, 1.0),
    "mae": (0.0, math.inf),
    "rmse": (0.0, math.inf),
    "seconds": (0.0, math.inf),
}


# ---- in words


def fault_of(form: type[Form], held: Any) -> str:
    """The keys that a table lacks, else its first fault: key, what it is, what it must be."""
    try:
        form.model_validate(held)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        keys = [".".join(str(part) for part in fault["loc"]) or "it" for fault in faults]
        pairs = zip(keys, faults, strict=True)
        if lacking := [key for key, fault in pairs if fault["type"] == "missing"]:
            return f"it lacks {', '.join(lacking)}"
        fault, key = faults[0], keys[0]
        said = fault["msg"].removeprefix("Value error, ")
        return f"{key} is {shown(fault['input'])}: {said[:1].lower()}{said[1:]}"
    return ""


def shown(value: Any) -> str:
    """A value in a message, not too long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def from_json(text: bytes) -> Any:
    """A value out of JSON.

    Raises:
        ValueError: it is none, or holds text that no file could hold.
    """
    if b"\0" in text and not text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(
            "it is no text, but has NUL bytes, as a disk gives for what was never written to it"
        )
    try:
        held = json.loads(text)
        if b"\\u" in text:  # half a character, which json takes
            json.dumps(held, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return held
