"""A step captured as a CUDA graph on its first batch, and repeated.

A graph repeats kernels on the same addresses, so what goes in is copied into tensors that stay,
what comes out is added up in tensors that stay, and the learning rate is a tensor too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from trainables.engine.captured import as_captured, fused_norm_works
from trainables.engine.step import Step, nothing
from trainables.task import Batch, Config, Task

WARM_UP = 3  # steps before a capture: cuDNN and cuBLAS choose their plans, the optimizer its state

Capture = Callable[[Callable[[], None]], Callable[[], None]]


class Captured:
    """The whole step captured as a graph on the first batch, repeated for batches of its shape.

    A batch of another shape, such as an odd last one, runs eagerly on the same network. Where the
    capture fails, all do, after one warning that says why. What a step is, the other class says
    that a step of this kind is made of.

    Attributes:
        failed: why the capture failed; "" where it did not.
    """

    _net: nn.Module
    _join: Callable[[], None]
    _run: Callable[[Batch], None]
    clear: Callable[[], None]

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._replay: Callable[[], None] | None = None
        self._static: Batch | None = None
        self.failed = ""

    @property
    def how(self) -> str:
        """How steps are taken; see Step."""
        if self.failed:
            return "eager"
        fused = fused_norm_works(next(self._net.parameters()).device)
        return "graph" if fused else "graph, unfused"

    def _state(self) -> tuple[Iterable[Tensor], Sequence[torch.optim.Optimizer]]:
        """All that a step changes, but for its sums: tensors, and optimizers of them."""
        raise NotImplementedError

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
        restore = _remember(*self._state())
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
            self._join = nothing
        self.clear()


class GraphedStep(Captured, Step):
    """A captured step of one network.

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
        Step.__init__(self, task, net, optimizer, config)
        Captured.__init__(self, capture)

    def _state(self) -> tuple[Iterable[Tensor], Sequence[torch.optim.Optimizer]]:
        return self.tensors(), [self._optimizer]


def cuda_graph(run: Callable[[], None]) -> Callable[[], None]:
    """Capture `run` as a CUDA graph; the result replays it."""
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    # other threads of the worker may allocate pinned memory meanwhile
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        run()
    replay: Callable[[], None] = graph.replay
    return replay


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
    held: Iterable[Tensor], optimizers: Sequence[torch.optim.Optimizer]
) -> Callable[[], None]:
    """Copy tensors, optimizers' state and random state; the result puts them back in place.

    State that the warm-up itself makes is zeroed: a momentum, average or step count of zero is
    what the first step would have made. Copies are on the CPU: a crowd net's are gigabytes.
    """
    tensors = list(held)
    kept = [t.detach().to("cpu", copy=True) for t in tensors]
    states = {
        (parameter, key): value.detach().to("cpu", copy=True)
        for parameter, key, value in _state_of(optimizers)
    }
    random = torch.get_rng_state()
    on_gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    @torch.no_grad()
    def restore() -> None:
        for tensor, copy in zip(tensors, kept, strict=True):
            tensor.copy_(copy)
        for parameter, key, value in _state_of(optimizers):
            before = states.get((parameter, key))
            value.zero_() if before is None else value.copy_(before)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        torch.set_rng_state(random)
        if on_gpu is not None:
            torch.cuda.set_rng_state(on_gpu)

    return restore


def _state_of(
    optimizers: Sequence[torch.optim.Optimizer],
) -> Iterator[tuple[Tensor, str, Tensor]]:
    for optimizer in optimizers:
        for parameter, held in optimizer.state.items():
            for key, value in held.items():
                if isinstance(value, Tensor):
                    yield parameter, key, value
