"""The losses against numbers worked by hand, and against the formulas written out slowly."""

from __future__ import annotations

import math

import pytest
import torch

from trainables.tasks import shanghaitech
from trainables.tasks.crowd_losses import (
    BACKGROUND,
    OT_BLUR,
    OT_ROUNDS,
    OT_WEIGHT,
    TV_WEIGHT,
    bayesian,
    dm_count,
    huber,
    posterior,
    transport,
)


def heads(*at: tuple[float, float], sigma: float = 8.0, most: int = 6) -> torch.Tensor:
    held = torch.zeros(1, most, 4)
    for row, (x, y) in enumerate(at):
        held[0, row] = torch.tensor([x, y, sigma, 1.0])
    return held


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def slow_bayesian(output, at, sigma, stride):
    """The paper's sums, one head and one cell at a time."""
    height, width = output.shape
    expected, ground = [0.0] * len(at), 0.0
    away = BACKGROUND * stride * max(height, width)
    for i in range(height):
        for j in range(width):
            y, x = (i + 0.5) * stride - 0.5, (j + 0.5) * stride - 0.5
            far = [math.hypot(x - px, y - py) for px, py in at]
            likely = [math.exp(-(d**2) / (2 * sigma**2)) for d in far]
            empty = math.exp(-((away - min(far)) ** 2) / (2 * sigma**2))
            for n, value in enumerate(likely):
                expected[n] += value / (sum(likely) + empty) * float(output[i, j])
            ground += empty / (sum(likely) + empty) * float(output[i, j])
    return sum(abs(1 - value) for value in expected) + abs(ground)


def test_bayesian_is_the_papers_sums():
    at = [(3.0, 9.5), (20.0, 18.0), (20.5, 18.0), (30.0, 2.0)]
    output = noise(1, 4, 5)
    found = bayesian(output, heads(*at), 8)
    assert float(found) == pytest.approx(slow_bayesian(output[0], at, 8.0, 8), rel=1e-5)


def test_bayesian_by_hand():
    """Two cells of 8 px, a head in the middle of the first, sigma 8, the background 2.4 px away.

    Squared distances of the first cell: 0 to the head, 2.4^2 to the background; of the second:
    8^2 and 5.6^2. Each over 2 * 64.
    """
    near = 1 / (1 + math.exp(-(2.4**2) / 128))
    far = math.exp(-64 / 128) / (math.exp(-64 / 128) + math.exp(-(5.6**2) / 128))
    output = torch.tensor([[[0.9, 0.3]]])
    on_head = near * 0.9 + far * 0.3
    wanted = abs(1 - on_head) + (1.2 - on_head)
    assert float(bayesian(output, heads((3.5, 3.5)), 8)) == pytest.approx(wanted, rel=1e-5)


def test_a_posterior_is_a_share_and_padding_has_none():
    given = posterior(heads((3.0, 3.0), (12.0, 9.0)), 4, 4, 8)
    assert given.sum(1).flatten().tolist() == pytest.approx([1.0] * 16)
    assert given[:, 2:6].count_nonzero() == 0
    assert torch.isfinite(posterior(heads((1.0, 1.0), sigma=0.1), 40, 40, 8)).all()


def test_bayesian_without_heads_counts_all_as_background():
    output = noise(1, 4, 4).requires_grad_()
    value = bayesian(output, heads(), 8)
    assert float(value.detach()) == pytest.approx(float(output.sum().detach()), rel=1e-5)
    value.backward()
    assert torch.allclose(output.grad, torch.ones_like(output))


def test_bayesian_is_a_mean_over_the_batch():
    output = noise(2, 4, 4)
    both = torch.cat([heads((3.0, 3.0)), heads((20.0, 7.0), (2.0, 30.0))])
    each = [float(bayesian(output[n : n + 1], both[n : n + 1], 8)) for n in range(2)]
    assert float(bayesian(output, both, 8)) == pytest.approx(sum(each) / 2, rel=1e-5)


def slow_transport(source, target, stride):
    """Sinkhorn on every pair of cells, in double precision: dual objective and potential."""
    height, width = source.shape
    at = [((i + 0.5) * stride, (j + 0.5) * stride) for i in range(height) for j in range(width)]
    place = torch.tensor(at, dtype=torch.float64)
    cost = torch.cdist(place, place) ** 2
    a, b = source.double().flatten(), target.double().flatten()
    log_a, log_b = a.clamp(min=1e-16).log(), b.clamp(min=1e-16).log()
    f = g = torch.zeros_like(a)
    for _ in range(OT_ROUNDS):
        g = -torch.logsumexp(-cost / OT_BLUR + (f + log_a)[:, None], 0)
        f = -torch.logsumexp(-cost / OT_BLUR + (g + log_b)[None, :], 1)
    return float(OT_BLUR * (f @ a + g @ b)), OT_BLUR * f.view(height, width)


def normed(field):
    return field / field.sum()


def test_transport_by_axes_is_transport_between_all_cells():
    source, target = normed(noise(5, 7)), normed((noise(5, 7, seed=1) > 0.7).float())
    value, potential = transport(source[None], target[None], 8)
    slow, expected = slow_transport(source, target, 8)
    assert float(value) == pytest.approx(slow, rel=1e-4)
    assert torch.allclose(potential[0].double(), expected, rtol=1e-3, atol=0.05)


