from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.rounding import assert_same_sums
from trainables.task import DataError
from trainables.tasks import shanghaitech
from trainables.tasks.crowd_crops import draw_crop
from trainables.tasks.crowd_files import Crowd, read_crowd
from trainables.tasks.crowd_splits import Data, Fixed
from trainables.tasks.regression import errors

CPU = torch.device("cpu")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(*at: tuple[float, float]) -> Tensor:
    return torch.tensor(at, dtype=torch.float32).reshape(-1, 2)


def black(height: int, width: int) -> Tensor:
    return torch.zeros(3, height, width, dtype=torch.uint8)


def crowd(*heads: Tensor, height: int = 64, width: int = 64) -> Crowd:
    names = [f"IMG_{n + 1}" for n in range(len(heads))]
    return Crowd(names, list(heads), [black(height, width) for _ in heads])


def scaled(complete: Any, low: float, high: float | None = None, **changed: Any) -> dict[str, Any]:
    return complete(
        "shanghaitech", scale_low=low, scale_high=low if high is None else high, **changed
    )


# ---- crops


def random_crop(image: Tensor, at: Tensor, config: Any, generator: torch.Generator) -> Any:
    """Image and points of a crop."""
    cut = draw_crop(image, at, config, generator)
    return cut.image, cut.points


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(20, 200),
    width=st.integers(20, 200),
    down=st.floats(0, 1),
    across=st.floats(0, 1),
    seed=st.integers(0, 10_000),
)
def test_random_crop_keeps_the_point_on_its_pixel(height, width, down, across, seed, complete):
    """One white pixel with a head on it: both are in the crop, at the same place, or neither."""
    y, x = round(down * (height - 1)), round(across * (width - 1))
    image = black(height, width)
    image[:, y, x] = 255
    cut, inside = random_crop(
        image, points((x, y)), scaled(complete, 0.5, 1.5, crop=64), seeded(seed)
    )
    assert cut.shape == (3, 64, 64)
    assert cut.dtype == torch.uint8
    weight = cut[0].double()
    assert len(inside) == int(weight.max() > 0)
    if len(inside):
        rows, columns = torch.arange(64.0)[:, None], torch.arange(64.0)
        centre = ((weight * columns).sum(), (weight * rows).sum())
        at = [float(part / weight.sum()) for part in centre]
        zoom = max(
            64 / min(height, width), 1.5
        )  # a border pixel's blob leans inwards by part of it
        assert at == pytest.approx(inside[0].tolist(), abs=0.5 * zoom)


def test_random_crop_flips_half_of_the_crops_with_their_points(complete):
    image = black(64, 64)
    image[:, :, :32] = 200
    flipped = 0
    generator = seeded(0)
    for _ in range(200):
        cut, inside = random_crop(
            image, points((10, 20)), scaled(complete, 1.0, crop=64), generator
        )
        mirrored = int(cut[0, 0, 0]) == 0
        assert inside.tolist() == [[53, 20] if mirrored else [10, 20]]
        assert torch.equal(cut, image.flip(2) if mirrored else image)
        flipped += mirrored
    assert 70 < flipped < 130


def test_random_crop_reaches_every_offset(complete):
    """66 x 65 px and a 64 px crop at scale 1: three places across, two down, and no others."""
    image = black(65, 66)
    image[0] = torch.arange(65)[:, None]
    image[1] = torch.arange(66)
    generator = seeded(0)
    seen = set()
    for _ in range(200):
        cut, _ = random_crop(image, points(), scaled(complete, 1.0, crop=64), generator)
        seen.add((int(cut[0].min()), int(cut[1].min())))
        assert int(cut[0].max() - cut[0].min()) == int(cut[1].max() - cut[1].min()) == 63
    assert seen == {(top, left) for top in range(2) for left in range(3)}


