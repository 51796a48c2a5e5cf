"""What the files of a data set hold: faults told all at once, and the same image in two splits.

An image is known by a checksum of its decoded pixels, so that a copy under another name, or in
another file format without loss, is seen. What is damaged or incomplete is refused with every
fault in one message; what is odd and harmless is a note, which goes on record with the data.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from trainables.task import DataError, MissingDataError, Setting

TOLD = 12  # faults of a kind that are told one by one
AT_ONCE = 64  # items a thread takes: to hand them out one by one would take as long as the work
SHOWN = 3  # examples in a note
MOST_COPIED = 0.01  # of held-out images that may be training images too; above, the data is wrong
KEEP = "keep"
PART_OF = {"train": "training", "val": "validation"}
COPIES = {
    "copies": Setting(
        "leave out",
        "training images that are held-out images too, pixel for pixel: left out of training, "
        "or kept",
        choices=("leave out", KEEP),
        role="study",
        before=KEEP,
    )
}

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


def named(items: Iterable[Any], most: int = SHOWN) -> str:
    """A few of them in a row: "a, b, c and 4 more"."""
    held = [str(item) for item in items]
    more = f" and {len(held) - most} more" if len(held) > most else ""
    return ", ".join(held[:most]) + more


def refuse(task: str, faults: Sequence[str], hint: str = "") -> None:
    """Raise DataError with all of these faults; nothing where there are none."""
    if faults:
        count = f"{task}: {len(faults)} fault{'s' if len(faults) > 1 else ''} of the data"
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
    return np.asarray((ImageOps.exif_transpose(image) if upright else image).convert("RGB"))


def why(error: Exception) -> str:
    """What is wrong with an image, in a line."""
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


def apart(copies: str, train: Digests, *held_out: Digests) -> Rows:
    """Places in `train` to train on: the first of each image, unless a held-out split has it.

    Copies within `train` go too: one would be validated on while another is trained on.

    Args:
        copies: the setting; where it keeps them, all places are returned.
        train: of the training images.
        held_out: of validation or test images.

    Raises:
        DataError: none is left.
    """
    if copies == KEEP:
        return np.arange(len(train))
    first = np.sort(np.unique(train, return_index=True)[1])
    left = first[~np.isin(train[first], np.concatenate([train[:0], *held_out]))]
    if not len(left):
        raise DataError(
            "every training image is a held-out one too, pixel for pixel; give other images, or "
            f'set fixed.copies = "{KEEP}"'
        )
    return left


def across(
    copies: str,
    train: tuple[Digests, Sequence[str]],
    held_out: tuple[Digests, Sequence[str]],
    splits: tuple[str, str] = ("train", "test"),
    most: float = MOST_COPIED,
) -> tuple[list[str], list[str]]:
    """What is said of images that are in two splits.

    Args:
        copies: the setting.
        train: checksums of the images that are left out where they are held out too, and names.
        held_out: the same of the other split.
        splits: names of both.
        most: share of the held-out images; more copies than that are a fault, unless kept.

    Returns:
        Faults and notes.
    """
    copied = np.flatnonzero(np.isin(held_out[0], train[0]))
    if not len(copied):
        return [], []
    at = {key: row for row, key in enumerate(train[0].tolist())}
    first, split = splits
    pairs = named(
        f"{split} {held_out[1][row]} is {first} {train[1][at[int(held_out[0][row])]]}"
        for row in copied.tolist()
    )
    count, share = len(held_out[0]), len(copied) / len(held_out[0])
    word = PART_OF[first]
    be = f"is a {word} image" if len(copied) == 1 else f"are {word} images"
    said = f"{len(copied)} of {count} {split} images {be}, pixel for pixel"
    if copies == KEEP:
        return [], [f"{said}, kept in {word} ({pairs})"]
    if share > most:
        fault = (
            f"{said} ({share:.1%}; up to {most:.0%} would be left out of {word}): {pairs}. "
            "Remove the copies, or fetch the data again; to use them all the same set "
            f'fixed.copies = "{KEEP}", which the table will say'
        )
        return [fault], []
    return [], [f"{said}, left out of {word} ({pairs})"]


def said(
    copies: str, across_splits: Sequence[str], notes: Sequence[str], warnings: Sequence[str]
) -> dict[str, list[str]]:
    """Keys `notes` and `warnings` of a fingerprint; images kept in two splits are a warning."""
    if copies == KEEP:
        return {"notes": [*notes], "warnings": [*across_splits, *warnings]}
    return {"notes": [*across_splits, *notes], "warnings": [*warnings]}


def within(copies: str, digests: Digests, names: Sequence[str], split: str) -> list[str]:
    """A note on images of a split that are copies of others of it."""
    _, first, back = np.unique(digests, return_index=True, return_inverse=True)
    again = np.setdiff1d(np.arange(len(digests)), first)
    if not len(again):
        return []
    pairs = named(f"{names[row]} is {names[first[back[row]]]}" for row in again.tolist())
    text = f"{len(again)} {split} images are copies of others of the split"
    done = ", left out" if split == "train" and copies != KEEP else ""
    return [f"{text}{done}: {pairs}"]


def left_out(train: int, kept: int) -> dict[str, int]:
    """Key `copies_left_out` of a fingerprint, where training images are left out."""
    return {"copies_left_out": train - kept} if train > kept else {}


def several_classes(digests: Digests, labels: NDArray[np.int64], split: str) -> list[str]:
    """A warning of images that lie in more than one class."""
    pairs = np.unique(np.stack([digests, labels.astype(np.uint64)]), axis=1)
    count = int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())
    return [f"{count} {split} images lie in more than one class"] if count else []


def noted_number(held: int, whole: int, what: str) -> list[str]:
    """A note where a published data set is not there in full."""
    return [] if held == whole else [f"{held:,} {what}, where the published set has {whole:,}"]


def shown_path(path: Path, root: Path) -> str:
    """A path below a folder, in short."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
