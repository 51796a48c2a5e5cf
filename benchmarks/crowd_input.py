"""A crowd picture as a user would prepare it: decode, resize, crop, stamp a kernel per head."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

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


def stamped(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Density map by one Gaussian patch a head, added where it fits: the usual published code."""
    at = np.arange(-REACH, REACH + 1)
    patch = np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * SIGMA**2))
    patch = (patch / patch.sum()).astype(np.float32)
    out = np.zeros((height, width), dtype=np.float32)
    for x, y in np.round(points).astype(int):
        top, left = max(0, y - REACH), max(0, x - REACH)
        bottom, right = min(height, y + REACH + 1), min(width, x + REACH + 1)
        out[top:bottom, left:right] += patch[
            top - y + REACH : bottom - y + REACH, left - x + REACH : right - x + REACH
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