@pytest.mark.parametrize(("height", "width"), [(40, 40), (100, 100), (64, 64)])
def test_random_crop_never_shrinks_the_short_side_below_the_crop(height, width, complete):
    """Asked for a tenth of its size, a square image is shown whole, at exactly the crop's size."""
    config = scaled(complete, 0.1, crop=64)
    corners = points((0, 0), (width - 1, height - 1), (width - 1, 0))
    _, inside = random_crop(black(height, width), corners, config, seeded(0))
    near, far = 0.5 * 64 / width - 0.5, 63.5 - 0.5 * 64 / width  # centres of the border pixels
    expected = {(near, near), (far, far), (far, near)}
    mirrored = {(63 - x, y) for x, y in expected}
    found = {(round(x, 3), round(y, 3)) for x, y in inside.tolist()}
    rounded = [{(round(x, 3), round(y, 3)) for x, y in these} for these in (expected, mirrored)]
    assert found in rounded


def test_random_crop_enlarges_by_cutting_a_smaller_window(complete):
    """At scale 2 a 64 px crop shows 32 px: heads 8 px apart are 16 px apart in it."""
    config = scaled(complete, 2.0, crop=64)
    for seed in range(20):
        _, inside = random_crop(
            black(32, 100), points((48, 4), (56, 4), (48, 12)), config, seeded(seed)
        )
        if len(inside) == 3:
            assert abs(float(inside[0, 0] - inside[1, 0])) == pytest.approx(16)
            assert float(inside[2, 1] - inside[0, 1]) == pytest.approx(16)
            assert float(inside[0, 1]) == pytest.approx(8.5)  # 2 * (4 + 1/2) - 1/2
            return
    pytest.fail("no window of 20 held all three heads")


def test_random_crop_draws_among_the_scales_that_fit(complete):
    """Asked for 0.5 to 1.5, an image of 4/3 of the crop is scaled by 3/4 to 3/2, evenly.

    Were smaller draws raised to 3/4 instead, a quarter of the crops would be at exactly 3/4.
    """
    pair = points((40, 40), (41, 41))
    generator = seeded(0)
    scales = []
    for _ in range(400):
        _, inside = random_crop(
            black(86, 86), pair, scaled(complete, 0.5, 1.5, crop=64), generator
        )
        if len(inside) == 2:
            scales.append(abs(float(inside[0, 0] - inside[1, 0])))
    assert len(scales) > 300
    assert 0.74 < min(scales) < 0.77
    assert 1.45 < max(scales) < 1.53
    assert float(np.mean(np.asarray(scales) < 0.76)) < 0.08


def test_random_crop_holds_its_share_of_the_heads(complete):
    """Heads everywhere alike: a crop at scale 1 holds the crop's share of the image's area."""
    heads = torch.rand(4_000, 2, generator=seeded(1)) * 256 - 0.5
    generator = seeded(2)
    config = scaled(complete, 1.0, crop=64)
    held = [len(random_crop(black(256, 256), heads, config, generator)[1]) for _ in range(60)]
    assert np.mean(held) == pytest.approx(4_000 / 16, rel=0.08)


def test_random_crop_is_repeatable_for_a_generator(complete):
    image = torch.randint(0, 256, (3, 90, 120), generator=seeded(0)).to(torch.uint8)
    heads = torch.rand(30, 2, generator=seeded(1)) * 90
    config = scaled(complete, 0.5, 1.5, crop=64)
    first, again, other = (random_crop(image, heads, config, seeded(n)) for n in (3, 3, 4))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


OUTSIDE = points((-3, 10), (5, 5), (1000, 20), (63.4, -0.4))  # the last one's pixel is inside


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("clamp", {(0, 10), (5, 5), (63, 20), (63, 0)}),
        ("skip", {(5, 5), (63.4, -0.4)}),
    ],
)
def test_random_crop_clamps_or_skips_points_outside_the_image(rule, kept, complete):
    config = scaled(complete, 1.0, crop=64, outside=rule)
    _, inside = random_crop(black(64, 64), OUTSIDE, config, seeded(0))
    found = [(round(x, 3), round(y, 3)) for x, y in inside.tolist()]
    mirrored = {(round(63 - x, 3), y) for x, y in kept}
    assert len(found) == len(kept)
    assert set(found) in (kept, mirrored)


# ---- batches and loss


def training(*heads: Tensor) -> Data:
    return Data(crowd(*heads), {}, CPU)


