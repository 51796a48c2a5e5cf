"""Another order of adding passes; what is wrong by a thousandth, or lacks a term, does not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.rounding import TERMS, assert_same_sums, gamma, moves, share_of_bound
from trainables.resnet import backbone

pytestmark = pytest.mark.long

DRAW = torch.Generator().manual_seed(0)
TYPES = [torch.float32, torch.float64]


def products(dtype):
    """`(20, terms)`, each row's sum all but cancelled: its last product is minus the others'."""
    held = torch.randn(20, 576, generator=DRAW, dtype=dtype)
    held[:, -1] = -held[:, :-1].sum(1)
    return held


@pytest.mark.parametrize("dtype", TYPES)
def test_any_order_of_adding_passes_also_where_the_terms_cancel(dtype):
    held = products(dtype)
    sizes = held.abs().sum(1)
    one_by_one = torch.stack([held[:, n] for n in range(576)]).cumsum(0)[-1]
    for other in (held.flip(1), held[:, torch.randperm(576, generator=DRAW)]):
        assert share_of_bound(other.sum(1), one_by_one, 576, sizes) < 0.1
        # what came out is itself rounding: a tolerance relative to it would fail
        assert (other.sum(1) - one_by_one).abs().max() > 0.1 * one_by_one.abs().max()


@pytest.mark.parametrize("dtype", TYPES)
def test_a_missing_term_or_a_thousandth_too_much_fails(dtype):
    held = torch.rand(20, 576, generator=DRAW, dtype=dtype) + 0.5
    sizes = held.abs().sum(1)
    assert share_of_bound(held[:, 1:].sum(1), held.sum(1), 576, sizes) > 1
    assert share_of_bound(1.001 * held.sum(1), held.sum(1), 576, sizes) > 1
    with pytest.raises(AssertionError, match=r"it differs by .* times what rounding may"):
        assert_same_sums(held[:, 1:].sum(1), held.sum(1), 576, sizes)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_not_finite_fails(wrong):
    with pytest.raises(AssertionError):
        assert_same_sums(torch.tensor([1.0, wrong]), torch.ones(2), 9)
    with pytest.raises(AssertionError):
        assert_same_sums(torch.ones(2), torch.tensor([1.0, wrong]), 9)


def test_where_nothing_was_summed_nothing_may_differ():
    assert_same_sums(torch.zeros(3), torch.zeros(3), 9)
    with pytest.raises(AssertionError):
        assert_same_sums(torch.tensor([0.0, 1e-30, 0.0]), torch.zeros(3), 9)


def test_gamma_is_higham_s_and_refuses_more_terms_than_a_type_can_add():
    assert gamma(1000, torch.float64) == pytest.approx(1000 * 2.0**-53, rel=1e-9)
    assert gamma(1000, torch.float32) > 1000 * 2.0**-24
    with pytest.raises(AssertionError, match="so many terms"):
        gamma(1000, torch.bfloat16)


def step(net):
    """Four images, whose last maps are one pixel: their BatchNorm multiplies rounding."""
    x = torch.randn(4, 3, 32, 32, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    out = net(x)
    nn.functional.cross_entropy(out, torch.arange(4)).backward()
    return {"out": out.detach(), **{name: p.grad for name, p in net.named_parameters()}}


def wrong_tap(weight):
    weight[3, 2, 0, 1], weight[3, 2, 0, 2] = weight[3, 2, 0, 2].clone(), weight[3, 2, 0, 1].clone()


def missing_tap(weight):
    weight[3, 2, 0, 1] = 0


def a_thousandth(weight):
    weight[3] *= 1.001


@pytest.mark.parametrize("mutation", [wrong_tap, missing_tap, a_thousandth])
@pytest.mark.parametrize("depth", [18, 50])
def test_a_whole_network_with_one_fault_in_one_layer_fails(depth, mutation):
    torch.manual_seed(0)
    net = backbone(depth, lambda n: nn.Linear(n, 10)).double().train()
    nudged, mutant = copy.deepcopy(net), copy.deepcopy(net)
    expected = step(net)
    moved = moves(step, nudged, expected, TERMS)
    with torch.no_grad():
        mutation(mutant.layer2[0].conv2.weight)
    found = step(mutant)
    largest = max(float(value.abs().max()) for value in expected.values())
    shares = {
        name: share_of_bound(found[name], value, TERMS, largest, moved[name])
        for name, value in expected.items()
    }
    # BatchNorm takes a factor on a channel back, but for the gradient of what has it
    assert sum(share > 1 for share in shares.values()) >= (1 if mutation is a_thousandth else 60)
