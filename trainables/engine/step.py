"""One optimisation step: optimizer, learning rate, and the step itself.

Nothing is read back to the host inside an epoch. `graphed.py` repeats a step as a CUDA graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trainables.engine.average import Average
from trainables.task import Batch, Config, Task

HEAD = "fc."  # begins the names of the parameters of a ResNet's head
FACTOR = "factor"  # key of a parameter group: on lr
HALVES = (torch.bfloat16, torch.float16)  # what autocast may return


def make_optimizer(
    net: nn.Module, config: Config, tensor_lr: bool = False
) -> torch.optim.Optimizer:
    """SGD, Adam or AdamW over all parameters; fused, so that a step is one pass over them.

    Args:
        net: its parameters are on their device already.
        config: optimizer, lr, head_lr, momentum, nesterov, weight_decay.
        tensor_lr: hold lr in a tensor on the device, which a CUDA graph reads at each step.
    """
    device = next(net.parameters()).device
    groups = []
    for parameters, factor in _by_rate(net, config.get("head_lr", 1.0)):
        lr: float | Tensor = float(config["lr"]) * factor
        lr = torch.tensor(lr, device=device) if tensor_lr else lr
        groups.append({"params": parameters, "lr": lr, FACTOR: factor})
    decay = config["weight_decay"]
    if config["optimizer"] in ("adam", "adamw"):
        make = torch.optim.Adam if config["optimizer"] == "adam" else torch.optim.AdamW
        return make(groups, weight_decay=decay, fused=True, capturable=tensor_lr)
    return torch.optim.SGD(
        groups,
        momentum=config["momentum"],
        nesterov=config["nesterov"],
        weight_decay=decay,
        fused=True,
    )


def _by_rate(net: nn.Module, head: float) -> list[tuple[list[nn.Parameter], float]]:
    """Parameters, and the factor on their learning rate; a ResNet's head begins with HEAD."""
    if head == 1:
        return [(list(net.parameters()), 1.0)]
    named = list(net.named_parameters())
    return [
        ([p for name, p in named if not name.startswith(HEAD)], 1.0),
        ([p for name, p in named if name.startswith(HEAD)], head),
    ]


def channels_last(x: Tensor) -> Tensor:
    """Images `(batch, channels, height, width)` with channels last in memory; others as they are.

    Convolutions are faster on it.
    """
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def milestone_steps(config: Config, total_steps: int) -> list[int]:
    """Steps before which lr drops: a milestone below 1 is a share of `total_steps`."""
    return [round(m * total_steps) if m < 1 else int(m) for m in config["milestones"]]


