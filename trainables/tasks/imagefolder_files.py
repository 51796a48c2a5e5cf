"""The user's own images: cut into splits, decoded once a machine, and what they hold.

Without a folder `test` a share of the training images is cut off for it, class by class, by a seed
of its own; validation likewise.
"""

from __future__ import annotations

import hashlib
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from trainables.engine.cache import cached, key_of
from trainables.task import Config, DataError
from trainables.tasks.copies import (
    KEEP,
    KEPT,
    across,
    apart,
    doubtful,
    left_out,
    said,
    several_classes,
    within,
)
from trainables.tasks.imagefolder_layout import (
    SPLITS,
    Folder,
    alike_classes,
    folder_of,
    scan,
    unread_splits,
)
from trainables.tasks.inventory import (
    are,
    checksum,
    digest,
    each,
    grey_note,
    is_grey,
    many,
    named,
    readable,
    refuse,
    rgb,
    share_of,
    shortened,
    why,
)
from trainables.tasks.splits import cut_off_each

Pools = dict[str, np.ndarray]

SMALL = 8  # px: the smallest image_size; an image of a shorter side has next to nothing on it
KINDS = ("grey", "small", "clear")
MOST_STRETCHED = 100  # longer side by shorter: resized whole, such a strip would fill the memory


@readable("imagefolder")
def fingerprint(data_dir: Path, config: Config) -> dict[str, Any]:
    """Classes, images a class and split, and a checksum of names and sizes; see Task.

    `settings` says what the study need not: the number of classes. Images are decoded into the
    cache, where trials look for them, so that a damaged one is told before the first of these.

    Raises:
        DataError: a fault of the layout, files that cannot be decoded, classes too small to be
            split, or another number of classes than the study says.
    """
    scan.cache_clear()  # the folder may have changed since this process has looked at it
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
            f"no {split} image of class {name} is left: each is a held-out one too, or lies in "
            "another class as well; give it others"
            for split in held.files
            for name, n in zip(held.classes, per_class[split], strict=True)
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
    return {**found, **said(config["copies"], notes, *_doubts(held, pools, config["copies"]))}


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


def _doubts(held: Folder, pools: Pools, copies: str) -> tuple[list[str], list[str]]:
    """What is odd and harmless, and what is seldom meant, worst first."""
    names = {
        split: [path.relative_to(held.root / split).as_posix() for path in files]
        for split, files in held.files.items()
    }
    labelled = {s: (pools[f"{s}_digests"], held.labels[s], names[s]) for s in held.files}
    keys = doubtful((digests, labels) for digests, labels, _ in labelled.values())
    done = KEPT if copies == KEEP else "; left out of every split"
    warnings = [
        *several_classes(labelled, done),
        *(
            f"a folder is not read; if it is that split, rename {o}"
            for o in unread_splits(held.root)
        ),
        *alike_classes(held.classes),
    ]
    notes: list[str] = []
    for split in held.files:
        count = len(names[split])
        for key, what in (
            ("small", f"less than {SMALL} px high or wide, and enlarged"),
            ("clear", "transparent in part: that is dropped, and what it hid is seen"),
        ):
            rows = np.flatnonzero(pools[f"{split}_{key}"]).tolist()
            if rows:
                which = named(names[split][row] for row in rows)
                text = share_of(len(rows), count, f"{split} image")
                warnings.append(f"{text} {are(len(rows))} {what} ({which})")
        known = np.flatnonzero(~np.isin(pools[f"{split}_digests"], keys))  # the others are told
        others = [names[split][row] for row in known.tolist()]
        notes += within(copies, pools[f"{split}_digests"][known], others, split)
        notes += grey_note(pools[f"{split}_grey"], split)
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
    once, no test image is in val or train, and none of val in train; an image that lies in more
    than one class is in no split.
    """
    rows = {split: np.arange(len(labels)) for split, labels in held.labels.items()}
    unclear = doubtful((pools[f"{split}_digests"], held.labels[split]) for split in held.files)
    above = [pools[f"{split}_digests"] for split in ("val", "test") if split in held.files]
    if "val" in rows and "test" in rows and config["copies"] != KEEP:
        rows["val"] = rows["val"][~np.isin(above[0], above[1])]
    rows["train"] = apart(config["copies"], pools["train_digests"], *above)
    if config["copies"] != KEEP and len(unclear):
        rows = {s: at[~np.isin(pools[f"{s}_digests"][at], unclear)] for s, at in rows.items()}
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

    The shorter side is resized to `size`, and the middle is cut out. Beside each lie, of the whole
    image, its `_digests` (uint64 checksums of the pixels), `_grey`, `_small` and `_clear` (bool:
    all its colours alike, a side below SMALL, an alpha channel that hides something), all `(n,)`.

    Raises:
        DataError: files that cannot be decoded, by name.
    """
    every = [path for split in SPLITS for path in held.files.get(split, ())]
    name = f"imagefolder-{held.root.resolve().name}-{size}"
    key = key_of(name, every, size=size, holds="digests, grey, small, clear of the whole image")
    return cached(key, lambda: _decode_all(held, size))


def _decode_all(held: Folder, size: int) -> Pools:
    faults: list[str] = []
    pools: Pools = {}
    for split, files in held.files.items():
        count = len(files)
        pool = pools[split] = np.empty((count, 3, size, size), dtype=np.uint8)
        keys = pools[f"{split}_digests"] = np.empty(count, np.uint64)
        kinds = np.empty((len(KINDS), count), bool)
        pools |= {f"{split}_{kind}": row for kind, row in zip(KINDS, kinds, strict=True)}

        def fill(
            row: int, path: Path, pool: Any = pool, keys: Any = keys, kinds: Any = kinds
        ) -> str | None:
            try:
                whole, clear = _decode(path)
                pool[row] = _middle(whole, size).transpose(2, 0, 1)
            except Exception as error:  # PIL raises many kinds for a damaged file
                return f"{path}: {why(error, path)}"
            keys[row] = digest(whole)
            kinds[:, row] = is_grey(whole), min(whole.shape[:2]) < SMALL, clear
            return None

        faults += each(fill, range(count), files)
    if faults:
        told = "\n  ".join(shortened(faults, "files that cannot be decoded"))
        text = f"imagefolder: {many(len(faults), 'file')} cannot be decoded; mend or remove"
        raise DataError(f"{text} {'it' if len(faults) == 1 else 'them'}\n  {told}", faults)
    return pools


def _decode(path: Path) -> tuple[np.ndarray, bool]:
    """uint8 `(height, width, 3)`, upright, and whether a part of it is transparent."""
    with Image.open(path) as image:
        pixels = rgb(image, upright=True)
        clear = False
        if "A" in image.getbands() or "transparency" in image.info:
            clear = bool((np.asarray(image.convert("RGBA"))[..., 3] < 255).any())
    short, long = sorted(pixels.shape[:2])
    if long > MOST_STRETCHED * short:
        raise ValueError(f"{long} px by {short}: more than {MOST_STRETCHED} times as long as wide")
    return pixels, clear


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
