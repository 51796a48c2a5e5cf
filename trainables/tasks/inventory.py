"""What the files of a data set hold: how images are known, and faults told all at once.

An image is known by a checksum of its decoded pixels, so that a copy under another name, or in
another file format without loss, is seen. What is damaged or incomplete is refused with every
fault in one message; what is odd and harmless is a note, which goes on record with the data.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from trainables.errors import reason
from trainables.files import contents
from trainables.task import DataError, MissingDataError

TOLD = 12  # faults of a kind that are told one by one
AT_ONCE = 64  # items a thread takes: to hand them out one by one would take as long as the work
SHOWN = 3  # examples in a note

T = TypeVar("T")
Digests = NDArray[np.uint64]
Rows = NDArray[np.int64]


def told(what: str, items: Iterable[Any], most: int = TOLD) -> list[str]:
    """One line an item, `what: item`, and how many more there are."""
    held = [str(item) for item in items]
    lines = [f"{what}: {item}" for item in held[:most]]
    return [*lines, f"{what}: {len(held) - most} more"] if len(held) > most else lines


def shortened(faults: Sequence[str], what: str) -> list[str]:
    """The first of many faults of a kind, and of the others how many and `what` they are."""
    held = list(faults)
    return [*held[:TOLD], f"{len(held) - TOLD} more {what}"] if len(held) > TOLD else held


def many(count: int, noun: str) -> str:
    """A count and what is counted, one or several: "1 image", "2,000 train images"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def are(count: int) -> str:
    """The verb behind a count."""
    return "is" if count == 1 else "are"


def have(count: int) -> str:
    """The other verb behind a count."""
    return "has" if count == 1 else "have"


def share_of(count: int, whole: int, noun: str) -> str:
    """How many of how many: "1 of 1 image", "1 of 12 images"."""
    return f"{count} of {whole} {noun}" if whole == 1 else f"{count} of {whole} {noun}s"


def named(items: Iterable[Any], most: int = SHOWN) -> str:
    """A few of them in a row: "a, b, c and 4 more"."""
    held = [str(item) for item in items]
    more = f" and {len(held) - most} more" if len(held) > most else ""
    return ", ".join(held[:most]) + more


def refuse(task: str, faults: Sequence[str], hint: str = "") -> None:
    """Raise DataError with all of these faults; nothing where there are none."""
    if faults:
        count = f"{task}: {many(len(faults), 'fault')} of the data"
        raise DataError("\n  ".join([f"{count}; {hint}" if hint else count, *faults]), faults)


def gathered(faults: list[str], read: Callable[..., T], *arguments: Any) -> T | None:
    """What `read` returns; where it raises DataError, None, and what it told is added to `faults`.

    Raises:
        MissingDataError: nothing is there, which is no fault of what is.
    """
    try:
        return read(*arguments)
    except MissingDataError:
        raise
    except DataError as error:
        faults += error.faults
        return None


@contextmanager
def readable(task: str) -> Iterator[None]:
    """A folder or file in the block that may not be read is a fault of the data, by name.

    Raises:
        DataError: with the system's reason.
    """
    try:
        yield
    except PermissionError as error:
        text = f"{error.filename} cannot be opened ({reason(error)}); let yourself read it"
        raise DataError(f"{task}: {text}", [text]) from error


def is_litter(name: str) -> bool:
    """Hidden files, as a Mac's ._x.jpg beside x.jpg, and what Windows keeps of a folder."""
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini")


def rgb(image: Image.Image, upright: bool = False) -> NDArray[np.uint8]:
    """Pixels `(height, width, 3)` of an opened image.

    Args:
        image: not decoded yet.
        upright: turn it as its camera's tag says.

    Raises:
        ValueError: more than 8 bits a channel, of which PIL would cut every value off at 255 or
            keep the lower ones; several pictures.
        OSError: it cannot be decoded.
    """
    # PIL reads colours of 16 bits as mode RGB; the tile says what is in the file
    if image.mode.startswith(("I", "F")) or ";16" in str(getattr(image, "tile", "")):
        raise ValueError(f"more than 8 bits a channel (mode {image.mode}); convert it")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a phone's JPEG with a preview of itself
        raise ValueError(f"{frames} pictures in one file; keep one")
    held = ImageOps.exif_transpose(image) if upright else image
    if held.mode == "P" and "transparency" in held.info:
        held = held.convert("RGBA")  # PIL warns of the direct way, of the same colours
    return np.asarray(held.convert("RGB"))


def why(error: Exception, held: Path | bytes) -> str:
    """What is wrong with an image, in a line.

    Args:
        error: what its decoder has raised.
        held: its file, or all of its bytes.
    """
    shown = "" if isinstance(error, ValueError) else contents(held, "image")
    if shown:
        return f"it is {shown}"
    if isinstance(error, UnidentifiedImageError):
        return "it is no image of a known format"
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def is_grey(pixels: NDArray[np.uint8]) -> bool:
    """Whether all three channels `(height, width, 3)` are alike."""
    return bool(
        (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all()
    )


def digest(pixels: NDArray[Any]) -> int:
    """64 bits of a checksum of an image's pixels (or any array's values) and shape.

    Two of 10^6 different images agree by chance with a probability of 10^12 / 2^65 = 3e-8.
    """
    held = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=8)
    held.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(held.digest(), "little")


def each(work: Callable[..., str | None], *columns: Iterable[Any]) -> list[str]:
    """Do a piece of work an item, on every core; what the pieces return as faults, in order."""
    items = list(zip(*columns, strict=True))
    parts = [items[at : at + AT_ONCE] for at in range(0, len(items), AT_ONCE)]

    def do(part: list[tuple[Any, ...]]) -> list[str]:
        return [fault for item in part if (fault := work(*item))]

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # PIL lets go of the interpreter
        return [fault for held in threads.map(do, parts) for fault in held]


def checksum(parts: Iterable[NDArray[Any]]) -> str:
    """sha256 of arrays, one after another."""
    held = hashlib.sha256()
    for part in parts:
        held.update(np.ascontiguousarray(part).data)
    return held.hexdigest()


def noted_number(held: int, whole: int, what: str) -> list[str]:
    """A note where a published data set is not there in full."""
    if held == whole:
        return []
    return [f"{many(held, what)}, where the published set has {whole:,}"]


def grey_note(grey: NDArray[np.bool_], split: str) -> list[str]:
    """A note of grey images `(n,)`."""
    count = int(grey.sum())
    whole = share_of(count, len(grey), f"{split} image")
    return [f"{whole} {are(count)} grey"] if count else []


def shown_path(path: Path, root: Path) -> str:
    """A path below a folder, in short."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
