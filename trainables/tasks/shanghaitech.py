"""ShanghaiTech: images and head points, crops, density maps, MAE and root MSE; ends in TASK."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize

from trainables.about import SHANGHAITECH
from trainables.networks import RESNET, build
from trainables.resnet import backbone
from trainables.task import Batch, Config, Evaluation, Task
from trainables.tasks.copies import KEEP
from trainables.tasks.crowd_files import fingerprint
from trainables.tasks.crowd_settings import SETTINGS, conflicts, questions
from trainables.tasks.crowd_splits import Data, Fixed, open_data, treat_outside
from trainables.tasks.density import density_map
from trainables.tasks.images import NORMALISE
from trainables.tasks.regression import constants, errors

MEAN, STD = NORMALISE["imagenet"]  # as in the report
EVALUATION_BATCH = {"cpu": 4, "cuda": 8}
COLLAPSED_SPREAD = 0.05  # of the true counts' standard deviation
SAMPLE_QUANTILES = (0.1, 0.5, 0.9)  # F4 shows the images at these quantiles of absolute error


class DensityHead(nn.Module):
    """Linear layer of size*size outputs, reshaped to a map `(batch, size, size)`, ReLU on it."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.linear = nn.Linear(features, size * size)

    def forward(self, pooled: Tensor) -> Tensor:
        """`(batch, features)` to `(batch, size, size)`, not negative."""
        return torch.relu(self.linear(pooled)).view(-1, self.size, self.size)


class DensityMap(nn.Module):
    """The same of outputs that another network has made."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, outputs: Tensor) -> Tensor:
        """`(batch, size * size)` to `(batch, size, size)`, not negative."""
        return torch.relu(outputs).view(-1, self.size, self.size)


def network(config: Config, weights: Path | None) -> nn.Module:
    """The config's network with the report's head: one output a pixel of the crop."""
    size = config["crop"]
    if config["network"] != RESNET:
        return nn.Sequential(build(config, size * size), DensityMap(size))
    net: nn.Module = backbone(
        config["depth"], lambda n: DensityHead(n, size), config["stem"], weights
    )
    return net


def batches(data: Data, config: Config, generator: torch.Generator) -> Iterator[Batch]:
    """One epoch: every training image once, one random crop of each."""
    order = torch.randperm(len(data.train.names), generator=generator)
    for rows in order.split(config["batch_size"]):
        crops = [random_crop(*data.train.item(int(i)), config, generator) for i in rows]
        images = _stacked([image.permute(1, 2, 0) for image, _ in crops]).permute(0, 3, 1, 2)
        # not waiting: a GPU would be idle at each crop
        maps = [_target(points.to(data.device, non_blocking=True), config) for _, points in crops]
        yield _normalise(images), _stacked(maps)


def _stacked(held: list[Tensor]) -> Tensor:
    """Of one tensor a view: a batch of one is the report's, and its map a megabyte."""
    return torch.stack(held) if len(held) > 1 else held[0][None]


