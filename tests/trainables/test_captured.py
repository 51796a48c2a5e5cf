"""How a network runs inside a capture; the streams themselves need a GPU (test_gpu.py)."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from trainables import captured
from trainables.captured import as_captured, fused_norm_works
from trainables.resnet import backbone
from trainables.small_maps import skip_padding

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


def plain(x, norm, other=None, relu=True):
    y = norm(x) if other is None else norm(x) + other
    return y.relu() if relu else y


@pytest.fixture
def unfused_blocks(monkeypatch):
    """Our blocks with stock layers in them: what is fused is tested in test_fused_norm.py."""
    fused_norm = pytest.importorskip("trainables.fused_norm")
    monkeypatch.setattr(fused_norm, "normed", plain)
    monkeypatch.setattr(captured, "fused_norm_works", lambda _: True)


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("depth", [18, 50])
def test_output_gradients_and_buffers_are_the_stock_network_s(depth, stem, cut, unfused_blocks):
    expected = step(net_of(depth, stem, cut), nullcontext())
    net = net_of(depth, stem, cut)
    found = step(net, as_captured(net, CPU))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=name)


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_where_triton_does_not_work_it_says_so_once_and_why():
    fused_norm_works.cache_clear()
    with pytest.warns(UserWarning, match=r"not fused: Triton does not work here \(\w+: .+\)"):
        assert not fused_norm_works(torch.device("cuda"))
    assert not fused_norm_works(torch.device("cuda"))
    fused_norm_works.cache_clear()
