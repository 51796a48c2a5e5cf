from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from trainables.resnet import backbone, check_weights
from trainables.tasks import synthetic


def test_images_have_the_shape_of_cifar10_and_balanced_classes():
    pixels, classes = synthetic.images(0)
    for part in ("train", "test"):
        count = len(classes[part])
        assert pixels[part].shape == (count, 32, 32, 3)
        assert pixels[part].dtype == np.uint8
        assert np.bincount(classes[part]).tolist() == [count // 10] * 10


def test_images_of_a_seed_are_always_the_same_and_of_another_seed_others():
    first = synthetic.images(0)[0]["train"].copy()
    synthetic.images.cache_clear()
    assert np.array_equal(synthetic.images(0)[0]["train"], first)
    assert not np.array_equal(synthetic.images(1)[0]["train"], first)


def test_images_of_a_class_resemble_each_other_in_train_and_test():
    """The tint alone tells classes apart better than chance, so there is something to learn."""
    pixels, classes = synthetic.images(0)
    tint = {part: pixels[part].mean((1, 2)) for part in pixels}
    centres = np.stack([tint["train"][classes["train"] == c].mean(0) for c in range(10)])
    nearest = ((tint["test"][:, None] - centres) ** 2).sum(2).argmin(1)
    assert (nearest == classes["test"]).mean() > 0.2


@pytest.mark.parametrize("part", ["A", "B"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_crowd_has_the_awkward_cases_of_the_real_data(part, split):
    names, points, pictures = synthetic.crowd(part, split)
    assert len(set(names)) == len(names) == len(points) == len(pictures)
    counts = [len(heads) for heads in points]
    assert min(counts) == 0
    assert len({tuple(picture.shape) for picture in pictures}) > 1
    outside = grey = 0
    for heads, picture in zip(points, pictures, strict=True):
        assert picture.dtype == torch.uint8
        assert heads.shape[1:] == (2,)
        height, width = picture.shape[1:]
        outside += int(((heads < 0) | (heads > torch.tensor([width - 1, height - 1]))).any())
        grey += int(torch.equal(picture[0], picture[1]))
    assert 0 < outside < len(names)
    assert 0 < grey < len(names)


def test_crowd_of_part_a_is_denser_than_of_part_b():
    mean = {p: np.mean([len(h) for h in synthetic.crowd(p, "train")[1]]) for p in "AB"}
    assert mean["A"] > 2 * mean["B"]


def test_crowd_is_bright_where_the_heads_are():
    _, points, pictures = synthetic.crowd("B", "train")
    at_heads, everywhere = [], []
    for heads, picture in zip(points, pictures, strict=True):
        height, width = picture.shape[1:]
        for x, y in heads.round().long().tolist():
            if 0 <= x < width and 0 <= y < height:
                at_heads.append(float(picture[:, y, x].float().mean()))
        everywhere.append(float(picture.float().mean()))
    assert np.mean(at_heads) > np.mean(everywhere) + 50


@pytest.mark.slow
def test_make_source_weights_writes_a_file_that_starts_a_network(tmp_path):
    path = tmp_path / "new" / "resnet18-source.pth"
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    synthetic.make_source_weights(18, path, images_used=64, epochs=1)
    assert torch.equal(torch.rand(1), expected)  # the caller's random numbers are left alone
    assert list(path.parent.iterdir()) == [path]
    check_weights(18, path)
    net = backbone(18, lambda n: nn.Linear(n, 3), weights=path)
    saved = torch.load(path, weights_only=True)
    assert torch.equal(net.layer1[0].conv1.weight, saved["layer1.0.conv1.weight"])
    assert int(saved["bn1.num_batches_tracked"]) == 1  # it was trained: 64 images are one step
