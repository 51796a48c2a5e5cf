"""Where a crowd's images and annotations lie, and what a part lacks of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path

from trainables.task import MissingDataError
from trainables.tasks.inventory import TOLD, named, refuse

SPLITS = ("train", "test")
TRUTHS = ("ground_truth", "ground-truth")  # names of the annotations' folder
SOURCE = (
    "ShanghaiTech (Zhang et al., CVPR 2016) is free for research: get it from its authors' page "
    "or a public copy and unpack it so that DATA_DIR/ShanghaiTech/part_A_final/train_data/images/"
    "IMG_1.jpg and .../ground_truth/GT_IMG_1.mat exist, then pass --data-dir DATA_DIR"
)


def folders_of(data_dir: Path, part: str, split: str) -> list[tuple[Path, Path]]:
    """Folders of images and annotations of a split; the first is read.

    A copy of the part that has both splits comes first.

    Raises:
        MissingDataError: no part.
        DataError: a part that lacks the split, its images or its annotations.
    """
    roots = (data_dir / "ShanghaiTech", data_dir / "shanghaitech", data_dir)
    names = (f"part_{part}_final", f"part_{part}")
    found: dict[Path, tuple[bool, tuple[Path, Path]]] = {}
    for root, name, truth in product(roots, names, TRUTHS):
        part_of = {s: root / name / f"{s}_data" for s in SPLITS}
        at = {s: (folder / "images", folder / truth) for s, folder in part_of.items()}
        there = {s for s, folders in at.items() if all(map(Path.is_dir, folders))}
        if split in there:
            found.setdefault(at[split][1].resolve(), (len(there) < 2, at[split]))
    if found:
        return [folders for _, folders in sorted(found.values(), key=lambda held: held[0])]
    refuse("shanghaitech", _half_there(roots, names, split))
    raise MissingDataError(
        f"shanghaitech: no part_{part}_final/{split}_data or part_{part}/{split}_data with images "
        f"and ground_truth (or ground-truth) under {data_dir}. {SOURCE}"
    )


def _half_there(roots: Iterable[Path], names: Iterable[str], split: str) -> list[str]:
    """What a part lacks of a split that is there in part: the split, its images or annotations."""
    parts = [path for root, name in product(roots, names) if (path := root / name).is_dir()]
    found: dict[Path, str] = {}
    for data in (part / f"{split}_data" for part in parts):
        images = (data / "images").is_dir()
        truth = any((data / name).is_dir() for name in TRUTHS)
        text = "images and no ground_truth (or ground-truth)"
        if not images:
            text = "ground_truth and no images" if truth else "neither images nor ground_truth"
        if data.is_dir():
            found.setdefault(data.resolve(), f"{data} has {text}{_there(data)}")
    if not found:
        for part in parts:
            text = f"{part} has no {split}_data{_there(part)}"
            found.setdefault(part.resolve(), text)
    return list(found.values())


def _there(folder: Path) -> str:
    """The folders in it, one of which may be what is looked for under another name."""
    names = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]
    held = f"it holds {named(names, TOLD)}" if names else "no folder is in it"
    return f" ({held}): put it there, or give it that name"