def drops_at(step: int, total_steps: int, config: Config) -> bool:
    """Whether lr drops at a milestone before this step; its fall in a cosine is no drop."""
    if config["schedule"] != "step" or config["drop_factor"] >= 1 or step == 0:
        return False
    return step in milestone_steps(config, total_steps)


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
    """Set lr of every parameter group, times its factor, in place where it is a tensor."""
    for group in optimizer.param_groups:
        own = lr * group.get(FACTOR, 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = own


def restart_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Zero the momentum: without dampening, the next step is the first of a new optimizer."""
    for state in optimizer.state.values():
        if state.get("momentum_buffer") is not None:
            state["momentum_buffer"].zero_()


class Step:
    """Forward, backward, update, called once a batch; the sums stay on the device until taken.

    Args:
        task: its `loss` is called.
        net: channels last, in training mode when called.
        optimizer: over all parameters of `net`.
        config: complete; `precision` is resolved already.

    Attributes:
        task: the same.
        config: the same.
        average: of the weights, where the config asks for it.
    """

    def __init__(
        self, task: Task, net: nn.Module, optimizer: torch.optim.Optimizer, config: Config
    ) -> None:
        self.task, self._net, self._optimizer, self.config = task, net, optimizer, config
        self._totals: dict[str, Tensor] = {}
        self._join: Callable[[], None] = nothing
        self._trained = [p for p in net.parameters() if p.requires_grad]
        self.average = Average(net, config["ema"]) if config.get("ema") else None

    def __call__(self, batch: Batch) -> None:
        """Take one step on a batch."""
        self._run(batch)

    @property
    def how(self) -> str:
        """How steps are taken, for the record: "eager", "graph" or "graph, unfused"."""
        return "eager"

    def tensors(self) -> list[Tensor]:
        """All that a step changes, but for the optimizer's state and the sums."""
        averaged = [] if self.average is None else self.average.tensors()
        return [*self._net.parameters(), *self._net.buffers(), *averaged]

    def take(self) -> dict[str, float]:
        """Sums since last time: `loss` (mean loss times images) and the task's; one host sync."""
        values = torch.stack(list(self._totals.values())).tolist()
        taken = dict(zip(self._totals, values, strict=True))
        self.clear()
        return taken

    def clear(self) -> None:
        """Forget the sums."""
        for total in self._totals.values():
            total.zero_()

    def _run(self, batch: Batch) -> None:
        x, target = batch
        self._optimizer.zero_grad(set_to_none=True)
        with autocast(self.config, x.device):
            output = self._net(channels_last(x))
        loss, sums = self.loss(output, target)
        loss.backward()
        self._join()
        self.update(len(x), loss.detach(), sums)

    def loss(self, output: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The task's, of what the network returned; see Task."""
        # losses and counts in single precision, as autocast itself has them
        return self.task.loss(single(output), target, self.config)

    def update(self, count: int, loss: Tensor, sums: dict[str, Tensor]) -> None:
        """Move the weights by the gradients that they have, and add up what was measured.

        Args:
            count: of the images in the batch.
            loss: mean over them, detached.
            sums: further ones, over the batch.
        """
        self.move()
        self.add_up(count, loss, sums)

    @property
    def clip(self) -> float:
        """The norm that gradients are scaled down to; 0 for none."""
        return float(self.config.get("clip_grad") or 0.0)

    def move(self) -> None:
        """Move the weights, and their averages after them, by the gradients that they have."""
        if self.clip:
            nn.utils.clip_grad_norm_(self._trained, self.clip, foreach=True)
        self._optimizer.step()
        if self.average is not None:
            self.average.follow()

    def add_up(self, count: int, loss: Tensor, sums: dict[str, Tensor]) -> None:
        """Add up what was measured; see `update`."""
        for name, value in {"loss": loss * count, **sums}.items():
            if name not in self._totals:
                self._totals[name] = torch.zeros((), dtype=torch.float64, device=loss.device)
            self._totals[name].add_(value)

    def total_in(self, name: str, total: Tensor) -> None:
        """Add up a sum in this tensor from now on, which others may do as well.

        Args:
            name: of the sum.
            total: `()`, of double precision; what there is of the sum is put in.
        """
        if name in self._totals:
            total.copy_(self._totals[name])
        self._totals[name] = total


def nothing() -> None:
    """There is nothing to wait for."""


def autocast(config: Config, device: torch.device) -> torch.autocast:
    """bf16 autocast where the config says bf16, else nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config["precision"] == "bf16")


def single(output: Tensor) -> Tensor:
    """In single precision what autocast may have returned in half."""
    return output.float() if output.dtype in HALVES else output


@contextmanager
def forward_autocast(net: nn.Module, config: Config, device: torch.device) -> Iterator[None]:
    """Inside, the network alone computes under `autocast`, and what it returns is single.

    What a task makes of it is not for autocast: on a CPU that refuses to stack double precision
    (torch 2.15), and would multiply in bf16 where a task counts on single.

    Args:
        net: called by the task, whole.
        config: `precision` is read.
        device: of the network.
    """
    if config["precision"] != "bf16":
        yield
        return
    casts: list[torch.autocast] = []

    def enter(*_: Any) -> None:
        casts.append(autocast(config, device))
        casts[-1].__enter__()

    def leave(_: nn.Module, __: Any, output: Any) -> Any:
        casts.pop().__exit__(None, None, None)
        return single(output) if isinstance(output, Tensor) else output

    hooks = [
        net.register_forward_pre_hook(enter),
        net.register_forward_hook(leave, always_call=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def resolve_precision(config: Config, device: torch.device) -> str:
    """What `precision = "auto"` means on a device, and set TF32 accordingly on a GPU.

    "auto" is tf32 on CUDA, cuDNN's own choice for convolutions, and fp32 on a CPU: bf16 autocast
    was 5 to 40 times slower on CPUs without bf16 arithmetic, and one study may meet several.
    """
    chosen = str(config["precision"])
    if chosen == "auto":
        chosen = "tf32" if device.type == "cuda" else "fp32"
    if device.type == "cuda":
        kind = "ieee" if chosen == "fp32" else "tf32"
        torch.backends.cuda.matmul.fp32_precision = kind
        torch.backends.cudnn.conv.fp32_precision = kind  # type: ignore[attr-defined]
    return chosen
