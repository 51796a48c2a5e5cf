"""On a GPU the compiled kernels; elsewhere the same ones in Triton's interpreter."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

pytest.importorskip("triton", reason="Triton comes with PyTorch's CUDA builds only")

from tests.rounding import assert_same_sums, nudge
from tests.trainables.kernels.gpu_compile import sizes_of_binaries
from trainables.kernels import fused_norm, norm_kernels
from trainables.kernels.fused_norm import Plan, normed, plan_of

pytestmark = pytest.mark.long

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
MAPS = [(8, 24, 1), (5, 16, 2), (3, 40, 9)]  # images, channels, side


def random_maps(images, channels, side, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(images, channels, side, side, generator=generator) * 3 + 5
    return maps.to(DEVICE).to(memory_format=torch.channels_last)


def random_norm(channels):
    norm = nn.BatchNorm2d(channels, eps=0.5, momentum=0.2).to(DEVICE)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    return norm


def stock(x, norm, other=None, relu=True):
    y = norm(x) if other is None else norm(x) + other
    return y.relu() if relu else y


def everything(function, norm, x, other, dy, relu):
    """Output, gradients of all inputs, and the buffers after."""
    x = x.clone().requires_grad_()
    other = None if other is None else other.clone().requires_grad_()
    y = function(x, norm, other, relu)
    y.backward(dy)
    gradients = [
        norm.weight.grad,
        norm.bias.grad,
        x.grad,
        *([] if other is None else [other.grad]),
    ]
    return [y.detach(), *gradients, *norm.buffers()]


def exactly(norm, x, other, dy, relu):
    """What the stock layers give in double precision, and how far rounding moves each of it.

    A statistic sums over all rows, and so does the gradient of what was normalised with it; the
    sums cancel, so how far is looked up by moving inputs and weights as rounding moves them.
    """
    rows = x.numel() // x.shape[1]
    inputs = [held.double() for held in (x, dy, *([] if other is None else [other]))]
    results = []
    for moved in (False, True):
        exact, held = copy.deepcopy(norm).double(), [t.clone() for t in inputs]
        if moved:
            nudge([*held, *exact.parameters()], rows, torch.float32)
        third = None if other is None else held[2]
        results.append(everything(stock, exact, held[0], third, held[1], relu))
    moves = [float((b.double() - a.double()).abs().max()) for a, b in zip(*results, strict=True)]
    return results[0], moves, rows


def assert_exact_but_for_rounding(found, expected, moves, rows):
    for number, (mine, theirs, move) in enumerate(zip(found, expected, moves, strict=True)):
        assert_same_sums(
            mine, theirs, rows, moved=move, dtype=torch.float32, name=f"result {number}"
        )


def difference(found, expected):
    return max(
        float((a.double() - b.double()).norm() / b.double().norm())
        for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("added", [True, False])
@pytest.mark.parametrize("parts", [False, True], ids=["one program a column", "in parts"])
@pytest.mark.parametrize("maps", MAPS)
def test_it_is_the_stock_layers_one_after_another(monkeypatch, maps, parts, added, relu):
    """Against double precision: output, every gradient, running statistics, batches counted."""
    if parts:
        monkeypatch.setattr(fused_norm, "plan_of", lambda rows: Plan(16, 8, 4, -(-rows // 16)))
    x, other, dy = (random_maps(*maps, seed) for seed in range(3))
    dy = dy - 5  # sums over it would cancel
    norm, other = random_norm(maps[1]), other if added else None
    known = exactly(norm, x, other, dy, relu)
    assert_exact_but_for_rounding(everything(normed, norm, x, other, dy, relu), *known)


def test_of_half_precision_the_statistics_are_in_single():
    x, other, dy = (random_maps(8, 24, 2, seed).bfloat16() for seed in range(3))
    norm = random_norm(24)
    expected, moves, rows = exactly(norm, x, other, dy, True)
    found = everything(normed, norm, x, other, dy, True)
    assert found[0].dtype == found[3].dtype == torch.bfloat16
    # one rounding of each value to eight bits, 0.4 % at most, in whatever order it was added up
    assert difference(found[:5], expected[:5]) < 1e-2
    assert_exact_but_for_rounding(found[5:], expected[5:], moves[5:], rows)


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(monkeypatch, wrong, parts):
    """A diverged trial must not go on with a loss that can be believed."""
    if parts:
        monkeypatch.setattr(fused_norm, "plan_of", lambda rows: Plan(16, 8, 4, -(-rows // 16)))
    x, other, dy = (random_maps(8, 24, 2, seed) for seed in range(3))
    x[1, 3, 0, 0] = other[0, 5, 1, 1] = wrong
    norm = random_norm(24)
    twin = copy.deepcopy(norm)
    expected = everything(stock, twin, x, other, dy, True)
    found = everything(normed, norm, x, other, dy, True)
    assert not torch.isfinite(found[0]).all()
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(torch.isfinite(mine), torch.isfinite(theirs))


def test_any_layout_will_do():
    x, other, dy = (random_maps(8, 24, 3, seed).contiguous() for seed in range(3))
    dy = dy[:, :, :1, :1].expand_as(x) - 5
    norm = random_norm(24)
    known = exactly(norm, x, other, dy, True)
    assert_exact_but_for_rounding(everything(normed, norm, x, other, dy, True), *known)


def test_it_updates_the_buffers_once_a_pass_and_counts_unless_somebody_else_does():
    norm = random_norm(16)
    for _ in range(2):
        normed(random_maps(4, 16, 2, 0), norm)
    assert int(norm.num_batches_tracked) == 2
    norm.num_batches_tracked = None
    normed(random_maps(4, 16, 2, 0), norm)


def test_in_evaluation_it_is_the_stock_layer():
    norm = random_norm(16).eval()
    x, other = random_maps(4, 16, 2, 0), random_maps(4, 16, 2, 1)
    torch.testing.assert_close(normed(x, norm, other), stock(x, norm, other), rtol=0, atol=0)


def test_of_the_largest_maps_it_is_the_stock_layer(monkeypatch):
    monkeypatch.setattr(fused_norm, "MOST_ROWS", 15)
    x = random_maps(4, 16, 2, 0)
    found, expected = normed(x, random_norm(16)), stock(x, random_norm(16))
    assert found.grad_fn.name() == expected.grad_fn.name()


def test_a_single_value_a_channel_is_refused_as_pytorch_does():
    x = torch.ones(1, 16, 1, 1, device=DEVICE)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        normed(x, random_norm(16))


@given(st.integers(2, fused_norm.MOST_ROWS), st.integers(1, 4096))
def test_every_row_is_in_one_part_and_the_parts_fit_their_sum(rows, channels):
    plan = plan_of(rows)
    assert plan.rows * (plan.parts - 1) < rows <= plan.rows * plan.parts
    assert plan.rows & (plan.rows - 1) == plan.columns & (plan.columns - 1) == 0
    assert plan.parts <= plan.padded
    assert plan.grid(channels)[0] * plan.columns >= channels


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from trainables.kernels.norm_kernels import KERNELS

flags = {"ADDED": True, "RELU": True, "PARTS": 128, "ROWS": 512, "COLS": 16}
maps = ("x_ptr", "y_ptr", "other_ptr", "dy_ptr", "dx_ptr")
for kernel, of_maps in [(kernel, of) for kernel in KERNELS for of in ("*fp32", "*bf16")]:
    constants = {name: value for name, value in flags.items() if name in kernel.arg_names}
    kind = lambda name: (
        "constexpr" if name in constants else of_maps if name in maps
        else "*fp32" if name.endswith("_ptr")
        else "fp32" if name in ("eps", "momentum") else "i32"
    )
    source = ASTSource(kernel, {name: kind(name) for name in kernel.arg_names}, constants)
    print(len(compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]))
"""


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_that_is_not_here(tmp_path):
    assert len(sizes_of_binaries(COMPILE, tmp_path)) == 2 * len(norm_kernels.KERNELS)
