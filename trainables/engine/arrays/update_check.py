"""Whether one update for all members works on a device: asked once, before it is trusted."""

from __future__ import annotations

import warnings
from functools import cache
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from trainables.engine.arrays import update
from trainables.engine.kit import Kit
from trainables.engine.step import Step, make_optimizer
from trainables.task import Config, Task


@cache
def works(device: torch.device, dtype: torch.dtype = torch.float32) -> bool:
    """Whether the kernels run on the device and do what each member's step does; warns if not."""
    if device.type != "cuda":
        return False
    try:
        check(device, dtype)
    except Exception as error:  # no Triton, no C compiler, a GPU that it does not know
        said = str(error).strip().splitlines() or [""]
        warnings.warn(
            "members of arrays are updated one by one: Triton does not work here "
            f"({type(error).__name__}: {said[0]})",
            stacklevel=2,
        )
        return False
    return True


def check(device: torch.device, dtype: torch.dtype) -> None:
    """Update small members of every kind as each does it, and together.

    Raises:
        AssertionError: it is not the same.
    """
    found = []
    for together in (False, True):
        with torch.random.fork_rng(devices=[]):  # of the trial that is about to be captured
            members = [_small(own, device, dtype) for own in KINDS]
        draw = torch.Generator().manual_seed(0)
        weights = [weight for member in members for weight in member.net.parameters()]
        for weight in weights:
            weight.data.copy_(torch.randn(weight.shape, generator=draw))
        for number in range(3):
            for weight in weights:
                weight.grad = torch.empty_like(weight)
                weight.grad.copy_(torch.randn(weight.shape, generator=draw))
            if together and number:  # of the first one are the optimizers' states
                update.Update(members)()
            else:
                for member in members:
                    member.step.move()
        found.append([held for member in members for held in tensors(member)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)


KINDS: list[Config] = [
    {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "ema": 0.15},
    {"optimizer": "sgd", "momentum": 0.0, "clip_grad": 1.0},
    {"optimizer": "adam", "weight_decay": 0.1, "clip_grad": 1.0, "ema": 0.9},
    {"optimizer": "adamw", "weight_decay": 0.1, "head_lr": 3.0},
]


def _small(own: Config, device: torch.device, dtype: torch.dtype) -> Kit:
    layers = {"conv": nn.Conv2d(3, 5, 3), "norm": nn.BatchNorm2d(5), "fc": nn.Linear(5, 3)}
    net = nn.ModuleDict(layers).to(device, dtype).to(memory_format=torch.channels_last)
    config = {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0, **own}
    optimizer = make_optimizer(net, config, tensor_lr=True)
    return Kit(net, optimizer, Step(cast(Task, None), net, optimizer, config))


def tensors(member: Kit) -> list[Tensor]:
    """All that an update of a member changes."""
    state = member.optimizer.state
    held = [state[weight].values() for weight in member.net.parameters()]
    return [*member.step.tensors(), *(one for one in chain(*held) if isinstance(one, Tensor))]
