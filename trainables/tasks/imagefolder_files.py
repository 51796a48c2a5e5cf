"""The user's own images on disk: which files make up each split, of which class, and decoded.

`DATA_DIR/train/CLASS/*.jpg`, in any depth below CLASS, and beside `train` optionally `val` and
`test` of the same classes (torchvision's ImageFolder, a folder a split). Without `test` a share of
the training images is cut off for it, class by class, by a seed of its own; validation likewise.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from trainables.engine.cache import cached, key_of
from trainables.task import Config, DataError, MissingDataError
from trainables.tasks.inventory import (
    KEEP,
    across,
    apart,
    checksum,
    digest,
    each,
    is_grey,
    is_litter,
    left_out,
    refuse,
    rgb,
    said,
    several_classes,
    shortened,
    told,
    why,
    within,
)
from trainables.tasks.splits import cut_off_each

Pools = dict[str, np.ndarray]

SPLITS = ("train", "val", "test")
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
        raise MissingDataError(f"imagefolder: no folder {data_dir / 'train'}; {LAYOUT}")
    classes = tuple(sorted(path.name for path in _shown(held["train"]) if path.is_dir()))
    faults = [] if len(classes) > 1 else [f"{held['train']} has {len(classes)} class folders"]
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
                (p.name for p in others),
            )
            if not images and (folder / name).is_dir():
                faults.append(f"{folder / name} holds no image")
        files[split] = tuple(path for images, _ in of_class for path in images)
        labels[split] = np.repeat(np.arange(len(classes)), [len(i) for i, _ in of_class])
    refuse("imagefolder", faults, LAYOUT)
    return Folder(data_dir, classes, files, labels)


def _shown(folder: Path) -> list[Path]:
    """What is in a folder, but for what systems leave in it."""
    return sorted(path for path in folder.iterdir() if not is_litter(path.name))


def _layout_faults(folder: Path, classes: tuple[str, ...]) -> list[str]:
    shown = _shown(folder)
    names = {path.name for path in shown if path.is_dir()}
    files = (path.name for path in shown if path.is_file())
    loose = told(f"{folder} holds a file outside its class folders", files)
    extra = [f"{folder / n} is a class that train lacks" for n in sorted(names - set(classes))]
    absent = [f"{folder} lacks the class {name}" for name in classes if name not in names]
    return [*loose, *extra, *absent]


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


def fingerprint(data_dir: Path, config: Config) -> dict[str, Any]:
    """Classes, images a class and split, and a checksum of names and sizes; see Task.

    `settings` says what the study need not: the number of classes. Images are decoded into the
    cache, where trials look for them, so that a damaged one is told before the first of these.

    Raises:
        DataError: a fault of the layout, files that cannot be decoded, classes too small to be
            split, or another number of classes than the study says.
    """
    held = scan(data_dir)
    count = len(held.classes)
    if config["classes"] not in (None, count):
        raise DataError(
            f"imagefolder: the study says classes = {config['classes']}, and {data_dir / 'train'} "
            f"has {count} class folders; leave the key out, or name other data with --data-dir"
        )
    pools = decoded(held, config["image_size"])
    notes = _across(held, pools, config)
    rows = split_rows(held, pools, config)
    per_class = {
        split: np.bincount(held.labels[folder_of(held, split)][at], minlength=count).tolist()
        for split, at in rows.items()
    }
    refuse(
        "imagefolder",
        [
            f"every train image of class {name} is a held-out one too; give it others"
            for name, n in zip(held.classes, per_class["train"], strict=True)
            if not n
        ],
    )
    if "val" not in held.files:
        _cut(torch.from_numpy(held.labels["train"][rows["train"]]), config["val_fraction"], 0)
    every = len(held.labels["train"]) - (0 if "test" in held.files else len(rows["test"]))
    found: dict[str, Any] = {
        "data": f"images of {data_dir.resolve().name}",
        "edition": "files" if "test" in held.files else _cut_in_words(config),
        "synthetic": False,
        "settings": {"classes": count},
        "classes": list(held.classes),
        "train_images": every,
        "test_images": len(rows["test"]),
        "files_sha256": _checksum(held),
        "pixels_sha256": checksum(pools[f"{split}_digests"] for split in held.files),
        **left_out(every, len(rows["train"])),
        **{f"{split}_per_class": per_class[split] for split in ("train", "test")},
    }
    if "val" in rows:
        found["val_images"] = len(rows["val"])
    return {**found, **said(config["copies"], notes, *_notes(held, pools, config["copies"]))}


def folder_of(held: Folder, split: str) -> str:
    """The folder that a split's images are in."""
    return split if split in held.files else "train"


def _across(held: Folder, pools: Pools, config: Config) -> list[str]:
    """Notes on images that are in the folders of two splits.

    Raises:
        DataError: folders of two splits hold too many of the same images.
    """
    known = {
        split: (pools[f"{split}_digests"], [path.name for path in files])
        for split, files in held.files.items()
    }
    faults: list[str] = []
    notes: list[str] = []
    for first, second in combinations(known, 2):
        wrong, odd = across(config["copies"], known[first], known[second], (first, second))
        faults, notes = [*faults, *wrong], [*notes, *odd]
    refuse("imagefolder", faults)
    return notes


