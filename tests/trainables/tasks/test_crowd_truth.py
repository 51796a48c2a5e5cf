"""Maps in cells: their mass, at borders too, and what follows the scale of a crop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.tasks import shanghaitech
from trainables.tasks.crowd_crops import draw_crop, jittered, pooled, truth_map
from trainables.tasks.crowd_files import Crowd, read_crowd
from trainables.tasks.crowd_settings import sigma_of
from trainables.tasks.crowd_splits import Data, treat_outside
from trainables.tasks.density import adaptive_sigmas, cell_density, density_map

numbers = st.floats(-90, 250, width=32)
crowds = st.lists(st.tuples(numbers, numbers), max_size=12)


def points(*at):
    return torch.tensor(at, dtype=torch.float32).reshape(-1, 2)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=80, deadline=None)
@given(
    at=crowds,
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    stride=st.sampled_from([1, 8, 16]),
    sigma=st.sampled_from([0.0, 0.5, 4.0, 15.0, 300.0]),
)
def test_cells_sum_to_the_number_of_heads_wherever_they_are(at, height, width, stride, sigma):
    field = cell_density(points(*at), height, width, stride, sigma)
    assert field.shape == (-(-height // stride), -(-width // stride))
    assert float(field.min()) >= 0
    assert float(field.double().sum()) == pytest.approx(len(at), abs=1e-4)


def test_a_cell_holds_a_gaussians_integral():
    """One head in the middle of a wide image: cells of 8 px, by the normal distribution."""
    field = cell_density(points((499.5, 499.5)), 1000, 1000, 8, 10.0)
    share = [0.5 * math.erf(edge / 10 / math.sqrt(2)) for edge in (0, 4, 12)]
    # the head lies at 500, in the middle of cell 62, which reaches from 496 to 504
    middle, beside = 2 * (share[1] - share[0]), share[2] - share[1]
    assert float(field[62, 62]) == pytest.approx(middle**2, rel=1e-5)
    assert float(field[62, 63]) == pytest.approx(middle * beside, rel=1e-5)


def test_cells_are_the_pixels_map_pooled():
    """Of the map whose heads lie on pixels, up to the width of a pixel."""
    at = torch.randint(0, 96, (40, 2), generator=seeded(0)).float()
    fine = density_map(at, 96, 96, 6.0)
    coarse = cell_density(at, 96, 96, 8, 6.0)
    assert torch.allclose(pooled(fine, 8), coarse, atol=2e-3)


def test_dots_lie_in_their_cells():
    at = points((0, 0), (7.4, 7.4), (7.6, 0), (20, 12), (20, 12), (999, -50))
    field = cell_density(at, 20, 24, 8)
    assert field.tolist() == [[2, 1, 1], [0, 0, 2], [0, 0, 0]]


def test_adaptive_widths_by_hand():
    """Heads at 0, 10, 30, 60 on a line: 0.3 times the mean distance to the three others."""
    found = adaptive_sigmas(points((0, 0), (10, 0), (30, 0), (60, 0)), 15.0)
    assert found.tolist() == pytest.approx([0.3 * m / 3 for m in (100, 80, 80, 140)], rel=1e-5)
    assert adaptive_sigmas(points((3, 3)), 15.0).tolist() == [15.0]
    assert adaptive_sigmas(points((3, 3), (3, 3)), 15.0).tolist() == [1.0, 1.0]
    assert adaptive_sigmas(points((0, 0), (10, 0)), 15.0).tolist() == pytest.approx([3.0, 3.0])
    assert adaptive_sigmas(points(), 15.0).shape == (0,)


@pytest.mark.parametrize(
    ("head", "chosen", "zoom", "sigma"),
    [
        ("fc", "auto", 0.5, 15.0),
        ("conv", "auto", 0.5, 7.5),
        ("fc", "image", 0.5, 7.5),
        ("conv", "crop", 0.5, 15.0),
        ("conv", "auto", 2.0, 30.0),
    ],
)
def test_sigma_follows_the_scale_of_a_crop_with_the_conv_head(head, chosen, zoom, sigma, complete):
    assert sigma_of(complete("shanghaitech", head=head, sigma_of=chosen), zoom) == sigma


@pytest.mark.parametrize("kernel", ["gaussian", "disc", "adaptive", "dots"])
@pytest.mark.parametrize("head", ["fc", "conv"])
def test_every_kernel_makes_a_map_for_either_head(kernel, head, complete):
    config = complete("shanghaitech", head=head, kernel=kernel, crop=64, density_scale=1.0)
    at = torch.rand(9, 2, generator=seeded(0)) * 64
    made = truth_map(at, 64, 64, config, 1.5, torch.full((9,), 4.0), weight=2.0)
    assert made.shape == ((8, 8) if head == "conv" else (64, 64))
    assert float(made.sum()) == pytest.approx(18, rel=1e-4)


def test_a_batch_of_the_conv_head_has_the_crops_heads_in_cells(complete):
    at = torch.rand(60, 2, generator=seeded(1)) * 90
    image = torch.zeros(3, 90, 120, dtype=torch.uint8)
    data = Data(Crowd(["IMG_1"] * 2, [at, at], [image] * 2), {}, torch.device("cpu"))
    changed = {"head": "conv", "crop": 64, "batch_size": 4, "crops": 2, "density_scale": 100.0}
    config = complete("shanghaitech", **changed)
    ((x, y),) = shanghaitech.batches(data, config, seeded(3))
    assert shanghaitech.steps(data, config) == 1
    assert (x.shape, y.shape) == ((4, 3, 64, 64), (4, 8, 8))
    generator, counts = seeded(3), []
    order = torch.randperm(4, generator=generator)
    for _ in order:
        counts.append(len(draw_crop(image, at, config, generator).points))
    assert (y.sum((1, 2)) / 100).tolist() == pytest.approx(counts, abs=1e-3)


def test_a_batch_for_the_bayesian_loss_has_the_heads_themselves(complete):
    at = torch.rand(70, 2, generator=seeded(1)) * 63
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    data = Data(Crowd(["IMG_1"], [at], [image]), {}, torch.device("cpu"))
    changed = {"head": "conv", "crop": 64, "loss": "bayesian", "sigma": 8.0}
    config = complete("shanghaitech", **changed, scale_low=1.0, scale_high=1.0)
    ((_, heads),) = shanghaitech.batches(data, config, seeded(3))
    assert heads.shape == (1, 128, 4)
    assert heads[0, :70, 3].sum() == 70
    assert heads[0, 70:].count_nonzero() == 0
    mirrored = torch.stack([63 - at[:, 0], at[:, 1]], 1)
    held = heads[0, :70, :2]
    assert torch.allclose(held, at, atol=1e-4) or torch.allclose(held, mirrored, atol=1e-4)
    assert heads[0, :70, 2].unique().tolist() == [8.0]


def test_resize_shows_half_of_every_length(complete):
    """Two heads 40 px apart are 20 px apart in every crop of half resolution."""
    config = complete(
        "shanghaitech", head="conv", resize=0.5, crop=64, scale_low=1.0, scale_high=1.0
    )
    image = torch.zeros(3, 200, 300, dtype=torch.uint8)
    seen = 0
    for seed in range(30):
        crop = draw_crop(image, points((140, 100), (180, 100)), config, seeded(seed))
        assert crop.zoom == 0.5
        if len(crop.points) == 2:
            seen += 1
            assert abs(float(crop.points[0, 0] - crop.points[1, 0])) == pytest.approx(20)
    assert seen


def test_a_crop_knows_which_heads_it_holds(complete):
    config = complete("shanghaitech", head="conv", crop=64, outside="skip")
    at = torch.rand(50, 2, generator=seeded(5)) * 140 - 10
    crop = draw_crop(torch.zeros(3, 120, 120, dtype=torch.uint8), at, config, seeded(6))
    assert 0 < len(crop.rows) < 50
    assert len(crop.rows) == len(crop.points)
    rows = at[crop.rows][:, 1]  # flips leave rows in their order
    assert torch.equal(rows.argsort(), crop.points[:, 1].argsort())


def test_jitter_changes_colours_within_its_strength_and_only_if_asked():
    image = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    generator = seeded(0)
    state = generator.get_state()
    assert torch.equal(jittered(image, 0.0, generator), image)
    assert torch.equal(generator.get_state(), state)
    values = [int(jittered(image, 0.2, generator)[0, 0, 0]) for _ in range(50)]
    assert len(set(values)) > 10
    assert 75 <= min(values) < 90
    assert 110 < max(values) <= 125


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kernel", ["gaussian", "adaptive", "dots"])
@pytest.mark.parametrize(("part", "split"), [(p, s) for p in "AB" for s in ("train", "test")])
def test_real_maps_sum_to_the_annotated_heads(part, split, kernel, real_data, complete):
    """Every image at its own size, points outside moved to its border: none is lost."""
    config = complete("shanghaitech", head="conv", kernel=kernel)
    held, off = read_crowd(real_data, "files", part, split), []
    for image, at in zip(held.held, held.points, strict=True):
        height, width = image.shape[1:]
        inside = treat_outside(at, height, width, "clamp")
        sigmas = adaptive_sigmas(inside, 15.0) if kernel == "adaptive" else None
        made = truth_map(inside, height, width, config, 1.0, sigmas)
        off.append(abs(float(made.double().sum()) - len(at)))
    assert len(off) == {"A": (300, 182), "B": (400, 316)}[part][split == "test"]
    assert np.max(off) < 1e-4
