from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from trainables import find_task
from trainables.resnet import (
    DEPTHS,
    WeightsError,
    backbone,
    check_weights,
    describe_weights,
    find_weights,
    weights_name,
)

FEATURES = {18: 512, 34: 512, 50: 2048, 101: 2048, 152: 2048}
# of torchvision's networks with 1,000 classes, as its documentation lists them
PARAMETERS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}

META = torch.device("meta")  # shapes without memory or arithmetic


@pytest.mark.parametrize("depth", DEPTHS)
def test_backbone_is_torchvisions_with_another_head(depth):
    with META:
        net = backbone(depth, lambda n: nn.Linear(n, 7))
        out = net(torch.empty(2, 3, 64, 64))
    assert out.shape == (2, 7)
    assert net.fc.in_features == FEATURES[depth]
    body = sum(p.numel() for name, p in net.named_parameters() if not name.startswith("fc."))
    assert body == PARAMETERS[depth] - 1_000 * FEATURES[depth] - 1_000


@pytest.mark.long
@pytest.mark.parametrize("depth", DEPTHS)
def test_networks_of_both_tasks_have_the_reports_outputs(depth, complete):
    with META:
        classes = find_task("cifar10").network(complete("cifar10", depth=depth), None)
        assert classes(torch.empty(2, 3, 32, 32)).shape == (2, 10)
        crowd = find_task("shanghaitech").network(complete("shanghaitech", depth=depth), None)
        assert crowd(torch.empty(1, 3, 512, 512)).shape == (1, 512, 512)


@pytest.mark.parametrize(("stem", "sides"), [("imagenet", (8, 1)), ("cifar", (32, 4))])
@pytest.mark.parametrize("depth", [18, 50])
def test_backbone_stem_sets_the_resolution_of_small_images(depth, stem, sides):
    """Sides of the maps after the first and after the last stage, of a 32x32 image."""
    seen = []
    with META:
        net = backbone(depth, lambda n: nn.Linear(n, 10), stem)
        for stage in (net.layer1, net.layer4):
            stage.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[2:])))
        net(torch.empty(2, 3, 32, 32))
    assert seen == [(sides[0],) * 2, (sides[1],) * 2]


def test_backbone_of_a_seed_is_always_the_same():
    nets = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        nets.append(backbone(18, lambda n: nn.Linear(n, 10), "cifar"))
    first, same, other = (torch.cat([p.flatten() for p in net.parameters()]) for net in nets)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


# ---- pretrained weights: files in torchvision's form


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A ResNet-18's state dict with 1,000 classes; batch statistics are unlike a new network's."""
    torch.manual_seed(11)
    net = models.resnet18()
    held = net.state_dict()
    for name, value in held.items():
        if name.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand(value.shape) + 0.5)
        elif name.endswith("num_batches_tracked"):
            value.fill_(17)
    return held


@pytest.fixture(scope="module")
def weights(state, tmp_path_factory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("weights") / weights_name(18)
    torch.save(state, path)
    yield path
    path.unlink()


def test_backbone_starts_from_every_pretrained_tensor_but_the_head(state, weights):
    torch.manual_seed(12)
    own = backbone(18, lambda n: nn.Linear(n, 10), weights=weights).state_dict()
    assert own["fc.weight"].shape == (10, 512)
    body = {name: value for name, value in state.items() if not name.startswith("fc.")}
    assert set(own) == set(body) | {"fc.weight", "fc.bias"}
    for name, value in body.items():
        assert torch.equal(own[name], value), name


def test_backbone_trains_all_pretrained_layers(weights):
    net = backbone(18, lambda n: nn.Linear(n, 10), weights=weights)
    assert all(p.requires_grad for p in net.parameters())


def test_backbone_takes_files_without_batch_counters(state, tmp_path):
    """As torchvision's older files are."""
    path = tmp_path / "old.pth"
    torch.save({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, path)
    check_weights(18, path)
    own = backbone(18, lambda n: nn.Linear(n, 10), weights=path).state_dict()
    path.unlink()
    assert torch.equal(own["layer4.1.bn2.running_var"], state["layer4.1.bn2.running_var"])
    assert int(own["bn1.num_batches_tracked"]) == 0


def test_network_of_a_task_starts_from_the_pretrained_body(state, weights, complete):
    config = complete("shanghaitech", pretrained=True, crop=64)
    net = find_task("shanghaitech").network(config, weights)
    assert torch.equal(net.state_dict()["conv1.weight"], state["conv1.weight"])


def test_check_weights_accepts_a_fitting_file(weights):
    check_weights(18, weights)


class Code:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def _unfit(how: str, path: Path, state: dict[str, Tensor]) -> None:
    if how == "truncated":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:1_000_000])
    elif how == "text":
        path.write_text("<html>not found</html>")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "code":
        path.write_bytes(pickle.dumps({"conv1.weight": Code(path.with_name("ran"))}, protocol=2))
    elif how == "no dict":
        torch.save(state["conv1.weight"], path)
    elif how == "checkpoint":
        torch.save({"state_dict": state, "epoch": 3}, path)
    elif how == "a tensor short":
        torch.save({k: v for k, v in state.items() if k != "layer3.0.conv1.weight"}, path)
    elif how == "a tensor more":
        torch.save({**state, "layer5.weight": torch.zeros(1)}, path)
    elif how == "another shape":
        torch.save({**state, "conv1.weight": torch.zeros(64, 3, 3, 3)}, path)
    elif how == "prefixed":
        torch.save({f"module.{k}": v for k, v in state.items()}, path)


