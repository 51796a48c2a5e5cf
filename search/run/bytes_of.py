"""What is handed in to a store, as a file, and by which digest it is known there."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

CHUNK = 8 * 2**20  # bytes


@contextlib.contextmanager
def opened(source: Path | bytes) -> Iterator[IO[bytes]]:
    """A file, or bytes as one."""
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        yield file


def version_of(path: Path) -> str:
    """How the name of a file's version ends."""
    with path.open("rb") as file:
        return "{}-{}".format(*digest_of(file))


def digest_of(file: IO[bytes]) -> tuple[str, int]:
    """sha256 and bytes of a file, from where it stands."""
    held, size = hashlib.sha256(), 0
    while chunk := file.read(CHUNK):
        held.update(chunk)
        size += len(chunk)
    return held.hexdigest(), size
