"""CIFAR-10 on disk: its two editions, decoded once a machine, and what they hold."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torchvision.datasets import CIFAR10

from trainables.engine.cache import cached, key_of
from trainables.task import Config, DataError, MissingDataError
from trainables.tasks import synthetic

SIDE = 32  # of an image, px


def fingerprint(data_dir: Path, config: Config) -> dict[str, Any]:
    """Edition, number of images and a checksum of the labels in order; see Task."""
    edition = edition_of(data_dir, config)
    source = _source(edition, data_dir)
    return {
        "data": "CIFAR-10" if edition != "synthetic" else "synthetic CIFAR-10 look-alike",
        "edition": edition,
        "synthetic": edition == "synthetic",
        "train_images": len(source.labels("train")),
        "test_images": len(source.labels("test")),
        "labels_sha256": _labels_sha256(source),
    }


def read_pool(edition: str, data_dir: Path) -> dict[str, np.ndarray]:
    """All images, uint8 `(n, 3, 32, 32)`, and int64 labels by part, mapped from the cache."""

    def make() -> dict[str, np.ndarray]:
        source = _source(edition, data_dir)
        pool: dict[str, np.ndarray] = {}
        for part in ("train", "test"):
            labels = source.labels(part).astype(np.int64)
            pool |= {part: source.images(part, np.arange(len(labels))), f"{part}_labels": labels}
        _source.cache_clear()  # encoded images are a hundred megabytes that no one needs again
        return pool

    if edition == "synthetic":
        return make()
    files = _files(edition, data_dir)
    # without files, make says what is missing
    held = cached(key_of(f"cifar10-{edition}", files), make) if files else make()
    pa.default_memory_pool().release_unused()  # of encoded images, where they were decoded here
    return held


def _files(edition: str, data_dir: Path) -> list[Path]:
    folder = _parquet_dir(data_dir) if edition == "parquet" else data_dir / CIFAR10.base_folder
    found = folder.iterdir() if folder is not None and folder.is_dir() else iter(())
    return sorted(path for path in found if path.is_file())


def _labels_sha256(source: _Source) -> str:
    parts = [source.labels(part).astype(np.uint8).tobytes() for part in ("train", "test")]
    return hashlib.sha256(b"".join(parts)).hexdigest()


@dataclass(frozen=True)
class _Source:
    """Whole data set as arrays or encoded files, by part (train, test)."""

    pixels: dict[str, Any]
    classes: dict[str, np.ndarray]

    def labels(self, part: str) -> np.ndarray:
        return self.classes[part]

    def images(self, part: str, rows: np.ndarray) -> np.ndarray:
        """uint8 `(len(rows), 3, 32, 32)`; encoded images are decoded here, if asked for."""
        held = self.pixels[part]
        if isinstance(held, np.ndarray):
            return np.ascontiguousarray(held[rows].transpose(0, 3, 1, 2))
        decoded = np.empty((len(rows), 3, SIDE, SIDE), dtype=np.uint8)
        try:
            for at, row in enumerate(rows):
                picture = Image.open(io.BytesIO(held[int(row)].as_py())).convert("RGB")
                decoded[at] = np.asarray(picture).transpose(2, 0, 1)
            return decoded
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                f"cifar10: image {row} of {part}-*.parquet (from 0) cannot be decoded "
                f"({type(error).__name__}); fetch the parquet edition again"
            ) from error


def edition_of(data_dir: Path, config: Config) -> str:
    """The edition asked for, or the first one found."""
    if config["edition"] != "auto":
        return str(config["edition"])
    folder = _parquet_dir(data_dir)
    if folder and (_is_whole(folder) or not (data_dir / CIFAR10.base_folder).exists()):
        return "parquet"
    return "binary"


def _parquet_dir(data_dir: Path) -> Path | None:
    """The first folder with both parts; without one, the first with either, to tell what lacks."""
    folders = (data_dir / "cifar10" / "plain_text", data_dir / "plain_text", data_dir)
    half = [f for f in folders if any(any(f.glob(f"{p}-*.parquet")) for p in ("train", "test"))]
    return next((folder for folder in half if _is_whole(folder)), half[0] if half else None)


def _is_whole(folder: Path) -> bool:
    return all(any(folder.glob(f"{part}-*.parquet")) for part in ("train", "test"))


@lru_cache(maxsize=1)
def _source(edition: str, data_dir: Path) -> _Source:
    if edition == "synthetic":
        return _Source(*synthetic.images(seed=0))
    return _read_parquet(data_dir) if edition == "parquet" else _read_binary(data_dir)


def _read_parquet(data_dir: Path) -> _Source:
    folder = _parquet_dir(data_dir)
    if folder is None:
        raise MissingDataError(
            f"cifar10: no train-*.parquet and test-*.parquet under {data_dir} (looked in it, in "
            "plain_text and in cifar10/plain_text); name the folder with --data-dir"
        )
    pixels, classes = {}, {}
    for part in ("train", "test"):
        files = sorted(folder.glob(f"{part}-*.parquet"))
        if not files:
            raise DataError(
                f"cifar10: {folder} has no {part}-*.parquet beside the others; fetch the parquet "
                "edition again, or name another folder with --data-dir"
            )
        try:
            table = pq.read_table(files, columns=["img", "label"])
            # left in arrow's memory: 60,000 bytes objects are memory that Python keeps
            pixels[part] = table.column("img").combine_chunks().field("bytes")
            classes[part] = table.column("label").to_numpy().astype(np.int64)
        except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"cifar10: {folder}/{part}-*.parquet cannot be read as columns img {{bytes, "
                f"path}} and label ({error}); fetch the parquet edition again"
            ) from error
    return _Source(pixels, classes)


def _read_binary(data_dir: Path) -> _Source:
    pixels, classes = {}, {}
    for part in ("train", "test"):
        try:
            held = CIFAR10(str(data_dir), train=part == "train")
        except RuntimeError as error:
            raise _why_no_binary(data_dir) from error
        pixels[part], classes[part] = held.data, np.asarray(held.targets)
    return _Source(pixels, classes)


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