def test_batches_show_every_image_once_with_the_odd_batch_last(complete):
    config = scaled(complete, 1.0, crop=64, batch_size=3)
    data = training(*(points(*[(20, 20)] * n) for n in range(1, 9)))
    assert shanghaitech.steps(data, config) == 3
    batches = list(shanghaitech.batches(data, config, seeded(0)))
    assert [tuple(x.shape) for x, _ in batches] == [(3, 3, 64, 64), (3, 3, 64, 64), (2, 3, 64, 64)]
    heads = torch.cat([y.flatten(1).sum(1) for _, y in batches]) / 512
    assert sorted(heads.round().tolist()) == list(range(1, 9))
    assert heads.round().tolist() != list(range(1, 9))  # shuffled


def test_batches_normalise_as_imagenet(complete):
    config = scaled(complete, 1.0, crop=64)
    ((x, _),) = shanghaitech.batches(training(points()), config, seeded(0))
    assert x[0, :, 7, 9].tolist() == pytest.approx([-2.1179, -2.0357, -1.8044], abs=1e-4)


@pytest.mark.parametrize("kernel", ["gaussian", "disc"])
@pytest.mark.parametrize(
    ("heads", "doubled", "mass"),
    [(0, True, 0), (1, True, 2), (2, True, 2), (3, True, 3), (1, False, 1), (2, False, 2)],
)
def test_batches_weigh_a_single_head_double_only_if_told(heads, doubled, mass, kernel, complete):
    config = scaled(complete, 1.0, crop=64, double_single_head=doubled, kernel=kernel)
    data = training(points(*[(20, 30)] * heads))
    ((_, target),) = shanghaitech.batches(data, config, seeded(0))
    assert float(target.double().sum()) == pytest.approx(512 * mass, rel=1e-4)


def test_batches_draw_the_density_under_the_head(complete):
    image = black(64, 64)
    image[:, 50, 10] = 255
    data = Data(Crowd(["IMG_1"], [points((10, 50))], [image]), {}, CPU)
    config = scaled(complete, 1.0, crop=64, sigma=2.0, density_scale=100.0)
    for seed in range(8):  # flipped and not
        ((x, target),) = shanghaitech.batches(data, config, seeded(seed))
        assert int(target[0].argmax()) == int(x[0, 0].argmax())
        assert float(target.max()) == pytest.approx(100 / (2 * math.pi * 4), rel=0.02)


@pytest.mark.parametrize("kind", ["mse", "dice"])
@pytest.mark.parametrize("output", ["some", "none"])
def test_loss_of_a_crop_without_heads_is_finite(kind, output, complete):
    config = scaled(complete, 1.0, crop=64, loss=kind)
    ((_, target),) = shanghaitech.batches(training(points()), config, seeded(0))
    assert int(target.count_nonzero()) == 0
    answer = torch.rand(1, 64, 64) if output == "some" else torch.zeros(1, 64, 64)
    answer.requires_grad_()
    value, sums = shanghaitech.loss(answer, target, config)
    value.backward()
    assert math.isfinite(value.item())
    assert bool(torch.isfinite(answer.grad).all())
    people = answer.detach().double().sum() / 512
    pixels = answer.numel()  # added up in whatever order, in single precision
    assert_same_sums(sums["mae"], people, math.isqrt(pixels), dtype=torch.float32)


def test_loss_by_hand(complete):
    """Maps of 2 x 2 pixels: errors 1, 0, 0, 2 and 0; counts are wrong by 1 and 2 at scale 1."""
    output = torch.tensor([[[1.0, 0], [0, 0]], [[0, 0], [0, 2.0]]])
    target = torch.tensor([[[2.0, 0], [0, 0]], [[0, 0], [0, 0]]])
    value, sums = shanghaitech.loss(output, target, complete("shanghaitech", density_scale=1.0))
    assert float(value) == pytest.approx((1 + 4) / 8)
    assert float(sums["mae"]) == pytest.approx(3)
    half, _ = shanghaitech.loss(output, target, complete("shanghaitech", loss="dice"))
    # 1 - (2 * 2 + 1) / (1 + 4 + 1) and 1 - 1 / (4 + 1)
    assert float(half) == pytest.approx((1 / 6 + 4 / 5) / 2)


