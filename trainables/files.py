"""Files written whole or not at all, and what keeps others from being opened, or written."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def unfit(path: Path) -> str:
    """What keeps a path from being opened as a file, in words behind its name; "" if nothing does.

    Nothing is opened: a pipe would be waited for. A path where nothing is has no fault.

    Raises:
        OSError: the system refuses even a look.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "is a link that leads nowhere" if path.is_symlink() else ""
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads in a circle"
        raise
    if stat.S_ISDIR(mode):
        return "is a folder, not a file"
    return "" if stat.S_ISREG(mode) else "is no ordinary file"


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
