"""CIFAR-10: its splits, settings and network; ends in TASK."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.datasets import CIFAR10 as BINARY_EDITION

from trainables.about import CIFAR10
from trainables.settings import COMMON, LIMITS, common_conflicts
from trainables.task import Config, Evaluation, Setting, Task
from trainables.tasks.cifar10_files import download, edition_of, fingerprint, read_pool
from trainables.tasks.cifar10_parquet import CLASSES, SIDE
from trainables.tasks.class_collapse import HEALTH
from trainables.tasks.classification import SMOOTHING, constants, loss
from trainables.tasks.copies import COPIES, KEEP
from trainables.tasks.images import SETTINGS as IMAGES
from trainables.tasks.images import Data, batches, evaluate_images, network_for, opened, steps
from trainables.tasks.splits import cut_apart

SETTINGS = {
    **COMMON,
    "batch_size": Setting(128, "images a step", low=2),
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
    **COPIES,
    "label_smoothing": SMOOTHING,
    "augment": Setting(True, "random flip and random crop with 4 px padding in training"),
    **IMAGES,
    "augment_evaluation": Setting(
        False, "the same in validation and test, as in the report", role="study"
    ),
}


def open_data(data_dir: Path, config: Config, split_seed: int, device: torch.device) -> Data:
    """Read the splits; train and val are cut as the report's random_split did, by `split_seed`."""
    limits = (config["train_images"], config["val_images"], config["test_images"])
    edition = edition_of(data_dir, config)
    chosen = (config["val_fraction"], config["copies"], limits)
    return _on_device(device, edition, data_dir, split_seed, *chosen)


@lru_cache(maxsize=1)  # a warm worker opens the same splits for trial after trial
def _on_device(device: torch.device, *splits: Any) -> Data:
    return opened(_splits(*splits), device)


def _splits(
    edition: str,
    data_dir: Path,
    split_seed: int,
    val_fraction: float,
    copies: str,
    limits: tuple[int | None, int | None, int | None],
) -> Data:
    pool = read_pool(edition, data_dir)
    digests = (pool["train_digests"], pool["test_digests"])
    train, val = cut_apart(*digests, copies, val_fraction, split_seed)
    rows = {
        "train": train[: limits[0]],
        "val": val[: limits[1]],
        "test": torch.arange(len(pool["test_labels"]))[: limits[2]],
    }
    part = {"train": "train", "val": "train", "test": "test"}
    return Data(
        {split: torch.from_numpy(pool[part[split]]) for split in rows},
        {split: torch.from_numpy(pool[f"{part[split]}_labels"])[at] for split, at in rows.items()},
        rows,
    )


def network(config: Config, weights: Path | None) -> nn.Module:
    """The config's network with 10 outputs."""
    return network_for(config, CLASSES, (SIDE, SIDE), weights)


def evaluate(
    net: nn.Module,
    data: Data,
    split: str,
    config: Config,
    generator: torch.Generator,
    detail: bool,
) -> Evaluation:
    """Cross-entropy (without label smoothing) and accuracy, a fraction, over a split."""
    moves = data.draw(split, generator) if config["augment_evaluation"] else None
    return evaluate_images(net, data, split, config, moves, detail)


def baselines(data: Data) -> dict[str, dict[str, float]]:
    """The uniform guess, the commonest class of training and its class shares."""
    return constants(data.labels["train"].cpu(), data.labels["test"].cpu(), CLASSES)


TASK = Task(
    name="cifar10",
    metric="accuracy",
    mode="max",
    metrics=("loss", "accuracy"),
    also=HEALTH,
    settings=SETTINGS,
    report_settings={
        "augment_evaluation": True,
        "copies": KEEP,
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
    source=str(BINARY_EDITION.url),
    inputs=lambda config: (3, SIDE, SIDE),
    about=CIFAR10,
)
