"""Networks by name: the ResNets, a classifier of torchvision's, or a function of one's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from trainables.errors import TaskError, did_you_mean
from trainables.own_code import import_own
from trainables.resnet import backbone
from trainables.task import Config

RESNET = "resnet"  # of the config's depth and stem
# these return further outputs in training, which no loss here reads
WITHOUT_AUX = {"googlenet": {"init_weights": True}, "inception_v3": {"init_weights": True}}


def build(config: Config, outputs: int, weights: Path | None = None) -> nn.Module:
    """The network of a config, with a last layer of so many outputs.

    Args:
        config: `network`, and for the ResNets `depth` and `stem`.
        outputs: of the last layer.
        weights: pretrained ones; of the ResNets only.

    Raises:
        TaskError: the user's own function is not to be had, or fails.
    """
    name = config["network"]
    if name == RESNET:
        net: nn.Module = backbone(
            config["depth"], lambda n: nn.Linear(n, outputs), config["stem"], weights
        )
        return net
    if ":" not in name:
        return _of_torchvision(name, outputs)
    made = _own(name)(outputs, config)
    if not isinstance(made, nn.Module):
        raise TaskError(f"network {name!r} returned a {type(made).__name__}, no torch.nn.Module")
    return made


def _of_torchvision(name: str, outputs: int) -> nn.Module:
    extra = {"aux_logits": False, **WITHOUT_AUX[name]} if name in WITHOUT_AUX else {}
    made: nn.Module = models.get_model(name, num_classes=outputs, **extra)
    return made


def _own(name: str) -> Callable[[int, Config], Any]:
    found: Callable[[int, Config], Any] = import_own(name)
    if not callable(found):
        raise TaskError(f"network {name!r} is no function of (outputs, config)")
    return found


def is_own(config: Config) -> bool:
    """Whether the network is a function of the user's own, whose code may do anything."""
    return ":" in config.get("network", RESNET)


def without_memory(config: Config, make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` returns for a config, on the meta device: shapes without arithmetic."""
    if not is_own(config):
        with suppress(NotImplementedError), torch.device("meta"):
            return make()
    # it reads values while it is made, as torchvision's RegNets do, or a user's code may
    with torch.random.fork_rng(devices=[]):
        return make().to("meta")


def network_faults(config: Config) -> dict[str, str]:
    """Faults of `network` and of what does not go with it, by key."""
    name = config["network"]
    if name == RESNET:
        return {}
    faults = {}
    known = models.list_models(module=models)
    if ":" in name:
        try:
            _own(name)
        except TaskError as error:
            faults["network"] = str(error)
    elif name not in known:
        near = did_you_mean(name, [RESNET, *known], "'")
        faults["network"] = (
            f"must be '{RESNET}', a classifier of torchvision.models, or 'module:function' of "
            f"your own, not {name!r}{near}"
        )
    if config["pretrained"]:
        faults["pretrained"] = f"has no weights for network = {name!r}; they are the ResNets'"
    if config.get("head_lr", 1.0) != 1:
        faults["head_lr"] = f"is of the ResNets; network = {name!r} has no head known by name"
    if config["stem"] != "imagenet":
        faults["stem"] = f"is of the ResNets; network = {name!r} has a stem of its own"
    return faults