def test_loss_counts_the_mae_in_people(complete):
    """512 too much on a map that is multiplied by 512 is one person too many."""
    config = complete("shanghaitech")
    target = torch.zeros(3, 8, 8)
    output = target.clone()
    output[0, 0, 0], output[1, 2, 2], output[2, 3, 3] = 512, 1024, 512
    assert float(shanghaitech.loss(output, target, config)[1]["mae"]) == 4  # a sum over the batch


def test_dice_is_zero_for_equal_maps_and_nearly_one_for_disjoint_ones(complete):
    config = complete("shanghaitech", loss="dice")
    left, right = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
    left[:, :, :4], right[:, :, 4:] = 10, 10
    assert float(shanghaitech.loss(left, left, config)[0]) == pytest.approx(0, abs=1e-6)
    assert float(shanghaitech.loss(left, right, config)[0]) == pytest.approx(1, abs=1e-3)


# ---- splits


@pytest.fixture
def part(tmp_path, write_crowd) -> Any:
    """Part B with 20 training images of 1 to 20 heads and 3 test images, 100 x 50 px."""
    pixels = np.zeros((50, 100, 3), np.uint8)
    train = {n: (pixels + np.uint8(5 * n), [[1 + n, 5]] * n) for n in range(1, 21)}
    write_crowd(tmp_path, "B", "train", train)
    bright = pixels.copy()
    bright[34:37, 79:82] = 255  # nine pixels around MATLAB's (81, 36)
    test = {
        1: (bright, [[81, 36]]),
        2: (pixels, [[1, 1], [100, 50]]),
        3: (pixels + np.uint8(2), [[-9, 5]]),
    }
    write_crowd(tmp_path, "B", "test", test)
    return tmp_path


def names(data: Data, split: str) -> list[str]:
    return data.train.names if split == "train" else data.fixed[split].names


def test_open_data_cuts_validation_repeatably_and_disjointly(part, complete):
    config = complete("shanghaitech", crop=64)
    first, again, other = (
        shanghaitech.open_data(part, config, seed, CPU) for seed in (42, 42, 43)
    )
    train, val = names(first, "train"), names(first, "val")
    assert (len(train), len(val)) == (16, 4)
    assert set(train) | set(val) == {f"IMG_{n}" for n in range(1, 21)}
    assert (names(again, "train"), names(again, "val")) == (train, val)
    assert set(names(other, "val")) != set(val)
    assert names(first, "test") == ["IMG_1", "IMG_2", "IMG_3"]
    counts = [int(name[4:]) for name in val]
    assert first.fixed["val"].counts.tolist() == counts


@pytest.mark.parametrize(
    ("fraction", "train", "val"), [(0.2, 16, 4), (0.5, 10, 10), (0.12, 18, 2), (0.01, 19, 1)]
)
def test_open_data_cuts_the_share_asked_for_and_at_least_one(fraction, train, val, part, complete):
    config = complete("shanghaitech", crop=64, val_fraction=fraction)
    data = shanghaitech.open_data(part, config, 42, CPU)
    assert (len(names(data, "train")), len(names(data, "val"))) == (train, val)


def test_open_data_without_validation_trains_on_all_images(part, complete):
    config = complete("shanghaitech", crop=64, val_fraction=0.0, checkpoint_rule="last")
    data = shanghaitech.open_data(part, config, 42, CPU)
    assert len(data.train.names) == 20
    assert set(data.fixed) == {"test"}


def test_open_data_with_fewer_images_takes_the_first_of_the_same_split(part, complete):
    whole = shanghaitech.open_data(part, complete("shanghaitech", crop=64), 42, CPU)
    config = complete("shanghaitech", crop=64, train_images=5, val_images=2, test_images=1)
    some = shanghaitech.open_data(part, config, 42, CPU)
    for split, count in (("train", 5), ("val", 2), ("test", 1)):
        assert names(some, split) == names(whole, split)[:count]


def test_open_data_squashes_whole_images_with_their_points(part, complete):
    """100 x 50 px to 64 x 64: x times 0.64, y times 1.28, up to a pixel of the map."""
    test = shanghaitech.open_data(part, complete("shanghaitech", crop=64), 42, CPU).fixed["test"]
    assert test.images.shape == (3, 3, 64, 64)
    assert test.points[0][0].tolist() == pytest.approx([80 * 0.64, 35 * 1.28], abs=0.7)
    brightest = divmod(int(test.images[0, 0].argmax()), 64)
    assert brightest == pytest.approx((35 * 1.28, 80 * 0.64), abs=1.5)
    # the corners stay in the corners
    assert test.points[1].flatten().tolist() == pytest.approx([0, 0, 63, 63], abs=1.3)