def steps(data: Data, config: Config) -> int:
    """Steps an epoch."""
    return -(-len(data.train.names) // int(config["batch_size"]))


def random_crop(
    image: Tensor, points: Tensor, config: Config, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Rescale at random, never below the crop on the short side, crop at random, flip at random.

    The window is cut first and resized after: the same crops for a fraction of the work.

    Args:
        image: uint8 `(3, height, width)`.
        points: `(heads, 2)`, x then y, 0-based.
        config: crop, scale_low, scale_high and outside are read.
        generator: CPU generator.

    Returns:
        uint8 `(3, crop, crop)` and the points inside it, `(heads inside, 2)`.
    """
    size = config["crop"]
    height, width = image.shape[1:]
    points = treat_outside(points, height, width, config["outside"])
    draw = torch.rand(4, generator=generator)
    # drawn among the scales that fit, not raised to the smallest: B's crops hold 31 heads, not 43
    low = max(config["scale_low"], size / min(height, width))
    scale = low + float(draw[0]) * max(config["scale_high"] - low, 0)
    window = min(max(round(size / scale), 1), height, width)
    top, left = int(draw[1] * (height - window + 1)), int(draw[2] * (width - window + 1))
    cut = image[:, top : top + window, left : left + window]
    # a batch of one, channels last to the last stride: resizing anything else takes twice as long
    whole = cut.permute(1, 2, 0).contiguous()[None].permute(0, 3, 1, 2)
    cut = resize(whole, [size, size], antialias=True)[0]
    # pixel centres: window pixel i covers [i - 1/2, i + 1/2]
    points = (points - torch.tensor([left, top]) + 0.5) * (size / window) - 0.5
    points = points[((points >= -0.5) & (points < size - 0.5)).all(1)]
    if draw[3] < 0.5:
        cut = cut.flip(2)
        points = torch.stack([size - 1 - points[:, 0], points[:, 1]], 1)
    return cut, points


def _target(points: Tensor, config: Config) -> Tensor:
    size, weight = config["crop"], float(config["density_scale"])
    if config["double_single_head"] and len(points) == 1:
        weight *= 2
    return density_map(points, size, size, config["sigma"], config["kernel"], weight)


def loss(output: Tensor, target: Tensor, config: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Pixel MSE or dice loss between maps, and the summed absolute error of the counts."""
    if config["loss"] == "mse":
        value = nn.functional.mse_loss(output, target)
    else:
        # soft dice of Milletari et al. 2016 (squared denominators); 1 keeps empty crops finite
        overlap = (output * target).flatten(1).sum(1)
        sizes = (output**2).flatten(1).sum(1) + (target**2).flatten(1).sum(1)
        value = (1 - (2 * overlap + 1) / (sizes + 1)).mean()
    wrong = (output.detach() - target).flatten(1).sum(1).abs().sum() / config["density_scale"]
    return value, {"mae": wrong}


@torch.no_grad()
def evaluate(
    net: nn.Module,
    data: Data,
    split: str,
    config: Config,
    generator: torch.Generator,
    detail: bool,
) -> Evaluation:
    """MAE and root MSE of the counts, people an image, over whole images squashed to the crop."""
    held = data.fixed[split]
    maps_sum, maps = [], []
    for part in held.images.split(EVALUATION_BATCH[data.device.type]):
        output = net(_normalise(part)) / config["density_scale"]
        maps_sum.append(output.flatten(1).sum(1, dtype=torch.float64))
        if detail:
            maps.append(output.to("cpu", torch.float16))  # half: 316 maps are 166 MB
    predicted = torch.cat(maps_sum).cpu().numpy()
    if config["round_counts"]:
        predicted = predicted.round()
    metrics = errors(held.counts, predicted)
    if not detail:
        return Evaluation(metrics)
    columns = {
        "image": held.names,
        "truth": held.counts.tolist(),
        "prediction": predicted.tolist(),
    }
    samples = _samples(held, torch.cat(maps), predicted, config)
    return Evaluation(metrics, columns, samples, is_collapsed(held.counts, predicted))


def is_collapsed(truth: np.ndarray, predicted: np.ndarray) -> bool:
    """Whether predicted counts `(images,)` hardly differ between images, whatever these hold."""
    return bool(predicted.std() < COLLAPSED_SPREAD * truth.std())


def _samples(
    held: Fixed, maps: Tensor, predicted: np.ndarray, config: Config
) -> dict[str, np.ndarray]:
    """Image, true and predicted map of the images at fixed quantiles of absolute error."""
    order = np.argsort(np.abs(predicted - held.counts), kind="stable")
    at = [int(order[round(q * (len(order) - 1))]) for q in SAMPLE_QUANTILES]
    size = config["crop"]
    truth = [
        density_map(held.points[i], size, size, config["sigma"], config["kernel"]) for i in at
    ]
    return {
        "quantile": np.asarray(SAMPLE_QUANTILES),
        "name": np.asarray([held.names[i] for i in at]),
        "image": held.images[at].cpu().numpy(),
        "truth_map": torch.stack(truth).numpy(),
        "predicted_map": maps[at].numpy(),
        "truth": held.counts[at],
        "prediction": predicted[at],
    }


def baselines(data: Data) -> dict[str, dict[str, float]]:
    """Constant predictors on test: zero, and mean and median count of the images trained on."""
    train, test = data.train.counts(), data.fixed["test"].counts
    return {
        name: {"count": value, **scores}
        for name, (value, scores) in constants(train, test, zero=True).items()
    }


def _normalise(images: Tensor) -> Tensor:
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


TASK = Task(
    name="shanghaitech",
    metric="mae",
    mode="min",
    metrics=("mae", "rmse"),
    settings=SETTINGS,
    report_settings={
        "optimizer": "adam",
        "batch_size": 1,
        "schedule": "constant",
        "val_fraction": 0.0,
        "checkpoint_rule": "last",
        "kernel": "disc",
        "outside": "skip",
        "double_single_head": True,
        "round_counts": True,
        "loss": "mse",
        "crop": 512,
        "copies": KEEP,
    },
    report_split="test",
    conflicts=conflicts,
    questions=questions,
    fingerprint=fingerprint,
    open_data=open_data,
    network=network,
    batches=batches,
    steps=steps,
    loss=loss,
    evaluate=evaluate,
    baselines=baselines,
    inputs=lambda config: (3, config["crop"], config["crop"]),
    about=SHANGHAITECH,
)
