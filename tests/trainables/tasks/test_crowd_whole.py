"""The conv head on whole images: any size, tiles, flips, and errors of counts in their places."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.tasks import crowd_whole, shanghaitech
from trainables.tasks.crowd_files import Crowd
from trainables.tasks.crowd_networks import network
from trainables.tasks.crowd_splits import Data, Fixed
from trainables.tasks.crowd_whole import Cells, predict, reach, shown

CPU = torch.device("cpu")


def noise(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator).to(torch.uint8)


def split(*images: Tensor, heads: list[Tensor] | None = None, resize: float = 1.0) -> Fixed:
    held = heads or [torch.zeros(0, 2)] * len(images)
    counts = np.array([len(h) for h in held])
    return Fixed(list(images), held, counts, [f"IMG_{n}" for n in range(len(images))], resize)


def conv_config(complete, **changed):
    return complete("shanghaitech", head="conv", **changed)


def conv_net(config) -> nn.Module:
    """A network as after some training: with outputs that differ from place to place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = network(config, None)
        nn.init.normal_(net.fc.last.weight, std=0.1)
        nn.init.constant_(net.fc.last.bias, 0.5)
    return net.eval()


class Means(nn.Module):
    """Answers each cell with the mean of its normalised red pixels."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2] % 8 == x.shape[3] % 8 == 0
        return nn.functional.avg_pool2d(x[:, :1], 8)[:, 0]


# ---- networks


@pytest.mark.parametrize("output", ["softplus", "relu", "none"])
@pytest.mark.parametrize("norm", ["trained", "group"])
@torch.no_grad()
def test_the_conv_head_starts_at_the_mean_of_the_training_maps(output, norm, complete):
    """Two images of 80 x 160 and 40 x 80 px with 6 and 2 heads: 8 in 16,000 px, cells of 64."""
    config = conv_config(complete, output=output, norm=norm, density_scale=100.0)
    net = network(config, None)
    images, heads = [noise(80, 160), noise(40, 80)], [torch.zeros(6, 2), torch.zeros(2, 2)]
    shanghaitech.start(net, Data(Crowd(["a", "b"], heads, images), {}, CPU), config)
    mean = 100 * 8 * 64 / 16_000
    made = net.eval()(torch.randn(2, 3, 64, 48))
    assert made.shape == (2, 8, 6)
    assert made.flatten().tolist() == pytest.approx([mean] * 96, rel=1e-4)


def test_the_fc_head_is_the_default_and_starts_as_ever(complete):
    net = network(complete("shanghaitech", crop=64), None)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    crowd = Crowd(["a"], [torch.zeros(5, 2)], [noise(64, 64)])
    shanghaitech.start(net, Data(crowd, {}, CPU), complete("shanghaitech", crop=64))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert type(net.fc).__name__ == "DensityHead"


def test_every_parameter_is_trained_from_the_second_step_on(complete):
    """Weights of zero at the end let no gradient through once; the step after, all have one."""
    config = conv_config(complete, density_scale=100.0, lr=1e-3)
    net = network(config, None).train()
    net.fc.start_at(1.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    x, y = torch.randn(2, 3, 64, 64), torch.rand(2, 8, 8)
    for _ in range(2):
        optimizer.zero_grad()
        shanghaitech.loss(net(x), y, config)[0].backward()
        optimizer.step()
    grads = {name: float(p.grad.abs().max()) for name, p in net.named_parameters()}
    assert min(grads.values()) > 0, min(grads, key=grads.get)


# ---- whole images


@torch.no_grad()
def test_images_of_any_size_are_padded_to_the_stride(complete):
    """Predictions come in the split's order, whatever the sizes, which are shown together."""
    config = conv_config(complete, density_scale=2.0)
    images = [noise(24, 40, 1), noise(17, 9, 2), noise(24, 40, 3), noise(8, 8, 4)]
    told = predict(Means(), split(*images), config, keep=True)
    assert [tuple(made.shape) for made in told.maps] == [(3, 5), (3, 2), (3, 5), (1, 1)]
    reds = [(image[0].double() / 255 - 0.485) / 0.229 for image in images]
    assert told.counts.tolist() == pytest.approx([float(r.sum()) / 128 for r in reds], abs=1e-4)
    assert told.parts.sum((1, 2)).tolist() == pytest.approx(told.counts.tolist(), abs=1e-9)


@torch.no_grad()
def test_a_large_image_in_tiles_is_what_it_is_whole(complete):
    """Depth 18 reaches 121 px to each side; tiles overlap by that, so no cell sees an end."""
    config = conv_config(complete)
    net = conv_net(config)
    x = torch.randn(1, 3, 640, 520, generator=torch.Generator().manual_seed(1))
    whole = shown(net, x, 8)
    tiled = shown(net, x, 8, most=256 * 256)
    assert reach(net) == 121
    assert float((whole.sum() - tiled.sum()).abs()) < 1e-4 * float(whole.sum())
    assert torch.allclose(whole, tiled, atol=1e-4)
    # with less overlap it would not be
    before, crowd_whole.reach = crowd_whole.reach, lambda net: 8
    try:
        assert not torch.allclose(whole, shown(net, x, 8, most=256 * 256), atol=1e-3)
    finally:
        crowd_whole.reach = before


@torch.no_grad()
def test_groupnorm_looks_at_the_whole_image_and_is_never_tiled(complete):
    net = conv_net(conv_config(complete, norm="group"))
    x = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    assert torch.equal(shown(net, x, 8, most=64 * 64), shown(net, x, 8))


