"""ShanghaiTech on disk: folder layouts, JPEG images, MATLAB annotations, and what they hold.

Two layouts are read, below the data directory or its folder ShanghaiTech:
`part_A_final/train_data/{images/IMG_k.jpg, ground_truth/GT_IMG_k.mat}` (official), and the public
one with `part_A` and `ground-truth`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.io import loadmat
from torch import Tensor

from trainables.engine.cache import cached, key_of
from trainables.task import Config, DataError, MissingDataError
from trainables.tasks import synthetic

SOURCE = (
    "ShanghaiTech (Zhang et al., CVPR 2016) is free for research: get it from its authors' page "
    "or a public copy and unpack it so that DATA_DIR/ShanghaiTech/part_A_final/train_data/images/"
    "IMG_1.jpg and .../ground_truth/GT_IMG_1.mat exist, then pass --data-dir DATA_DIR"
)


@dataclass(frozen=True)
class Crowd:
    """Images with annotated heads.

    Attributes:
        names: file stems, e.g. IMG_12.
        points: per image `(heads, 2)` float32, x then y, 0-based, as annotated.
        held: per image a path to decode, or uint8 `(3, height, width)`, channels last in memory
            and mapped from the cache, where all trials of a machine share it.
    """

    names: list[str]
    points: list[Tensor]
    held: list[Path | Tensor]

    def take(self, rows: Iterable[int]) -> Crowd:
        """The subset with these rows, in this order."""
        chosen = list(rows)
        return Crowd(*([column[i] for i in chosen] for column in self._columns()))

    def _columns(self) -> tuple[list[Any], list[Any], list[Any]]:
        return self.names, self.points, self.held

    def item(self, row: int) -> tuple[Tensor, Tensor]:
        """Image, uint8 `(3, height, width)`, and points."""
        held = self.held[row]
        return (held if isinstance(held, Tensor) else _decode(held)), self.points[row]

    def images(self) -> Iterator[Tensor]:
        """Every image in turn."""
        return (self.item(row)[0] for row in range(len(self.names)))

    def counts(self) -> np.ndarray:
        """Annotated heads an image, `(images,)`, points outside the image included."""
        return np.asarray([len(points) for points in self.points])


def read_crowd(
    data_dir: Path, edition: str, part: str, split: str, decoded: bool = False
) -> Crowd:
    """One split (train or test) of one part (A or B).

    Args:
        data_dir: the data directory.
        edition: "synthetic", or anything else for files.
        part: "A" or "B".
        split: "train" or "test".
        decoded: hold images, decoded once a machine, instead of paths.

    Raises:
        DataError: a folder or annotation is missing, or a file unreadable.
    """
    if edition == "synthetic":
        return Crowd(*synthetic.crowd(part, split))
    found = _read_files(data_dir, part, split)
    if not decoded:
        return found
    paths = [path for path in found.held if isinstance(path, Path)]
    arrays = cached(key_of(f"shanghaitech-{part}-{split}", paths), lambda: _decode_all(paths))
    pixels, shapes = torch.from_numpy(arrays["pixels"]), arrays["shapes"]
    ends = shapes.prod(1).cumsum()
    images: list[Path | Tensor] = [
        pixels[end - height * width * 3 : end].view(height, width, 3).permute(2, 0, 1)
        for end, (height, width, _) in zip(ends.tolist(), shapes.tolist(), strict=True)
    ]
    return Crowd(found.names, found.points, images)


def _decode_all(paths: list[Path]) -> dict[str, np.ndarray]:
    """All images one after another, and their shapes `(n, 3)`: height, width, 3."""
    sizes = np.array([(*_size(path)[::-1], 3) for path in paths], dtype=np.int64)
    pixels = np.empty(sizes.prod(1).sum(), dtype=np.uint8)
    end = 0
    for path, size in zip(paths, sizes.prod(1).tolist(), strict=True):
        pixels[end : end + size] = _decode(path).permute(1, 2, 0).flatten().numpy()
        end += size
    return {"pixels": pixels, "shapes": sizes}


def _size(path: Path) -> tuple[int, int]:
    """Width and height, out of the header."""
    try:
        with Image.open(path) as image:
            return image.size
    except OSError as error:
        raise _undecodable(path, error) from error


@lru_cache(maxsize=4)
def _read_files(data_dir: Path, part: str, split: str) -> Crowd:
    images, annotations = _folders(data_dir, part, split)
    paths = sorted(images.glob("*.jpg"), key=_number)
    if not paths:
        raise MissingDataError(f"shanghaitech: no *.jpg in {images}. {SOURCE}")
    points = [_read_points(annotations / f"GT_{path.stem}.mat", path) for path in paths]
    return Crowd([path.stem for path in paths], points, list(paths))


def fingerprint(data_dir: Path, config: Config) -> dict[str, Any]:
    """Edition, images, heads, points outside, per part and split; checksum of the annotations."""
    return dict(_fingerprint(data_dir, config["edition"], config["part"]))


@lru_cache(maxsize=4)
def _fingerprint(data_dir: Path, edition: str, part: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "data": f"ShanghaiTech Part {part}"
        if edition != "synthetic"
        else f"synthetic crowd, part {part}",
        "part": part,
        "edition": "synthetic" if edition == "synthetic" else "files",
        "synthetic": edition == "synthetic",
    }
    digest = hashlib.sha256()
    for split in ("train", "test"):
        crowd = read_crowd(data_dir, edition, part, split)
        found[f"{split}_images"] = len(crowd.names)
        found[f"{split}_heads"] = int(crowd.counts().sum())
        found[f"{split}_points_outside"] = sum(
            _count_outside(points, held)
            for points, held in zip(crowd.points, crowd.held, strict=True)
        )
        for name, points in zip(crowd.names, crowd.points, strict=True):
            digest.update(name.encode() + points.numpy().tobytes())
    found["annotations_sha256"] = digest.hexdigest()
    return found


def _count_outside(points: Tensor, held: Path | Tensor) -> int:
    """Points whose nearest pixel is not in the image."""
    if isinstance(held, Tensor):
        height, width = held.shape[1:]
    else:
        width, height = _size(held)
    pixel = points.round()
    inside = (pixel >= 0) & (pixel <= torch.tensor([width - 1, height - 1]))
    return int((~inside.all(1)).sum())


def _decode(path: Path) -> Tensor:
    try:
        with Image.open(path) as image:
            # channels stay last in memory: resizing is up to twice as fast on them
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    except OSError as error:
        raise _undecodable(path, error) from error


def _undecodable(path: Path, error: OSError) -> DataError:
    return DataError(f"shanghaitech: {path} cannot be decoded ({error}); fetch it again")


def _folders(data_dir: Path, part: str, split: str) -> tuple[Path, Path]:
    for root in (data_dir / "ShanghaiTech", data_dir / "shanghaitech", data_dir):
        for name in (f"part_{part}_final", f"part_{part}"):
            for truth in ("ground_truth", "ground-truth"):
                folder = root / name / f"{split}_data"
                if (folder / "images").is_dir() and (folder / truth).is_dir():
                    return folder / "images", folder / truth
    raise MissingDataError(
        f"shanghaitech: no part_{part}_final/{split}_data or part_{part}/{split}_data with images "
        f"and ground_truth (or ground-truth) under {data_dir}. {SOURCE}"
    )


def _number(path: Path) -> tuple[int, str]:
    digits = "".join(c for c in path.stem if c.isdigit())
    return int(digits or 0), path.stem


def _read_points(path: Path, image: Path) -> Tensor:
    """`(heads, 2)`: MATLAB counts pixels from 1, we count from 0."""
    try:
        # given a Path, loadmat does not say that the file is missing
        location = loadmat(str(path))["image_info"][0, 0][0, 0]["location"]
        points = np.asarray(location, dtype=np.float32)
        if points.size and points.shape[1:] != (2,):
            raise ValueError(f"location is {' x '.join(map(str, points.shape))}")
    except FileNotFoundError:
        raise DataError(f"shanghaitech: {image} has no annotation {path}. {SOURCE}") from None
    except Exception as error:  # loadmat raises many kinds for a truncated or foreign file
        raise DataError(
            f"shanghaitech: {path} is no annotation of the official form "
            f"(image_info{{1}}.location, N x 2): {error!r}"
        ) from error
    return torch.from_numpy(points.reshape(-1, 2) - 1)
