"""Layers of several networks of one shape side by side: one call where each would make its own.

Maps of all members lie side by side along the channels, `(batch, members * channels, height,
width)`, best channels last in memory. So BatchNorm, ReLU, pooling and addition of stock PyTorch
(and the fused ones beside this file) work on all members at once as they are, channel by channel;
convolutions and linear layers, which mix channels, are here. No number of one member reaches
another's. Weights lie one after another along dimension 0.

Convolutions are batched matrix products of im2col's columns: grouped convolutions, the other form,
were slower than separate ones on GPUs (pytorch#70954, pytorch#73764). HFTA (Wang et al., MLSys
2021) lays networks out alike.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pads = tuple[int, int, int, int]  # left, right, top, bottom; negative ones cut


class ArrayConv(nn.Module):
    """A convolution of each member, without bias, groups or dilation.

    Args:
        weight: `(members * outputs, inputs, height, width)`.
        members: how many.
        stride: down and across.
        pads: of the maps.
    """

    def __init__(
        self, weight: nn.Parameter, members: int, stride: tuple[int, int], pads: Pads
    ) -> None:
        super().__init__()
        self.weight, self.members, self.stride, self.pads = weight, members, stride, pads

    def forward(self, x: Tensor) -> Tensor:
        """Maps of all members, or `(batch, inputs, ...)` that all share, to those of all."""
        weight: Tensor = self.weight
        if torch.is_autocast_enabled(x.device.type):
            kind = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(kind), weight.to(kind)
        if x.shape[1] == weight.shape[1]:  # outputs of all members from the same maps
            left, right, top, bottom = self.pads
            if left == right >= 0 and top == bottom >= 0:
                return F.conv2d(x, weight, None, self.stride, (top, left))
            return F.conv2d(F.pad(x, self.pads), weight, None, self.stride)
        y: Tensor = _Products.apply(x, weight, self.members, self.stride, self.pads)
        return y


class ArrayLinear(nn.Module):
    """A linear layer of each member.

    Args:
        weight: `(members * outputs, inputs)`.
        bias: `(members * outputs,)`, or None.
        members: how many.
    """

    bias: nn.Parameter | None

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None, members: int) -> None:
        super().__init__()
        self.weight, self.members = weight, members
        self.register_parameter("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, members * inputs)` to `(members, batch, outputs)`."""
        each = x.view(len(x), self.members, -1).transpose(0, 1)
        weight = self.weight.view(self.members, -1, self.weight.shape[1]).transpose(1, 2)
        bias: Tensor | None = self.bias
        if bias is None:
            return torch.bmm(each, weight)
        return torch.baddbmm(bias.view(self.members, 1, -1), each, weight)


class _Products(torch.autograd.Function):
    """Convolutions of all members as one batched product; keeps the maps, not their columns."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, members: int, stride: tuple[int, int], pads: Pads
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.members, ctx.stride, ctx.pads = members, stride, pads
        return _convolved(x, _as_matrices(weight, members), weight.shape[2:], stride, pads)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        members, stride, pads = ctx.members, ctx.stride, ctx.pads
        outputs, inputs, *kernel = weight.shape
        dx = dweight = None
        if ctx.needs_input_grad[1]:
            columns, _ = _columns(x, members, kernel, stride, pads)
            found = torch.bmm(_rows(dy, members).transpose(1, 2), columns)
            dweight = found.view(outputs, *kernel, inputs).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[0]:
            dx = _input_gradient(dy, x.shape, weight, members, stride, pads)
        return dx, dweight, None, None, None


def _convolved(
    x: Tensor, matrices: Tensor, kernel: Any, stride: tuple[int, int], pads: Pads
) -> Tensor:
    """The convolution of `(members, outputs, taps * inputs)`, channels last in memory."""
    members, outputs, _ = matrices.shape
    columns, (height, width) = _columns(x, members, kernel, stride, pads)
    y = x.new_empty(columns.shape[1], members, outputs)
    torch.bmm(columns, matrices.transpose(1, 2), out=y.transpose(0, 1))
    return y.view(len(x), height, width, -1).permute(0, 3, 1, 2)


def _input_gradient(
    dy: Tensor,
    shape: torch.Size,
    weight: Tensor,
    members: int,
    stride: tuple[int, int],
    pads: Pads,
) -> Tensor:
    """Of stride 1 the convolution with the kernels turned round; else what each tap gives back."""
    outputs, inputs, tall, wide = weight.shape
    outputs //= members
    left, right, top, bottom = pads
    if stride == (1, 1):
        turned = weight.view(members, outputs, inputs, tall, wide).flip(3, 4)
        matrices = turned.permute(0, 2, 3, 4, 1).reshape(members, inputs, -1)
        back = (wide - 1 - left, wide - 1 - right, tall - 1 - top, tall - 1 - bottom)
        return _convolved(dy, matrices, (tall, wide), stride, back)
    batch, _, height, width = shape
    down, across = dy.shape[2:]
    given = torch.bmm(_rows(dy, members), _as_matrices(weight, members))
    given = given.view(members, batch, down, across, tall, wide, inputs)
    padded = dy.new_zeros(batch, height + top + bottom, width + left + right, members, inputs)
    for row in range(tall):
        for column in range(wide):
            rows = slice(row, row + stride[0] * (down - 1) + 1, stride[0])
            columns = slice(column, column + stride[1] * (across - 1) + 1, stride[1])
            padded[:, rows, columns] += given[..., row, column, :].permute(1, 2, 3, 0, 4)
    cut = F.pad(padded.flatten(3), (0, 0, -left, -right, -top, -bottom))
    return cut.permute(0, 3, 1, 2)


def _columns(
    x: Tensor, members: int, kernel: Any, stride: tuple[int, int], pads: Pads
) -> tuple[Tensor, tuple[int, int]]:
    """im2col: `(members, batch * outputs, taps * channels)`, and height and width of the outputs.

    A kernel of one tap that looks at every pixel needs no copy.
    """
    pixels = x.permute(0, 2, 3, 1)
    if any(pads):
        left, right, top, bottom = pads
        pixels = F.pad(pixels, (0, 0, left, right, top, bottom))
    pixels = pixels.contiguous()
    batch, height, width, channels = pixels.shape
    channels //= members
    tall, wide = kernel
    down, across = (height - tall) // stride[0] + 1, (width - wide) // stride[1] + 1
    image, row, pixel, _ = pixels.stride()
    seen = pixels.as_strided(
        (members, batch, down, across, tall, wide, channels),
        (channels, image, row * stride[0], pixel * stride[1], row, pixel, 1),
    )
    return seen.reshape(members, batch * down * across, tall * wide * channels), (down, across)


def _as_matrices(weight: Tensor, members: int) -> Tensor:
    """`(members, outputs, taps * inputs)`; a view where the weight is channels last in memory."""
    return weight.permute(0, 2, 3, 1).reshape(members, len(weight) // members, -1)


def _rows(maps: Tensor, members: int) -> Tensor:
    """`(members, pixels of all images, channels)`; a view where maps are channels last."""
    pixels = maps.permute(0, 2, 3, 1).reshape(-1, members, maps.shape[1] // members)
    return pixels.transpose(0, 1)
