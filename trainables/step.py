"""One optimisation step: the optimizer, the learning rate, and the step itself (eager)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trainables.task import Batch, Config, Task


def make_optimizer(net: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD or Adam over all parameters; fused, so that a step is one pass over them."""
    if config["optimizer"] == "adam":
        return torch.optim.Adam(
            net.parameters(), lr=config["lr"], weight_decay=config["weight_decay"], fused=True
        )
    return torch.optim.SGD(
        net.parameters(),
        lr=config["lr"],
        momentum=config["momentum"],
        nesterov=config["nesterov"],
        weight_decay=config["weight_decay"],
        fused=True,
    )


def milestone_steps(config: Config, total_steps: int) -> list[int]:
    """Steps before which lr drops: a milestone below 1 is a share of `total_steps`."""
    return [round(m * total_steps) if m < 1 else int(m) for m in config["milestones"]]


def learning_rate(step: int, total_steps: int, steps_per_epoch: int, config: Config) -> float:
    """Learning rate of the step with this number, counted from 0 over the whole budget."""
    lr = float(config["lr"])
    if config["schedule"] == "step":
        passed = sum(step >= m for m in milestone_steps(config, total_steps))
        lr *= config["drop_factor"] ** passed
    elif config["schedule"] == "cosine":
        lr *= 0.5 * (1 + math.cos(math.pi * step / total_steps))
    warmup = config["warmup_epochs"] * steps_per_epoch
    return lr * min(1.0, (step + 1) / warmup) if warmup else lr


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set lr of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def restart_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Zero the momentum: without dampening, the next step is the first of a new optimizer."""
    for state in optimizer.state.values():
        if state.get("momentum_buffer") is not None:
            state["momentum_buffer"].zero_()


def eager_step(
    task: Task, net: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, config: Config
) -> dict[str, Tensor]:
    """Forward, backward, update.

    Returns:
        Sums over the batch, on the device: `loss` (mean loss times images), the task's own, and
        `images`. Nothing is read back to the host.
    """
    x, target = batch
    optimizer.zero_grad(set_to_none=True)
    loss, sums = task.loss(net(x.contiguous(memory_format=torch.channels_last)), target, config)
    loss.backward()
    optimizer.step()
    return {"loss": loss.detach() * len(x), **sums}
