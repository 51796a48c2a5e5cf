from __future__ import annotations

import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import random_split

from tests.rounding import assert_same_sums
from tests.trainables.conftest import LABELS, PIXELS, TEST, TRAIN, images_of, numbers
from trainables.tasks import cifar10
from trainables.tasks.crops import draw_moves, flip_and_crop
from trainables.tasks.images import READY_IMAGES, Data, on_gpu

CPU = torch.device("cpu")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- splits


@pytest.mark.parametrize("seed", [42, 7])
def test_open_data_cuts_train_and_val_as_random_split_does(seed, parquet, complete):
    data = cifar10.open_data(parquet, complete("cifar10"), seed, CPU)
    train, val = random_split(range(TRAIN), [54, 6], generator=seeded(seed))
    assert numbers(images_of(data, "train")) == list(train)
    assert numbers(images_of(data, "val")) == list(val)
    assert not set(train) & set(val)
    assert numbers(images_of(data, "test")) == list(range(TEST))


def test_open_data_with_fewer_images_takes_the_first_of_the_same_split(parquet, complete):
    whole = cifar10.open_data(parquet, complete("cifar10"), 42, CPU)
    few = {"train_images": 11, "val_images": 3, "test_images": 5}
    part = cifar10.open_data(parquet, complete("cifar10", **few), 42, CPU)
    for split, count in (("train", 11), ("val", 3), ("test", 5)):
        assert torch.equal(images_of(part, split), images_of(whole, split)[:count])
        assert torch.equal(part.labels[split], whole.labels[split][:count])


def test_open_data_leaves_at_least_one_image_for_validation(parquet, complete):
    data = cifar10.open_data(parquet, complete("cifar10", val_fraction=0.001), 42, CPU)
    assert [len(images_of(data, split)) for split in ("train", "val")] == [TRAIN - 1, 1]


# ---- batches


def test_batches_are_352_of_the_reports_45000_images_the_last_with_72(complete):
    config = complete("cifar10", augment=False)
    images = torch.zeros(45_000, 3, 1, 1, dtype=torch.uint8)
    data = Data({"train": images}, {"train": torch.arange(45_000)})
    assert cifar10.steps(data, config) == 352
    sizes, labels = [], []
    for x, y in cifar10.batches(data, config, seeded(0)):
        assert len(x) == len(y)
        sizes.append(len(x))
        labels += y.tolist()
    assert sizes == [128] * 351 + [72]
    assert sorted(labels) == list(range(45_000))  # every image once
    assert labels != sorted(labels)  # in another order


@pytest.mark.parametrize("augment", [True, False])
def test_batches_follow_the_generator(augment, parquet, complete):
    config = complete("cifar10", augment=augment, batch_size=16)
    data = cifar10.open_data(parquet, config, 42, CPU)
    first, again, other = (list(cifar10.batches(data, config, seeded(n))) for n in (3, 3, 4))
    assert len(first) == cifar10.steps(data, config) == 4
    assert all(
        torch.equal(a, b)
        for x, y in zip(first, again, strict=True)
        for a, b in zip(x, y, strict=True)
    )
    assert not torch.equal(first[0][0], other[0][0])


def test_batches_without_augmentation_are_the_images_normalised(parquet, complete):
    config = complete("cifar10", augment=False, batch_size=16)
    data = cifar10.open_data(parquet, config, 42, CPU)
    for x, y in cifar10.batches(data, config, seeded(0)):
        back = ((x * 0.5 + 0.5) * 255).round().to(torch.uint8)
        at = numbers(back)
        assert np.array_equal(back.permute(0, 2, 3, 1).numpy(), PIXELS["train"][at])
        assert y.tolist() == LABELS["train"][at].tolist()


@pytest.mark.parametrize(
    ("normalise", "black", "white"),
    [
        ("half", (-1, -1, -1), (1, 1, 1)),
        # (0 - mean) / std and (1 - mean) / std, by hand
        ("imagenet", (-2.1179, -2.0357, -1.8044), (2.2489, 2.4286, 2.6400)),
    ],
)
def test_batches_normalise_each_channel(normalise, black, white, complete):
    config = complete("cifar10", augment=False, normalise=normalise, batch_size=1)
    for value, expected in ((0, black), (255, white)):
        images = torch.full((1, 3, 2, 2), value, dtype=torch.uint8)
        data = Data({"train": images}, {"train": torch.zeros(1, dtype=torch.int64)})
        ((x, _),) = cifar10.batches(data, config, seeded(0))
        assert x.dtype == torch.float32
        assert x[0, :, 1, 1].tolist() == pytest.approx(expected, abs=1e-4)


