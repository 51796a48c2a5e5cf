"""CIFAR-10 on disk: its two editions, checked and decoded once a machine, and what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torchvision.datasets import CIFAR10

from trainables.engine.cache import cached, key_of
from trainables.task import Config, DataError, MissingDataError
from trainables.tasks import synthetic
from trainables.tasks.cifar10_parquet import (
    CLASSES,
    PARTS,
    Pool,
    folder_of,
    is_whole,
    other_folders,
    read_parquet,
)
from trainables.tasks.inventory import (
    across,
    apart,
    checksum,
    digest,
    is_grey,
    left_out,
    named,
    noted_number,
    refuse,
    said,
    several_classes,
    within,
)

PUBLISHED = {"train": 50_000, "test": 10_000}  # images


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
    refuse("cifar10", faults)
    found: dict[str, Any] = {
        "data": "CIFAR-10" if edition != "synthetic" else "synthetic CIFAR-10 look-alike",
        "edition": edition,
        "synthetic": edition == "synthetic",
        **{f"{part}_images": len(pool[part]) for part in PARTS},
        "labels_sha256": checksum(pool[f"{part}_labels"].astype(np.uint8) for part in PARTS),
        "pixels_sha256": checksum(pool[f"{part}_digests"] for part in PARTS),
    }
    kept = len(apart(config["copies"], train[0], test[0]))
    more, warnings = _notes(edition, pool, config["copies"])
    if edition == "parquet":
        warnings += [f"{path} is not read" for path in other_folders(data_dir)]
    found |= left_out(len(pool["train"]), kept)
    return {**found, **said(config["copies"], notes, more, warnings)}


def _notes(edition: str, pool: Pool, copies: str) -> tuple[list[str], list[str]]:
    """What is odd and harmless, and what is seldom meant."""
    notes: list[str] = []
    warnings: list[str] = []
    for part in PARTS:
        labels = pool[f"{part}_labels"]
        keys = pool[f"{part}_digests"]
        notes += within(copies, keys, _names(pool, part), part)
        warnings += several_classes(keys, labels, part)
        if grey := int(pool[f"{part}_grey"].sum()):
            notes.append(f"{grey} of {len(labels)} {part} images are grey")
        if absent := sorted(set(range(CLASSES)) - set(labels.tolist())):
            warnings.append(f"no {part} image is of class {named(absent, CLASSES)}")
        if edition != "synthetic":
            warnings += noted_number(len(labels), PUBLISHED[part], f"{part} images")
    return notes, warnings


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
    folder = folder_of(data_dir) if edition == "parquet" else data_dir / CIFAR10.base_folder
    found = folder.iterdir() if folder is not None and folder.is_dir() else iter(())
    return sorted(path for path in found if path.is_file())


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
    if folder and (is_whole(folder) or not (data_dir / CIFAR10.base_folder).exists()):
        return "parquet"
    return "binary"


def _read_binary(data_dir: Path) -> Pool:
    pixels, labels = {}, {}
    for part in PARTS:
        try:
            held = CIFAR10(str(data_dir), train=part == "train")
        except RuntimeError as error:
            raise _why_no_binary(data_dir) from error
        pixels[part], labels[part] = held.data, np.asarray(held.targets)
    return _of_arrays(pixels, labels)


def _why_no_binary(data_dir: Path) -> DataError:
    folder = data_dir / CIFAR10.base_folder
    if folder.exists():
        return DataError(
            f"cifar10: {folder} is incomplete or corrupted: a file is absent or its checksum is "
            "not the official one; remove the folder and fetch the binary edition again"
        )
    return MissingDataError(
        "cifar10: neither the parquet edition (plain_text/train-*.parquet) nor the binary one "
        f"({CIFAR10.base_folder}) is in {data_dir}; name the folder that holds one with "
        "--data-dir, or let `resnet-search run` download it (not with --offline)"
    )


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
