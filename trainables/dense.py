"""ResNets that keep the place of things: a map for an image of any size, instead of a vector.

What torchvision's segmentation models do with `replace_stride_with_dilation`, which it has for its
Bottleneck blocks alone, for every depth; BatchNorm is trained, kept as it is, or made GroupNorm.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models import ResNet

from trainables.resnet import backbone

Norm = Literal["trained", "frozen", "group"]
GROUPS = 32  # of channels, as in Wu and He 2018
STRIDES = (8, 16)  # of maps, px
LAST_LAYERS = (3, 4)


class MapNet(nn.Module):
    """A ResNet without pooling, from `conv1` to its last layer, and a head on its map.

    Names of parameters are torchvision's; the head is `fc`.

    Args:
        body: its layers are taken over.
        last: number of the last layer, 3 or 4.
        head: on the map of that layer.
        frozen: BatchNorm keeps its statistics and its affine parameters, in training too.
    """

    def __init__(self, body: ResNet, last: int, head: nn.Module, frozen: bool = False) -> None:
        super().__init__()
        self._layers = ("conv1", "bn1", "relu", "maxpool", *(f"layer{n + 1}" for n in range(last)))
        for name in self._layers:
            self.add_module(name, getattr(body, name))
        self.fc = head
        norms = [m for m in self.modules() if isinstance(m, nn.BatchNorm2d)]
        self._frozen = tuple(norms) if frozen else ()
        for norm in self._frozen:
            norm.requires_grad_(False)

    def train(self, mode: bool = True) -> MapNet:
        """As ever, but frozen BatchNorms stay in evaluation."""
        super().train(mode)
        for norm in self._frozen:
            norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Images `(batch, 3, height, width)` to what the head makes of their map.

        The map is `(batch, channels, h, w)`; h and w are height and width over the stride,
        rounded up.
        """
        for name in self._layers:
            x = self.get_submodule(name)(x)
        made: Tensor = self.fc(x)
        return made


def map_net(
    depth: int,
    head: Callable[[int], nn.Module],
    stride: int = 8,
    last: int = 3,
    norm: Norm = "trained",
    weights: Path | None = None,
) -> MapNet:
    """A torchvision ResNet as a MapNet.

    Args:
        depth: 18 to 152.
        head: called with the number of the map's channels, returns the module on it.
        stride: of the map, 8 or 16 px; layers that would go beyond it are dilated instead.
        last: the last layer, 3 or 4.
        norm: see MapNet; "group" is GroupNorm, which starts with BatchNorm's affine parameters.
        weights: see `backbone`.

    Raises:
        WeightsError: see `backbone`.
    """
    body = backbone(depth, lambda _: nn.Identity(), "imagenet", weights)
    reached, dilation = 8, 1
    for number in range(3, last + 1):
        if reached == stride:
            dilate(getattr(body, f"layer{number}"), dilation)
            dilation *= 2
        else:
            reached *= 2
    if norm == "group":
        _to_groups(body)
    block: Any = getattr(body, f"layer{last}")[-1]
    channels = (block.conv3 if hasattr(block, "conv3") else block.conv2).out_channels
    return MapNet(body, last, head(channels), norm == "frozen")


def dilate(layer: nn.Module, before: int) -> None:
    """Take the stride of two out of a layer, and dilate what follows it by twice as much.

    At every second place the layer's map is then what it was with the stride.

    Args:
        layer: of a ResNet.
        before: dilation of the layer before.
    """
    rate = before  # of the strided convolution, which sees the old grid
    for conv in (m for m in layer.modules() if isinstance(m, nn.Conv2d)):
        conv.stride = (1, 1)
        if conv.kernel_size == (3, 3):
            conv.dilation = conv.padding = (rate, rate)
            rate = 2 * before


@torch.no_grad()
def _to_groups(net: nn.Module) -> None:
    """Put a GroupNorm in every BatchNorm's place."""
    for parent in list(net.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                group = nn.GroupNorm(GROUPS, norm.num_features)
                group.weight.copy_(norm.weight)
                group.bias.copy_(norm.bias)
                setattr(parent, name, group)
