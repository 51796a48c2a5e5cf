"""Runs as a source has them: settings, rows of numbers, how they ended, and where it stands."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.errors import UserError

# what tools call the end of a run, in lower case -> what it is here
STATES = {
    **dict.fromkeys(("finished", "completed", "complete", "terminated", "done"), "complete"),
    **dict.fromkeys(("failed", "fail", "crashed", "error", "errored"), "failed"),
    **dict.fromkeys(("pruned", "stopped", "killed", "preempted", "preempting"), "stopped"),
    **dict.fromkeys(
        ("running", "pending", "waiting", "paused", "scheduled", "queued", "restoring"), "open"
    ),
}
SETTING, METRIC, EITHER = "setting", "metric", "either"


@dataclass(frozen=True)
class Row:
    """One line of a source.

    Attributes:
        place: e.g. "runs.csv, row 7".
        values: column -> value; a text where the source is one.
    """

    place: str
    values: Mapping[str, Any]


@dataclass
class Run:
    """One training.

    Attributes:
        name: of the source's own.
        place: where it stands there.
        settings: known to be such.
        rows: what it reported.
        state: a value of STATES; "" where the source does not say.
        seconds: that it took; None where that is not known.
        error: what ended it.
    """

    name: str
    place: str
    settings: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    state: str = ""
    seconds: float | None = None
    error: str = ""


@dataclass
class Source:
    """What was read.

    Attributes:
        kind: of READERS.
        file: its name.
        sha256: of all that was read.
        columns: name -> SETTING, METRIC or EITHER, in order.
        runs: grouped already; a csv has one, of all its rows, which the mapping takes apart.
        grouped: whether they are.
        epoch: the column that counts epochs, where the tool has one of its own.
        modes: metric -> max or min, where the tool says so.
        said: what is to be told of the reading.
    """

    kind: str
    file: str
    sha256: str
    columns: dict[str, str]
    runs: list[Run]
    grouped: bool = True
    epoch: str = ""
    modes: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


def columns_of(runs: Iterable[Run]) -> dict[str, str]:
    """The columns of runs whose settings are known, settings first."""
    held = list(runs)
    found = {key: SETTING for run in held for key in run.settings}
    for run in held:
        for row in run.rows:
            for key in row.values:
                found.setdefault(key, METRIC)
    return found


def sha256_of(paths: Sequence[Path], root: Path | None = None) -> str:
    """Of one file its SHA-256; of several one of their names and contents."""
    if root is None:
        return hashlib.sha256(paths[0].read_bytes()).hexdigest()
    found = hashlib.sha256()
    for path in sorted(paths):
        found.update(f"{path.relative_to(root).as_posix()}\n".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def plain(value: Any) -> Any:
    """A setting as this record holds it: true, false, a number, a text; None for none."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, str):
        return str(value)
    text = value.strip()
    if text.lower() in ("", "nan", "none", "null"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) and re.search(r"[0-9]", text) else text


def number_of(place: str, column: str, value: Any) -> float | None:
    """A number of a row; NaN for one that is not finite, None where there is none.

    Raises:
        UserError: it is something else.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{place}, column {column}: {value!r} is no number; mend it, or name another column "
            "in the map"
        ) from error
    return number if math.isfinite(number) else math.nan


def count(held: Sized | int, noun: str) -> str:
    """E.g. "1 run", "2 runs"."""
    number = held if isinstance(held, int) else len(held)
    return f"{number} {noun}{'s' * (number != 1)}"


def flat(held: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Tables inside a table as keys with a slash."""
    found: dict[str, Any] = {}
    for key, value in held.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{key}/")
        else:
            found[f"{before}{key}"] = value
    return found
