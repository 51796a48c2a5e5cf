"""Files written whole or not at all, by names of their own, and what a path really is."""

from __future__ import annotations

import errno
import os
import platform
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from trainables.errors import causes


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


@contextmanager
def whole_new(path: Path) -> Iterator[Path]:
    """As `whole`, but never in the place of another file.

    Args:
        path: the file.

    Raises:
        FileExistsError: something is there already.
        OSError: as in the block, with the name of the file.
    """
    partial = own_partial(path)
    try:
        with naming(path):
            yield partial
            os.link(partial, path)  # unlike a rename, never over another
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def disk_fault(error: BaseException | None) -> str:
    """What is wrong with a disk, if that is what an exception comes from; else ""."""
    held = _of_disk(error)
    return f"{held.filename or 'a file'}: {held.strerror}" if held else ""


def _of_disk(error: BaseException | None) -> OSError | None:
    """The system's error behind an exception: torch says only at which byte a write has failed."""
    for one in causes(error):
        if isinstance(one, OSError) and one.errno in _NO_SPACE:
            return one
    return None


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


HEAD, TAIL = 512, 1024  # bytes of a file that are looked at
LFS = b"version https://git-lfs.github.com/spec/"
# first bytes, what such a file is, what is read of it, and what stands at its end if it is whole
KINDS = (
    (b"\xff\xd8\xff", "a JPEG", "image", b"\xff\xd9"),
    (b"\x89PNG\r\n\x1a\n", "a PNG", "image", b"IEND"),
    (b"GIF8", "a GIF", "image", b""),
    (b"PAR1", "a parquet file", "parquet", b"PAR1"),
    (b"MATLAB 7.3", "a MATLAB file of version 7.3 (save it with -v7)", "", b""),
    (b"MATLAB ", "a MATLAB file", "annotation", b""),
    (b"\x89HDF", "an HDF5 file", "", b""),
    (b"PK\x03\x04", "a zip archive", "weights", b"PK\x05\x06"),
    (b"\x1f\x8b", "a gzip archive", "", b""),
    (b"7z\xbc\xaf", "a 7z archive", "", b""),
    (b"Rar!", "a RAR archive", "", b""),
    (b"%PDF", "a PDF", "", b""),
)


def contents(held: Path | bytes, wanted: str) -> str:
    """What the bytes show of a file that its reader has refused, to go behind "it is".

    Args:
        held: the file, or all of its bytes.
        wanted: what it should be: "image", "parquet", "annotation" or "weights", whose marks are
            known, or another word ("pickle").

    Returns:
        "" where they show nothing: it seems to be what it should, or cannot be opened.
    """
    try:
        size, head, tail = _ends(held)
    except OSError:
        return ""
    if not size:
        return "empty"
    if head.startswith(LFS):
        return "a git-lfs pointer, not the file itself: run `git lfs pull`"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page under its name, as servers send for an error or a sign-in"
    if start.startswith((b"<?xml", b"<error")):
        return "an XML text under its name, as servers send for an error"
    if not any(head):
        return "nothing but zeros at its start, as a download that broke off leaves it"
    for magic, name, family, end in KINDS:
        if head.startswith(magic):
            cut = end not in tail or (name == "a MATLAB file" and _mat_is_cut(head, size))
            return name if family != wanted else f"cut off: {name} without its end" * cut
    return "a text" if _is_text(head) else ""


def _ends(held: Path | bytes) -> tuple[int, bytes, bytes]:
    """Size, first and last bytes."""
    if isinstance(held, bytes):
        return len(held), held[:HEAD], held[-TAIL:]
    with held.open("rb") as file:
        head = file.read(HEAD)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        return size, head, file.read()


def _mat_is_cut(head: bytes, size: int) -> bool:
    """Whether the first variable of a MATLAB 5 file reaches beyond its end."""
    order: Literal["little", "big"] = "little" if head[126:128] == b"IM" else "big"
    return 136 + int.from_bytes(head[132:136], order) > size


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character that is cut in two
            return False
        text = head[: error.start].decode()
    return all(char.isprintable() or char in "\t\r\n" for char in text)
