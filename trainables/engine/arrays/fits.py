"""What an array can hold, and why others are trained singly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from trainables.engine import kit
from trainables.engine.job import TrainJob
from trainables.kernels.small_maps import SmallMapConv
from trainables.networks import RESNET, without_memory
from trainables.task import Task

# what members may differ in: what a captured step does not hang on, and what each member's own
# step does after forward, or after backward
FREE = kit.FREE | {
    "head_lr",
    "optimizer",
    "momentum",
    "nesterov",
    "weight_decay",
    "clip_grad",
    "ema",
    "label_smoothing",
}
# of torchvision's ResNet as it is made: each takes maps of all members side by side as they are
HOLDERS = (ResNet, BasicBlock, Bottleneck, nn.Sequential)
CHANNEL_BY_CHANNEL = (nn.ReLU, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Identity)


def why_single(task: Task, jobs: Sequence[TrainJob]) -> str:
    """Why jobs cannot be members of one array, in words; "" where they can."""
    first = jobs[0]
    for name in ("to_epoch", "max_epochs", "split_seed", "data_dir", "device", "score_test"):
        if len({getattr(job, name) for job in jobs}) > 1:
            return f"they differ in {name}"
    for key in first.config.keys() | {key for job in jobs for key in job.config}:
        held = [job.config.get(key) for job in jobs]
        if key not in FREE and any(value != held[0] for value in held):
            return f"they differ in {key}"
    if first.config.get("network", RESNET) != RESNET:
        return f"network = {first.config['network']!r} is no ResNet of ours"
    net, *others = _each_start(task, jobs)
    if any(kit.at_rest(other) != kit.at_rest(net) for other in others):
        return "training leaves other layers at rest where they start pretrained"
    return why_not_joined(net)


def _each_start(task: Task, jobs: Sequence[TrainJob]) -> list[nn.Module]:
    """The first job's network, and those of jobs that start otherwise, pretrained or not."""
    configs = {bool(job.config.get("pretrained")): job.config for job in reversed(jobs)}
    first = jobs[0].config
    held = [first, *(c for c in configs.values() if c is not first)]
    return [without_memory(config, partial(task.network, config, None)) for config in held]


def why_not_joined(net: nn.Module) -> str:
    """Why a network cannot be joined with others of its shape, in words; "" where it can."""
    if type(net) is not ResNet:
        return f"a {type(net).__name__} is no ResNet of torchvision's"
    for name, module in net.named_modules():
        kind = type(module)
        if kind in HOLDERS or kind in CHANNEL_BY_CHANNEL or kind is SmallMapConv:
            continue
        if isinstance(module, nn.Conv2d) and kind is nn.Conv2d:
            sound = module.bias is None and module.groups == 1 and module.dilation == (1, 1)
            sound = sound and module.padding_mode == "zeros" and module.padding != "same"
        elif isinstance(module, nn.BatchNorm2d) and kind is nn.BatchNorm2d:
            sound = module.affine and module.track_running_stats and module.momentum is not None
        else:
            sound = kind is nn.Linear
        if not sound:
            return f"its layer {name} ({module}) has no form for arrays"
    frozen = [name for name, held in net.named_parameters() if not held.requires_grad]
    return f"its {frozen[0]} is not trained" if frozen else ""
