"""Network, optimizer and step of a trial; a worker keeps a captured one for the next of its shape.

A capture costs a second and more, as long as a short trial's epoch. What a graph holds are
addresses, so the next trial's weights and state are copied into the tensors that are there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.engine.graphed import Capture, GraphedStep, cuda_graph
from trainables.engine.memory import keep_freed
from trainables.engine.norm_statistics import estimated
from trainables.engine.step import Step, make_optimizer
from trainables.task import Config, Task

# what a graph does not hang on: lr is a tensor, weights are copied
FREE = frozenset(
    {
        "lr",
        "schedule",
        "milestones",
        "drop_factor",
        "warmup_epochs",
        "momentum_restart",
        "checkpoint_rule",
        "pretrained",
    }
)


@dataclass(frozen=True)
class Kit:
    """What a trial trains with, on its device."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    step: Step

    @property
    def graphed(self) -> bool:
        """Whether its step is a captured graph, or will be."""
        return isinstance(self.step, GraphedStep) and not self.step.failed

    @contextmanager
    def evaluated(self, batches: Iterable[Tensor] | None, config: Config) -> Iterator[None]:
        """The network meanwhile has the weights that it is judged by: averages, if it has them.

        Args:
            batches: that BatchNorm's statistics are estimated from anew; None where they stay.
            config: complete, its precision resolved.
        """
        average = self.step.average
        shown = nullcontext() if average is None else average.shown()
        with shown, nullcontext() if batches is None else estimated(self.net, batches, config):
            yield


_warm: dict[str, Kit] = {}  # at most one


def capture_on(device: torch.device, config: Config) -> Capture | None:
    """How a step is captured on a device; None where it runs eagerly."""
    return cuda_graph if device.type == "cuda" and config["cuda_graph"] else None


def kit_for(task: Task, config: Config, device: torch.device, fresh: nn.Module) -> Kit:
    """A kit with the weights of `fresh` and an optimizer that has not stepped yet.

    Args:
        task: of the trial.
        config: complete, its precision resolved.
        device: where to train.
        fresh: the network as it starts, on the CPU; taken over unless a warm one is there.
    """
    capture = capture_on(device, config)
    baked = {key: value for key, value in config.items() if key not in FREE}
    held = [task.name, str(device), baked, [] if capture is None else at_rest(fresh)]
    key = json.dumps(held, sort_keys=True, default=str)
    kit = _warm.get(key)
    if capture is not None and kit is not None and kit.graphed:
        _start_anew(kit, fresh)
        return kit
    _warm.clear()  # two networks need not fit the device
    eager = eager_kit(task, config, device, fresh)
    if capture is None:
        return eager
    net, optimizer = eager.net, eager.optimizer
    _warm[key] = Kit(net, optimizer, GraphedStep(task, net, optimizer, config, capture))
    return _warm[key]


def eager_kit(task: Task, config: Config, device: torch.device, fresh: nn.Module) -> Kit:
    """A kit of its own whose step runs eagerly, and may be captured; see `kit_for`."""
    if device.type == "cpu":
        keep_freed()
    net = fresh.to(device)
    if not any(tensor.dim() == 5 for tensor in net.state_dict().values()):
        net = net.to(memory_format=torch.channels_last)  # torch refuses it for 3-D convolutions
    optimizer = make_optimizer(net, config, tensor_lr=capture_on(device, config) is not None)
    return Kit(net, optimizer, Step(task, net, optimizer, config))


def at_rest(net: nn.Module) -> list[str]:
    """Parameters and layers that training leaves as they are, by name; `net` is put in training.

    A graph hangs on them, and they may hang on what it does not: the crowd task's norm = "auto"
    freezes BatchNorm from pretrained weights alone.
    """
    layers = [name for name, layer in net.train().named_modules() if not layer.training]
    return layers + [name for name, held in net.named_parameters() if not held.requires_grad]


def forget() -> None:
    """Let go of the warm kit and its memory."""
    _warm.clear()


def _start_anew(kit: Kit, fresh: nn.Module) -> None:
    kit.net.load_state_dict(fresh.state_dict())
    for state in kit.optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()  # as of an optimizer that has not stepped yet
    if kit.step.average is not None:
        kit.step.average.begin()
    kit.step.clear()
