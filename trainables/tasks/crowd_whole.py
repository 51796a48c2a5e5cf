"""Evaluation of counts on whole images: maps, tiled where they must be, and errors of counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.task import Config
from trainables.tasks.crowd_crops import normalise
from trainables.tasks.crowd_splits import Fixed

EVALUATION_BATCH = {"cpu": 4, "cuda": 8}  # squashed images at once
WHOLE_BATCH = {"cpu": 1, "cuda": 8}  # images of one size at once
MOST_PIXELS = 2**22  # of an image that is shown whole; larger ones are shown in tiles
TILE = 1024  # px of a tile's own part, a multiple of every stride
GAMES = (1, 2, 3)  # levels of GAME
PARTS = 8  # of each side, of the highest of them


class Cells(NamedTuple):
    """How an image is cut into cells.

    Attributes:
        height: of the image, px.
        width: of the image, px.
        stride: side of a cell, px.
    """

    height: int
    width: int
    stride: int

    def shares(self, axis: int, parts: int) -> Tensor:
        """Share of each cell in each of so many equal parts of an axis, `(parts, cells)` float64.

        A cell that a part's border cuts counts in both by its length in each; one that the
        image's border cuts lies in the image whole.
        """
        length = self[axis]
        low = torch.arange(-(-length // self.stride), dtype=torch.float64) * self.stride
        high = (low + self.stride).clamp(max=length)
        ends = torch.linspace(0, length, parts + 1, dtype=torch.float64)
        common = torch.minimum(high, ends[1:, None]) - torch.maximum(low, ends[:-1, None])
        return common.clamp(min=0) / (high - low)


class Predicted(NamedTuple):
    """What a network says of a split.

    Attributes:
        counts: heads of each image, `(images,)`.
        parts: heads in each of PARTS x PARTS equal parts of each image, `(images, PARTS, PARTS)`.
        live: share of outputs above zero.
        maps: heads a cell, on the CPU; empty unless they are asked for.
    """

    counts: np.ndarray
    parts: np.ndarray
    live: float
    maps: list[Tensor]


def predict(net: nn.Module, held: Fixed, config: Config, keep: bool) -> Predicted:
    """What the network says of every image of a split.

    Args:
        net: in evaluation, on the device of the images.
        held: whole images, squashed or as they are.
        config: head, stride, flip_average and density_scale are read.
        keep: keep the maps.
    """
    found: list[tuple[Tensor, Tensor, Tensor, list[Tensor]]] = []
    conv = config["head"] == "conv"
    stride = config["stride"] if conv else 1
    most = (WHOLE_BATCH if conv else EVALUATION_BATCH)[held.images[0].device.type]
    batches = list(_batches(held, most))
    for rows in batches:
        cells = Cells(*held.size(rows[0]), stride)
        # nothing to be seen: the padding of a convolution is zero as well
        beyond = (0, -cells.width % stride, 0, -cells.height % stride)
        x = F.pad(normalise(torch.stack([held.shown(row) for row in rows])), beyond)
        maps = shown(net, x, stride) if conv else net(x)
        if config["flip_average"]:
            mirrored = shown(net, x.flip(3), stride) if conv else net(x.flip(3))
            maps = (maps + mirrored.flip(2)) / 2
        maps = (maps / config["density_scale"]).double()
        down, across = (cells.shares(axis, PARTS).to(maps.device) for axis in (0, 1))
        above = (maps > 0).flatten(1).double().mean(1)
        parts = down @ maps @ across.T
        found.append((maps.flatten(1).sum(1), parts, above, list(maps) if keep else []))
    return _in_order(found, [row for rows in batches for row in rows])


def _batches(held: Fixed, most: int) -> Iterator[list[int]]:
    """Rows of a split in batches of images of one size."""
    rows, at = sorted(range(len(held.names)), key=held.size), 0
    while at < len(rows):
        size = held.size(rows[at])
        part = [row for row in rows[at : at + most] if held.size(row) == size]
        at += len(part)
        yield part


def _in_order(
    found: list[tuple[Tensor, Tensor, Tensor, list[Tensor]]], rows: list[int]
) -> Predicted:
    """What was found of these rows, batch after batch, in the order of the rows."""
    place = np.argsort(rows)
    counts, parts, above, kept = zip(*found, strict=True)
    maps = [made.cpu() for held in kept for made in held]
    return Predicted(
        torch.cat(counts).cpu().numpy()[place],
        torch.cat(parts).cpu().numpy()[place],
        float(torch.cat(above).mean()),
        [maps[i] for i in place] if maps else [],
    )


def shown(net: nn.Module, x: Tensor, stride: int, most: int = MOST_PIXELS) -> Tensor:
    """The network's map of normalised images `(batch, 3, height, width)`, `(batch, h, w)`.

    Images of more pixels than `most` are shown in tiles that overlap by all that a cell depends
    on, which gives the same map; not where a layer looks at the whole image, as GroupNorm does.
    """
    height, width = x.shape[2:]
    whole = any(isinstance(module, nn.GroupNorm) for module in net.modules())
    if height * width <= most or whole:
        return net(x).float()  # type: ignore[no-any-return]
    margin = -(-reach(net) // stride) * stride
    side = min(TILE, max(stride, int(most**0.5) // 2 // stride * stride))
    made = x.new_zeros((len(x), height // stride, width // stride), dtype=torch.float32)
    for top in range(0, height, side):
        for left in range(0, width, side):
            first = (max(0, top - margin), max(0, left - margin))
            part = x[
                :, :, first[0] : top + side + margin, first[1] : left + side + margin
            ].contiguous(memory_format=torch.channels_last)
            cells = net(part).float()
            here = ((top - first[0]) // stride, (left - first[1]) // stride)
            own = cells[:, here[0] :, here[1] :][:, : side // stride, : side // stride]
            at = (top // stride, left // stride)
            made[:, at[0] : at[0] + own.shape[1], at[1] : at[1] + own.shape[2]] = own
    return made


def reach(net: nn.Module) -> int:
    """How far from its middle a cell of a convolutional network's map depends on pixels, at most.

    By the layers in the order in which they were put in; branches beside one another are counted
    as if they came one after another, which is too far and so safe.
    """
    far, jump = 0, 1
    for name, layer in net.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)) and "downsample" not in name:
            size, rate, step = (
                value[0] if isinstance(value, tuple) else value
                for value in (layer.kernel_size, layer.dilation, layer.stride)
            )
            far += (int(size) - 1) * int(rate) * jump
            jump *= int(step)
    return -(-far // 2)  # to one side


def count_errors(truth: np.ndarray, told: Predicted, held: Fixed) -> dict[str, float]:
    """NAE and GAME(1) to GAME(3) of a split, people an image (NAE: a share).

    NAE = mean |z - z'| / z, where an image without heads counts as of one. GAME(L) (Guerrero-
    Gomez-Olmo et al. 2015) = mean over the images of the sum of |z - z'| over 4^L equal parts.

    Args:
        truth: annotated heads `(images,)`.
        told: of the same images.
        held: their heads.
    """
    found = {"nae": float((np.abs(told.counts - truth) / truth.clip(min=1)).mean())}
    wrong = told.parts - np.stack([_in_parts(held, row) for row in range(len(truth))])
    for level in GAMES:
        side = PARTS // 2**level
        blocks = wrong.reshape(len(wrong), 2**level, side, 2**level, side).sum((2, 4))
        found[f"game{level}"] = float(np.abs(blocks).sum((1, 2)).mean())
    return found


def _in_parts(held: Fixed, row: int) -> np.ndarray:
    """Annotated heads in the parts of an image, `(PARTS, PARTS)`."""
    height, width = held.size(row)
    at = (held.points[row].double().numpy() + 0.5) / np.array([width, height]) * PARTS
    x, y = at.astype(int).clip(0, PARTS - 1).T
    found = np.zeros((PARTS, PARTS))
    np.add.at(found, (y, x), 1)
    return found


def thumbnails(held: Fixed, rows: Sequence[int], maps: dict[str, list[Tensor]]) -> dict[str, Any]:
    """Images of several sizes, and maps of them, in arrays: black, or empty, beyond the smaller.

    Args:
        held: the split.
        rows: which images.
        maps: name -> a map of each of them.
    """
    images = [held.shown(row).cpu() for row in rows]
    return {
        "image": _together(images).numpy(),
        **{name: _together(made).numpy() for name, made in maps.items()},
    }


def _together(held: Sequence[Tensor]) -> Tensor:
    tall, wide = (max(t.shape[axis] for t in held) for axis in (-2, -1))
    return torch.stack([F.pad(t, (0, wide - t.shape[-1], 0, tall - t.shape[-2])) for t in held])
