"""The types of what a record holds: those that all share, and a line of the log of epochs.

Events of the journal are in `event_forms`, study.json is in `study_form`. What is read is held
against them, key by key, and stays as it was. A key that is not named may hold anything: no figure
is made of it.
"""

from __future__ import annotations

import codecs
import json
import math
from datetime import datetime
from typing import Annotated, Any

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