def augmentations(image: Tensor) -> Tensor:
    """`(162, 3, height, width)`: all results of torchvision's flip, pad by 4 and crop."""
    _, height, width = image.shape
    results = []
    for flipped in (image, image.flip(2)):
        padded = F.pad(flipped, (4, 4, 4, 4))
        results += [
            padded[:, top : top + height, left : left + width]
            for top in range(9)
            for left in range(9)
        ]
    return torch.stack(results)


def test_flip_and_crop_draws_every_flip_and_offset_about_equally_often():
    """4,860 draws of 162 outcomes: 30 each; a fair drawer leaves 5 to 70 practically always."""
    image = torch.arange(1, 3 * 5 * 6 + 1, dtype=torch.uint8).view(3, 5, 6)
    drawn = flip_and_crop(image.expand(4_860, -1, -1, -1), draw_moves(4_860, seeded(0)))
    assert drawn.dtype == torch.uint8
    outcomes = augmentations(image)
    same = (drawn[:, None] == outcomes[None]).flatten(2).all(2)
    assert bool((same.sum(1) == 1).all())  # each is one of torchvision's, pixel for pixel
    times = same.sum(0)
    assert int(times.min()) > 5
    assert int(times.max()) < 70
    assert int(same[:, :81].sum()) == pytest.approx(2_430, abs=200)


def test_flip_and_crop_treats_each_image_of_a_batch_by_itself():
    images = torch.randint(1, 256, (64, 3, 32, 32), generator=seeded(1)).to(torch.uint8)
    which = set()
    for image, drawn in zip(images, flip_and_crop(images, draw_moves(64, seeded(2))), strict=True):
        (at,) = (augmentations(image) == drawn).flatten(1).all(1).nonzero()
        which.add(int(at))
    assert len(which) > 30


@pytest.mark.parametrize("augment", [True, False])
def test_a_gpu_gathers_the_very_pixels_that_a_cpu_does(augment):
    """Here on the CPU: the form of the data is what differs."""
    images = torch.randint(0, 256, (50, 3, 32, 32), generator=seeded(3)).to(torch.uint8)
    rows = torch.randperm(50, generator=seeded(4))[:30]
    held = Data({"train": images}, {"train": torch.arange(30)}, {"train": rows})
    at = torch.randint(0, 30, (70,), generator=seeded(5))
    moves = draw_moves(70, seeded(6)) if augment else None
    there = on_gpu(held, torch.device("cpu"))
    assert there.images["train"].shape == (30, 40, 40)
    assert torch.equal(there.take("train", at, moves), held.take("train", at, moves))


@pytest.mark.parametrize("at_once", [1, 3, 32])
def test_batches_do_not_hang_on_how_many_are_made_ready_at_once(at_once, complete, monkeypatch):
    images = torch.randint(0, 256, (70, 3, 32, 32), generator=seeded(3)).to(torch.uint8)
    held = Data({"train": images}, {"train": torch.arange(70)})
    config = complete("cifar10", batch_size=16)
    expected = list(cifar10.batches(held, config, seeded(1)))
    monkeypatch.setitem(READY_IMAGES, "cpu", 16 * at_once)
    found = list(cifar10.batches(held, config, seeded(1)))
    assert [len(x) for x, _ in found] == [16, 16, 16, 16, 6]
    for (x, y), (other_x, other_y) in zip(found, expected, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)
        assert x.is_contiguous(memory_format=torch.channels_last)


def test_flip_and_crop_moves_a_pixel_by_at_most_four():
    """White only at row 4, column 5: moved by up to 4, mirrored or not, never doubled."""
    image = torch.zeros(3, 12, 12, dtype=torch.uint8)
    image[:, 4, 5] = 255
    drawn = flip_and_crop(image.expand(500, -1, -1, -1), draw_moves(500, seeded(0)))
    assert set(drawn.unique().tolist()) == {0, 255}
    at = (drawn[:, 0] == 255).nonzero()
    assert len(at) == 500  # 4 px from every border it stays inside
    assert set(at[:, 1].tolist()) == set(range(9))
    assert set(at[:, 2].tolist()) == set(range(1, 11))  # 5 - 4 .. 5 + 4, mirrored 6 - 4 .. 6 + 4


# ---- loss and evaluation


