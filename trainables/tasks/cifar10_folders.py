"""Where CIFAR-10's parquet edition lies: folders, files of a part, and files of other names."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.tasks.inventory import is_litter

PARTS = ("train", "test")
AGAIN = "fetch the parquet edition again"


def folder_of(data_dir: Path) -> Path | None:
    """The first folder with both parts; without one, the first with either, to tell what lacks."""
    half = _folders(data_dir)
    return next((folder for folder in half if is_whole(folder)), half[0] if half else None)


def other_folders(data_dir: Path) -> list[str]:
    """Folders that hold files of the edition too and are not read, below the data directory."""
    read = folder_of(data_dir)
    return [f.relative_to(data_dir).as_posix() for f in _folders(data_dir) if f != read]


def looked_in(data_dir: Path) -> tuple[Path, ...]:
    """Folders that may hold it, the first that does being read."""
    return data_dir / "cifar10" / "plain_text", data_dir / "plain_text", data_dir


def is_misnamed(data_dir: Path) -> bool:
    """Whether the edition is there under names that are not read."""
    return folder_of(data_dir) is None and bool(misnamed(looked_in(data_dir)))


def _folders(data_dir: Path) -> list[Path]:
    folders = looked_in(data_dir)
    for folder in folders:
        if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):  # else it seems empty
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    return [folder for folder in folders if any(part_files(folder, part) for part in PARTS)]


def is_whole(folder: Path) -> bool:
    """Whether there is a file of either part."""
    return all(part_files(folder, part) for part in PARTS)


def part_files(folder: Path, part: str) -> list[Path]:
    """Files of a part, links to nothing too: whatever is called after it, as train (1).parquet."""
    return sorted(p for p in folder.glob(f"{part}*.parquet") if p.name[len(part)] in "-._ (")


def misnamed(folders: Iterable[Path]) -> list[str]:
    """Files of the edition's columns whose names are of neither part, and names for them."""
    held = [
        path
        for folder in folders
        for path in sorted(folder.glob("*.parquet"))
        if not is_litter(path.name) and path not in _known(folder) and _has_columns(path)
    ]
    of_part = {path: _part_in_words(path.stem) for path in held}
    places = list(of_part.values())
    found = []
    for path, part in of_part.items():
        names = [f"{p}-00000-of-00001.parquet" for p in ([part] if part else PARTS)]
        if part and places.count(part) > 1:
            names = [f"{part}-I-of-N.parquet, I from 00000"]
        found.append(f"{path} has CIFAR-10's columns and must be called {' or '.join(names)}")
    return found


def _known(folder: Path) -> list[Path]:
    return [path for part in PARTS for path in part_files(folder, part)]


def _has_columns(path: Path) -> bool:
    try:
        return {"img", "label"} <= set(pq.read_schema(path).names)
    except (OSError, pa.ArrowException):  # of something else, or damaged: no one says whose it is
        return False


def _part_in_words(stem: str) -> str:
    """The part that a name seems to speak of; "" for none."""
    like = {"train": ("train", "trn"), "test": ("test", "tst", "eval", "val")}
    fits = [part for part, words in like.items() if any(w in stem.casefold() for w in words)]
    return fits[0] if len(fits) == 1 else ""
