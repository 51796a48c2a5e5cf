"""Splits of a crowd on a device: cut apart, and test resized to what the network sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from trainables.task import Config
from trainables.tasks.crowd_files import Crowd, read_split
from trainables.tasks.splits import cut_apart

OPENING = (  # settings that the splits hang on
    *("edition", "part", "val_fraction", "train_images", "val_images", "test_images"),
    *("crop", "outside", "copies"),
)


@dataclass(frozen=True)
class Data:
    """Training images as they are; val and test resized to the crop, with what evaluation needs.

    Attributes:
        train: uint8 images `(3, height, width)` and points `(heads, 2)`, x then y, 0-based.
        fixed: split -> `(n, 3, crop, crop)` uint8, points scaled with it, annotated counts, names.
        device: where the images are, and where batches go; points are on the CPU.
    """

    train: Crowd
    fixed: dict[str, Fixed]
    device: torch.device


@dataclass(frozen=True)
class Fixed:
    """An evaluation split: whole images squashed to the crop size."""

    images: Tensor
    points: list[Tensor]
    counts: np.ndarray
    names: list[str]


def open_data(data_dir: Path, config: Config, split_seed: int, device: torch.device) -> Data:
    """Read one part; validation is cut from the training images by `split_seed`."""
    return _on_device(device, data_dir, split_seed, tuple((key, config[key]) for key in OPENING))


@lru_cache(maxsize=1)  # a warm worker opens the same splits for trial after trial
def _on_device(device: torch.device, *opening: Any) -> Data:
    held = _open(*opening)
    if device.type == "cpu":
        return held
    train = Crowd(held.train.names, held.train.points, [i.to(device) for i in held.train.images()])
    fixed = {split: replace(f, images=f.images.to(device)) for split, f in held.fixed.items()}
    return Data(train, fixed, device)


def _open(data_dir: Path, split_seed: int, settings: tuple[tuple[str, Any], ...]) -> Data:
    config = dict(settings)
    read = partial(read_split, data_dir, config["edition"], config["part"])
    (train, train_keys, _), (test, test_keys, _) = read("train"), read("test")
    copies, share = config["copies"], config["val_fraction"]
    kept, cut = cut_apart(train_keys, test_keys, copies, share, split_seed)
    val = train.take(cut.tolist()[: config["val_images"]])
    fixed = {"test": _resized(test.take(range(len(test.names))[: config["test_images"]]), config)}
    if val.names:
        fixed["val"] = _resized(val, config)
    chosen = train.take(kept.tolist()[: config["train_images"]])
    return Data(chosen, fixed, torch.device("cpu"))


def _resized(crowd: Crowd, config: Config) -> Fixed:
    size = config["crop"]
    images, points = [], []
    for image, heads in zip(crowd.images(), crowd.points, strict=True):
        height, width = image.shape[1:]
        images.append(resize(image, [size, size], antialias=True))
        inside = treat_outside(heads, height, width, config["outside"])
        # pixel centres are whole numbers, so edges lie half a pixel out
        points.append((inside + 0.5) * torch.tensor([size / width, size / height]) - 0.5)
    return Fixed(torch.stack(images), points, crowd.counts(), crowd.names)


def treat_outside(points: Tensor, height: int, width: int, rule: str) -> Tensor:
    """Clamp or skip the points whose nearest pixel is not in the image."""
    limit = torch.tensor([width - 1, height - 1])
    pixel = points.round()
    if rule == "skip":
        return points[((pixel >= 0) & (pixel <= limit)).all(1)]
    return torch.minimum(points.clamp(min=0), limit)
