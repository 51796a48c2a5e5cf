"""The user's own images on disk: which files make up each split, of which class.

`DATA_DIR/train/CLASS/*.jpg`, in any depth below CLASS, and beside `train` optionally `val` and
`test` of the same classes (torchvision's ImageFolder, a folder a split).
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from trainables.errors import reason
from trainables.task import MissingDataError
from trainables.tasks.inventory import TOLD, is_litter, many, named, refuse, told

SPLITS = ("train", "val", "test")
OTHER_NAMES = {  # as others call these folders
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
SHORT = 2  # letters: what ends on s and is no longer is no plural
LAYOUT = (
    "expected images (jpg, png, webp, ...) in DATA_DIR/train/CLASS, a folder a class, and "
    "optionally val and test beside train; name DATA_DIR with --data-dir"
)


@dataclass(frozen=True)
class Folder:
    """The images of a data directory.

    Attributes:
        root: the directory.
        classes: names of the class folders, sorted; a label is a place in it.
        files: split -> files, in order of class and name.
        labels: split -> int64 `(n,)`.
    """

    root: Path
    classes: tuple[str, ...]
    files: dict[str, tuple[Path, ...]]
    labels: dict[str, np.ndarray]


@lru_cache(maxsize=2)
def scan(data_dir: Path) -> Folder:
    """What there is, without opening a file.

    Raises:
        MissingDataError: no folder `train`.
        DataError: every fault of the layout, at once.
    """
    held = {split: data_dir / split for split in SPLITS if (data_dir / split).is_dir()}
    if "train" not in held:
        like = "".join(f"; rename {text}" for text in unread_splits(data_dir))
        raise MissingDataError(f"imagefolder: no folder {data_dir / 'train'}{like}; {LAYOUT}")
    closed = _closed(held.values())
    refuse("imagefolder", closed, LAYOUT)
    classes = tuple(sorted(path.name for path in _shown(held["train"]) if path.is_dir()))
    faults = []
    if len(classes) < 2:  # there is nothing to tell apart
        faults = [f"{held['train']} has {many(len(classes), 'class folder')}, and needs two"]
    faults += [  # without it, test or val would be cut off train unasked
        f"{data_dir / split} is no folder; remove it, or put the split's folder there"
        for split in SPLITS
        if split not in held and ((data_dir / split).is_symlink() or (data_dir / split).exists())
    ]
    files: dict[str, tuple[Path, ...]] = {}
    labels: dict[str, np.ndarray] = {}
    for split, folder in held.items():
        faults += _layout_faults(folder, classes)
        of_class = [_images(folder / name) for name in classes]
        for name, (images, others) in zip(classes, of_class, strict=True):
            faults += told(
                f"{folder / name} holds a file that is no image; remove it",
                (_in_words(path, folder / name) for path in others),
            )
            if not images and (folder / name).is_dir():
                faults.append(f"{folder / name} holds no image")
        files[split] = tuple(path for images, _ in of_class for path in images)
        labels[split] = np.repeat(np.arange(len(classes)), [len(i) for i, _ in of_class])
    refuse("imagefolder", faults, LAYOUT)
    return Folder(data_dir, classes, files, labels)


def folder_of(held: Folder, split: str) -> str:
    """The folder that a split's images are in."""
    return split if split in held.files else "train"


def unread_splits(data_dir: Path) -> list[str]:
    """Folders that are called nearly as an absent split, and how to rename them."""
    found = []
    for path in sorted(data_dir.iterdir()) if data_dir.is_dir() else ():
        for split, names in OTHER_NAMES.items():
            absent = path.name not in SPLITS and not (data_dir / split).exists()
            if absent and path.name.strip().casefold() in names and path.is_dir():
                found.append(f"{path.name!r} to {split!r}")
    return found


def _closed(folders: Iterable[Path]) -> list[str]:
    """Folders below these that may not be listed: their images would be passed over."""
    closed: list[str] = []

    def note(error: OSError) -> None:
        closed.append(f"{error.filename} cannot be opened ({reason(error)}); let yourself read it")

    for folder in folders:
        for _ in os.walk(folder, onerror=note):
            pass
    return closed


