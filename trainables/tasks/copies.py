"""The same image in two splits, or in two classes: what is left out, refused and told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from trainables.task import DataError, Setting
from trainables.tasks.inventory import Digests, Rows, many, named, share_of

MOST_COPIED = 0.01  # of held-out images that may be training images too; above, the data is wrong

KEEP = "keep"
KEPT = "; each is kept with the label it has"  # of images in more than one class

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
    said = f"{share_of(len(copied), count, f'{split} image')} {be}, pixel for pixel"
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
    single = len(again) == 1
    be = "is a copy of another" if single else "are copies of others"
    text = f"{many(len(again), f'{split} image')} {be} of the split"
    done = ", left out" if split == "train" and copies != KEEP else ""
    return [f"{text}{done}: {pairs}"]


def left_out(train: int, kept: int) -> dict[str, int]:
    """Key `copies_left_out` of a fingerprint, where training images are left out."""
    return {"copies_left_out": train - kept} if train > kept else {}


def doubtful(labelled: Iterable[tuple[Digests, Rows]]) -> Digests:
    """Checksums of images that lie in more than one class: which label is true, nobody can tell.

    Args:
        labelled: of each split, of each image a checksum and its class.
    """
    held = list(labelled)
    keys, labels = (np.concatenate(column) for column in zip(*held, strict=True))
    _, first, back = np.unique(keys, return_index=True, return_inverse=True)
    return np.unique(keys[labels != labels[first[back]]])


def several_classes(
    splits: Mapping[str, tuple[Digests, Rows, Sequence[str]]], done: str = ""
) -> list[str]:
    """What is said of images that lie in more than one class.

    Args:
        splits: by name, of each image a checksum, its class and its name.
        done: what becomes of them.
    """
    bad = doubtful((keys, labels) for keys, labels, _ in splits.values())
    if not len(bad):
        return []
    files: dict[int, dict[int, str]] = {key: {} for key in bad.tolist()}
    for split, (keys, labels, names) in splits.items():
        for row in np.flatnonzero(np.isin(keys, bad)).tolist():
            # of each class the first file
            files[int(keys[row])].setdefault(int(labels[row]), f"{split} {names[row]}")
    pairs = named(" is ".join([*held.values()][::-1]) for held in files.values())
    count = len(bad)
    lie, its = ("lies", "its label is") if count == 1 else ("lie", "their labels are")
    text = f"{many(count, 'image')} {lie} in more than one class, so that {its} not known"
    return [f"{text}{done}: {pairs}"]