def _notes(held: Folder, pools: Pools, copies: str) -> tuple[list[str], list[str]]:
    """What is odd and harmless, and what is seldom meant: an image in two classes."""
    notes: list[str] = []
    warnings: list[str] = []
    for split, files in held.files.items():
        keys = pools[f"{split}_digests"]
        names = [path.relative_to(held.root / split).as_posix() for path in files]
        notes += within(copies, keys, names, split)
        warnings += several_classes(keys, held.labels[split], split)
        if grey := int(pools[f"{split}_grey"].sum()):
            notes.append(f"{grey} of {len(files)} {split} images are grey")
    return notes, warnings


def _cut_in_words(config: Config) -> str:
    """Another cut is another edition: its network has seen other images."""
    share, seed = config["test_fraction"], config["test_seed"]
    return f"{share:g}-for-test, seed-{seed}"


def _cut(labels: torch.Tensor, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    try:
        return cut_off_each(labels, share, seed)
    except DataError as error:
        raise DataError(f"imagefolder: {error}; add images, or a folder beside train") from error


def _checksum(held: Folder) -> str:
    """Of names, classes and sizes in bytes: no file is opened for it."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for path, label in zip(held.files.get(split, ()), held.labels.get(split, ()), strict=True):
            told = f"{path.relative_to(held.root).as_posix()} {label} {path.stat().st_size}\n"
            digest.update(told.encode())
    return digest.hexdigest()


def split_rows(held: Folder, pools: Pools, config: Config) -> dict[str, np.ndarray]:
    """Rows of train, test and a folder val, before validation is cut off train.

    Each is of its split's folder, or of train's. The cut for test hangs on `test_seed` alone, so
    that no study trains on another's test images. Unless copies are kept, train has each image
    once, no test image is in val or train, and none of val in train.
    """
    rows = {split: np.arange(len(labels)) for split, labels in held.labels.items()}
    above = [pools[f"{split}_digests"] for split in ("val", "test") if split in held.files]
    if "val" in rows and "test" in rows and config["copies"] != KEEP:
        rows["val"] = rows["val"][~np.isin(above[0], above[1])]
    rows["train"] = apart(config["copies"], pools["train_digests"], *above)
    if "test" not in rows:
        labels = torch.from_numpy(held.labels["train"][rows["train"]])
        train, test = (
            at.sort().values.numpy()
            for at in _cut(labels, config["test_fraction"], config["test_seed"])
        )
        rows |= {"train": rows["train"][train], "test": rows["train"][test]}
    return rows


def decoded(held: Folder, size: int) -> Pools:
    """Images of every split folder, uint8 `(n, 3, size, size)`, mapped from the cache.

    The shorter side is resized to `size`, and the middle is cut out. Beside each lie its
    `_digests` (uint64 checksums of the pixels of the whole image) and `_grey` (bool), both `(n,)`.

    Raises:
        DataError: files that cannot be decoded, by name.
    """
    every = [path for split in SPLITS for path in held.files.get(split, ())]
    name = f"imagefolder-{held.root.resolve().name}-{size}"
    key = key_of(name, every, size=size, holds="digests and grey of the whole image")
    return cached(key, lambda: _decode_all(held, size))


def _decode_all(held: Folder, size: int) -> Pools:
    faults: list[str] = []
    pools: Pools = {}
    for split, files in held.files.items():
        pool = pools[split] = np.empty((len(files), 3, size, size), dtype=np.uint8)
        keys = pools[f"{split}_digests"] = np.empty(len(files), np.uint64)
        grey = pools[f"{split}_grey"] = np.empty(len(files), bool)

        def fill(
            row: int, path: Path, pool: Any = pool, keys: Any = keys, grey: Any = grey
        ) -> str | None:
            try:
                whole = _decode(path)
                pool[row] = _middle(whole, size).transpose(2, 0, 1)
            except Exception as error:  # PIL raises many kinds for a damaged file
                return f"{path}: {why(error)}"
            keys[row], grey[row] = digest(whole), is_grey(whole)
            return None

        faults += each(fill, range(len(files)), files)
    if faults:
        said = "\n  ".join(shortened(faults, "files that cannot be decoded"))
        raise DataError(
            f"imagefolder: {len(faults)} files cannot be decoded; mend or remove them\n  {said}"
        )
    return pools


def _decode(path: Path) -> np.ndarray:
    """uint8 `(height, width, 3)`, upright."""
    with Image.open(path) as image:
        return rgb(image, upright=True)


def _middle(pixels: np.ndarray, size: int) -> np.ndarray:
    """uint8 `(size, size, 3)`: the shorter side resized, and the middle cut out."""
    image = Image.fromarray(pixels)
    width, height = image.size
    if min(width, height) != size:
        scale = size / min(width, height)
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))