UNFIT = [
    "missing",
    "truncated",
    "text",
    "empty",
    "code",
    "no dict",
    "checkpoint",
    "a tensor short",
    "a tensor more",
    "another shape",
    "prefixed",
]


@pytest.mark.parametrize("how", UNFIT)
def test_unfit_weights_are_refused_with_depth_and_file(how, state, tmp_path):
    path = tmp_path / "given.pth"
    _unfit(how, path, state)
    for load in (check_weights, lambda d, p: backbone(d, lambda n: nn.Linear(n, 10), weights=p)):
        with pytest.raises(WeightsError) as refused:
            load(18, path)
        assert "depth 18" in str(refused.value)
        assert str(path) in str(refused.value)
    assert not (tmp_path / "ran").exists()
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("depth", [34, 50])
def test_weights_of_another_depth_are_refused(depth, weights):
    with pytest.raises(WeightsError) as refused:
        check_weights(depth, weights)
    assert f"depth {depth}" in str(refused.value)
    assert str(weights) in str(refused.value)
    assert weights_name(depth) in str(refused.value)  # the file to use instead


@pytest.mark.parametrize("depth", DEPTHS)
def test_weights_name_is_torchvisions_v1_file(depth):
    assert weights_name(depth).startswith(f"resnet{depth}-")
    assert weights_name(depth).endswith(".pth")
    v1 = getattr(models, f"ResNet{depth}_Weights").IMAGENET1K_V1
    assert v1.url.endswith("/" + weights_name(depth))


def test_find_weights_returns_the_file_of_the_depth(weights):
    assert find_weights(18, weights.parent) == weights


@pytest.mark.parametrize("depth", DEPTHS)
def test_find_weights_without_the_file_names_it_and_where_to_put_it(depth, tmp_path):
    with pytest.raises(WeightsError) as refused:
        find_weights(depth, tmp_path / "none")
    assert f"depth {depth}" in str(refused.value)
    assert str(tmp_path / "none" / weights_name(depth)) in str(refused.value)
    assert "--weights-dir" in str(refused.value)
    assert not (tmp_path / "none").exists()


def test_describe_weights_tells_home_made_files_from_official_ones(weights, tmp_path):
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert describe_weights(weights) == {
        "file": weights_name(18),
        "sha256": digest,
        "official": False,  # it has torchvision's name, not its content
    }
    unnamed = tmp_path / "mine.pth"
    unnamed.write_bytes(b"anything")
    assert describe_weights(unnamed)["official"] is False
    named = tmp_path / f"resnet18-{hashlib.sha256(b'anything').hexdigest()[:8]}.pth"
    named.write_bytes(b"anything")
    assert describe_weights(named)["official"] is True
