"""Several networks of one shape as one, on the same weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainables.kernels.array_layers import ArrayConv, ArrayLinear
from trainables.kernels.small_maps import SmallMapConv


def joined(nets: Sequence[nn.Module]) -> nn.Module:
    """One network that computes what all of these do, side by side.

    Its parameters and running statistics are new tensors; those of `nets` become parts of them, in
    place: what trains one trains the other, and optimizers go on with the parameters they have. It
    counts no batches; each of `nets` has a counter of its own.

    Args:
        nets: of one shape, on one device; see `fits.why_not_joined`.

    Returns:
        In training mode: `(batch, 3, height, width)`, or the inputs of each side by side `(batch,
        nets * 3, height, width)`, to `(nets, batch, outputs)`.
    """
    first = nets[0]
    shared = {id(held): held for held in [*first.parameters(), *first.buffers()]}
    joint = copy.deepcopy(first, shared)
    for name, layer in first.named_modules():
        make = FORMS.get(type(layer))
        if make is not None:
            joint.set_submodule(name, make([net.get_submodule(name) for net in nets]))
    return joint.train()


def _conv(layers: Sequence[Any]) -> nn.Module:
    first = layers[0]
    if isinstance(first, SmallMapConv):
        pads = first.pads
    else:
        down, across = first.padding
        pads = (across, across, down, down)
    return ArrayConv(_parameter(layers, "weight"), len(layers), first.stride, pads)


def _linear(layers: Sequence[Any]) -> nn.Module:
    bias = None if layers[0].bias is None else _parameter(layers, "bias")
    return ArrayLinear(_parameter(layers, "weight"), bias, len(layers))


def _norm(layers: Sequence[Any]) -> nn.Module:
    """A stock layer of as many channels as all have: no channel knows of another."""
    first = layers[0]
    norm = nn.BatchNorm2d(0, first.eps, first.momentum)
    norm.num_features = len(layers) * first.num_features
    norm.weight, norm.bias = _parameter(layers, "weight"), _parameter(layers, "bias")
    norm.running_mean = _side_by_side(layers, "running_mean")
    norm.running_var = _side_by_side(layers, "running_var")
    norm.num_batches_tracked = None
    return norm


FORMS: dict[type[nn.Module], Callable[[Sequence[Any]], nn.Module]] = {
    nn.Conv2d: _conv,
    SmallMapConv: _conv,
    nn.Linear: _linear,
    nn.BatchNorm2d: _norm,
}


def _parameter(layers: Sequence[nn.Module], name: str) -> nn.Parameter:
    return nn.Parameter(_side_by_side(layers, name))


@torch.no_grad()
def _side_by_side(layers: Sequence[nn.Module], name: str) -> Tensor:
    """What layers hold under a name, one after another along dimension 0; theirs are parts of it.

    In the layout that each has: the fused optimizers want it like that of their state.
    """
    held: list[Tensor] = [getattr(layer, name) for layer in layers]
    first = held[0]
    whole = first.new_empty(len(held) * first.numel())
    parts = whole.as_strided((len(held), *first.shape), (first.numel(), *first.stride()))
    for tensor, part in zip(held, parts, strict=True):
        part.copy_(tensor)
        tensor.data = part
    return parts.view(-1, *first.shape[1:])
