"""torchvision's ResNet and its blocks, each BatchNorm one with the addition and ReLU after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from trainables.kernels.fused_norm import normed


def fused_forms(net: nn.Module) -> dict[nn.Module, Callable[[Any, Tensor], Tensor]]:
    """Module of `net` -> the forward to call, with the module, in place of its own.

    Only of networks and blocks whose layers are those that torchvision gives them.
    """
    return {m: FORMS[type(m)] for m in net.modules() if type(m) in FORMS and _as_made(m)}


def _as_made(module: Any) -> bool:
    norms = [held for name, held in module.named_children() if name.startswith("bn")]
    shortcut = getattr(module, "downsample", None)
    if shortcut is not None:
        if type(shortcut) is not nn.Sequential or len(shortcut) != 2:
            return False
        norms.append(shortcut[1])
    return type(module.relu) is nn.ReLU and all(map(_plain_norm, norms))


def _plain_norm(norm: nn.Module) -> bool:
    return (
        type(norm) is nn.BatchNorm2d
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
    )


def _basic_block(block: BasicBlock, x: Tensor) -> Tensor:
    y = normed(block.conv1(x), block.bn1)
    return normed(block.conv2(y), block.bn2, _shortcut(block, x))


def _bottleneck(block: Bottleneck, x: Tensor) -> Tensor:
    y = normed(block.conv1(x), block.bn1)
    y = normed(block.conv2(y), block.bn2)
    return normed(block.conv3(y), block.bn3, _shortcut(block, x))


def _shortcut(block: BasicBlock | Bottleneck, x: Tensor) -> Tensor:
    if block.downsample is None:
        return x
    conv, norm = block.downsample
    return normed(conv(x), norm, relu=False)


def _resnet(net: ResNet, x: Tensor) -> Tensor:
    x = net.maxpool(normed(net.conv1(x), net.bn1))
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        x = layer(x)
    scores: Tensor = net.fc(torch.flatten(net.avgpool(x), 1))
    return scores


FORMS: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
    BasicBlock: _basic_block,
    Bottleneck: _bottleneck,
    ResNet: _resnet,
}
