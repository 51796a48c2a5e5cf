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

from trainables.errors import UserError
from trainables.files import naming

Event = dict[str, Any]
NEEDED = {
    "ask": ("job", "config", "settings", "seed"),
    "tell": ("trial", "ending"),
    "decision": ("trial", "cell", "epoch", "value", "rank", "n", "verdict"),
}
EVENTS = (
    *("ask", "tell", "decision", "again", "put back", "retry failed", "ray died", "cut"),
    *("node", "node gone", "lost", "quarantine"),  # of a cluster
)


class JournalError(UserError):
    """The journal cannot be read, or does not fit the study."""


class Appender:
    """Appends JSON lines to a file; each is handed to the operating system before `write` returns.

    Args:
        path: the file; a truncated last line in it is cut off first.

    Attributes:
        cut: bytes of a truncated last line that were dropped; mostly 0.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.cut = cut_truncated_line(path)
        self._path = path
        # no buffer: what a full disk has refused would be written again by `close`, and fail again
        self._file: IO[bytes] = path.open("ab", buffering=0)

    def write(self, event: Event) -> None:
        """Append one event, with the time in UTC; all of it or nothing.

        Raises:
            OSError: the system refuses it, for example for a full disk, or the file is gone.
        """
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}
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
        JournalError: another line is not JSON.
    """
    if not path.is_file():
        return []
    with path.open("rb") as file:
        *lines, _ = file.read(-1 if size is None else size).split(b"\n")
    events = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(json.loads(line))
        except ValueError as error:
            raise JournalError(
                f"{path}, line {number} is not JSON ({error}); restore the file from a copy, or "
                "cut it before this line: what follows is then run again"
            ) from error
    return events


def read_journal(path: Path, size: int | None = None) -> list[Event]:
    """Every event of a journal, each checked against those before it; none without the file.

    Args:
        path: the journal.
        size: read so many bytes of it; None for all.

    Raises:
        JournalError: a line is no event, or an earlier line must be gone.
    """
    events, asked, running = read_lines(path, size), set(), set()
    for number, event in enumerate(events, 1):
        kind = event.get("event") if isinstance(event, dict) else None
        if kind not in EVENTS:
            raise JournalError(
                f"{path}, line {number} has the event {kind!r}, which is none of "
                f"{', '.join(EVENTS)}; restore the file from a copy"
            )
        missing = [key for key in NEEDED.get(kind, ()) if key not in event]
        if missing or (kind == "ask" and "trial" not in event["job"]):
            raise JournalError(
                f"{path}, line {number} is no whole {kind} (no {', '.join(missing) or 'trial'}); "
                "restore the file from a copy"
            )
        trial = event["job"]["trial"] if kind == "ask" else event.get("trial")
        if kind == "ask":
            if trial in running:
                raise _gap(path, number, f"asks again for trial {trial}, which was not told of")
            asked.add(trial)
            running.add(trial)
        elif trial is not None and trial not in asked:
            raise _gap(path, number, f"tells of trial {trial}, which no line before it asks for")
        elif kind == "tell":
            if trial not in running:
                raise _gap(path, number, f"tells of trial {trial} once more than it was asked for")
            running.remove(trial)
    return events


def _gap(path: Path, number: int, what: str) -> JournalError:
    return JournalError(
        f"{path}, line {number} {what}: a line is missing; restore the file from a copy"
    )


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
