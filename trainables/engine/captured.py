"""How a network runs inside a captured step: the same function by fewer and overlapping kernels.

Two things that pay only where launches cost the host nothing. BatchNorm, the addition and the ReLU
after it are one operation (trainables/fused_blocks.py). Gradients of convolution weights, which no
other gradient waits for, are computed on a second stream: at 32x32 one kernel leaves most of a GPU
idle.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from trainables.kernels.small_maps import SmallMapConv

Forward = Callable[..., Tensor]

HELD_BYTES = 2**30  # of output gradients: what the second stream may add to a step's peak, about


class Aside:
    """A stream beside the current one, for gradients of weights.

    What they are computed from is held until `join`: the allocator, which knows nothing of the
    stream, would give the memory away while it is being read.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = _beside(device)
        self._held: list[Tensor] = []
        self._bytes = 0

    def gradient(
        self, weight: Tensor, compute: Callable[[], Tensor], x: Tensor, dy: Tensor
    ) -> None:
        """Give `weight` the gradient that `compute` returns, read from `x` and `dy`."""
        if self._stream is None:
            _add_gradient(weight, compute())
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            _add_gradient(weight, compute())
        self._held += [x, dy]
        self._bytes += dy.nbytes
        if self._bytes > HELD_BYTES:
            self.join()

    def join(self) -> None:
        """Let the current stream wait for all gradients."""
        if self._stream is not None and self._held:
            # a stream that took no part in a capture must not be waited for in it
            torch.cuda.current_stream().wait_stream(self._stream)
        self._held.clear()
        self._bytes = 0


@cache
def _beside(device: torch.device) -> torch.cuda.Stream | None:
    """The second stream: one a device, since cuBLAS keeps a workspace for every stream it met."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


def _add_gradient(weight: Tensor, gradient: Tensor) -> None:
    weight.grad = gradient if weight.grad is None else weight.grad + gradient


@contextmanager
def as_captured(net: nn.Module, device: torch.device) -> Iterator[Callable[[], None]]:
    """Within, `net` in training mode runs as described above, on its own parameters and buffers.

    Args:
        net: modules that are not torchvision's, or not as torchvision makes them, run as they are.
        device: where it is.

    Yields:
        What to call after each backward pass: without it the gradients of the weights are not
        there yet. No weight has a gradient before the first.
    """
    aside = Aside(device)
    convolutions: dict[type[nn.Module], Forward] = {
        nn.Conv2d: partial(_convolve, aside),
        SmallMapConv: partial(_convolve_small, aside),
    }
    forms = {m: convolutions[type(m)] for m in net.modules() if type(m) in convolutions}
    if fused_norm_works(device):
        from trainables.kernels.fused_blocks import fused_forms  # needs Triton

        forms |= fused_forms(net)
    for module, form in forms.items():
        # an attribute of the object hides the class's method
        module.forward = partial(form, module)
    try:
        yield aside.join
    finally:
        for module in forms:
            del module.forward


@cache
def fused_norm_works(device: torch.device) -> bool:
    """Whether Triton can build a kernel for the device; warns once where it cannot."""
    if device.type != "cuda":
        return False
    try:
        from trainables.kernels.fused_norm import normed

        norm = nn.BatchNorm2d(16).to(device)
        for side in (1, 32):  # a kernel for all of a column, and those for its parts
            x = torch.ones(2, 16, side, side, device=device, requires_grad=True)
            normed(x, norm, x).sum().backward()
        torch.cuda.synchronize(device)  # a fault in a kernel shows here, not in a trial
    except Exception as error:  # no Triton, no C compiler, a GPU that it does not know
        said = str(error).strip().splitlines() or [""]
        warnings.warn(
            "BatchNorm runs as PyTorch has it, not fused: Triton does not work here "
            f"({type(error).__name__}: {said[0]})",
            stacklevel=2,
        )
        return False
    return True


class _WeightAside(torch.autograd.Function):
    """Hands a layer's output on; its gradient is also where the weight's gradient starts."""

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, x: Tensor, weight: Tensor, compute: Forward, aside: Aside
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.compute, ctx.aside = weight, compute, aside
        ctx.mark_dirty(y)  # handed on as it is: a view of it could not be changed in place
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        compute = partial(ctx.compute, x, ctx.weight, dy)
        ctx.aside.gradient(ctx.weight, compute, x, dy)
        return dy, None, None, None, None


def _convolve(aside: Aside, conv: nn.Conv2d, x: Tensor) -> Tensor:
    padding = conv.padding
    plain = conv.bias is None and conv.groups == 1 and conv.dilation == (1, 1)
    plain = plain and conv.padding_mode == "zeros" and _trained(conv.weight)
    if isinstance(padding, str) or not plain:
        return nn.Conv2d.forward(conv, x)
    return _conv_aside(aside, x, conv.weight, conv.stride, padding)


def _convolve_small(aside: Aside, conv: SmallMapConv, x: Tensor) -> Tensor:
    outputs = len(conv.rows) * len(conv.columns)
    if _trained(conv.weight) and outputs > 1:
        x, padding = conv.padded(x)
        return _conv_aside(aside, x, conv.weight, conv.stride, padding)
    if _trained(conv.weight) and x.shape[2:] == conv.weight.shape[2:]:
        y = conv.apply_to(x, conv.weight.detach())
        return _handed_on(y, x, conv.weight, _product_gradient, aside)
    return SmallMapConv.forward(conv, x)


def _conv_aside(
    aside: Aside,
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
) -> Tensor:
    y = nn.functional.conv2d(x, weight.detach(), None, stride, padding)
    return _handed_on(y, x, weight, partial(_conv_gradient, stride, padding), aside)


def _handed_on(y: Tensor, x: Tensor, weight: Tensor, compute: Forward, aside: Aside) -> Tensor:
    handed: Tensor = _WeightAside.apply(y, x, weight, compute, aside)
    return handed


def _trained(weight: Tensor) -> bool:
    """Whether a gradient goes to this very tensor, not on to what it was computed from."""
    return weight.requires_grad and weight.is_leaf


def _conv_gradient(
    stride: tuple[int, ...], padding: tuple[int, ...], x: Tensor, weight: Tensor, dy: Tensor
) -> Tensor:
    # under autocast the output is bf16, whatever came in; of the weight only the shape is read
    shape = torch.empty_like(weight, dtype=dy.dtype)
    what = (list(stride), list(padding), [1, 1], False, [0, 0], 1, [False, True, False])
    found = torch.ops.aten.convolution_backward(dy, x.to(dy.dtype), shape, None, *what)[1]
    return _like(found, weight)


def _product_gradient(x: Tensor, weight: Tensor, dy: Tensor) -> Tensor:
    """Where the whole map meets the whole kernel: one matrix product."""
    outputs, inputs, height, width = weight.shape
    pixels = x.to(dy.dtype).permute(0, 2, 3, 1).flatten(1)
    found = dy.flatten(1).t() @ pixels
    return _like(found.view(outputs, height, width, inputs).permute(0, 3, 1, 2), weight)


def _like(gradient: Tensor, weight: Tensor) -> Tensor:
    """In the weight's type and layout, in which the fused optimizers want it."""
    sides = zip(weight.shape, gradient.stride(), weight.stride(), strict=True)
    alike = gradient.dtype == weight.dtype and all(a == b for size, a, b in sides if size > 1)
    return gradient if alike else torch.empty_like(weight).copy_(gradient)
