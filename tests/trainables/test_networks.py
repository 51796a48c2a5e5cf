"""Other networks than the ResNets: built by name, tried before a trial, trained as any."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from search.run.network_checks import check_networks
from search.run.options import PreflightError
from search.schedule.preview import preview
from search.spec.study_spec import SpecError, load_spec, parse_spec
from tests.rounding import TERMS, assert_same_sums
from trainables import find_task
from trainables.engine.train import TrainJob, train
from trainables.kernels.small_maps import skip_padding
from trainables.networks import build
from trainables.resnet import DEPTHS

OWN = "from torch import nn\n\ndef tiny(outputs, config):\n    return {body}\n"
BODY = "nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(1800, outputs))"


def raw(task="cifar10", **cells):
    fixed = {"edition": "synthetic"} if task != "imagefolder" else {}
    held = {"name": "nets", "task": task, "cells": cells, "fixed": fixed}
    return {**held, "budget": {"max_epochs": 1}}


def config_of(task, **changed):
    settings = find_task(task).settings
    return {**{key: held.default for key, held in settings.items()}, **changed}


def test_the_default_is_the_resnet_of_the_depth(complete):
    torch.manual_seed(0)
    made = build(complete("cifar10", depth=34), 10)
    torch.manual_seed(0)
    stock = DEPTHS[34][0]()
    stock.fc = nn.Linear(512, 10)
    assert {k: v.shape for k, v in made.state_dict().items()} == {
        k: v.shape for k, v in stock.state_dict().items()
    }
    assert torch.equal(made.layer3[0].conv1.weight, stock.layer3[0].conv1.weight)


@pytest.mark.long
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "densenet121", "googlenet", "resnet18"])
def test_a_torchvision_network_gets_the_task_s_outputs(name):
    net = build(config_of("cifar10", network=name), 10).train()
    assert net(torch.zeros(2, 3, 64, 64)).shape == (2, 10)


@pytest.mark.long
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1"])
def test_a_trial_of_another_network_trains(name, tmp_path):
    config = config_of("cifar10", network=name, edition="synthetic", train_images=64)
    config |= {"val_images": 16, "test_images": 16, "batch_size": 16, "lr": 0.01}
    job = TrainJob(config, 1, 0, 1, 1, True, tmp_path, None, "cpu", tmp_path / "c.pt")
    outcome = train(find_task("cifar10"), job, lambda row: None)
    assert not outcome.diverged
    assert 0 <= outcome.test.metrics["accuracy"] <= 1


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mnasnet0_5"])
def test_a_resumed_trial_of_another_network_ends_as_one_that_was_not(name, tmp_path):
    """Dropout draws from the process's own stream; MNASNet asks for the version of its weights."""
    config = config_of("cifar10", network=name, edition="synthetic", train_images=32)
    config |= {"val_images": 16, "test_images": 16, "batch_size": 16, "lr": 0.01}
    config["checkpoint_rule"] = "best"
    task, whole, parts = find_task("cifar10"), [], []
    job = TrainJob(config, 1, 0, 2, 2, True, tmp_path, None, "cpu", tmp_path / "a.pt")
    train(task, job, whole.append)
    job = replace(job, checkpoint=tmp_path / "b.pt")
    train(task, replace(job, to_epoch=1, score_test=False), parts.append)
    torch.rand(7)  # what else the process draws
    train(task, replace(job, from_epoch=1), parts.append)
    losses = [[row["train_loss"] for row in rows] for rows in (whole, parts)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", ["regnet_y_400mf", "mobilenet_v3_small"])
def test_a_network_is_tried_and_sized_without_memory(name):
    spec = parse_spec(raw(network=[name]), "s.toml")
    check_networks(spec)
    assert 10 < preview(spec, 1).memory_mb[f"network {name}"] < 100


def test_padding_is_skipped_only_where_a_convolution_is_a_plain_one():
    """A subclass, a hook, a shared weight or a second size may compute something else."""

    class Doubled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)

        def forward(self, x):
            return self.conv(self.conv(x)[..., :1, :1])

    shared = [nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(2)]
    shared[1].weight = shared[0].weight
    hooked = nn.Conv2d(3, 3, 3, padding=1, bias=False)
    hooked.register_forward_hook(lambda module, taken, made: made + 1)
    for net in (
        Doubled(3, 3, 3, padding=1, bias=False),
        Twice(),
        nn.Sequential(*shared),
        hooked,
    ):
        whole = nn.Sequential(net)
        before = whole(torch.ones(1, 3, 2, 2))
        assert skip_padding(whole, 2, 2) == 0
        assert torch.equal(whole(torch.ones(1, 3, 2, 2)), before)
    assert skip_padding(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False)), 1, 1) == 72