@pytest.mark.parametrize(("rule", "left"), [("clamp", 1), ("skip", 0)])
def test_open_data_counts_every_annotated_head_whatever_becomes_of_points_outside(
    rule, left, part, complete
):
    config = complete("shanghaitech", crop=64, outside=rule)
    test = shanghaitech.open_data(part, config, 42, CPU).fixed["test"]
    assert test.counts.tolist() == [1, 2, 1]
    assert len(test.points[2]) == left


def test_open_data_without_data_is_refused(tmp_path, complete):
    with pytest.raises(DataError):
        shanghaitech.open_data(tmp_path, complete("shanghaitech"), 42, CPU)


# ---- evaluation


class Constant(nn.Module):
    """Answers every image with a map whose pixels hold this much of the image's red channel."""

    def __init__(self, value: float, of_red: float = 0.0) -> None:
        super().__init__()
        self.value, self.of_red = value, of_red

    def forward(self, x: Tensor) -> Tensor:
        return self.value + self.of_red * (x[:, 0] * 0.229 + 0.485)


def fixed(counts: list[int], reds: list[int] | None = None, size: int = 16) -> Data:
    images = torch.zeros(len(counts), 3, size, size, dtype=torch.uint8)
    for image, red in zip(images, reds or [], strict=False):
        image[0] = red
    heads = [points(*[(3, 3)] * n) for n in counts]
    held = Fixed(images, heads, np.asarray(counts), [f"IMG_{n}" for n in range(len(counts))])
    return Data(crowd(points((3, 3))), {"test": held}, CPU)


def test_evaluate_divides_the_scale_out_and_compares_counts_by_hand(complete):
    """256 pixels of 20 at scale 512 are 10 people; annotated are 10, 13, 6, 10, 20."""
    config = complete("shanghaitech", crop=16)
    data = fixed([10, 13, 6, 10, 20])  # one more than an evaluation batch
    found = shanghaitech.evaluate(Constant(20), data, "test", config, seeded(0), True)
    assert found.metrics["mae"] == pytest.approx((0 + 3 + 4 + 0 + 10) / 5)
    assert found.metrics["rmse"] == pytest.approx(math.sqrt((9 + 16 + 100) / 5))
    assert found.per_image["image"] == [f"IMG_{n}" for n in range(5)]
    assert found.per_image["truth"] == [10, 13, 6, 10, 20]
    assert found.per_image["prediction"] == pytest.approx([10] * 5)
    assert found.collapsed is True
    brief = shanghaitech.evaluate(Constant(20), data, "test", config, seeded(0), False)
    assert brief.metrics == found.metrics
    assert not brief.per_image
    assert not brief.samples


@pytest.mark.parametrize(("rounded", "prediction"), [(True, 11.0), (False, 10.6)])
def test_evaluate_rounds_counts_only_if_told(rounded, prediction, complete):
    config = complete("shanghaitech", crop=16, round_counts=rounded)
    net = Constant(10.6 * 512 / 256)
    found = shanghaitech.evaluate(net, fixed([11, 11]), "test", config, seeded(0), True)
    held = found.per_image["prediction"]
    # 256 pixels, and a mean error of a difference that is far smaller than what it is of
    assert_same_sums(held, [prediction] * 2, 16 * 16, dtype=torch.float32)
    mae = found.metrics["mae"]
    assert_same_sums(mae, 11 - prediction, 16 * 16, prediction, dtype=torch.float32)
    # of the counts on record, as the MAE is
    assert found.metrics["nae"] == pytest.approx(mae / 11)


