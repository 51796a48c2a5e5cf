"""Layers of an array against those of its members, one by one, forward and backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.kernels.array_layers import ArrayConv, ArrayLinear
from trainables.kernels.small_maps import SmallMapConv

MEMBERS, BATCH, INPUTS, OUTPUTS = 3, 4, 5, 6

# kernel, stride, padding, side: as in ResNets, and maps of a pixel or two
CASES = [(1, 1, 0, 4), (1, 2, 0, 5), (3, 1, 1, 4), (3, 2, 1, 4), (3, 2, 1, 5), (7, 2, 3, 9)]
SMALL = [(3, 1, 1, 1), (3, 2, 1, 2), (3, 1, 1, 2), (1, 2, 0, 2)]


def gradients(y: Tensor, of: list[Tensor]) -> list[Tensor]:
    weights = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(7))
    return list(torch.autograd.grad((y * weights).sum(), of))


def side_by_side(held: list[Tensor]) -> Tensor:
    return torch.cat([t.detach() for t in held], 1).requires_grad_()


def convolutions(kernel: int, stride: int, padding: int) -> list[nn.Conv2d]:
    torch.manual_seed(0)
    made = [nn.Conv2d(INPUTS, OUTPUTS, kernel, stride, padding, bias=False) for _ in "abc"]
    return [conv.double() for conv in made]


def array_of(convs: list[nn.Conv2d] | list[SmallMapConv], layout: torch.memory_format) -> Any:
    weight = torch.cat([conv.weight.detach() for conv in convs]).contiguous(memory_format=layout)
    first = convs[0]
    pads = first.pads if isinstance(first, SmallMapConv) else (int(first.padding[0]),) * 4
    return ArrayConv(nn.Parameter(weight), MEMBERS, first.stride, pads)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("case", CASES + SMALL)
@pytest.mark.parametrize("small", [False, True])
def test_convolutions_of_an_array_are_those_of_its_members(case, layout, small):
    kernel, stride, padding, side = case
    convs: Any = convolutions(kernel, stride, padding)
    if small:
        convs = [SmallMapConv(conv, side, side) for conv in convs]
    array = array_of(convs, layout)
    xs = [torch.randn(BATCH, INPUTS, side, side).double().requires_grad_() for _ in convs]
    x = side_by_side(xs)
    ys = [conv(held) for conv, held in zip(convs, xs, strict=True)]
    y = array(x.contiguous(memory_format=layout))
    torch.testing.assert_close(y, torch.cat(ys, 1))
    dx, dweight = gradients(y, [x, array.weight])
    alone = gradients(torch.cat(ys, 1), [*xs, *(conv.weight for conv in convs)])
    torch.testing.assert_close(dx, torch.cat(alone[:MEMBERS], 1))
    torch.testing.assert_close(dweight, torch.cat(alone[MEMBERS:]))


def test_maps_that_all_members_share_are_given_once():
    convs = convolutions(7, 2, 3)
    array = array_of(convs, torch.channels_last)
    x = torch.randn(BATCH, INPUTS, 9, 9).double()
    y = array(x)
    torch.testing.assert_close(y, torch.cat([conv(x) for conv in convs], 1))
    torch.testing.assert_close(y, array(torch.cat([x, x, x], 1)))


@pytest.mark.parametrize("bias", [False, True])
def test_linear_layers_of_an_array_are_those_of_its_members(bias):
    layers = [nn.Linear(INPUTS, OUTPUTS, bias).double() for _ in range(MEMBERS)]
    weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]))
    held = nn.Parameter(torch.cat([layer.bias.detach() for layer in layers])) if bias else None
    xs = [torch.randn(BATCH, INPUTS).double() for _ in layers]
    y = ArrayLinear(weight, held, MEMBERS)(torch.cat(xs, 1))
    alone = [layer(x) for layer, x in zip(layers, xs, strict=True)]
    torch.testing.assert_close(y, torch.stack(alone))


def test_under_autocast_products_are_of_halves_and_gradients_whole():
    array = array_of(convolutions(3, 1, 1), torch.channels_last).float()
    x = torch.randn(BATCH, MEMBERS * INPUTS, 4, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = array(x)
    assert y.dtype == torch.bfloat16
    dx, dweight = torch.autograd.grad(y.float().sum(), [x, array.weight])
    assert dx.dtype == dweight.dtype == torch.float32


def test_nothing_of_a_member_reaches_another():
    array = array_of(convolutions(3, 2, 1), torch.channels_last)
    x = torch.randn(BATCH, MEMBERS * INPUTS, 5, 5).double()
    results = []
    for broken in (False, True):
        held = x.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
        with torch.no_grad():
            for values in (held[:, INPUTS : 2 * INPUTS], array.weight[OUTPUTS : 2 * OUTPUTS]):
                values[:] = torch.nan if broken else 1.0
        y = array(held)
        results.append([y, *gradients(y, [held, array.weight])])
    for whole, hurt in zip(*results, strict=True):
        at = 1 if len(whole) == BATCH else 0
        parts = zip(whole.chunk(MEMBERS, at), hurt.chunk(MEMBERS, at), strict=True)
        for number, (one, other) in enumerate(parts):
            assert torch.equal(one, other) == (number != 1)
