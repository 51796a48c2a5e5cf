"""The user's own images, a folder a class: splits, settings and network; ends in TASK."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainables.about import About, plain
from trainables.networks import RESNET
from trainables.settings import COMMON, LIMITS, common_conflicts
from trainables.task import Config, DataError, Evaluation, Needs, Setting, Task
from trainables.tasks.class_collapse import HEALTH
from trainables.tasks.classification import SMOOTHING, balanced_accuracy, constants, loss
from trainables.tasks.copies import COPIES
from trainables.tasks.crops import PAD
from trainables.tasks.imagefolder_files import decoded, fingerprint, split_rows
from trainables.tasks.imagefolder_layout import SPLITS, folder_of, scan
from trainables.tasks.images import (
    NORMALISE,
    Data,
    batches,
    evaluate_images,
    network_for,
    opened,
    steps,
)
from trainables.tasks.images import SETTINGS as IMAGES
from trainables.tasks.splits import at_most, cut_off_each

MOST_FOR_CIFAR, FEWEST_FOR_IMAGENET = 64, 32  # px of what the network is given
OUTPUTS = 1000  # where the number of classes is not known yet: for a preview without data

SETTINGS = {
    **COMMON,
    "batch_size": Setting(128, "images a step", low=2),
    "classes": Setting(
        None, "class folders; taken from the data", 2, optional=True, kind=int, role="study"
    ),
    "image_size": Setting(
        224, "shorter side that images are resized to, px; their middle is used", 8, role="cell"
    ),
    "crop": Setting(
        None,
        "side of what the network is given, px; left out, the whole of image_size",
        8,
        optional=True,
        kind=int,
        role="cell",
    ),
    "val_fraction": Setting(
        0.1,
        "share of the training images cut off for validation, class by class; not read where "
        "there is a folder val",
        0.001,
        0.5,
        role="study",
    ),
    "test_fraction": Setting(
        0.2, "the same for test, where there is no folder test", 0.001, 0.5, role="study"
    ),
    "test_seed": Setting(0, "of that cut; the study's seed does not touch it", 0, role="study"),
    **LIMITS,
    **COPIES,
    "augment": Setting(True, "random flips and crops in training"),
    "crop_by": Setting(
        "shift",
        "random crops: shift moves the crop, over 4 px of padding where it is the whole image; "
        "resize takes windows of any size, as torchvision's RandomResizedCrop",
        choices=("shift", "resize"),
    ),
    "smallest_area": Setting(
        0.25, "of the windows of crop_by = resize, as a share of the image", 0.01, 1.0
    ),
    "label_smoothing": SMOOTHING,
    **IMAGES,
    "normalise": Setting("imagenet", IMAGES["normalise"].doc, choices=tuple(NORMALISE)),
}

READ_WHERE: dict[str, Needs] = {
    "crop_by": ({"augment": (True,)},),
    "smallest_area": ({"augment": (True,), "crop_by": ("resize",)},),
}


def open_data(data_dir: Path, config: Config, split_seed: int, device: torch.device) -> Data:
    """Read the splits; what is cut off is cut class by class."""
    if config["classes"] is None:
        raise DataError("imagefolder: classes is not known; it comes from the data's fingerprint")
    keys = ("image_size", "crop", "val_fraction", "test_fraction", "test_seed", "copies", *LIMITS)
    return _on_device(device, data_dir, split_seed, tuple((key, config[key]) for key in keys))


@lru_cache(maxsize=1)  # a warm worker opens the same splits for trial after trial
def _on_device(device: torch.device, *opening: Any) -> Data:
    return opened(_splits(*opening), device)


def _splits(data_dir: Path, split_seed: int, settings: tuple[tuple[str, Any], ...]) -> Data:
    config, held = dict(settings), scan(data_dir)
    pools = decoded(held, config["image_size"])
    apart_rows = split_rows(held, pools, config)
    rows = {split: torch.from_numpy(chosen) for split, chosen in apart_rows.items()}
    of = {split: folder_of(held, split) for split in SPLITS}
    if "val" not in rows:
        labels = torch.from_numpy(held.labels["train"])[rows["train"]]
        kept, cut = cut_off_each(labels, config["val_fraction"], split_seed)
        rows |= {"train": rows["train"][kept], "val": rows["train"][cut]}
    seeds = {"train": split_seed, "val": split_seed, "test": config["test_seed"]}
    rows = {
        split: at_most(chosen, config[f"{split}_images"], seeds[split])
        for split, chosen in rows.items()
    }
    files = {split: [held.files[of[split]][row] for row in rows[split].tolist()] for split in rows}
    return Data(
        {split: torch.from_numpy(pools[of[split]]) for split in rows},
        {split: torch.from_numpy(held.labels[of[split]])[at] for split, at in rows.items()},
        rows,
        pad=PAD if config["crop"] in (None, config["image_size"]) else 0,
        crop=config["crop"],
        names={s: [p.relative_to(data_dir).as_posix() for p in f] for s, f in files.items()},
        classes=len(held.classes),
    )


def network(config: Config, weights: Path | None) -> nn.Module:
    """The config's network with an output a class."""
    _, height, width = inputs(config)
    return network_for(config, config["classes"] or OUTPUTS, (height, width), weights)


