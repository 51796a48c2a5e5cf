"""Generated data in the shape of both tasks, and source weights for "pretrained" cells.

Nothing here says anything about real images; whatever is trained on it is marked synthetic.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.resnet import backbone

CLASSES = 10
TRAIN_IMAGES, TEST_IMAGES = 2_000, 500
SOURCE_CLASSES, SOURCE_SEED = 10, 10_007
CROWD_IMAGES = {"train": 48, "test": 24}
CROWD_HEADS = {"A": (20, 120), "B": (4, 40)}  # A is the dense part, as in the real data


@lru_cache(maxsize=2)
def images(seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Ten classes of coloured gratings in noise: an orientation, a frequency and a tint each.

    Args:
        seed: another seed gives other classes.

    Returns:
        pixels by part: uint8 `(n, 32, 32, 3)`; classes by part: int64 `(n,)`.
    """
    rng = np.random.default_rng([seed, 1])
    angle = rng.permutation(CLASSES) * math.pi / CLASSES
    frequency = rng.uniform(0.25, 0.9, CLASSES)
    tint = rng.uniform(-1, 1, (CLASSES, 3))
    pixels, classes = {}, {}
    for part, count in (("train", TRAIN_IMAGES), ("test", TEST_IMAGES)):
        label = rng.permutation(np.arange(count) % CLASSES)
        turn = angle[label] + rng.normal(0, 0.12, count)
        rate = frequency[label] * rng.uniform(0.9, 1.1, count)
        y, x = np.mgrid[:32, :32]
        along = np.cos(turn)[:, None, None] * x + np.sin(turn)[:, None, None] * y
        phase = rng.uniform(0, 2 * math.pi, count)[:, None, None]
        wave = np.sin(rate[:, None, None] * along + phase)
        colour = tint[label] + rng.normal(0, 0.5, (count, 3))
        signal = wave[..., None] * 45 + colour[:, None, None, :] * 25
        noise = rng.normal(0, 45, (count, 32, 32, 3))
        pixels[part] = np.clip(128 + signal + noise, 0, 255).astype(np.uint8)
        classes[part] = label.astype(np.int64)
    return pixels, classes


@lru_cache(maxsize=4)
def crowd(part: str, split: str) -> tuple[list[str], list[Tensor], list[Any]]:
    """Noise with bright blobs for heads, of mixed sizes; some grey, some without heads.

    Returns:
        names, points `(heads, 2)` (x then y, 0-based; now and then one outside the image), and
        images uint8 `(3, height, width)`.
    """
    rng = np.random.default_rng([ord(part), len(split), 2])
    names, points, pictures = [], [], []
    low, high = CROWD_HEADS[part]
    for number in range(1, CROWD_IMAGES[split] + 1):
        height, width = int(rng.integers(96, 200)), int(rng.integers(120, 240))
        heads = 0 if number % 16 == 0 else int(np.exp(rng.uniform(np.log(low), np.log(high))))
        at = rng.uniform([0, 0], [width - 1, height - 1], (heads, 2)).astype(np.float32)
        picture = _street(rng, at, height, width)
        if number % 7 == 0:
            picture[:] = picture.mean(0, keepdims=True)
        if number % 5 == 0 and heads:
            at[0] = (-3.0, height + 2.0)
        names.append(f"SYN_{number}")
        points.append(torch.from_numpy(at))
        pictures.append(torch.from_numpy(np.clip(picture, 0, 255).astype(np.uint8)))
    return names, points, pictures


def _street(rng: np.random.Generator, at: np.ndarray, height: int, width: int) -> np.ndarray:
    """`(3, height, width)`: a vertical gradient, noise, and a 3 px blob at each point."""
    y, x = np.mgrid[:height, :width]
    ground = (
        rng.uniform(40, 90, 3)[:, None, None]
        + 40 * (y / height)
        + rng.normal(0, 12, (3, *y.shape))
    )
    light = np.zeros((height, width))
    for cx, cy in at:
        light = np.maximum(light, np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 3.0**2)))
    return np.asarray(ground * (1 - light) + rng.uniform(190, 240, 3)[:, None, None] * light)


def make_source_weights(depth: int, path: Path, images_used: int = 256, epochs: int = 3) -> None:
    """Train a ResNet on another synthetic task and save it in the form of torchvision's files.

    Args:
        depth: of the network.
        path: file to write, whole or not at all.
        images_used: how many source images.
        epochs: passes over them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SOURCE_SEED)
        net = backbone(depth, lambda n: nn.Linear(n, SOURCE_CLASSES))
    pixels, classes = images(SOURCE_SEED)
    x = torch.from_numpy(pixels["train"][:images_used]).permute(0, 3, 1, 2) / 127.5 - 1
    y = torch.from_numpy(classes["train"][:images_used])
    generator = torch.Generator().manual_seed(SOURCE_SEED)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    torch.save(net.state_dict(), partial)
    partial.replace(path)