@torch.no_grad()
def test_flip_averaging_gives_an_image_and_its_mirror_image_the_same_count(complete):
    net = conv_net(conv_config(complete))
    image = noise(64, 80)
    both = split(image, image.flip(2))
    plain = predict(net, both, conv_config(complete), keep=False).counts
    config = conv_config(complete, flip_average=True)
    average = predict(net, both, config, keep=True)
    assert abs(plain[0] - plain[1]) > 1e-4
    assert average.counts.tolist() == pytest.approx([plain.mean()] * 2, rel=1e-5)
    assert torch.allclose(average.maps[0], average.maps[1].flip(1), atol=1e-6)


@torch.no_grad()
def test_resized_images_are_shown_at_their_new_size(complete):
    told = predict(Means(), split(noise(48, 80), resize=0.5), conv_config(complete), keep=True)
    assert told.maps[0].shape == (3, 5)


# ---- errors


def test_shares_of_cells_by_hand():
    """20 px in cells of 8 and two parts of 10: the second cell reaches from 8 to 16."""
    shares = Cells(20, 8, 8).shares(0, 2)
    assert shares.tolist() == [[1, 0.25, 0], [0, 0.75, 1]]
    assert Cells(20, 8, 8).shares(1, 1).tolist() == [[1]]


class Fixedly(nn.Module):
    """Answers the same map to all."""

    def __init__(self, made: Tensor) -> None:
        super().__init__()
        self.made = made

    def forward(self, x: Tensor) -> Tensor:
        return self.made.expand(len(x), -1, -1)


def evaluated(complete, made: Tensor, heads: Tensor, others: Tensor | None = None, **changed):
    """Two images of the same pixels, with `heads` and `others` (as the first, if not given)."""
    config = conv_config(complete, density_scale=1.0, **changed)
    size = tuple(8 * side for side in made.shape)
    both = [heads, heads if others is None else others]
    held = split(noise(*size), noise(*size, 1), heads=both)
    crowd = Crowd(["a"], [torch.zeros(3, 2)], [noise(8, 8)])
    data = Data(crowd, {"test": held}, CPU)
    return shanghaitech.evaluate(Fixedly(made), data, "test", config, torch.Generator(), True)


def test_game_by_hand(complete):
    """Two heads top left; predicted is one there and one in the opposite corner.

    The count is right, so GAME(0), the MAE, is 0; one is missed and one invented at each level.
    """
    made = torch.zeros(16, 16)
    made[0, 0] = made[15, 15] = 1
    found = evaluated(complete, made, torch.tensor([[3.0, 3.0], [4.0, 4.0]])).metrics
    assert found["mae"] == 0
    assert [found[f"game{level}"] for level in (1, 2, 3)] == [2, 2, 2]
    assert found["nae"] == 0
    near = torch.zeros(16, 16)
    near[0, 3] = 2  # 24 px to the right: the same half and quarter of 128 px, another eighth
    found = evaluated(complete, near, torch.tensor([[3.0, 3.0], [4.0, 4.0]])).metrics
    assert [found[f"game{level}"] for level in (1, 2, 3)] == [0, 0, 4]


def test_nae_is_a_share_of_the_heads_and_finite_without_any(complete):
    made = torch.full((16, 16), 3 / 256)
    heads = torch.tensor([[3.0, 3.0], [40.0, 4.0]])
    assert evaluated(complete, made, heads).metrics["nae"] == pytest.approx(0.5)
    empty = evaluated(complete, made, torch.zeros(0, 2)).metrics
    assert empty["nae"] == pytest.approx(3)
    assert all(math.isfinite(value) for value in empty.values())


def test_predictions_stand_beside_the_images_names(complete):
    made = torch.full((4, 4), 0.25)
    one = torch.tensor([[3.0, 3.0]])
    found = evaluated(complete, made, one)
    assert found.per_image["image"] == ["IMG_0", "IMG_1"]
    assert found.per_image["prediction"] == pytest.approx([4.0, 4.0])
    assert found.collapsed is False  # as many heads in each: the same answer is the right one
    assert evaluated(complete, made, one, one.repeat(2, 1)).collapsed is True
    assert found.samples["truth_map"].shape == found.samples["predicted_map"].shape == (3, 4, 4)
    assert set(found.metrics) == {*shanghaitech.TASK.metrics, *shanghaitech.TASK.also}


def test_open_data_keeps_whole_images_and_a_sample_of_training_ones(tmp_path, complete):
    config = conv_config(complete, edition="synthetic", train_images=9, train_sample=4)
    data = shanghaitech.open_data(tmp_path, config, 42, CPU)
    assert data.fixed["train"].names == data.train.names[:4]
    test = data.fixed["test"]
    assert len({tuple(image.shape) for image in test.images}) > 5
    for row, points in enumerate(test.points):
        height, width = test.size(row)
        assert len(points) == test.counts[row]
        assert ((points >= 0) & (points <= torch.tensor([width - 1, height - 1]))).all()


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"loss": "dm"}, "loss"),
        ({"loss": "bayesian"}, "loss"),
        ({"resize": 0.5}, "resize"),
        ({"head": "conv", "crop": 100}, "crop"),
        ({"head": "conv", "network": "densenet121"}, "network"),
        ({"head": "conv", "norm": "frozen"}, "norm"),
        ({"head": "conv", "loss": "dm", "output": "none"}, "output"),
        ({"network": "densenet121", "head_lr": 10.0}, "head_lr"),
    ],
)
def test_what_a_head_cannot_is_refused_by_key(changed, key, complete):
    assert key in shanghaitech.TASK.conflicts(complete("shanghaitech", **changed))