def test_evaluate_shows_images_at_the_quantiles_of_absolute_error(complete):
    """Eleven images, predicted zero: the errors are 0 to 10, and 1, 5, 9 are at the quantiles."""
    counts = [10, 0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    data = fixed(counts, reds=[20 * n for n in range(11)])
    config = complete("shanghaitech", crop=16, sigma=1.0)
    samples = shanghaitech.evaluate(Constant(0), data, "test", config, seeded(0), True).samples
    assert samples["quantile"].tolist() == [0.1, 0.5, 0.9]
    assert samples["truth"].tolist() == [1, 5, 9]
    assert samples["prediction"].tolist() == [0, 0, 0]
    rows = [counts.index(n) for n in (1, 5, 9)]
    assert samples["name"].tolist() == [f"IMG_{row}" for row in rows]
    assert samples["image"][:, 0, 0, 0].tolist() == [20 * row for row in rows]
    assert samples["truth_map"].sum((1, 2)).tolist() == pytest.approx([1, 5, 9], rel=1e-4)
    assert samples["predicted_map"].shape == (3, 16, 16)


def test_evaluate_pairs_every_sample_with_its_own_predicted_map(complete):
    """Predicted maps follow the red of the image, so a sample's map shows which image it is of."""
    data = fixed([0] * 11, reds=[20 * n for n in range(11)])
    config = complete("shanghaitech", crop=16)
    net = Constant(0, of_red=512 / 256)  # red 255 is one person
    found = shanghaitech.evaluate(net, data, "test", config, seeded(0), True)
    assert found.per_image["prediction"] == pytest.approx(
        [20 * n / 255 for n in range(11)], abs=1e-4
    )
    assert found.samples["name"].tolist() == ["IMG_1", "IMG_5", "IMG_9"]
    sums = found.samples["predicted_map"].astype(np.float64).sum((1, 2))
    assert sums == pytest.approx(found.samples["prediction"], rel=2e-3)  # half precision


def test_count_errors_by_hand():
    found = errors(np.array([10, 20, 30]), np.array([12.0, 16.0, 30.0]))
    assert found["mae"] == pytest.approx(2)
    assert found["rmse"] == pytest.approx(math.sqrt(20 / 3))  # a root: the field calls it MSE


def test_baselines_by_hand():
    """Training counts 1, 2, 9: mean 4, median 2. Test counts 2 and 8."""
    train = crowd(*(points(*[(3, 3)] * n) for n in (1, 2, 9)))
    found = shanghaitech.baselines(Data(train, fixed([2, 8]).fixed, CPU))
    assert found == {
        "zero": {"count": 0, "mae": 5, "rmse": pytest.approx(math.sqrt(34))},
        "training mean": {"count": 4, "mae": 3, "rmse": pytest.approx(math.sqrt(10))},
        "training median": {"count": 2, "mae": 3, "rmse": pytest.approx(math.sqrt(18))},
    }


# ---- the real data


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "maes"), [("A", (433.90, 304.10, 239.75)), ("B", (124.08, 71.89, 68.31))]
)
def test_real_baselines_are_the_known_constants(name, maes, real_data):
    train, test = (read_crowd(real_data, "files", name, split) for split in ("train", "test"))
    images = torch.empty(0)  # baselines look at counts alone
    held = Fixed(images, test.points, test.counts(), test.names)
    found = shanghaitech.baselines(Data(train, {"test": held}, CPU))
    keys = ("zero", "training mean", "training median")
    assert [found[key]["mae"] for key in keys] == pytest.approx(maes, abs=0.006)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "heads", "empty", "single"), [("A", 239.8, 0.0, 0.0), ("B", 30.9, 0.030, 0.038)]
)
def test_real_crops_hold_as_many_heads_as_the_reports(
    name, heads, empty, single, real_data, complete
):
    """Crops of black images of the real sizes, with the real points."""
    config = complete("shanghaitech", outside="skip")
    train, generator, held = read_crowd(real_data, "files", name, "train"), seeded(0), []
    for image, at in zip(train.held, train.points, strict=True):
        height, width = image.shape[1:]
        dark = torch.zeros(1, dtype=torch.uint8).expand(3, height, width)
        held += [len(random_crop(dark, at, config, generator)[1]) for _ in range(6)]
    counts = np.asarray(held)
    assert counts.mean() == pytest.approx(heads, rel=0.06)
    assert (counts == 0).mean() == pytest.approx(empty, abs=0.012)
    assert (counts == 1).mean() == pytest.approx(single, abs=0.012)
