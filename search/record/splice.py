"""A file of lines with new ones put between, in a tenth of the time that writing all takes."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

from search.record.stored import PIECE


def line_ends(text: bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where each line of a text ends, its end included."""
    return np.flatnonzero(np.frombuffer(text, dtype="uint8") == ord("\n")) + 1


def spliced(old: Path, known: int, more: Iterable[tuple[int, bytes]], file: IO[bytes]) -> bool:
    """Copy a file, with other lines between its own.

    Args:
        old: the file; its lines are whole.
        known: its CRC-32 as it was written.
        more: behind how many of its lines what is put, in order; behind at least one.
        file: to write to.

    Returns:
        Whether it was as it was written, and so long; if not, what `file` got is worth nothing.
    """
    waiting, found, seen = deque(more), 0, 0
    if not old.is_file():
        return False
    with old.open("rb") as source:
        while piece := source.read(PIECE):
            found = zlib.crc32(piece, found)
            count, start = piece.count(b"\n"), 0
            ends = line_ends(piece) if waiting and waiting[0][0] <= seen + count else None
            while ends is not None and waiting and waiting[0][0] <= seen + count:
                lines, text = waiting.popleft()
                end = int(ends[lines - seen - 1])
                file.write(memoryview(piece)[start:end])
                file.write(text)
                start = end
            file.write(memoryview(piece)[start:])
            seen += count
    return found == known and not waiting
