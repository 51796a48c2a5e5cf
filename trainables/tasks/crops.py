"""Random flips and crops of whole batches, on the device where the images are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PAD = 4  # pixels of zero padding before the random crop
ASPECT = (3 / 4, 4 / 3)  # of random resized crops, width to height


def draw_moves(
    count: int, generator: torch.Generator, spans: tuple[int, int] = (2 * PAD + 1, 2 * PAD + 1)
) -> Tensor:
    """What `flip_and_crop` does to each of `count` images: int64 `(count, 3)`, flip, top, left.

    Args:
        count: of images.
        generator: CPU generator.
        spans: how many places there are for top and for left, from 0.
    """
    flips = torch.randint(0, 2, (count, 1), generator=generator)
    if spans[0] == spans[1]:
        return torch.cat([flips, torch.randint(0, spans[0], (count, 2), generator=generator)], 1)
    places = [torch.randint(0, span, (count, 1), generator=generator) for span in spans]
    return torch.cat([flips, *places], 1)


def flip_and_crop(
    images: Tensor, moves: Tensor, pad: int = PAD, crop: int | None = None
) -> Tensor:
    """Flip an image or not, pad it with black pixels, crop it where told.

    Args:
        images: uint8 `(batch, 3, height, width)`.
        moves: `(batch, 3)` of `draw_moves`, on the same device.
        pad: pixels of padding.
        crop: side of the result; None for the image's own.

    Returns:
        uint8 `(batch, 3, height, width)`, channels last in memory.
    """
    count, _, height, width = images.shape
    rows, columns = _window(moves, crop or height, crop or width, width + 2 * pad)
    padded = F.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1)
    at = torch.arange(count, device=images.device)[:, None, None]
    return padded[at, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _window(moves: Tensor, height: int, width: int, whole: int) -> tuple[Tensor, Tensor]:
    """What crops show of padded images `whole` wide: rows `(k, height)`, columns `(k, width)`."""
    flips, top, left = moves.unbind(1)
    rows = top[:, None] + torch.arange(height, device=moves.device)
    columns = left[:, None] + torch.arange(width, device=moves.device)
    return rows, torch.where(flips[:, None] > 0, whole - 1 - columns, columns)


def middle(images: Tensor, crop: int | None) -> Tensor:
    """The middle of images `(batch, 3, height, width)`; all of it where `crop` is None."""
    height, width = images.shape[-2:]
    if crop in (None, height) and crop in (None, width):
        return images
    assert crop is not None
    top, left = (height - crop) // 2, (width - crop) // 2
    return images[..., top : top + crop, left : left + crop]


def crop_padded(
    images: Tensor, at: Tensor, moves: Tensor | None, pad: int = PAD, crop: int | None = None
) -> Tensor:
    """`flip_and_crop` of chosen images in one gather.

    Args:
        images: int32 `(n, height + 2 pad, width + 2 pad)`, as in Data.
        at: `(k,)`, which of them.
        moves: `(k, 3)` of `draw_moves`; None shows the middle.
        pad: pixels of padding in `images`.
        crop: side of the result; None for the image's own.

    Returns:
        uint8 `(k, 3, height, width)`, channels last in memory.
    """
    _, tall, wide = images.shape
    height, width = crop or tall - 2 * pad, crop or wide - 2 * pad
    if moves is None:
        rows = _centred(tall, height, images.device)
        columns = _centred(wide, width, images.device)
    else:
        rows, columns = _window(moves, height, width, wide)
    index = (at[:, None] * tall + rows)[:, :, None] * wide + columns[:, None, :]
    chosen = images.view(-1).index_select(0, index.view(-1))
    return chosen.view(torch.uint8).view(-1, height, width, 4)[..., :3].permute(0, 3, 1, 2)


def _centred(whole: int, side: int, device: torch.device) -> Tensor:
    first = (whole - side) // 2
    return torch.arange(first, first + side, device=device)[None]


def draw_windows(flips: Tensor, generator: torch.Generator, smallest_area: float) -> Tensor:
    """What `resized_crops` shows of each image: float `(count, 5)`.

    Flip, and of a window its middle (x, y) and half its size (x, y), where the image reaches from
    -1 to 1. Area and aspect are drawn as torchvision's RandomResizedCrop does on square images; a
    window too long for the image is cut to it, where torchvision would draw again.

    Args:
        flips: `(count,)`, 1 to flip.
        generator: CPU generator.
        smallest_area: of a window, as a share of the image's.
    """
    area, ratio, x, y = torch.rand((4, len(flips)), generator=generator)
    area = smallest_area + area * (1 - smallest_area)
    low, high = (math.log(held) for held in ASPECT)
    aspect = torch.exp(low + ratio * (high - low))
    width = torch.sqrt(area * aspect).clamp(max=1)
    height = torch.sqrt(area / aspect).clamp(max=1)
    centre = [(2 * place - 1) * (1 - size) for place, size in ((x, width), (y, height))]
    return torch.stack([flips.float(), *centre, width, height], 1)


def resized_crops(images: Tensor, windows: Tensor, height: int, width: int) -> Tensor:
    """Windows of images, resized bilinearly and flipped as told.

    Args:
        images: uint8 `(batch, 3, ...)`.
        windows: of `draw_windows`.
        height: of the result.
        width: of the result.

    Returns:
        float `(batch, 3, height, width)` in 0 to 255, channels last in memory.
    """
    flips, x, y, wide, tall = windows.unbind(1)
    zero = torch.zeros_like(x)
    across = torch.stack([wide * (1 - 2 * flips), zero, x], 1)
    theta = torch.stack([across, torch.stack([zero, tall, y], 1)], 1)
    grid = F.affine_grid(theta, [len(images), 3, height, width], align_corners=False)
    pixels = images.float().contiguous(memory_format=torch.channels_last)
    return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
