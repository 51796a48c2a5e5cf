"""Files written whole or not at all, under names of their own; errors that say which file."""

from __future__ import annotations

import errno
import os
import platform
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TOKEN = secrets.token_hex(4)  # process ids repeat across containers, and so may names of hosts


def own_name() -> str:
    """A name that no other process has, for files that two must not share."""
    host = re.sub(r"[^\w-]", "-", platform.node())[:40]
    return f"{host}-{os.getpid()}-{_TOKEN}"


def own_partial(path: Path) -> Path:
    """Where this process alone writes what becomes `path`.

    A worker outlives a killed driver by seconds: two must not write one file.
    """
    return path.with_name(f"{path.name}.{own_name()}.partial")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A failed write in the block is an OSError that says this path: the system's names no file.

    Raises:
        OSError: as in the block.
    """
    try:
        yield
    except Exception as error:
        held = error if isinstance(error, OSError) else _of_disk(error)
        if held is None or held.errno is None or (held is error and held.filename is not None):
            raise
        raise OSError(held.errno, os.strerror(held.errno), str(path)) from error


@contextmanager
def whole(path: Path, partial: Path | None = None) -> Iterator[Path]:
    """A path to write to; it becomes `path` when the block ends, and goes if the block fails.

    So a reader never sees half a file, and a disk that is full is not filled with halves.

    Args:
        path: the file.
        partial: where to write meanwhile, in the same folder; default: `<name>.partial`.

    Raises:
        OSError: as in the block, with the name of the file.
    """
    partial = partial or path.with_name(f"{path.name}.partial")
    try:
        with naming(path):
            yield partial
            partial.replace(path)
    except BaseException:
        with suppress(OSError):  # what failed is told, not what follows
            partial.unlink(missing_ok=True)
        raise


def disk_fault(error: BaseException | None) -> str:
    """What is wrong with a disk, if that is what an exception comes from; else ""."""
    held = _of_disk(error)
    return f"{held.filename or 'a file'}: {held.strerror}" if held else ""


def _of_disk(error: BaseException | None) -> OSError | None:
    """The system's error behind an exception: torch says only at which byte a write has failed."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            return error
        error = error.__cause__ or error.__context__
    return None


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