def inputs(config: Config) -> tuple[int, ...]:
    """Shape of what the network is given of an image."""
    side = config["crop"] or config["image_size"]
    return 3, side, side


def evaluate(
    net: nn.Module,
    data: Data,
    split: str,
    config: Config,
    generator: torch.Generator,
    detail: bool,
) -> Evaluation:
    """Cross-entropy, accuracy and balanced accuracy over the middle of each image."""
    return evaluate_images(net, data, split, config, None, detail, balanced=True)


def baselines(data: Data) -> dict[str, dict[str, float]]:
    """The uniform guess, the commonest class of training and its class shares."""
    train, test = data.labels["train"].cpu(), data.labels["test"].cpu()
    found = constants(train, test, data.classes)
    found["uniform guess"]["balanced_accuracy"] = 1 / data.classes
    most = torch.full_like(test, int(torch.bincount(train).argmax()))
    found["majority class"]["balanced_accuracy"] = balanced_accuracy(most, test)
    return found


def conflicts(config: Config) -> dict[str, str]:
    """Shared conflicts, and a crop larger than the image."""
    faults = common_conflicts(config)
    if config["crop"] is not None and config["crop"] > config["image_size"]:
        faults["crop"] = f"is larger than image_size ({config['image_size']})"
    return faults


def questions(config: Config) -> dict[str, str]:
    """A stem for images of another size, and crops that hide most of an image from validation."""
    asked, side, whole = {}, inputs(config)[1], config["image_size"]
    if config["network"] == RESNET and config["stem"] == "cifar" and side > MOST_FOR_CIFAR:
        asked["stem"] = (
            f"'cifar' is for images of 32 px; at {side} px all maps have 16 times the pixels that "
            "'imagenet' leaves, and a step takes as much longer"
        )
    if config["network"] == RESNET and config["stem"] == "imagenet" and side < FEWEST_FOR_IMAGENET:
        asked["stem"] = (
            f"'imagenet' halves images five times, which leaves one pixel of {side} px before "
            "the last stage; 'cifar' halves them thrice"
        )
    if side < whole / 2:
        asked["crop"] = (
            f"shows validation and test the middle {(side / whole) ** 2:.0%} of each image; make "
            f"image_size ({whole}) smaller, or crop larger"
        )
    return asked


def _about() -> About:
    said = plain("imagefolder", "accuracy", "max", ("loss", "accuracy", "balanced_accuracy"))
    metrics: Mapping[str, Any] = said["metrics"]
    balanced = {"title": "balanced accuracy", "mode": "max", "digits": 4}
    return {**said, "title": "own images", "metrics": {**metrics, "balanced_accuracy": balanced}}


TASK = Task(
    name="imagefolder",
    metric="accuracy",
    mode="max",
    metrics=("loss", "accuracy", "balanced_accuracy"),
    also=HEALTH,
    settings=SETTINGS,
    conflicts=conflicts,
    questions=questions,
    read_where=READ_WHERE,
    fingerprint=fingerprint,
    open_data=open_data,
    network=network,
    batches=batches,
    steps=steps,
    loss=loss,
    evaluate=evaluate,
    baselines=baselines,
    inputs=inputs,
    about=_about(),
)
