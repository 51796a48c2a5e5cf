"""Settings that every task shares: network, optimizer, schedule, checkpoint rule."""

from __future__ import annotations

from itertools import pairwise

from trainables.networks import network_faults
from trainables.resnet import DEPTHS
from trainables.task import Config, Needs, Setting

# of tasks whose network is a ResNet of trainables.resnet
RESNET: dict[str, Setting] = {
    "network": Setting(
        "resnet",
        "the ResNet of `depth`, a classifier of torchvision.models by its name, or "
        "'module:function' of your own, called with (outputs, config)",
        role="cell",
    ),
    "depth": Setting(18, "layers of the ResNet", choices=tuple(DEPTHS), role="cell"),
    "pretrained": Setting(
        False, "start from pretrained weights; all layers are trained", role="cell"
    ),
    "stem": Setting(
        "imagenet",
        "stock 7x7 stride 2 and max pool, or 3x3 stride 1 for 32x32 images",
        choices=("imagenet", "cifar"),
        role="cell",
    ),
    "head_lr": Setting(
        1.0, "learning rate of the ResNet's head, as a factor of lr", positive=True
    ),
}

# what the training loop reads; a task of the user's own that lacks one gets it from here
LOOP: dict[str, Setting] = {
    "optimizer": Setting("sgd", "update rule", choices=("sgd", "adam", "adamw")),
    "lr": Setting(0.1, "learning rate at the start", positive=True),
    "momentum": Setting(0.9, "of SGD", low=0.0, high=0.9999),
    "nesterov": Setting(False, "Nesterov's momentum, of SGD"),
    "weight_decay": Setting(0.0, "L2 penalty; of adamw apart from the gradient", low=0.0),
    "clip_grad": Setting(
        0.0, "norm that the gradient of a step is cut down to; 0 cuts nothing", low=0.0
    ),
    "ema": Setting(
        0.0,
        "averaged weights are evaluated and kept: this share of the average stays at a step; 0 "
        "averages nothing",
        low=0.0,
        high=0.99999,
    ),
    "norm_batches": Setting(
        0,
        "training batches that BatchNorm's statistics are estimated from anew before an "
        "evaluation, an epoch's at most; 0 takes the running ones",
        low=0,
    ),
    "schedule": Setting(
        "step", "of the learning rate over the budget", choices=("constant", "step", "cosine")
    ),
    # the report drops at step 32,000 and 48,000 of 70,400
    "milestones": Setting(
        (32_000 / 70_400, 48_000 / 70_400),
        "where schedule = step drops lr: below 1 a share of the budget, else a number of steps",
    ),
    "drop_factor": Setting(0.1, "factor of lr at each milestone", positive=True, high=1.0),
    "warmup_epochs": Setting(0.0, "linear rise of lr from 0 at the start", low=0.0),
    "momentum_restart": Setting(False, "zero the momentum at each drop, as the report's code did"),
    "precision": Setting(
        "auto",
        "of arithmetic: auto is tf32 on a GPU and fp32 on a CPU; bf16 is autocast",
        choices=("auto", "fp32", "tf32", "bf16"),
        role="cell",
    ),
    "cuda_graph": Setting(
        True,
        "on a GPU, run each step as one captured graph instead of kernel by kernel",
        role="study",
    ),
    "checkpoint_rule": Setting(
        "best",
        "which weights a trial is judged by: the best on validation, or the last",
        choices=("best", "last"),
        role="study",
    ),
}

COMMON: dict[str, Setting] = {**RESNET, **LOOP}

# of tasks that are files of images; None takes all
LIMITS: dict[str, Setting] = {
    f"{split}_images": Setting(
        None, f"use only so many {split} images", 1, optional=True, kind=int, role="cell"
    )
    for split in ("train", "val", "test")
}


# setting -> what it needs to change anything; elsewhere it is not read. A task adds its own.
READ_WHERE: dict[str, Needs] = {
    "momentum": ({"optimizer": ("sgd",)},),
    "milestones": ({"schedule": ("step",)},),
    "drop_factor": ({"schedule": ("step",)},),
    "depth": ({"network": ("resnet",)},),
}


def common_conflicts(config: Config) -> dict[str, str]:
    """Faults that need several shared settings to see, by key.

    They hang on equality with a choice or with the least allowed value, and on which of two is
    larger: so the ends of a range show every fault that a value between them has.
    """
    faults = {**loop_conflicts(config), **network_faults(config)}
    if config["pretrained"] and config["stem"] == "cifar":
        faults["stem"] = (
            "'cifar' has no pretrained weights; use 'imagenet' where pretrained = true"
        )
    return faults


def loop_conflicts(config: Config) -> dict[str, str]:
    """Those of the training loop's own settings."""
    faults = {}
    if config["nesterov"] and (config["optimizer"] != "sgd" or config["momentum"] == 0):
        faults["nesterov"] = "needs optimizer = 'sgd' and momentum above 0"
    if config["momentum_restart"] and (config["schedule"], config["optimizer"]) != ("step", "sgd"):
        faults["momentum_restart"] = "needs schedule = 'step' and optimizer = 'sgd'"
    if config["schedule"] == "step" and (text := _milestones_fault(config["milestones"])):
        faults["milestones"] = text
    return faults


def _milestones_fault(milestones: tuple[float, ...]) -> str | None:
    """Shares and steps are each in order; between the two only the budget's steps would tell."""
    shares, steps = [m for m in milestones if m < 1], [m for m in milestones if m >= 1]
    if any(m != int(m) for m in steps):
        return f"from 1 on are whole numbers of steps, below 1 shares of the budget; not {steps}"
    if any(b <= a for held in (shares, steps) for a, b in pairwise(held)):
        return f"must rise, not {list(milestones)}"
    return None
