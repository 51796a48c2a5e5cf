from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.rounding import assert_same_sums
from trainables.tasks.density import density_map

KERNELS = ("gaussian", "disc")

sides = st.integers(1, 70)
sigmas = st.sampled_from([0.3, 1.0, 4.0, 15.0, 23.5, 60.0])
# a map is scaled by a sum over up to 70 x 70 pixels: the root of so many, as rounding is random
MOST = 70
numbers = st.one_of(st.floats(-90, 150, width=32), st.integers(-2, 71).map(float))
heads = st.lists(st.tuples(numbers, numbers), max_size=12)
properties = settings(max_examples=60, deadline=None)


def points(*at: tuple[float, float]) -> Tensor:
    return torch.tensor(at, dtype=torch.float32).reshape(-1, 2)


@pytest.mark.parametrize("kernel", KERNELS)
@properties
@given(at=heads, repeats=st.integers(1, 3), height=sides, width=sides, sigma=sigmas)
def test_density_map_sums_to_the_number_of_heads(kernel, at, repeats, height, width, sigma):
    crowd = points(*at * repeats)
    field = density_map(crowd, height, width, sigma, kernel)
    assert field.shape == (height, width)
    assert field.dtype == torch.float32
    assert float(field.double().sum()) == pytest.approx(len(crowd), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
@properties
@given(at=heads, height=sides, width=sides, sigma=sigmas)
def test_density_map_is_nowhere_negative_and_finite(kernel, at, height, width, sigma):
    field = density_map(points(*at), height, width, sigma, kernel)
    assert bool(torch.isfinite(field).all())
    assert float(field.min()) >= 0


@pytest.mark.parametrize("kernel", KERNELS)
@properties
@given(at=heads, height=sides, width=sides, weight=st.sampled_from([0.5, 2.0, 1024.0]))
def test_a_heads_weight_is_a_factor_on_the_map(kernel, at, height, width, weight):
    plain = density_map(points(*at), height, width, 4.0, kernel)
    weighed = density_map(points(*at), height, width, 4.0, kernel, weight)
    assert_same_sums(weighed, plain * weight, MOST)


@pytest.mark.parametrize("kernel", KERNELS)
def test_density_map_holds_a_crowd_as_dense_as_part_a(kernel):
    at = torch.rand(3_000, 2, generator=torch.Generator().manual_seed(0)) * 512
    field = density_map(at, 512, 512, 15.0, kernel)
    assert float(field.double().sum()) == pytest.approx(3_000, rel=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
@properties
@given(
    at=st.lists(st.tuples(st.integers(-5, 60), st.integers(-5, 60)), max_size=8),
    height=sides,
    width=sides,
    sigma=sigmas,
)
def test_density_map_of_mirrored_heads_is_the_mirrored_map(kernel, at, height, width, sigma):
    field = density_map(points(*at), height, width, sigma, kernel)
    mirrored = points(*((width - 1 - x, y) for x, y in at))
    assert_same_sums(density_map(mirrored, height, width, sigma, kernel), field.flip(1), MOST)
    upside_down = points(*((x, height - 1 - y) for x, y in at))
    assert_same_sums(density_map(upside_down, height, width, sigma, kernel), field.flip(0), MOST)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("outside", "border"),
    [((-7, 5), (0, 5)), ((31, -0.6), (31, 0)), ((99, 20), (39, 20)), ((-1, 400), (0, 29))],
)
def test_density_map_counts_a_point_outside_at_the_nearest_border_pixel(kernel, outside, border):
    torch.testing.assert_close(
        density_map(points(outside), 30, 40, 2.0, kernel),
        density_map(points(border), 30, 40, 2.0, kernel),
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_density_map_takes_points_as_x_then_y(kernel):
    field = density_map(points((30, 10)), 40, 50, 2.0, kernel)
    assert divmod(int(field.argmax()), 50) == (10, 30)


@pytest.mark.parametrize("kernel", KERNELS)
def test_density_map_counts_a_point_at_its_nearest_pixel(kernel):
    field = density_map(points((29.6, 10.4)), 40, 50, 2.0, kernel)
    assert divmod(int(field.argmax()), 50) == (10, 30)


def test_gaussian_kernel_has_the_gaussians_values_far_from_borders():
    field = density_map(points((100, 100)), 201, 201, 15.0)
    peak = 1 / (2 * math.pi * 15**2)
    assert float(field[100, 100]) == pytest.approx(peak, rel=1e-3)
    assert float(field[100, 115]) == pytest.approx(peak * math.exp(-0.5), rel=1e-3)
    assert float(field[130, 115]) == pytest.approx(peak * math.exp(-2.5), rel=1e-3)


def test_gaussian_kernel_keeps_every_head_whole_where_the_disc_shares_the_loss():
    """A head in the corner counts one; the report rescaled the map, so there it counts less."""
    corner, middle = (0, 0), (150, 150)
    whole = density_map(points(corner, middle), 300, 300, 15.0, "gaussian")
    assert float(whole[:75, :75].sum()) == pytest.approx(1, abs=1e-4)
    shared = density_map(points(corner, middle), 300, 300, 15.0, "disc")
    near_corner, near_middle = float(shared[:75, :75].sum()), float(shared[75:, 75:].sum())
    assert near_corner + near_middle == pytest.approx(2, rel=1e-4)
    # the corner keeps a quarter of a disc and half of each of the two axes through its centre
    assert 0.25 < near_corner / near_middle < 0.30


def test_disc_kernel_reaches_19_px_at_sigma_15():
    """The report's cut: 2-D density below 3e-4, which is 19.6 px from the head."""
    field = density_map(points((50, 50)), 101, 101, 15.0, "disc")
    for dy, dx in ((0, 19), (19, 0), (13, 14), (-14, -13), (0, -19)):
        assert field[50 + dy, 50 + dx] > 0
    for dy, dx in ((0, 20), (20, 0), (14, 14), (-14, 14), (19, 6)):
        assert field[50 + dy, 50 + dx] == 0


def test_disc_kernel_keeps_58_percent_of_the_gaussian_at_sigma_15():
    """Normalised to one head, its peak is higher than the Gaussian's by 1 / 0.58."""
    disc = density_map(points((50, 50)), 101, 101, 15.0, "disc")
    assert 1 / (2 * math.pi * 15**2) / float(disc[50, 50]) == pytest.approx(0.576, abs=0.006)
    assert float(disc[50, 65] / disc[50, 50]) == pytest.approx(math.exp(-0.5), rel=1e-4)


def test_disc_kernel_wider_than_its_cut_is_a_single_dot():
    field = density_map(points((4, 6)), 20, 20, 30.0, "disc")  # its peak, 1.8e-4, is below the cut
    assert float(field[6, 4]) == 1
    assert int((field > 0).sum()) == 1
