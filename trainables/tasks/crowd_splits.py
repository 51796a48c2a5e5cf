"""Splits of a crowd on a device: cut apart, and whole images as the network is shown them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from trainables.task import Config
from trainables.tasks.crowd_files import Crowd, read_split
from trainables.tasks.density import adaptive_sigmas
from trainables.tasks.splits import cut_apart

OPENING = (  # settings that the splits hang on
    *("edition", "part", "val_fraction", "train_images", "val_images", "test_images"),
    *("crop", "outside", "copies", "head", "resize", "kernel", "sigma", "train_sample"),
)


@dataclass(frozen=True)
class Data:
    """Training images as they are, and splits to evaluate on.

    Attributes:
        train: uint8 images `(3, height, width)` and points `(heads, 2)`, x then y, 0-based.
        fixed: val and test; with the conv head also a sample of the training images, as train.
        device: where the images are, and where batches go; points are on the CPU.
        sigmas: widths of each training image's heads, px, where the kernel is adaptive.
    """

    train: Crowd
    fixed: dict[str, Fixed]
    device: torch.device
    sigmas: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Fixed:
    """An evaluation split of whole images.

    Attributes:
        images: uint8, squashed to the crop, `(n, 3, crop, crop)`; or each at its own size.
        points: of each image `(heads, 2)`, px of the image as the network is shown it.
        counts: annotated heads of each.
        names: of each.
        resize: px that the network is shown a px of `images`.
    """

    images: Tensor | list[Tensor]
    points: list[Tensor]
    counts: np.ndarray
    names: list[str]
    resize: float = 1.0

    def shown(self, row: int) -> Tensor:
        """An image as the network is shown it, uint8 `(3, height, width)`."""
        image = self.images[row]
        if self.resize == 1:
            return image
        made: Tensor = resize(image[None], list(self.size(row)), antialias=True)[0]
        return made

    def size(self, row: int) -> tuple[int, int]:
        """Height and width of that."""
        height, width = self.images[row].shape[1:]
        return resized_size(height, width, self.resize)

    def areas(self) -> np.ndarray:
        """Pixels of each image as the network is shown it, `(n,)`."""
        return np.array([math.prod(self.size(row)) for row in range(len(self.names))], float)


def resized_size(height: int, width: int, factor: float) -> tuple[int, int]:
    """Height and width of an image that is resized by a factor."""
    return max(1, round(height * factor)), max(1, round(width * factor))


def open_data(data_dir: Path, config: Config, split_seed: int, device: torch.device) -> Data:
    """Read one part; validation is cut from the training images by `split_seed`."""
    return _on_device(device, data_dir, split_seed, tuple((key, config[key]) for key in OPENING))


@lru_cache(maxsize=1)  # a warm worker opens the same splits for trial after trial
def _on_device(device: torch.device, *opening: Any) -> Data:
    held = _open(*opening)
    if device.type == "cpu":
        return held
    train = Crowd(held.train.names, held.train.points, [i.to(device) for i in held.train.images()])
    fixed = {split: replace(f, images=_moved(f.images, device)) for split, f in held.fixed.items()}
    return Data(train, fixed, device, held.sigmas)


def _moved(images: Tensor | list[Tensor], device: torch.device) -> Tensor | list[Tensor]:
    return images.to(device) if isinstance(images, Tensor) else [i.to(device) for i in images]


def _open(data_dir: Path, split_seed: int, settings: tuple[tuple[str, Any], ...]) -> Data:
    config = dict(settings)
    read = partial(read_split, data_dir, config["edition"], config["part"])
    (train, train_keys, _), (test, test_keys, _) = read("train"), read("test")
    copies, share = config["copies"], config["val_fraction"]
    kept, cut = cut_apart(train_keys, test_keys, copies, share, split_seed)
    val = train.take(cut.tolist()[: config["val_images"]])
    chosen = train.take(kept.tolist()[: config["train_images"]])
    splits = {"test": test.take(range(len(test.names))[: config["test_images"]])}
    if val.names:
        splits["val"] = val
    shape = _squashed
    if config["head"] == "conv":
        shape = _whole
        splits["train"] = chosen.take(range(len(chosen.names))[: config["train_sample"]])
    fixed = {split: shape(crowd, config) for split, crowd in splits.items()}
    sigmas = []
    if config["kernel"] == "adaptive":
        sigmas = [adaptive_sigmas(points, config["sigma"]) for points in chosen.points]
    return Data(chosen, fixed, torch.device("cpu"), sigmas)


def _whole(crowd: Crowd, config: Config) -> Fixed:
    points = []
    for image, heads in zip(crowd.images(), crowd.points, strict=True):
        height, width = image.shape[1:]
        held = treat_outside(heads, height, width, config["outside"])
        tall, wide = resized_size(height, width, config["resize"])
        points.append(_scaled(held, (height, width), (tall, wide)))
    return Fixed(list(crowd.images()), points, crowd.counts(), crowd.names, config["resize"])


def _scaled(points: Tensor, size: tuple[int, int], to: tuple[int, int]) -> Tensor:
    # pixel centres are whole numbers, so edges lie half a pixel out
    return (points + 0.5) * torch.tensor([to[1] / size[1], to[0] / size[0]]) - 0.5


def _squashed(crowd: Crowd, config: Config) -> Fixed:
    size = config["crop"]
    images, points = [], []
    for image, heads in zip(crowd.images(), crowd.points, strict=True):
        height, width = image.shape[1:]
        images.append(resize(image, [size, size], antialias=True))
        inside = treat_outside(heads, height, width, config["outside"])
        points.append(_scaled(inside, (height, width), (size, size)))
    return Fixed(torch.stack(images), points, crowd.counts(), crowd.names)


def treat_outside(points: Tensor, height: int, width: int, rule: str) -> Tensor:
    """Clamp or skip the points whose nearest pixel is not in the image."""
    limit = torch.tensor([width - 1, height - 1])
    if rule == "skip":
        return points[kept_rows(points, height, width, rule)]
    return torch.minimum(points.clamp(min=0), limit)


def kept_rows(points: Tensor, height: int, width: int, rule: str) -> Tensor:
    """Which of the points `treat_outside` keeps, int64."""
    if rule != "skip":
        return torch.arange(len(points))
    pixel, limit = points.round(), torch.tensor([width - 1, height - 1])
    return ((pixel >= 0) & (pixel <= limit)).all(1).nonzero()[:, 0]
