"""CIFAR-10: splits on the device, batched augmentation, loss and accuracy; ends in TASK."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.about import CIFAR10
from trainables.kernels.small_maps import skip_padding
from trainables.resnet import backbone
from trainables.settings import COMMON, LIMITS, common_conflicts
from trainables.task import Batch, Config, Evaluation, Setting, Task
from trainables.tasks.cifar10_files import SIDE, download, edition_of, fingerprint, read_pool

CLASSES = 10
PAD = 4  # pixels of zero padding before the random crop
EVALUATION_BATCH = {"cpu": 500, "cuda": 2500}
# images made ready at once, a step's at least: a GPU is short of launches, a CPU's cache of room
READY_IMAGES = {"cpu": 1, "cuda": 4096}
UPLOAD = 4096  # images moved to a GPU at a time
NORMALISE = {
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}

SETTINGS = {
    **COMMON,
    "batch_size": Setting(128, "images a step", low=2),
    "optimizer": Setting("sgd", "update rule", choices=("sgd", "adam")),
    "edition": Setting(
        "auto",
        "which files: binary (torchvision's), parquet, synthetic, or auto for the first found",
        choices=("auto", "binary", "parquet", "synthetic"),
        role="study",
    ),
    "val_fraction": Setting(
        0.1, "share of the training images cut off for validation", 0.001, 0.5, role="study"
    ),
    **LIMITS,
    "label_smoothing": Setting(0.0, "share of the target spread over all classes", 0.0, 0.9),
    "normalise": Setting("half", "mean and std of the inputs", choices=tuple(NORMALISE)),
    "augment": Setting(True, "random flip and random crop with 4 px padding in training"),
    "skip_padding": Setting(
        True,
        "leave out multiplications by padding where maps are small: the same function, faster",
        role="study",
    ),
    "augment_evaluation": Setting(
        False, "the same in validation and test, as in the report", role="study"
    ),
}


@dataclass(frozen=True)
class Data:
    """Splits on one device, by split name.

    On a CPU the images of whole parts stay where they are mapped, shared with other trials, and
    `rows` says which of them a split has. On a GPU a split's images are its own, a pixel in four
    bytes with the padding of the random crop around, so that one gather crops and flips.

    Attributes:
        images: uint8 `(n, 3, 32, 32)`, or int32 `(n, 40, 40)` on a GPU.
        labels: int64 `(n,)`.
        rows: int64 `(n,)`, which rows of `images` a split has; None where it has them all.
    """

    images: dict[str, Tensor]
    labels: dict[str, Tensor]
    rows: dict[str, Tensor] | None = None

    def take(self, split: str, at: Tensor, moves: Tensor | None = None) -> Tensor:
        """The images of a split at these places of it, moved as told: uint8 `(k, 3, 32, 32)`."""
        images = self.images[split]
        at = at if self.rows is None else self.rows[split][at]
        if images.dtype == torch.int32:
            return crop_padded(images, at, moves)
        return images[at] if moves is None else flip_and_crop(images[at], moves)


def open_data(data_dir: Path, config: Config, split_seed: int, device: torch.device) -> Data:
    """Read the splits; train and val are cut as the report's random_split did, by `split_seed`."""
    limits = (config["train_images"], config["val_images"], config["test_images"])
    edition = edition_of(data_dir, config)
    return _on_device(device, edition, data_dir, split_seed, config["val_fraction"], limits)


@lru_cache(maxsize=1)  # a warm worker opens the same splits for trial after trial
def _on_device(device: torch.device, *splits: Any) -> Data:
    held = _splits(*splits)
    return held if device.type == "cpu" else on_gpu(held, device)


def on_gpu(held: Data, device: torch.device) -> Data:
    """The same data as a GPU wants it; see Data."""
    images, side = {}, SIDE + 2 * PAD
    for split, labels in held.labels.items():
        pixels = torch.zeros((len(labels), side, side, 4), dtype=torch.uint8, device=device)
        inside = pixels[:, PAD:-PAD, PAD:-PAD, :3]
        for at in torch.arange(len(labels)).split(UPLOAD):
            inside[at[0] : at[-1] + 1] = held.take(split, at).permute(0, 2, 3, 1).to(device)
        images[split] = pixels.view(torch.int32)[..., 0]
    return Data(images, {split: labels.to(device) for split, labels in held.labels.items()})


