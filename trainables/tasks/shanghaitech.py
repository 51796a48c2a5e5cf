"""ShanghaiTech: images and head points, crops, density maps, errors of counts; ends in TASK."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from trainables.about import SHANGHAITECH
from trainables.task import Batch, Config, Evaluation, Task
from trainables.tasks.copies import KEEP
from trainables.tasks.crowd_collapse import HEALTH, health, is_collapsed
from trainables.tasks.crowd_crops import (
    draw_crop,
    jittered,
    normalise,
    point_target,
    truth_map,
)
from trainables.tasks.crowd_files import fingerprint
from trainables.tasks.crowd_losses import bayesian, dice, dm_count, huber, mse
from trainables.tasks.crowd_networks import Decoder, network
from trainables.tasks.crowd_settings import READ_WHERE, SETTINGS, conflicts, questions
from trainables.tasks.crowd_splits import Data, Fixed, open_data
from trainables.tasks.crowd_whole import GAMES, count_errors, predict, thumbnails
from trainables.tasks.density import adaptive_sigmas
from trainables.tasks.regression import constants, errors

__all__ = ["TASK"]

SAMPLE_QUANTILES = (0.1, 0.5, 0.9)  # F4 shows the images at these quantiles of absolute error


def start(net: nn.Module, data: Data, config: Config) -> None:
    """Let the conv head begin at the mean of its maps over the training images."""
    if config["head"] != "conv":
        return
    assert isinstance(net.fc, Decoder)
    sizes = [image.shape[1:] for image in data.train.images()]
    cells = sum(height * width for height, width in sizes) * config["resize"] ** 2
    heads = float(data.train.counts().sum()) * config["density_scale"]
    net.fc.start_at(heads * config["stride"] ** 2 / cells)


def batches(data: Data, config: Config, generator: torch.Generator) -> Iterator[Batch]:
    """One epoch: of every training image so many random crops, shuffled."""
    count = len(data.train.names)
    order = torch.randperm(count * config["crops"], generator=generator) % count
    size = config["crop"]
    for rows in order.split(config["batch_size"]):
        crops, at = [], rows.tolist()
        for row in at:
            crop = draw_crop(*data.train.item(row), config, generator)
            image = jittered(crop.image, config["jitter"], generator)
            crops.append(crop._replace(image=image))
        images = _stacked([crop.image.permute(1, 2, 0) for crop in crops]).permute(0, 3, 1, 2)
        if config["loss"] == "bayesian":
            yield normalise(images), point_target(crops, config, data.device)
            continue
        maps = []
        for crop, row in zip(crops, at, strict=True):
            sigmas = data.sigmas[row][crop.rows].to(data.device) if data.sigmas else None
            # not waiting: a GPU would be idle at each crop
            points = crop.points.to(data.device, non_blocking=True)
            twice = config["double_single_head"] and len(points) == 1
            weight = config["density_scale"] * (2 if twice else 1)
            maps.append(truth_map(points, size, size, config, crop.zoom, sigmas, weight))
        yield normalise(images), _stacked(maps)


def _stacked(held: list[Tensor]) -> Tensor:
    """Of one tensor a view: a batch of one is the report's, and its map a megabyte."""
    return torch.stack(held) if len(held) > 1 else held[0][None]


def steps(data: Data, config: Config) -> int:
    """Steps an epoch."""
    return -(-len(data.train.names) * int(config["crops"]) // int(config["batch_size"]))


def loss(output: Tensor, target: Tensor, config: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """The config's loss; with the fc head also the summed absolute error of the counts."""
    chosen, scale = config["loss"], config["density_scale"]
    if chosen == "bayesian":
        return bayesian(output / scale, target, config["stride"]), {}
    if chosen == "dm":
        return dm_count(output / scale, target / scale, config["stride"]), {}
    if chosen == "huber":
        value = huber(output / scale, target / scale)
    else:
        value = mse(output, target) if chosen == "mse" else dice(output, target)
    if config["head"] == "conv":
        return value, {}
    wrong = (output.detach() - target).flatten(1).sum(1).abs().sum() / scale
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
    """Errors of the counts, people an image, over whole images: as they are, or squashed."""
    held = data.fixed[split]
    told = predict(net, held, config, keep=detail)
    predicted = told.counts.round() if config["round_counts"] else told.counts
    metrics = {
        **errors(held.counts, predicted),
        **count_errors(held.counts, told._replace(counts=predicted), held),
        **health(held.counts, predicted, told.live, data.train.counts(), held.areas()),
    }
    if not detail:
        return Evaluation(metrics, collapsed=is_collapsed(metrics))
    columns = {
        "image": held.names,
        "truth": held.counts.tolist(),
        "prediction": predicted.tolist(),
    }
    samples = _samples(held, told.maps, predicted, config)
    return Evaluation(metrics, columns, samples, is_collapsed(metrics))


def _samples(
    held: Fixed, maps: list[Tensor], predicted: np.ndarray, config: Config
) -> dict[str, np.ndarray]:
    """Image, true and predicted map of the images at fixed quantiles of absolute error."""
    order = np.argsort(np.abs(predicted - held.counts), kind="stable")
    at = [int(order[round(q * (len(order) - 1))]) for q in SAMPLE_QUANTILES]
    truth = [_truth(held, row, config) for row in at]
    # half: of three images, a map each
    shown = {"truth_map": truth, "predicted_map": [maps[i].to(torch.float16) for i in at]}
    return {
        "quantile": np.asarray(SAMPLE_QUANTILES),
        "name": np.asarray([held.names[i] for i in at]),
        **thumbnails(held, at, shown),
        "truth": held.counts[at],
        "prediction": predicted[at],
    }


def _truth(held: Fixed, row: int, config: Config) -> Tensor:
    points, sigmas = held.points[row], None
    if config["kernel"] == "adaptive":
        sigmas = adaptive_sigmas(points, config["sigma"])
    zoom = held.resize if sigmas is None else 1.0  # they are of these points
    return truth_map(points, *held.size(row), config, zoom, sigmas)


def baselines(data: Data) -> dict[str, dict[str, float]]:
    """Constant predictors on test: zero, and mean and median count of the images trained on."""
    train, test = data.train.counts(), data.fixed["test"].counts
    return {
        name: {"count": value, **scores}
        for name, (value, scores) in constants(train, test, zero=True).items()
    }


TASK = Task(
    name="shanghaitech",
    metric="mae",
    mode="min",
    metrics=("mae", "rmse"),
    also=("nae", *(f"game{level}" for level in GAMES), *HEALTH),
    settings=SETTINGS,
    report_settings={
        "head": "fc",
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
    read_where=READ_WHERE,
    fingerprint=fingerprint,
    open_data=open_data,
    network=network,
    start=start,
    measures_train=lambda config: bool(config["head"] == "conv"),
    norm_batches=lambda config: int(config["norm_batches"]) if config["head"] == "conv" else 0,
    batches=batches,
    steps=steps,
    loss=loss,
    evaluate=evaluate,
    baselines=baselines,
    inputs=lambda config: (3, config["crop"], config["crop"]),
    about=SHANGHAITECH,
)