def test_transport_by_hand():
    """All in one cell, wanted 3 cells right and 1 down: 24^2 + 8^2 px^2."""
    source, target = torch.zeros(1, 4, 5), torch.zeros(1, 4, 5)
    source[0, 1, 1], target[0, 2, 4] = 1, 1
    assert float(transport(source, target, 8)[0]) == pytest.approx(24**2 + 8**2, rel=1e-3)
    assert float(transport(source, source, 8)[0]) == pytest.approx(0, abs=1e-2)


def test_dm_count_is_the_papers_terms():
    output, dots = 0.3 * noise(2, 5, 6), (noise(2, 5, 6, seed=1) > 0.8).float()
    wanted = 0.0
    for made, truth in zip(output, dots, strict=True):
        total, count = float(made.sum()), float(truth.sum())
        apart = 0.5 * float((normed(made) - normed(truth)).abs().sum())
        cost = slow_transport(normed(made), normed(truth), 8)[0]
        wanted += abs(total - count) + OT_WEIGHT * cost + TV_WEIGHT * count * apart
    assert float(dm_count(output, dots, 8)) == pytest.approx(wanted / 2, rel=1e-4)


def test_dm_counts_gradient_is_the_papers():
    """b / |z'| - <b, z'> / |z'|^2 of the transport, with the dual potential b."""
    output = (0.3 * noise(1, 4, 5)).requires_grad_()
    dots = (noise(1, 4, 5, seed=1) > 0.8).float()
    dm_count(output, dots, 8).backward()
    made = output.detach()[0].double()
    total, count = float(made.sum()), float(dots.sum())
    potential = slow_transport(normed(made), normed(dots[0].double()), 8)[1]
    carried = potential / total - float((potential * made).sum()) / total**2
    sign = torch.sign(normed(made) - normed(dots[0].double())) / 2
    apart = count * (sign / total - float((sign * made).sum()) / total**2)
    expected = math.copysign(1, total - count) + OT_WEIGHT * carried + TV_WEIGHT * apart
    assert torch.allclose(output.grad[0].double(), expected, rtol=1e-3, atol=1e-2)


def test_dm_count_without_heads_compares_the_count_alone():
    output = noise(1, 4, 4)
    found = dm_count(output, torch.zeros(1, 4, 4), 8)
    assert float(found) == pytest.approx(float(output.sum()), rel=1e-6)


@pytest.mark.parametrize("cell", [0.0, 1e-12, 1e-6, 5e-4])
def test_dm_counts_gradient_is_bounded_where_nearly_nothing_is_predicted(cell):
    """A map of nearly no heads has no shape: the count alone pulls it up, by one a cell."""
    output, dots = torch.full((1, 4, 4), cell).requires_grad_(), torch.zeros(1, 4, 4)
    dots[0, 1, 2] = 3.0
    found = dm_count(output, dots, 8)
    assert found.item() == pytest.approx(3 - 16 * cell)
    (steep,) = torch.autograd.grad(found, output)
    assert torch.equal(steep, -torch.ones_like(steep))


def test_huber_by_hand():
    """Errors of 3, -1/2, 0 and 0: cells (5/2 + 1/8) / 4, the count 5/2 / 4; and a map without."""
    target = torch.zeros(2, 2, 2)
    output = torch.tensor([[[3.0, -0.5], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert float(huber(output, target)) == pytest.approx((2.625 + 2.5) / 4 / 2)


def test_huber_is_its_sums_and_its_gradient_is_bounded():
    output, target = 4 * noise(3, 5, 7).requires_grad_(), 4 * noise(3, 5, 7, seed=1)
    wrong = (output - target).detach().double().reshape(3, -1)
    cells = [d * d / 2 if abs(d) < 1 else abs(d) - 0.5 for d in wrong.flatten().tolist()]
    counts = [abs(float(row.sum())) / 35 for row in wrong]
    found = huber(output, target)
    assert float(found) == pytest.approx(sum(cells) / 105 + sum(counts) / 3, rel=1e-5)
    (steep,) = torch.autograd.grad(found, output)
    assert float(steep.abs().max()) <= 2 / 105 + 1e-6  # however far off a dense crop is


@pytest.mark.parametrize("kind", ["mse", "dice", "huber", "bayesian", "dm"])
def test_a_loss_of_the_task_is_in_heads_whatever_the_density_scale(kind, complete):
    """Those that are in heads do not hang on the scale; all are finite."""
    found = []
    for scale in (1.0, 100.0):
        changed = {"head": "conv", "loss": kind, "density_scale": scale}
        config = complete("shanghaitech", **changed)
        output = (scale * noise(1, 4, 4)).requires_grad_()
        dots = torch.zeros(1, 4, 4)
        dots[0, 1, 2] = scale
        target = heads((20.0, 11.0)) if kind == "bayesian" else dots
        value, sums = shanghaitech.loss(output, target, config)
        value.backward()
        assert torch.isfinite(output.grad).all()
        assert sums == {}
        found.append(value.item())
    if kind in ("huber", "bayesian", "dm"):
        assert found[0] == pytest.approx(found[1], rel=1e-4)
