"""CIFAR-10 on disk: its two editions, checked and decoded once a machine, and what they hold."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torchvision.datasets import CIFAR10

from trainables.engine.cache import cached, key_of
from trainables.errors import reason
from trainables.files import contents
from trainables.task import Config, DataError, MissingDataError
from trainables.tasks import synthetic
from trainables.tasks.cifar10_folders import (
    AGAIN,
    PARTS,
    folder_of,
    is_misnamed,
    is_whole,
    other_folders,
    part_files,
)
from trainables.tasks.cifar10_parquet import CLASSES, Pool, read_parquet
from trainables.tasks.copies import (
    KEEP,
    KEPT,
    across,
    apart,
    left_out,
    said,
    several_classes,
    within,
)
from trainables.tasks.inventory import (
    checksum,
    digest,
    grey_note,
    is_grey,
    named,
    noted_number,
    readable,
    refuse,
)
from trainables.tasks.label_checks import exchanged, one_class, unbalanced, unlearned

PUBLISHED = {"train": 50_000, "test": 10_000}  # images


@readable("cifar10")
def fingerprint(data_dir: Path, config: Config) -> dict[str, Any]:
    """Edition, number of images, and checksums of labels and pixels in order; see Task.

    Images are decoded into the cache, where trials look for them.

    Raises:
        DataError: every fault of the files, or more copies across the splits than can be left out.
    """
    edition = edition_of(data_dir, config)
    pool = read_pool(edition, data_dir)
    train, test = [(pool[f"{part}_digests"], _names(pool, part)) for part in PARTS]
    faults, notes = across(config["copies"], train, test)
    wrong, (more, warnings) = _doubts(edition, pool, config["copies"])
    place = _folder(edition, data_dir)
    refuse("cifar10", [*(f"{place}: {text}; {AGAIN}" for text in wrong), *faults])
    found: dict[str, Any] = {
        "data": "CIFAR-10" if edition != "synthetic" else "synthetic CIFAR-10 look-alike",
        "edition": edition,
        "synthetic": edition == "synthetic",
        **{f"{part}_images": len(pool[part]) for part in PARTS},
        "labels_sha256": checksum(pool[f"{part}_labels"].astype(np.uint8) for part in PARTS),
        "pixels_sha256": checksum(pool[f"{part}_digests"] for part in PARTS),
    }
    kept = len(apart(config["copies"], train[0], test[0]))
    if edition == "parquet":
        warnings += [f"{path} is not read" for path in other_folders(data_dir)]
    found |= left_out(len(pool["train"]), kept)
    return {**found, **said(config["copies"], notes, more, warnings)}


def _doubts(
    edition: str, pool: Pool, copies: str
) -> tuple[list[str], tuple[list[str], list[str]]]:
    """Faults of labels and counts; notes of what is odd and harmless; warnings, worst first."""
    labels = {part: pool[f"{part}_labels"] for part in PARTS}
    named_rows = {p: (pool[f"{p}_digests"], labels[p], _names(pool, p)) for p in PARTS}
    faults = one_class(labels) or unlearned(labels)
    notes: list[str] = []
    # no image of the published set has two labels, so that these are no longer its labels
    warnings = several_classes(named_rows, KEPT)
    if copies != KEEP:
        faults, warnings = [*faults, *several_classes(named_rows)], []
    if edition != "synthetic":
        counts = len(labels["train"]), len(labels["test"])
        wrong, odd = exchanged(*counts, (PUBLISHED["train"], PUBLISHED["test"]))
        faults, warnings = [*wrong, *faults], [*odd, *warnings, *unbalanced(labels, CLASSES)]
    for part in PARTS:
        if absent := sorted(set(range(CLASSES)) - set(labels[part].tolist())):
            which = f"class{'es' * (len(absent) > 1)} {named(absent, CLASSES)}"
            warnings.append(f"no {part} image is of {which}")
    for part in PARTS:
        keys, _, names = named_rows[part]
        notes += [*within(copies, keys, names, part), *grey_note(pool[f"{part}_grey"], part)]
        if edition != "synthetic":
            warnings += noted_number(len(keys), PUBLISHED[part], f"{part} image")
    return faults, (notes, warnings)


def _names(pool: Pool, part: str) -> list[str]:
    return [f"image {row}" for row in range(len(pool[part]))]


def read_pool(edition: str, data_dir: Path) -> Pool:
    """All images, uint8 `(n, 3, 32, 32)`, by part, mapped from the cache.

    Beside each part lie its `_labels` (int64), `_digests` (uint64 checksums of the pixels) and
    `_grey` (bool), all `(n,)`.

    Raises:
        DataError: every fault of the files.
    """
    if edition == "synthetic":
        pixels, labels = synthetic.images(seed=0)
        return _of_arrays(pixels, labels)
    files = _files(edition, data_dir)
    read = read_parquet if edition == "parquet" else _read_binary
    # without files, reading says what is missing
    if not files:
        return read(data_dir)
    key = key_of(f"cifar10-{edition}", files, holds="digests, grey")
    held = cached(key, lambda: read(data_dir))
    pa.default_memory_pool().release_unused()  # of encoded images, where they were decoded here
    return held


def _files(edition: str, data_dir: Path) -> list[Path]:
    """All that is read and looked at of an edition, links to nothing and folders as well."""
    folder = _folder(edition, data_dir)
    if edition == "parquet":
        return [path for part in PARTS for path in part_files(folder, part)]
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _folder(edition: str, data_dir: Path) -> Path:
    """Where an edition lies, or would lie."""
    if edition == "parquet":
        return folder_of(data_dir) or data_dir
    return data_dir / CIFAR10.base_folder if edition == "binary" else data_dir


def _of_arrays(pixels: Pool, labels: Pool) -> Pool:
    """A pool of images `(n, 32, 32, 3)` that are decoded already."""
    pool: Pool = {}
    for part in PARTS:
        pool |= {
            part: np.ascontiguousarray(pixels[part].transpose(0, 3, 1, 2)),
            f"{part}_labels": labels[part].astype(np.int64),
            f"{part}_digests": np.fromiter(map(digest, pixels[part]), np.uint64),
            f"{part}_grey": np.fromiter(map(is_grey, pixels[part]), bool),
        }
    return pool


def edition_of(data_dir: Path, config: Config) -> str:
    """The edition asked for, or the first one found."""
    if config["edition"] != "auto":
        return str(config["edition"])
    folder = folder_of(data_dir)
    if (data_dir / CIFAR10.base_folder).exists():
        return "parquet" if folder and is_whole(folder) else "binary"
    return "parquet" if folder or is_misnamed(data_dir) else "binary"


def _read_binary(data_dir: Path) -> Pool:
    pixels, labels = {}, {}
    for part in PARTS:
        try:
            held = CIFAR10(str(data_dir), train=part == "train")
        except (RuntimeError, OSError) as error:
            raise _why_no_binary(data_dir) from error
        pixels[part], labels[part] = held.data, np.asarray(held.targets)
    return _of_arrays(pixels, labels)


def _why_no_binary(data_dir: Path) -> DataError:
    folder = data_dir / CIFAR10.base_folder
    if folder.exists():
        meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
        files = [*CIFAR10.train_list, *CIFAR10.test_list, meta]
        bad = [f"{name} {text}" for name, sum_ in files if (text := _damage(folder / name, sum_))]
        return DataError(
            f"cifar10: {folder} is incomplete or corrupted: {named(bad, len(files))}; remove the "
            "folder and fetch the binary edition again"
        )
    return MissingDataError(
        "cifar10: neither the parquet edition (plain_text/train-*.parquet) nor the binary one "
        f"({CIFAR10.base_folder}) is in {data_dir}; name the folder that holds one with "
        "--data-dir, or let `resnet-search run` download it (not with --offline)"
    )


def _damage(path: Path, official: str) -> str:
    """What is wrong with a file of the binary edition; "" for nothing."""
    if not path.is_file():
        return "is no file" if path.exists() or path.is_symlink() else "is absent"
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        return f"cannot be opened ({reason(error)})"
    if found == official:
        return ""
    shown = contents(path, "pickle")
    return f"is {shown}" if shown else "has another checksum than the official one"


def download(data_dir: Path) -> None:
    """Fetch the binary edition by torchvision; needs a network.

    Raises:
        DataError: it could not be fetched.
    """
    try:
        CIFAR10(str(data_dir), train=True, download=True)
    except Exception as error:  # urllib, ssl and torchvision raise many kinds
        raise DataError(
            f"cifar10: no data in {data_dir}, and the download failed ({error}). Put the binary "
            "edition (folder cifar-10-batches-py) or the parquet edition (plain_text/*.parquet) "
            "there, or name its folder with --data-dir"
        ) from error
