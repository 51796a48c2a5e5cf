"""Images of one size on a device: batched flips and crops, normalisation, classified splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.kernels.small_maps import skip_padding
from trainables.networks import build, is_own
from trainables.task import Batch, Config, Evaluation, Setting
from trainables.tasks.classification import EVALUATION_BATCH, evaluation
from trainables.tasks.crops import (
    PAD,
    crop_padded,
    draw_moves,
    draw_windows,
    flip_and_crop,
    middle,
    resized_crops,
)
from trainables.tasks.splits import step_sizes

# images made ready at once, a step's at least: a GPU is short of launches, a CPU's cache of room
READY_IMAGES = {"cpu": 1, "cuda": 4096}
UPLOAD = 4096  # images moved to a GPU at a time
NORMALISE = {
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
SETTINGS = {
    "normalise": Setting("half", "mean and std of the inputs", choices=tuple(NORMALISE)),
    "skip_padding": Setting(
        True,
        "leave out multiplications by padding where maps are small: the same function, faster",
        role="study",
    ),
}


def network_for(
    config: Config, outputs: int, size: tuple[int, int], weights: Path | None
) -> nn.Module:
    """The config's network with so many outputs, for images of this height and width.

    A function of the user's own stays as it is: it may run its layers otherwise in training.
    """
    net = build(config, outputs, weights)
    if config["skip_padding"] and not is_own(config):
        skip_padding(net, *size)
    return net


@dataclass(frozen=True)
class Data:
    """Splits on one device, by split name.

    On a CPU the images of whole parts stay where they are mapped, shared with other trials, and
    `rows` says which of them a split has. On a GPU a split's images are its own, a pixel in four
    bytes with the padding of the random crop around, so that one gather crops and flips.

    Attributes:
        images: uint8 `(n, 3, height, width)`, or int32 `(n, height + 2 pad, width + 2 pad)` on a
            GPU.
        labels: int64 `(n,)`.
        rows: int64 `(n,)`, which rows of `images` a split has; None where it has them all.
        pad: pixels of zero padding around an image that a random crop may show.
        crop: side of what the network is given; None for the whole image.
        names: of a split's images; by default their numbers.
        classes: how many there are, also where a split lacks one; 0 where nobody asks.
    """

    images: dict[str, Tensor]
    labels: dict[str, Tensor]
    rows: dict[str, Tensor] | None = None
    pad: int = PAD
    crop: int | None = None
    names: Mapping[str, list[str]] = field(default_factory=dict)
    classes: int = 0

    def take(self, split: str, at: Tensor, moves: Tensor | None = None) -> Tensor:
        """The images of a split at these places of it, cropped and moved as told.

        Args:
            split: its name.
            at: `(k,)` int64.
            moves: of `draw_moves` or `draw_windows`; None for the middle of each image.

        Returns:
            `(k, 3, side, side)`, uint8, or float in 0 to 255 after `draw_windows`.
        """
        images = self.images[split]
        at = at if self.rows is None else self.rows[split][at]
        if moves is not None and moves.is_floating_point():
            height, width = self.size(split)
            whole = replace(self, rows=None, crop=None).take(split, at)
            return resized_crops(whole, moves, self.crop or height, self.crop or width)
        if images.dtype == torch.int32:
            return crop_padded(images, at, moves, self.pad, self.crop)
        if moves is None:
            return middle(images[at], self.crop)
        return flip_and_crop(images[at], moves, self.pad, self.crop)

    def size(self, split: str) -> tuple[int, int]:
        """Height and width of the images, without padding."""
        height, width = self.images[split].shape[-2:]
        inner = self.pad if self.images[split].dtype == torch.int32 else 0
        return height - 2 * inner, width - 2 * inner

    def draw(self, split: str, generator: torch.Generator) -> Tensor:
        """`draw_moves` for every image of a split."""
        height, width = self.size(split)
        spans = (height + 2 * self.pad + 1, width + 2 * self.pad + 1)
        crop = (self.crop or height, self.crop or width)
        spans = (spans[0] - crop[0], spans[1] - crop[1])
        return draw_moves(len(self.labels[split]), generator, spans)


def on_gpu(held: Data, device: torch.device) -> Data:
    """The same data as a GPU wants it; see Data."""
    images, pad, whole = {}, held.pad, replace(held, crop=None)
    for split, labels in held.labels.items():
        height, width = held.size(split)
        shape = (len(labels), height + 2 * pad, width + 2 * pad, 4)
        pixels = torch.zeros(shape, dtype=torch.uint8, device=device)
        inside = pixels[:, pad : pad + height, pad : pad + width, :3]
        for at in torch.arange(len(labels)).split(UPLOAD):
            inside[at[0] : at[-1] + 1] = whole.take(split, at).permute(0, 2, 3, 1).to(device)
        images[split] = pixels.view(torch.int32)[..., 0]
    labels_there = {split: labels.to(device) for split, labels in held.labels.items()}
    return replace(held, images=images, labels=labels_there, rows=None)


def batches(data: Data, config: Config, generator: torch.Generator) -> Iterator[Batch]:
    """One epoch: shuffled, augmented, the odd last batch included.

    All draws of the epoch are made at its start and moved at once: a draw a step would make a GPU
    wait for the CPU at each.
    """
    labels = data.labels["train"]
    order = torch.randperm(len(labels), generator=generator)
    moves = _moves(data, config, generator)
    device = labels.device
    order = order.to(device, non_blocking=True)
    moves = None if moves is None else moves.to(device, non_blocking=True)
    sizes = step_sizes(len(labels), config["batch_size"])
    at_once = max(1, READY_IMAGES[device.type] // config["batch_size"])
    end = 0
    for first in range(0, len(sizes), at_once):
        group = sizes[first : first + at_once]
        start, end = end, end + sum(group)
        rows = order[start:end]
        chosen = data.take("train", rows, None if moves is None else moves[start:end])
        ready = normalised(chosen, config["normalise"])
        yield from zip(ready.split(group), labels[rows].split(group), strict=True)


def _moves(data: Data, config: Config, generator: torch.Generator) -> Tensor | None:
    if not config["augment"]:
        return None
    moves = data.draw("train", generator)
    if config.get("crop_by") == "resize":
        return draw_windows(moves[:, 0], generator, config["smallest_area"])
    return moves


def steps(data: Data, config: Config) -> int:
    """Steps an epoch."""
    return len(step_sizes(len(data.labels["train"]), config["batch_size"]))


def evaluate_images(
    net: nn.Module,
    data: Data,
    split: str,
    config: Config,
    moves: Tensor | None,
    detail: bool,
    balanced: bool = False,
) -> Evaluation:
    """Classify a split; see `classification.evaluation`.

    Args:
        net: in evaluation mode.
        data: with the split.
        split: its name.
        config: `normalise` is read.
        moves: of the images; None for the middle of each.
        detail: a row an image in the result.
        balanced: also the balanced accuracy.
    """
    labels = data.labels[split]
    parts = None
    if moves is not None:
        parts = moves.to(labels.device).split(EVALUATION_BATCH[labels.device.type])

    def inputs(rows: Tensor, number: int) -> Tensor:
        chosen = data.take(split, rows, parts[number] if parts else None)
        return normalised(chosen, config["normalise"])

    names = None
    if detail:
        names = data.names.get(split) or [str(i) for i in range(len(labels))]
    return evaluation(net, inputs, labels, names, balanced)


def normalised(images: Tensor, name: str) -> Tensor:
    """`(batch, 3, height, width)` of 0 to 255 to float, channels last in memory.

    Args:
        images: uint8 or float.
        name: key of NORMALISE.
    """
    scale, shift = _scale_and_shift(name, images.device)
    return (images.contiguous(memory_format=torch.channels_last) * scale).sub_(shift)


@lru_cache(maxsize=8)  # made anew at each step they would make a GPU wait
def _scale_and_shift(name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(held)[:, None, None] for held in NORMALISE[name])
    return (1 / (255 * std)).to(device), (mean / std).to(device)


def opened(held: Data, device: torch.device) -> Data:
    """Data as a device wants it."""
    return held if device.type == "cpu" else on_gpu(held, device)