def test_loss_is_smoothed_cross_entropy_by_hand(complete):
    """Logits 2 and nine 0: log p is 2 - log(e^2 + 9) for class 0, -log(e^2 + 9) for others."""
    output = torch.zeros(2, 10)
    output[:, 0] = 2
    target = torch.tensor([0, 3])
    log_sum = math.log(math.e**2 + 9)
    plain, sums = cifar10.loss(output, target, complete("cifar10"))
    assert_same_sums(plain, ((log_sum - 2) + log_sum) / 2, 10, dtype=torch.float32)
    assert int(sums["accuracy"]) == 1
    # 0.1 spread over ten classes: 0.91 on the target, 0.01 on each other
    smooth, _ = cifar10.loss(output, target, complete("cifar10", label_smoothing=0.1))
    by_hand = ((log_sum - 0.91 * 2) + (log_sum - 0.01 * 2)) / 2
    assert_same_sums(smooth, by_hand, 10, dtype=torch.float32)


def constant_net(logits: list[float]) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 10))
    nn.init.zeros_(net[1].weight)
    with torch.no_grad():
        net[1].bias.copy_(torch.tensor(logits))
    return net


def test_evaluate_averages_over_images_by_hand(complete):
    """Chance 1/2 on class 3, 1/18 on each other; 750 images, which is one and a half batches."""
    config = complete("cifar10", label_smoothing=0.5)
    labels = torch.tensor([3] * 600 + [0] * 150)
    data = Data({"val": torch.zeros(750, 3, 4, 4, dtype=torch.uint8)}, {"val": labels})
    net = constant_net([math.log(9) if c == 3 else 0.0 for c in range(10)])
    found = cifar10.evaluate(net, data, "val", config, seeded(0), True)
    assert found.metrics["accuracy"] == 0.8
    by_hand = 0.8 * math.log(2) + 0.2 * math.log(18)
    assert_same_sums(found.metrics["loss"], by_hand, 30, dtype=torch.float32)
    assert found.per_image["image"] == [str(i) for i in range(750)]
    assert found.per_image["truth"] == labels.tolist()
    assert found.per_image["prediction"] == [3] * 750
    brief = cifar10.evaluate(net, data, "val", config, seeded(0), False)
    assert brief.metrics == found.metrics
    assert brief.per_image == {}


def test_evaluate_augments_only_if_told_and_repeatably(complete):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    images = torch.from_numpy(PIXELS["test"]).permute(0, 3, 1, 2)
    data = Data({"val": images}, {"val": torch.from_numpy(LABELS["test"])})

    def losses(augmented: bool, *seeds: int) -> list[float]:
        config = complete("cifar10", augment_evaluation=augmented)
        return [
            cifar10.evaluate(net, data, "val", config, seeded(n), False).metrics["loss"]
            for n in seeds
        ]

    clean = losses(False, 1, 2)
    assert clean[0] == clean[1]
    augmented = losses(True, 1, 1, 2)
    assert augmented[0] == augmented[1]
    assert len({clean[0], augmented[0], augmented[2]}) == 3


def test_baselines_are_the_guess_the_commonest_class_and_the_shares_of_training():
    labels = {"train": torch.tensor([4] * 3 + [7]), "test": torch.tensor([4, 7, 7, 7])}
    found = cifar10.baselines(Data({}, labels))
    assert found["uniform guess"] == {"loss": pytest.approx(2.302585), "accuracy": 0.1}
    assert found["majority class"] == {"accuracy": 0.25}
    assert found["class shares"] == {"loss": pytest.approx(-np.log([0.75, *[0.25] * 3]).mean())}


def test_a_last_image_alone_joins_the_step_before():
    """BatchNorm cannot train on one image whose maps are 1 x 1."""
    data = Data({"train": torch.zeros(9, 3, 32, 32, dtype=torch.uint8)}, {"train": torch.zeros(9)})
    config = {"batch_size": 4, "augment": False, "normalise": "half"}
    sizes = [len(x) for x, _ in cifar10.batches(data, config, seeded(0))]
    assert sizes == [4, 5]
    assert cifar10.steps(data, config) == 2


# ---- the real data


@pytest.mark.timeout(300)
def test_real_cifar10_is_split_as_in_the_report(real_data, complete):
    config = complete("cifar10", edition="parquet", train_images=200, test_images=10)
    found = cifar10.fingerprint(real_data, config)
    assert (found["train_images"], found["test_images"]) == (50_000, 10_000)
    (path,) = real_data.glob("**/train-*.parquet")
    labels = pq.read_table(path, columns=["label"]).column("label").to_pylist()
    train, val = random_split(labels, [45_000, 5_000], generator=seeded(42))
    data = cifar10.open_data(real_data, config, 42, CPU)
    assert data.labels["val"].tolist() == list(val)
    assert data.labels["train"].tolist() == [train[i] for i in range(200)]
    assert images_of(data, "val").shape == (5_000, 3, 32, 32)
