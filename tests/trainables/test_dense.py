"""ResNets that keep place: dilation, norms, names, any size."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import resnet18, resnet50
from torchvision.models.feature_extraction import create_feature_extractor

from trainables.dense import dilate, map_net
from trainables.errors import WeightsError


def bare(_: int) -> nn.Module:
    return nn.Identity()


def seeded_net(depth: int, **changed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return map_net(depth, bare, **changed).eval()


def images(height: int, width: int, count: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference, as a share of the largest value."""
    assert one.shape == other.shape
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize("depth", [18, 50])
@torch.no_grad()
def test_a_dilated_layer_is_the_strided_one_at_every_second_place(depth):
    """Weights are the same, so the map at half the stride holds the old one among its cells."""
    x = images(72, 88)
    coarse = seeded_net(depth, stride=16, last=3)(x)
    fine = seeded_net(depth, stride=8, last=3)(x)
    assert fine.shape[2:] == (9, 11)
    assert far(fine[:, :, ::2, ::2], coarse) < 1e-4


@torch.no_grad()
def test_two_dilated_layers_are_torchvisions():
    own = seeded_net(50, stride=8, last=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stock = resnet50(replace_stride_with_dilation=[False, True, True]).eval()
    stock.load_state_dict({**stock.state_dict(), **own.state_dict()})
    kept = create_feature_extractor(stock, ["layer4"])
    x = images(64, 48)
    assert far(own(x), kept(x)["layer4"]) < 1e-4


@pytest.mark.parametrize(
    ("stride", "last", "size"),
    [(8, 3, (8, 13)), (8, 4, (8, 13)), (16, 3, (4, 7)), (16, 4, (4, 7))],
)
@torch.no_grad()
def test_a_map_has_the_asked_stride_at_any_size(stride, last, size):
    assert seeded_net(18, stride=stride, last=last)(images(61, 97)).shape[2:] == size


def test_a_block_is_dilated_from_its_strided_convolution_on():
    layer = resnet18().layer3
    dilate(layer, 1)
    rates = [m.dilation[0] for m in layer.modules() if getattr(m, "kernel_size", 0) == (3, 3)]
    assert rates == [1, 2, 2, 2]


def test_frozen_norms_change_neither_statistics_nor_parameters_in_training():
    net = seeded_net(18, norm="frozen").train()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    before = {name: value.clone() for name, value in net.state_dict().items() if "bn" in name}
    assert norms
    assert net.training
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    net(images(64, 64, 2)).square().mean().backward()
    optimizer.step()
    after = net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    trained = seeded_net(18, norm="trained").train()
    trained(images(64, 64, 2))
    assert not torch.equal(trained.bn1.running_mean, torch.zeros(64))


def test_group_norm_stands_where_batchnorm_stood_and_does_not_hang_on_the_batch():
    net = seeded_net(18, norm="group").train()
    assert not [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    x = images(64, 64, 3)
    assert torch.allclose(net(x)[:1], net(x[:1]), atol=1e-4)


def test_pretrained_weights_come_in_by_the_same_route(tmp_path):
    """The file is torchvision's; a file of another depth is refused as in classification."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        stock = resnet18()
    torch.save(stock.state_dict(), tmp_path / "resnet18.pth")
    net = map_net(18, bare, weights=tmp_path / "resnet18.pth", last=4, norm="frozen")
    held = stock.state_dict()
    assert all(torch.equal(value, held[name]) for name, value in net.state_dict().items())
    assert {*net.state_dict()} == {name for name in held if not name.startswith("fc.")}
    with pytest.raises(WeightsError, match="ResNet-18"):
        map_net(34, bare, weights=tmp_path / "resnet18.pth")
