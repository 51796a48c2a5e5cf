"""decisions.jsonl: every ask, tell and decision, one JSON line each, flushed in that order.

The journal is the truth: the scheduler is what replaying it gives, the record is what it says.
An ask is flushed before its job starts, a tell when the job has ended.
"""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from search.record.event_forms import event_fault
from search.record.forms import from_json
from trainables.errors import UserError
from trainables.files import naming, unfit

Event = dict[str, Any]
RESTORE = "restore the file from a copy"


class JournalError(UserError):
    """The journal cannot be read, or does not fit the study."""


class Appender:
    """Appends JSON lines to a file; each is handed to the operating system before `write` returns.

    Each holds its number, so that a line that is lost, doubled or moved later on is found out.

    Args:
        path: the file; a truncated last line in it is cut off first.

    Attributes:
        cut: bytes of a truncated last line that were dropped; mostly 0.

    Raises:
        JournalError: something else is in the file's place.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_file(path)
        self.cut = cut_truncated_line(path)
        self._path, self._lines = path, _count_lines(path)
        # no buffer: what a full disk has refused would be written again by `close`, and fail again
        self._file: IO[bytes] = path.open("ab", buffering=0)

    def write(self, event: Event) -> None:
        """Append one event, with the time in UTC; all of it or nothing.

        Raises:
            OSError: the system refuses it, for example for a full disk, or the file is gone.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "line": self._lines + 1, **event}
        left = memoryview((json.dumps(line, allow_nan=False) + "\n").encode())
        held = os.fstat(self._file.fileno())
        if not held.st_nlink:  # the system would take the line, and nobody could ever read it
            raise FileNotFoundError(errno.ENOENT, "removed while the study ran", str(self._path))
        try:
            with naming(self._path):
                while left:
                    left = left[self._file.write(left) :]
        except BaseException:  # an interruption too: half a line would spoil the next one
            os.ftruncate(self._file.fileno(), held.st_size)
            raise
        self._lines += 1

    def to_disk(self) -> None:
        """Force what was written to disk, which survives a power cut too."""
        with naming(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with naming(self._path):
            self._file.close()


def read_lines(path: Path, size: int | None = None) -> list[Event]:
    """Every whole line of a JSON lines file; a last line without its end is left out.

    Args:
        path: the file.
        size: read so many bytes of it; None for all.

    Raises:
        JournalError: another line is not JSON, or something else is in the file's place.
    """
    _require_file(path)
    if not path.exists():
        return []
    with path.open("rb") as file:
        *lines, _ = file.read(-1 if size is None else size).split(b"\n")
    events = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(from_json(line))
        except ValueError as error:
            raise JournalError(
                f"{path}, line {number} is not JSON ({error}); {RESTORE}"
            ) from error
    return events


def _require_file(path: Path) -> None:
    if fault := unfit(path):
        raise JournalError(f"{path} {fault}; put the file itself there, from a copy")


def _count_lines(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(1 for _ in file)


def out_of_order(lines: list[Any]) -> int:
    """The number of the first line that is not where it was written, 0 if all are.

    Lines of before they were numbered are taken to be there.
    """
    numbered = ((n, line.get("line", n)) for n, line in enumerate(lines, 1))
    return next((place for place, number in numbered if place != number), 0)


def read_journal(path: Path, size: int | None = None) -> list[Event]:
    """Every event of a journal, each checked against those before it; none without the file.

    Args:
        path: the journal.
        size: read so many bytes of it; None for all.

    Raises:
        JournalError: a line is no event, or lines are gone, doubled or moved.
    """
    events = read_lines(path, size)
    for number, event in enumerate(events, 1):
        if fault := event_fault(event):
            raise fault_in(path, number, fault)
    if moved := out_of_order(events):
        written = events[moved - 1]["line"]
        what = f"was written as line {written}: a line is missing, doubled or moved"
        raise JournalError(f"{path}, line {moved} {what}; {RESTORE}")
    order = EventOrder()
    for number, event in enumerate(events, 1):
        if gap := order.take(event):
            raise JournalError(
                f"{path}, line {number} {gap}: a line is missing, doubled or moved; {RESTORE}"
            )
    return events


def fault_in(path: Path, number: int, fault: str) -> JournalError:
    """What is wrong with a line, and what to do."""
    return JournalError(
        f"{path}, line {number}: {fault}; {RESTORE}, or cut it before this line and delete "
        "frames.json: what follows is then run again"
    )


class EventOrder:
    """What has been asked for and told so far: lines had no numbers before."""

    def __init__(self) -> None:
        self._asked: set[str] = set()
        self._running: set[str] = set()  # trials whose job is out
        self._decided: set[tuple[Any, ...]] = set()
        self._audited: set[str] = set()

    def take(self, event: Event) -> str:
        """What of an event cannot come after those before it; "" if it can."""
        if event["event"] == "ask":
            return self._ask(event["job"])
        trial = event.get("trial")
        if trial is not None and trial not in self._asked:
            return f"tells of trial {trial}, which no line before it asks for"
        if event["event"] == "tell":
            return self._tell(event)
        return self._decide(event) if event["event"] == "decision" else ""

    def _ask(self, job: dict[str, Any]) -> str:
        trial = job["trial"]
        if trial in self._running:
            return f"asks again for trial {trial}, which was not told of"
        if job["stage"] == "audit" and trial not in self._audited:
            return f"asks for an audit of trial {trial}, which no line before it decides on"
        self._asked.add(trial)
        self._running.add(trial)
        return ""

    def _tell(self, event: Event) -> str:
        trial = event["trial"]
        if trial not in self._running:
            return f"tells of trial {trial} once more than it was asked for"
        self._running.remove(trial)
        if event["ending"] == "failed":
            return ""
        at = event["epoch"]
        if event.get("value_epoch", at) > at:
            return f"tells of trial {trial} a value of epoch {event['value_epoch']} at epoch {at}"
        return ""

    def _decide(self, event: Event) -> str:
        trial, verdict = event["trial"], event["verdict"]
        if verdict == "audit":
            self._audited.add(trial)
        if verdict == "audited" and trial not in self._audited:
            return f"ends an audit of trial {trial}, which no line before it decides on"
        same = (event["time"], trial, event["cell"], event["epoch"], verdict)
        if same in self._decided:
            return "is a decision that a line before it holds"
        self._decided.add(same)
        return ""


def cut_truncated_line(path: Path) -> int:
    """Cut off what a killed writer left after the last line end; returns its bytes."""
    if not path.is_file():
        return 0
    held = path.read_bytes()
    end = held.rfind(b"\n") + 1
    if end < len(held):
        with path.open("r+b") as file:
            file.truncate(end)
    return len(held) - end