def test_crowds_are_counted_with_another_network_too():
    task = find_task("shanghaitech")
    net = task.network(config_of("shanghaitech", network="mobilenet_v3_small", crop=64), None)
    made = net.eval()(torch.zeros(1, 3, 64, 64))
    assert made.shape == (1, 64, 64)
    assert bool((made >= 0).all())


@pytest.mark.long
@pytest.mark.parametrize("name", ["mobilenet_v2", "densenet121"])
def test_padding_is_skipped_without_a_change_in_other_networks(name):
    """In evaluation: BatchNorm over a map of one pixel would multiply rounding."""
    held = []
    for skip in (False, True):
        torch.manual_seed(0)
        net = build(config_of("cifar10", network=name), 10).double().eval()
        if skip:
            assert skip_padding(net, 32, 32) > 0 or name == "mobilenet_v2"
        draw = torch.Generator().manual_seed(1)
        held.append(net(torch.randn(2, 3, 32, 32, dtype=torch.double, generator=draw)).detach())
    assert_same_sums(held[1], held[0], terms=TERMS * 100)  # as many layers


def test_a_function_of_one_s_own_is_a_network(tmp_path):
    (tmp_path / "nets_mine.py").write_text(OWN.format(body=BODY))
    held = raw(network=["resnet", "nets_mine:tiny"])
    spec = parse_spec(held, "s.toml", tmp_path)
    assert spec.own_code() == ["nets_mine:tiny"]
    check_networks(spec)
    net = find_task("cifar10").network(spec.config({"network": "nets_mine:tiny"}, {}), None)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("cells", "key", "said"),
    [
        ({"network": ["mobilnet_v2"]}, "cells.network", "did you mean 'mobilenet_v2'"),
        ({"network": ["absent_mine:net"]}, "cells.network", "no module 'absent_mine'"),
        (
            {"network": ["densenet121"], "pretrained": [True]},
            "cells.pretrained",
            "has no weights for network = 'densenet121'",
        ),
        ({"network": ["densenet121"], "stem": ["cifar"]}, "cells.stem", "is of the ResNets"),
        (
            {"network": ["resnet", "densenet121"], "depth": [18, 34]},
            "cells.depth",
            "changes nothing for network = 'densenet121'",
        ),
    ],
)
def test_what_does_not_go_with_a_network_is_told(cells, key, said, tmp_path):
    with pytest.raises(SpecError, match=rf"{key}: .*{said}"):
        parse_spec(raw(**cells), "s.toml", tmp_path)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (
            "vit_b_16",
            r"network = 'vit_b_16' does not take inputs of \(3, 32, 32\): AssertionError",
        ),
        ("flat_mine:tiny", r"returns \(2, 3\), not \(2, 10\) \(images, outputs\)"),
        ("none_mine:tiny", r"returned a NoneType, no torch.nn.Module"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_a_trial(network, said, tmp_path):
    body = "nn.Sequential(nn.Flatten(), nn.Linear(3072, 3))" if "flat" in network else "None"
    (tmp_path / f"{network.partition(':')[0]}.py").write_text(OWN.format(body=body))
    spec = parse_spec(raw(network=[network]), "s.toml", tmp_path)
    with pytest.raises(PreflightError, match=said):
        check_networks(spec)


def test_a_study_without_code_of_one_s_own_leaves_the_import_path_alone(tmp_path):
    import sys

    (tmp_path / "s.toml").write_text(
        'name = "s"\ntask = "cifar10"\n[cells]\ndepth = [18]\n[budget]\nmax_epochs = 1\n'
    )
    load_spec(tmp_path / "s.toml")
    assert str(tmp_path) not in sys.path
