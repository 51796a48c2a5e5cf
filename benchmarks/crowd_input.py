"""A crowd picture as a user would prepare it: decode, resize, crop, stamp a kernel per head."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

SIDE, SIGMA, REACH = 512, 15.0, 45  # of the crop and the kernel, px
WIDTH, HEIGHT, HEADS = 1024, 768, 123  # Part B's images hold 123 heads on average

MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


@lru_cache(maxsize=1)
def jpegs(count: int) -> list[tuple[bytes, np.ndarray]]:
    """So many JPEG files with head points `(heads, 2)`, x then y; smooth noise, as photos are."""
    draw = np.random.default_rng(0)
    files = []
    for _ in range(count):
        small = draw.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(
            buffer, "JPEG", quality=90
        )
        files.append((buffer.getvalue(), draw.random((HEADS, 2)) * [WIDTH - 1, HEIGHT - 1]))
    return files


def stamped(points: np.ndarray, height: int, width: int, sigma: float = SIGMA) -> np.ndarray:
    """Density map by one Gaussian patch a head, added where it fits: the usual published code."""
    reach = round(REACH * sigma / SIGMA)
    at = np.arange(-reach, reach + 1)
    patch = np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * sigma**2))
    patch = (patch / patch.sum()).astype(np.float32)
    out = np.zeros((height, width), dtype=np.float32)
    for x, y in np.round(points).astype(int):
        top, left = max(0, y - reach), max(0, x - reach)
        bottom, right = min(height, y + reach + 1), min(width, x + reach + 1)
        out[top:bottom, left:right] += patch[
            top - y + reach : bottom - y + reach, left - x + reach : right - x + reach
        ]
    return out


def plain_item(
    raw: bytes, points: np.ndarray, draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Image `(3, 512, 512)` and map `(512, 512)` of one file, decoded anew."""
    picture = Image.open(io.BytesIO(raw)).convert("RGB")
    scale = max(draw.uniform(0.5, 1.5), SIDE / min(picture.size))
    width, height = (round(scale * side) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = draw.integers(0, width - SIDE + 1), draw.integers(0, height - SIDE + 1)
    image = np.asarray(picture.crop((left, top, left + SIDE, top + SIDE)), dtype=np.float32)
    heads = points * scale - [left, top]
    heads = heads[((heads >= 0) & (heads < SIDE)).all(1)]
    target = stamped(heads, SIDE, SIDE) * 512
    image = (image / 255 - MEAN) / STD
    return image.transpose(2, 0, 1), target


def plain_cells(
    raw: bytes, points: np.ndarray, draw: np.random.Generator, config: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    """Crop `(3, crop, crop)` of one file, decoded anew, and its heads a cell of the stride."""
    side, stride = config["crop"], config["stride"]
    picture = Image.open(io.BytesIO(raw)).convert("RGB")
    scale = max(draw.uniform(config["scale_low"], config["scale_high"]), side / picture.size[1])
    width, height = (round(scale * length) for length in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = draw.integers(0, width - side + 1), draw.integers(0, height - side + 1)
    picture = picture.crop((left, top, left + side, top + side))
    heads = points * scale - [left, top]
    heads = heads[((heads >= 0) & (heads < side)).all(1)]
    if draw.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        heads = heads * [-1, 1] + [side - 1, 0]
    jitter = transforms.ColorJitter(*[config["jitter"]] * 3)
    image = transforms.Normalize(MEAN, STD)(transforms.ToTensor()(jitter(picture)))
    density = stamped(heads, side, side, config["sigma"] * scale) * config["density_scale"]
    cells = density.reshape(side // stride, stride, side // stride, stride).sum((1, 3))
    return image, torch.from_numpy(cells)


class PlainCells(Dataset):
    """`plain_cells` as a data set."""

    def __init__(self, count: int, config: Mapping[str, Any]) -> None:
        self.files, self.config = jpegs(count), config

    def __len__(self) -> int:
        """As many as Part B trains on."""
        return 400

    def __getitem__(self, at: int) -> tuple[Tensor, Tensor]:
        """A crop and its cells."""
        raw, points = self.files[at % len(self.files)]
        return plain_cells(raw, points, np.random.default_rng(at), self.config)


class PlainCrowd(Dataset):
    """`plain_item` as a data set."""

    def __init__(self, count: int) -> None:
        self.files = jpegs(count)

    def __len__(self) -> int:
        """As many as Part B trains on."""
        return 400

    def __getitem__(self, at: int) -> tuple[Tensor, Tensor]:
        """An image and its map."""
        raw, points = self.files[at % len(self.files)]
        image, target = plain_item(raw, points, np.random.default_rng(at))
        return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(target)
