"""One optimisation step: optimizer, learning rate, and the step itself, eager or as a CUDA graph.

A graph repeats kernels on the same addresses, so what goes in is copied into tensors that stay,
what comes out is added up in tensors that stay, and the learning rate is a tensor too. Nothing is
read back to the host inside an epoch.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainables.engine.average import Average
from trainables.engine.captured import as_captured
from trainables.task import Batch, Config, Task

HALVES = (torch.bfloat16, torch.float16)  # what autocast may return
HEAD = "fc."  # begins the names of the parameters of a ResNet's head
FACTOR = "factor"  # key of a parameter group: on lr
WARM_UP = 3  # steps before a capture: cuDNN and cuBLAS choose their plans, the optimizer its state

Capture = Callable[[Callable[[], None]], Callable[[], None]]


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
    """

    def __init__(
        self, task: Task, net: nn.Module, optimizer: torch.optim.Optimizer, config: Config
    ) -> None:
        self._task, self._net, self._optimizer, self._config = task, net, optimizer, config
        self._totals: dict[str, Tensor] = {}
        self._join: Callable[[], None] = _nothing
        self._trained = [p for p in net.parameters() if p.requires_grad]
        self.average = Average(net, config["ema"]) if config.get("ema") else None

    def __call__(self, batch: Batch) -> None:
        """Take one step on a batch."""
        self._run(batch)

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
        with autocast(self._config, x.device):
            output = self._net(channels_last(x))
        # losses and counts in single precision, as autocast itself has them
        loss, sums = self._task.loss(output.float(), target, self._config)
        loss.backward()
        self._join()
        if clip := self._config.get("clip_grad"):
            nn.utils.clip_grad_norm_(self._trained, clip, foreach=True)
        self._optimizer.step()
        if self.average is not None:
            self.average.follow()
        for name, value in {"loss": loss.detach() * len(x), **sums}.items():
            if name not in self._totals:
                self._totals[name] = torch.zeros((), dtype=torch.float64, device=x.device)
            self._totals[name].add_(value)


class GraphedStep(Step):
    """The whole step captured as a graph on the first batch, repeated for batches of its shape.

    A batch of another shape, such as an odd last one, runs eagerly on the same network. Where the
    capture fails, all do, after one warning that says why.

    Args:
        task: see Step.
        net: see Step.
        optimizer: see Step; made with `tensor_lr`.
        config: see Step.
        capture: given a function, returns one that repeats what it did on the same tensors.
    """

    def __init__(
        self,
        task: Task,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: Config,
        capture: Capture,
    ) -> None:
        super().__init__(task, net, optimizer, config)
        self._capture = capture
        self._replay: Callable[[], None] | None = None
        self._static: Batch | None = None
        self.failed = ""

    def __call__(self, batch: Batch) -> None:
        """Take one step on a batch."""
        if self._static is None:
            self._prepare(batch)
        assert self._static is not None
        shapes = [t.shape for t in batch]
        if self._replay is None or shapes != [t.shape for t in self._static]:
            self._run(batch)
            return
        for held, new in zip(self._static, batch, strict=True):
            held.copy_(new)
        self._replay()

    def _warm_up(self, batch: Batch) -> None:
        for _ in range(WARM_UP):
            self._run(batch)

    def _run_counted(self, batch: Batch) -> None:
        with _counted_together(self._net):
            self._run(batch)

    def _prepare(self, batch: Batch) -> None:
        """Warm up and capture; network, optimizer and sums are left as they were."""
        static = (batch[0].clone(), batch[1].clone())
        self._static = static
        averaged = () if self.average is None else self.average.tensors()
        restore = _remember(self._net, self._optimizer, averaged)
        try:
            with as_captured(self._net, batch[0].device) as self._join:
                _on_side_stream(partial(self._warm_up, static))
                restore()
                self._replay = self._capture(partial(self._run_counted, static))
        # Triton's errors are no RuntimeError; what is our own fault an eager step raises again
        except Exception as error:
            self.failed = f"{type(error).__name__}: {error}".splitlines()[0]
            warnings.warn(
                f"the step could not be captured as a CUDA graph and runs eagerly ({self.failed})",
                stacklevel=3,
            )
            restore()
        finally:
            self._join = _nothing
        self.clear()


def _nothing() -> None:
    """There is nothing to wait for."""


def cuda_graph(run: Callable[[], None]) -> Callable[[], None]:
    """Capture `run` as a CUDA graph; the result replays it."""
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    # other threads of the worker may allocate pinned memory meanwhile
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        run()
    replay: Callable[[], None] = graph.replay
    return replay


def autocast(config: Config, device: torch.device) -> torch.autocast:
    """bf16 autocast where the config says bf16, else nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config["precision"] == "bf16")


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
        half = isinstance(output, Tensor) and output.dtype in HALVES
        return output.float() if half else output

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


@contextmanager
def _counted_together(net: nn.Module) -> Iterator[None]:
    """Count the batches that each BatchNorm has seen in one kernel, not in one a layer.

    They were 155 of the 1,857 kernels of a depth 152 step, and its result does not hang on them.
    """
    counted = [
        (module, module.num_batches_tracked)
        for module in net.modules()
        if isinstance(module, nn.BatchNorm2d)
        and module.training
        and module.num_batches_tracked is not None
        and module.momentum is not None  # else its average is over the batches counted
    ]
    for module, _ in counted:
        module.num_batches_tracked = None
    try:
        yield
    finally:
        for module, counter in counted:
            module.num_batches_tracked = counter
    if counted:
        torch._foreach_add_([counter for _, counter in counted], 1)


def _on_side_stream(run: Callable[[], object]) -> None:
    """Graph capture wants its warm-up off the default stream; without CUDA, just run."""
    if not torch.cuda.is_available():
        run()
        return
    current, side = torch.cuda.current_stream(), torch.cuda.Stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        run()
    current.wait_stream(side)


def _remember(
    net: nn.Module, optimizer: torch.optim.Optimizer, more: Iterable[Tensor] = ()
) -> Callable[[], None]:
    """Copy network, optimizer state, random state and more; the result puts them back in place.

    State that the warm-up itself makes is zeroed: a momentum, average or step count of zero is
    what the first step would have made. Copies are on the CPU: a crowd net's are gigabytes.
    """
    tensors = [*net.parameters(), *net.buffers(), *more]
    kept = [t.detach().to("cpu", copy=True) for t in tensors]
    states = {
        (parameter, key): value.detach().to("cpu", copy=True)
        for parameter, held in optimizer.state.items()
        for key, value in held.items()
        if isinstance(value, Tensor)
    }
    random = torch.get_rng_state()
    on_gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    @torch.no_grad()
    def restore() -> None:
        for tensor, copy in zip(tensors, kept, strict=True):
            tensor.copy_(copy)
        for parameter, held in optimizer.state.items():
            for key, value in held.items():
                if isinstance(value, Tensor):
                    before = states.get((parameter, key))
                    value.zero_() if before is None else value.copy_(before)
        optimizer.zero_grad(set_to_none=True)
        torch.set_rng_state(random)
        if on_gpu is not None:
            torch.cuda.set_rng_state(on_gpu)

    return restore
