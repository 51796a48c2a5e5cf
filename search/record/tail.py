"""A log that grows while it is read: of its whole lines those that are new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.record.forms import from_json

PIECE = 2**22  # bytes in memory at once


class Tail:
    """A log of JSON lines, of which each holds its number.

    Args:
        path: the log, there or not yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._read, self._lines = path, 0, 0
        self._number: int | None = None  # of the file in its file system
        self._size = 0

    @property
    def read(self) -> int:
        """Bytes that were read, to the end of a line."""
        return self._read

    def begin(self, size: int) -> None:
        """Take the whole lines of the first bytes as read."""
        self.changed()
        self._read = self._lines = 0
        if not size:
            return
        at = 0
        with self._path.open("rb") as file:
            while at < size and (piece := file.read(min(size - at, PIECE))):
                self._lines += piece.count(b"\n")
                if (end := piece.rfind(b"\n")) >= 0:
                    self._read = at + end + 1
                at += len(piece)

    def changed(self) -> bool:
        """Look at the file: whether it is another one than before, or shorter than was read."""
        try:
            held = self._path.stat()
        except OSError:
            number, size = None, 0
        else:
            number, size = held.st_ino, held.st_size
        other = self._number is not None and number != self._number
        self._number, self._size = number, size
        return other or size < self._read

    def fresh(self) -> list[dict[str, Any]] | None:
        """The whole lines that are new at the last look; None where one is out of place."""
        if self._size <= self._read:
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            held = file.read(self._size - self._read)
        end = held.rfind(b"\n") + 1
        self._read += end
        lines = []
        for text in held[:end].split(b"\n")[:-1]:
            self._lines += 1
            try:
                line = from_json(text)
            except ValueError:
                return None
            if not isinstance(line, dict) or line.get("line", self._lines) != self._lines:
                return None
            lines.append(line)
        return lines
