"""Random crops of crowds for training, with what they are to be trained towards."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as T
from torchvision.transforms.v2.functional import resize

from trainables.task import Config
from trainables.tasks.crowd_settings import sigma_of
from trainables.tasks.crowd_splits import kept_rows, treat_outside
from trainables.tasks.density import cell_density, density_map
from trainables.tasks.images import NORMALISE

MEAN, STD = NORMALISE["imagenet"]  # as in the report
PAD_HEADS = 64  # point targets are padded to a multiple, so that their shapes recur


class Crop(NamedTuple):
    """A crop and the heads in it.

    Attributes:
        image: uint8 `(3, crop, crop)`.
        points: `(heads inside, 2)`, x then y, px of the crop.
        rows: `(heads inside,)`, which of the image's heads those are.
        zoom: px of the crop a px of the image.
    """

    image: Tensor
    points: Tensor
    rows: Tensor
    zoom: float


def draw_crop(image: Tensor, points: Tensor, config: Config, generator: torch.Generator) -> Crop:
    """Rescale at random, never below the crop on the short side, crop at random, flip at random.

    The window is cut first and resized after: the same crops for a fraction of the work.

    Args:
        image: uint8 `(3, height, width)`.
        points: `(heads, 2)`, x then y, 0-based.
        config: crop, resize, scale_low, scale_high and outside are read.
        generator: CPU generator.
    """
    size, usual = config["crop"], config["resize"]
    height, width = image.shape[1:]
    rows = kept_rows(points, height, width, config["outside"])
    points = treat_outside(points, height, width, config["outside"])
    draw = torch.rand(4, generator=generator)
    # drawn among the scales that fit, not raised to the smallest: B's crops hold 31 heads, not 43
    low = max(config["scale_low"] * usual, size / min(height, width))
    scale = low + float(draw[0]) * max(config["scale_high"] * usual - low, 0)
    window = min(max(round(size / scale), 1), height, width)
    top, left = int(draw[1] * (height - window + 1)), int(draw[2] * (width - window + 1))
    cut = image[:, top : top + window, left : left + window]
    # a batch of one, channels last to the last stride: resizing anything else takes twice as long
    whole = cut.permute(1, 2, 0).contiguous()[None].permute(0, 3, 1, 2)
    cut = resize(whole, [size, size], antialias=True)[0]
    # pixel centres: window pixel i covers [i - 1/2, i + 1/2]
    points = (points - torch.tensor([left, top]) + 0.5) * (size / window) - 0.5
    seen = ((points >= -0.5) & (points < size - 0.5)).all(1)
    points, rows = points[seen], rows[seen]
    if draw[3] < 0.5:
        cut = cut.flip(2)
        points = torch.stack([size - 1 - points[:, 0], points[:, 1]], 1)
    return Crop(cut, points, rows, size / window)


def jittered(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation times a factor of 1 - strength to 1 + strength each.

    Args:
        image: uint8 `(3, height, width)`.
        strength: below 1; 0 changes, and draws, nothing.
        generator: CPU generator.
    """
    if not strength:
        return image
    factors = (1 + strength * (2 * torch.rand(3, generator=generator) - 1)).tolist()
    for adjust, factor in zip(
        (T.adjust_brightness, T.adjust_contrast, T.adjust_saturation), factors, strict=True
    ):
        image = adjust(image, factor)
    return image


def truth_map(
    points: Tensor,
    height: int,
    width: int,
    config: Config,
    zoom: float = 1.0,
    sigmas: Tensor | None = None,
    weight: float = 1.0,
) -> Tensor:
    """The map that a network is trained towards: heads a pixel, or a cell, times a weight.

    Args:
        points: `(heads, 2)`, px of the map's image.
        height: of that image.
        width: of that image.
        config: head, stride, kernel, sigma and sigma_of are read.
        zoom: px of that image a px of the image as stored.
        sigmas: `(heads,)`, px of the image as stored, where the kernel is adaptive.
        weight: of a head.
    """
    conv, kernel = config["head"] == "conv", config["kernel"]
    stride = config["stride"] if conv else 1
    sigma = sigma_of(config, zoom)
    if kernel == "disc" or (kernel == "gaussian" and not conv and sigma == config["sigma"]):
        return pooled(density_map(points, height, width, sigma, kernel, weight), stride)
    wide: float | Tensor = 0.0 if kernel == "dots" or config["loss"] == "dm" else sigma
    if kernel == "adaptive" and wide:
        assert sigmas is not None
        wide = sigmas * zoom
    return cell_density(points, height, width, stride, wide) * weight


def pooled(pixels: Tensor, stride: int) -> Tensor:
    """Sums over cells of a map `(height, width)`; cells at the far borders may be cut."""
    if stride == 1:
        return pixels
    height, width = pixels.shape
    whole = torch.nn.functional.pad(pixels, (0, -width % stride, 0, -height % stride))
    rows = whole.reshape(whole.shape[0] // stride, stride, -1).sum(1)
    return rows.reshape(len(rows), -1, stride).sum(2)


def point_target(crops: list[Crop], config: Config, device: torch.device) -> Tensor:
    """Heads of a batch as `(batch, most, 4)`: x, y, sigma (px of the crop), and 1; else zeros.

    `most` is padded, so that few shapes occur.
    """
    most = max(len(cut.points) for cut in crops)
    held = torch.zeros(len(crops), max(1, -(-most // PAD_HEADS)) * PAD_HEADS, 4)
    for row, cut in zip(held, crops, strict=True):
        row[: len(cut.points), :2] = cut.points
        row[: len(cut.points), 2] = sigma_of(config, cut.zoom)
        row[: len(cut.points), 3] = 1
    return held.to(device, non_blocking=True)


def normalise(images: Tensor) -> Tensor:
    """uint8 `(batch, 3, height, width)` to float, channels last in memory."""
    pixels = images.permute(0, 2, 3, 1).contiguous()
    count, height, width, _ = pixels.shape
    scale, shift = _scale_and_shift(width, images.device)
    # row by row: a factor a channel, three at a time, is ten times slower on a CPU
    rows = pixels.view(count, height, 3 * width).to(torch.float32).mul_(scale).sub_(shift)
    return rows.view(count, height, width, 3).permute(0, 3, 1, 2)


@lru_cache(maxsize=8)
def _scale_and_shift(width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return (1 / (255 * std)).repeat(width).to(device), (mean / std).repeat(width).to(device)
