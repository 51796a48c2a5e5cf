"""BatchNorm together with what follows it, the addition and the ReLU: few and short kernels.

At 32x32 a step is a long row of kernels of some microseconds. On each BatchNorm and its neighbours
the stock network spends five to eight, this two to four, for the same numbers to rounding, in
single precision always. Written in Triton, which comes with PyTorch's CUDA builds; for a captured
step only, where what a launch costs the host does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor, nn

from trainables.kernels import norm_kernels

MOST_ROWS = 2**16  # pixels of all images; of 131,072 cuDNN's kernels were faster (H200)


@dataclass(frozen=True)
class Plan:
    """How maps of so many rows (pixels of all images) and channels are cut into programs.

    Attributes:
        rows: of a program's tile, a power of two.
        columns: likewise, channels.
        warps: that share a tile.
        parts: of the rows; with one a program sees its channels whole, and one kernel does it all.
    """

    rows: int
    columns: int
    warps: int
    parts: int

    @property
    def padded(self) -> int:
        """A power of two that holds the parts; few of them, since each is compiled for."""
        return 32 if self.parts <= 32 else 128

    @property
    def tile(self) -> dict[str, int]:
        """What a kernel is compiled for."""
        return {"ROWS": self.rows, "COLS": self.columns, "num_warps": self.warps}

    def grid(self, channels: int) -> tuple[int, int]:
        """Programs along the channels and along the rows."""
        return triton.cdiv(channels, self.columns), self.parts


def plan_of(rows: int) -> Plan:
    """The plan for maps of `rows` pixels, chosen by hand from some tried on an H200."""
    if rows <= 512:
        return Plan(max(16, triton.next_power_of_2(rows)), 8, 4, 1)
    tile = 128 if rows <= 4096 else 256
    while triton.cdiv(rows, tile) > 128:
        tile *= 2
    return Plan(tile, 16, 4 if tile <= 256 else 8, triton.cdiv(rows, tile))


def normed(
    x: Tensor, norm: nn.BatchNorm2d, other: Tensor | None = None, relu: bool = True
) -> Tensor:
    """`relu(norm(x) + other)` as PyTorch computes it, with its gradients and running statistics.

    Args:
        x: `(batch, channels, height, width)`, best channels last.
        norm: with weight, bias, running statistics and a momentum; in evaluation, and for maps
            of more than MOST_ROWS pixels, its own forward is called.
        other: what is added, of the shape of `x`; None adds nothing.
        relu: whether negative values become zero.

    Raises:
        ValueError: in training, a channel has a single value, so no variance.
    """
    if not norm.training or x.numel() > MOST_ROWS * x.shape[1]:
        y: Tensor = norm(x) if other is None else norm(x) + other
        return y.relu() if relu else y
    if x.numel() == x.shape[1]:
        raise ValueError(f"Expected more than 1 value per channel when training, got {x.shape}")
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    together: Tensor = _Normed.apply(x, norm.weight, norm.bias, other, norm, relu)
    return together


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        other: Tensor | None,
        norm: nn.BatchNorm2d,
        relu: bool,
    ) -> Tensor:
        x, added = _rows_together(x), other is not None
        channels = x.shape[1]
        rows = x.numel() // channels
        plan = plan_of(rows)
        y = torch.empty_like(x)
        mean, scale = x.new_empty((2, channels), dtype=torch.float32)
        running = norm.running_mean, norm.running_var
        held = (x, x if other is None else _rows_together(other), y, weight, bias, mean, scale)
        size = (rows, channels, norm.eps, norm.momentum)
        what = {"ADDED": added, "RELU": relu, **plan.tile}
        grid = plan.grid(channels)
        if plan.parts == 1:
            norm_kernels.forward_whole[grid](*held, *running, *size, **what)
        else:
            parts = x.new_empty((2, plan.parts, channels), dtype=torch.float32)
            norm_kernels.moments[grid](x, *parts, rows, channels, **plan.tile)
            norm_kernels.forward_parts[grid](
                *held, *running, *parts, plan.parts, *size, PARTS=plan.padded, **what
            )
        ctx.save_for_backward(x, y if relu else x, weight, mean, scale)
        ctx.added, ctx.relu = added, relu
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, y, weight, mean, scale = ctx.saved_tensors
        dy = _rows_together(dy)
        channels = x.shape[1]
        rows = x.numel() // channels
        plan = plan_of(rows)
        dx, dweight, dbias = (torch.empty_like(held) for held in (x, weight, weight))
        # without a ReLU the gradient of what was added is dy itself
        apart = ctx.added and ctx.relu
        other = torch.empty_like(x) if apart else dx
        held = (dy, y, x, dx, other, weight, mean, scale, dweight, dbias)
        what = {"ADDED": apart, "RELU": ctx.relu, **plan.tile}
        grid = plan.grid(channels)
        if plan.parts == 1:
            norm_kernels.backward_whole[grid](*held, rows, channels, **what)
        else:
            parts = x.new_empty((2, plan.parts, channels), dtype=torch.float32)
            norm_kernels.sums[grid](
                dy, y, x, mean, scale, *parts, rows, channels, RELU=ctx.relu, **plan.tile
            )
            norm_kernels.backward_parts[grid](
                *held, *parts, plan.parts, rows, channels, PARTS=plan.padded, **what
            )
        return dx, dweight, dbias, (other if apart else dy) if ctx.added else None, None, None


def _rows_together(maps: Tensor) -> Tensor:
    """Channels last: then maps are a matrix of pixels by channels, row after row."""
    return maps.contiguous(memory_format=torch.channels_last)