def _shown(folder: Path) -> list[Path]:
    """What is in a folder, but for what systems leave in it."""
    return sorted(path for path in folder.iterdir() if not is_litter(path.name))


def _layout_faults(folder: Path, classes: tuple[str, ...]) -> list[str]:
    shown = _shown(folder)
    names = {path.name for path in shown if path.is_dir()}
    # a link to nothing or a pipe is no class and no image
    others = (_in_words(path, folder) for path in shown if not path.is_dir())
    loose = told(f"{folder} holds a file outside its class folders", others)
    extra = [
        f"{folder / name} is a class that train lacks{_like(name, classes)}"
        for name in sorted(names - set(classes))
    ]
    absent = [
        f"{folder} lacks the class {name}{_like(name, names)}"
        for name in classes
        if name not in names
    ]
    return [*loose, *_look_alikes(folder, names), *extra, *absent]


def _plain(name: str) -> str:
    """A name as it looks: composed alike, without spaces at its ends."""
    return unicodedata.normalize("NFC", name).strip()


def _look_alikes(folder: Path, names: Iterable[str]) -> list[str]:
    """Class folders of one split that nobody can tell apart by their looks."""
    by_looks = defaultdict(list)
    for name in sorted(names):
        by_looks[_plain(name)].append(name)
    return [
        f"{folder} holds {' and '.join(map(ascii, same))}, which differ in spaces or in how their "
        "letters are encoded alone; put their images in one, or rename one"
        for same in by_looks.values()
        if len(same) > 1
    ]


def _like(name: str, others: Iterable[str]) -> str:
    """What another split calls a class that it seems to lack; "" where nothing is like it."""
    like = [other for other in sorted(others) if other != name and _stem(other) == _stem(name)]
    return f" (elsewhere it is {like[0]!a}, here {name!a}: rename one)" if like else ""


def _stem(name: str) -> str:
    """A name without case, word breaks and the plural's end: Hot_Dogs is hotdog."""
    held = re.sub(r"(?<=[^\W\d])[\s_-]+(?=[^\W\d_])", "", _plain(name).casefold())
    if len(held) > SHORT and held[-1] == "s" and held[-2:] != "ss":
        held = re.sub("ies$", "y", held) if held.endswith("ies") else held[:-1]
    return re.sub("(?<=[sxz])e$|(?<=ch|sh)e$", "", held)  # glasses, boxes, finches


def alike_classes(classes: tuple[str, ...]) -> list[str]:
    """Warnings of classes that may be one class twice, or be meant: letters a and A."""
    by_case, by_stem = defaultdict(list), defaultdict(list)
    for name in classes:
        by_case[name.casefold()].append(name)
        by_stem[_stem(name)].append(name)
    found = []
    in_case = [same for same in by_case.values() if len(same) > 1]
    if in_case:
        pairs = named((" and ".join(same) for same in in_case), TOLD)
        found.append(f"classes differ in case alone: {pairs}")
    like = [same for same in by_stem.values() if len(same) > 1 and same not in in_case]
    if like:
        pairs = named((" and ".join(same) for same in like), TOLD)
        found.append(f"classes are called nearly alike, as one class twice: {pairs}")
    return found


def _in_words(path: Path, folder: Path) -> str:
    """A path below a folder, and why it is no image where its name does not say."""
    name = path.relative_to(folder).as_posix()
    if path.is_symlink():
        kind = "a folder, which is not followed" if path.is_dir() else "nothing"
        return name if path.is_file() else f"{name} (a link to {kind})"
    if path.suffix.lower() in (".gif", ".avif", ".heic", ".jp2"):
        return f"{name} (a kind that is not read: convert it, a film to one picture)"
    return name


def _images(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files below a folder, sorted, and other files."""
    found: tuple[list[Path], list[Path]] = ([], [])
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if any(map(is_litter, path.relative_to(folder).parts)):
            continue
        named_so = path.suffix.lower() in IMG_EXTENSIONS
        # a folder called x.png or a link to nothing stands where an image was, and a link to a
        # folder is not followed: its images would be passed over
        if path.is_file() or named_so or path.is_symlink() or not path.is_dir():
            found[not (path.is_file() and named_so)].append(path)
    return found
