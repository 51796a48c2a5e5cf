"""How fast a training step could be: what it must compute and move, at the best rates here."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainables import find_task
from trainables.task import Config


def wait(device: torch.device) -> None:
    """Until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def floor(
    task: str, config: Config, batch: int, device: torch.device, rates: tuple[float, float]
) -> float:
    """Seconds a step cannot go below at the best rates (FLOP/s, bytes/s) measured here."""
    flops, moved = work(task, config, batch, device)
    return max(flops / rates[0], moved / rates[1])


def work(task: str, config: Config, batch: int, device: torch.device) -> tuple[float, int]:
    """FLOPs and bytes of a step.

    FLOPs are counted by torch on our network; bytes are those of activations (every module's input
    and output, three passes) and of weights, gradients and optimizer state (32 bytes a parameter
    with SGD, 40 with Adam).
    """
    net = find_task(task).network(config, None).to(device).to(memory_format=torch.channels_last)
    side = 32 if task == "cifar10" else config["crop"]
    moved = 0

    def see(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal moved
        moved += 3 * 4 * (inputs[0].numel() + output.numel())

    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(see)
    x = torch.zeros(max(batch, 2), 3, side, side, device=device)
    with FlopCounterMode(display=False) as counter:
        net(x).sum().backward()
    share = batch / len(x)
    parameters = sum(p.numel() for p in net.parameters())
    moved = round(moved * share) + parameters * (32 if config["optimizer"] == "sgd" else 40)
    return counter.get_total_flops() * share, moved


def best_rates(device: torch.device) -> tuple[float, float]:
    """FLOP/s of a large matrix product and bytes/s of a large copy, the best of several."""
    side = 8192 if device.type == "cuda" else 1536
    a = torch.randn(side, side, device=device)
    b = torch.empty(2**28 if device.type == "cuda" else 2**25, device=device)

    def best(run: Callable[[], Any], work: float) -> float:
        times = []
        for _ in range(5):
            wait(device)
            started = perf_counter()
            run()
            wait(device)
            times.append(perf_counter() - started)
        return work / min(times)

    return best(lambda: a @ a, 2.0 * side**3), best(lambda: b.add_(1), 2.0 * 4 * b.numel())