def _splits(
    edition: str,
    data_dir: Path,
    split_seed: int,
    val_fraction: float,
    limits: tuple[int | None, int | None, int | None],
) -> Data:
    pool = read_pool(edition, data_dir)
    total = len(pool["train_labels"])
    order = torch.randperm(total, generator=torch.Generator().manual_seed(split_seed))
    cut = total - max(1, round(total * val_fraction))
    rows = {
        "train": order[:cut][: limits[0]],
        "val": order[cut:][: limits[1]],
        "test": torch.arange(len(pool["test_labels"]))[: limits[2]],
    }
    part = {"train": "train", "val": "train", "test": "test"}
    return Data(
        {split: torch.from_numpy(pool[part[split]]) for split in rows},
        {split: torch.from_numpy(pool[f"{part[split]}_labels"])[at] for split, at in rows.items()},
        rows,
    )


def network(config: Config, weights: Path | None) -> nn.Module:
    """ResNet of the config's depth and stem with a linear layer of 10 outputs."""
    net: nn.Module = backbone(
        config["depth"], lambda n: nn.Linear(n, CLASSES), config["stem"], weights
    )
    if config["skip_padding"]:
        skip_padding(net, SIDE, SIDE)
    return net


def batches(data: Data, config: Config, generator: torch.Generator) -> Iterator[Batch]:
    """One epoch: shuffled, augmented, the odd last batch included.

    All draws of the epoch are made at its start and moved at once: a draw a step would make a GPU
    wait for the CPU at each.
    """
    labels = data.labels["train"]
    order = torch.randperm(len(labels), generator=generator)
    moves = draw_moves(len(labels), generator) if config["augment"] else None
    device = labels.device
    order = order.to(device, non_blocking=True)
    moves = None if moves is None else moves.to(device, non_blocking=True)
    sizes = _sizes(len(labels), config["batch_size"])
    at_once = max(1, READY_IMAGES[device.type] // config["batch_size"])
    end = 0
    for first in range(0, len(sizes), at_once):
        group = sizes[first : first + at_once]
        start, end = end, end + sum(group)
        rows = order[start:end]
        chosen = data.take("train", rows, None if moves is None else moves[start:end])
        ready = _normalise(chosen, config)
        yield from zip(ready.split(group), labels[rows].split(group), strict=True)


def steps(data: Data, config: Config) -> int:
    """Steps an epoch: 352 for 45,000 images at batch 128."""
    return len(_sizes(len(data.labels["train"]), config["batch_size"]))


def _sizes(count: int, batch_size: int) -> list[int]:
    """Images of each step; a last one alone joins the step before, since BatchNorm needs two."""
    whole, left = divmod(count, batch_size)
    sizes = [batch_size] * whole + [left] * bool(left)
    if left == 1 and whole:
        sizes[-2:] = [batch_size + 1]
    return sizes


def draw_moves(count: int, generator: torch.Generator) -> Tensor:
    """What `flip_and_crop` does to each of `count` images: int64 `(count, 3)`, flip, top, left."""
    flips = torch.randint(0, 2, (count, 1), generator=generator)
    return torch.cat([flips, torch.randint(0, 2 * PAD + 1, (count, 2), generator=generator)], 1)


def flip_and_crop(images: Tensor, moves: Tensor) -> Tensor:
    """Flip an image or not, pad it with 4 black pixels, crop it where told.

    Args:
        images: uint8 `(batch, 3, height, width)`.
        moves: `(batch, 3)` of `draw_moves`, on the same device.

    Returns:
        uint8 `(batch, 3, height, width)`, channels last in memory.
    """
    count, _, height, width = images.shape
    rows, columns = _window(moves, height, width)
    padded = F.pad(images, (PAD, PAD, PAD, PAD)).permute(0, 2, 3, 1)
    at = torch.arange(count, device=images.device)[:, None, None]
    return padded[at, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _window(moves: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """What crops show of padded images: their rows `(k, height)` and columns `(k, width)`."""
    flips, top, left = moves.unbind(1)
    rows = top[:, None] + torch.arange(height, device=moves.device)
    columns = left[:, None] + torch.arange(width, device=moves.device)
    return rows, torch.where(flips[:, None] > 0, 2 * PAD + width - 1 - columns, columns)


def crop_padded(images: Tensor, at: Tensor, moves: Tensor | None) -> Tensor:
    """`flip_and_crop` of chosen images in one gather.

    Args:
        images: int32 `(n, 40, 40)`, as in Data.
        at: `(k,)`, which of them.
        moves: `(k, 3)` of `draw_moves`; None leaves them where they are.

    Returns:
        uint8 `(k, 3, 32, 32)`, channels last in memory.
    """
    _, height, width = images.shape
    if moves is None:
        rows = columns = torch.arange(PAD, PAD + SIDE, device=images.device)[None]
    else:
        rows, columns = _window(moves, SIDE, SIDE)
    index = (at[:, None] * height + rows)[:, :, None] * width + columns[:, None, :]
    chosen = images.view(-1).index_select(0, index.view(-1))
    return chosen.view(torch.uint8).view(-1, SIDE, SIDE, 4)[..., :3].permute(0, 3, 1, 2)


def loss(output: Tensor, target: Tensor, config: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean cross-entropy, and the number of correct answers."""
    value = F.cross_entropy(output, target, label_smoothing=config["label_smoothing"])
    return value, {"accuracy": (output.detach().argmax(1) == target).sum()}


@torch.no_grad()
def evaluate(
    net: nn.Module,
    data: Data,
    split: str,
    config: Config,
    generator: torch.Generator,
    detail: bool,
) -> Evaluation:
    """Cross-entropy (without label smoothing) and accuracy, a fraction, over a split."""
    labels = data.labels[split]
    moves, at_once = None, EVALUATION_BATCH[labels.device.type]
    if config["augment_evaluation"]:
        moves = draw_moves(len(labels), generator).to(labels.device).split(at_once)
    losses, answers = [], []
    every = torch.arange(len(labels), device=labels.device).split(at_once)
    for number, rows in enumerate(every):
        chosen = data.take(split, rows, moves[number] if moves else None)
        output = net(_normalise(chosen, config))
        losses.append(F.cross_entropy(output, labels[rows], reduction="none"))
        answers.append(output.argmax(1))
    answer = torch.cat(answers)
    metrics = {
        "loss": float(torch.cat(losses).mean()),
        "accuracy": float((answer == labels).double().mean()),
    }
    columns: dict[str, list[Any]] = {}
    if detail:
        columns = {
            "image": [str(i) for i in range(len(labels))],
            "truth": labels.tolist(),
            "prediction": answer.tolist(),
        }
    return Evaluation(metrics, columns)


def baselines(data: Data) -> dict[str, dict[str, float]]:
    """The uniform guess: what a network must beat."""
    return {"uniform guess": {"loss": math.log(CLASSES), "accuracy": 1 / CLASSES}}


def _normalise(images: Tensor, config: Config) -> Tensor:
    """uint8 `(batch, 3, height, width)` to float, channels last in memory."""
    scale, shift = _scale_and_shift(config["normalise"], images.device)
    return (images.contiguous(memory_format=torch.channels_last) * scale).sub_(shift)


@lru_cache(maxsize=8)  # made anew at each step they would make a GPU wait
def _scale_and_shift(name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(held)[:, None, None] for held in NORMALISE[name])
    return (1 / (255 * std)).to(device), (mean / std).to(device)


TASK = Task(
    name="cifar10",
    metric="accuracy",
    mode="max",
    metrics=("loss", "accuracy"),
    settings=SETTINGS,
    report_settings={
        "augment_evaluation": True,
        "momentum_restart": True,
        "checkpoint_rule": "last",
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 0.0,
        "batch_size": 128,
        "schedule": "step",
        "milestones": (32_000, 48_000),
        "drop_factor": 0.1,
    },
    report_split="val",
    conflicts=common_conflicts,
    fingerprint=fingerprint,
    open_data=open_data,
    network=network,
    batches=batches,
    steps=steps,
    loss=loss,
    evaluate=evaluate,
    baselines=baselines,
    download=download,
    about=CIFAR10,
)
