"""How a network runs inside a capture; the streams themselves need a GPU (test_gpu.py)."""

from __future__ import annotations

import sys
import warnings
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from tests.rounding import TERMS, assert_same_sums, moves
from trainables import find_task
from trainables.engine import captured
from trainables.engine.captured import as_captured, fused_norm_works
from trainables.engine.kit import capture_on, kit_for
from trainables.kernels.small_maps import skip_padding
from trainables.resnet import backbone

pytestmark = pytest.mark.long

CPU = torch.device("cpu")


def net_of(depth, stem="imagenet", cut=True):
    torch.manual_seed(0)
    net = backbone(depth, lambda n: nn.Linear(n, 10), stem).double().train()
    if cut:
        skip_padding(net, 32, 32)
    return net.to(memory_format=torch.channels_last)


def step(net, context):
    """Output, gradients and buffers of one pass."""
    x = torch.randn(4, 3, 32, 32, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    with context as join:
        out = net(x.contiguous(memory_format=torch.channels_last))
        nn.functional.cross_entropy(out, torch.arange(4)).backward()
        if join is not None:
            join()
    return {
        "out": out.detach(),
        **{name: p.grad for name, p in net.named_parameters()},
        **dict(net.named_buffers()),
    }


def stock_step(net):
    return step(net, nullcontext())


def assert_same_step(found, expected, moved):
    assert found.keys() == expected.keys()
    # a bias in front of a BatchNorm has a gradient of 0, which is a sum of such as others have
    largest = max(float(value.abs().max()) for value in expected.values() if value is not None)
    for name, value in expected.items():
        if value is None or not value.is_floating_point():  # batches counted
            assert value is None or torch.equal(found[name], value), name
        else:
            assert_same_sums(found[name], value, TERMS, largest, moved[name], name=name)


def plain(x, norm, other=None, relu=True):
    y = norm(x) if other is None else norm(x) + other
    return y.relu() if relu else y


@pytest.fixture
def unfused_blocks(monkeypatch):
    """Our blocks with stock layers in them: what is fused is tested in test_fused_norm.py."""
    fused_blocks = pytest.importorskip("trainables.kernels.fused_blocks")
    monkeypatch.setattr(fused_blocks, "normed", plain)
    monkeypatch.setattr(captured, "fused_norm_works", lambda _: True)


@pytest.mark.timeout(180)  # depth 50 on whole maps, three times, in double precision
@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("depth", [18, 50])
def test_output_gradients_and_buffers_are_the_stock_network_s(depth, stem, cut, unfused_blocks):
    expected = step(net_of(depth, stem, cut), nullcontext())
    net = net_of(depth, stem, cut)
    found = step(net, as_captured(net, CPU))
    assert_same_step(found, expected, moves(stock_step, net_of(depth, stem, cut), expected, TERMS))


def test_gradients_have_the_layout_of_their_weights():
    """The fused optimizers refuse others."""
    net = net_of(18)
    step(net, as_captured(net, CPU))
    for name, weight in net.named_parameters():
        for size, mine, its in zip(
            weight.shape, weight.grad.stride(), weight.stride(), strict=True
        ):
            assert size == 1 or mine == its, name


def test_under_autocast_gradients_come_in_the_weights_type():
    found = []
    for context in (nullcontext, as_captured):
        net = net_of(18, cut=False).float()
        x = torch.ones(4, 3, 32, 32) * torch.arange(4).view(4, 1, 1, 1)
        with context(*(() if context is nullcontext else (net, CPU))) as join:
            with torch.autocast("cpu", torch.bfloat16):
                out = net(x)
            out.float().square().sum().backward()
            if join is not None:
                join()
        found.append(net.layer1[0].conv1.weight.grad)
    assert found[1].dtype == torch.float32
    torch.testing.assert_close(
        found[1], found[0], rtol=0.1, atol=0.1 * float(found[0].abs().max())
    )


def test_a_frozen_weight_gets_no_gradient():
    net = net_of(18)
    net.conv1.weight.requires_grad_(False)
    assert step(net, as_captured(net, CPU))["conv1.weight"] is None


def test_after_it_the_network_is_as_it_was_also_after_an_error(unfused_blocks):
    net = net_of(18)
    before = [(type(m), set(m.__dict__)) for m in net.modules()]
    with as_captured(net, CPU):
        assert [(type(m), set(m.__dict__)) for m in net.modules()] != before
    assert [(type(m), set(m.__dict__)) for m in net.modules()] == before
    with pytest.raises(RuntimeError, match="capture"), as_captured(net, CPU):
        raise RuntimeError("capture")
    assert [(type(m), set(m.__dict__)) for m in net.modules()] == before


def other_relu(net):
    net.layer2[0].relu = nn.SiLU()


def other_norm(net):
    net.layer3[1].bn1 = nn.GroupNorm(4, 256).double()


def other_shortcut(net):
    net.layer2[0].downsample.append(nn.BatchNorm2d(128).double())


def computed_weight(net):
    conv = net.layer1[0].conv1
    conv.root = nn.Parameter(conv.weight.detach() / 2)
    del conv.weight
    conv.register_forward_pre_hook(lambda conv, _: setattr(conv, "weight", 2 * conv.root))
    conv.weight = 2 * conv.root  # a tensor, no parameter


def used_twice(net):
    net.layer1[1].conv2 = net.layer1[1].conv1


def in_evaluation(net):
    net.layer1.eval()


@pytest.mark.parametrize(
    "change",
    [other_relu, other_norm, other_shortcut, computed_weight, used_twice, in_evaluation],
)
def test_a_network_that_is_not_torchvision_s_own_trains_as_it_would(change, unfused_blocks):
    found = []
    for capture in (False, True):
        net = net_of(18)
        change(net)
        found.append(step(net, as_captured(net, CPU) if capture else nullcontext()))
    net = net_of(18)
    change(net)
    assert_same_step(found[1], found[0], moves(stock_step, net, found[0], TERMS))


def test_a_convolution_s_output_may_be_changed_in_place():
    def fresh():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(inplace=True), nn.Flatten()
        return nn.Sequential(*layers, nn.Linear(4 * 30 * 30, 10)).double().train()

    expected, net = stock_step(fresh()), fresh()
    found = step(net, as_captured(net, CPU))
    assert_same_step(found, expected, moves(stock_step, fresh(), expected, TERMS))


def test_where_triton_is_missing_it_says_so_once_and_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "trainables.kernels.fused_norm", None)
    fused_norm_works.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert not fused_norm_works(torch.device("cuda"))
        assert not fused_norm_works(torch.device("cuda"))
    fused_norm_works.cache_clear()
    assert len(said) == 1
    message = str(said[0].message)
    assert "not fused: Triton does not work" in message
    assert "ModuleNotFoundError: import of trainables.kernels.fused_norm halted" in message


def test_on_a_cpu_nothing_of_it_runs(complete):
    """No step is captured there: kernels of Triton's and a second stream are a GPU's alone."""
    config = complete("cifar10", precision="fp32", cuda_graph=True)
    task = find_task("cifar10")
    kit = kit_for(task, config, CPU, task.network(config, None))
    assert (kit.graphed, kit.step.how, capture_on(CPU, config)) == (False, "eager", None)
    assert not fused_norm_works(CPU)
    assert captured._beside(CPU) is None
