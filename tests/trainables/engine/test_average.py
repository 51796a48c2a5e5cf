from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from trainables.engine.average import Average
from trainables.engine.kit import kit_for
from trainables.engine.step import make_optimizer, set_learning_rate
from trainables.task import Task


def line() -> nn.Module:
    net = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
    nn.init.constant_(net[0].weight, 1.0)
    return net


@torch.no_grad()
def test_an_average_by_hand():
    """After one step a tenth of the start stays, after two 2/11 of that; then the decay's half."""
    net = line()
    average = Average(net, 0.5)
    expected = 1.0
    for step, value in enumerate([3.0, 5.0, 2.0, 8.0], 1):
        net[0].weight.fill_(value)
        average.follow()
        stays = min(0.5, step / (step + 9))
        expected = stays * expected + (1 - stays) * value
    with average.shown():
        assert net[0].weight.tolist() == [[pytest.approx(expected)] * 2]
    assert net[0].weight.tolist() == [[8.0, 8.0]]


@torch.no_grad()
def test_an_average_goes_on_from_what_was_kept():
    net = line()
    average = Average(net, 0.9)
    for value in (3.0, 5.0):
        net[0].weight.fill_(value)
        average.follow()
    other_net = copy.deepcopy(net)
    other = Average(other_net, 0.9)
    other.load({name: held.clone() for name, held in average.state().items()})
    for held, own in ((net, average), (other_net, other)):
        held[0].weight.fill_(7.0)
        own.follow()
    assert all(map(torch.equal, average.tensors(), other.tensors()))


def small_task(net: nn.Module) -> Task:
    def unused(*_):
        raise AssertionError

    return Task(
        name="line",
        metric="mae",
        mode="min",
        metrics=("mae",),
        settings={},
        fingerprint=unused,
        open_data=unused,
        network=lambda config, weights: net,
        batches=unused,
        steps=unused,
        loss=lambda output, target, config: (((output - target) ** 2).mean(), {}),
        evaluate=unused,
    )


def config(**changed):
    held = {"optimizer": "sgd", "lr": 0.5, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    return {**held, "precision": "fp32", "cuda_graph": False, **changed}


@pytest.mark.parametrize(("clip", "moved"), [(0.0, 2 * 1000 * 0.5), (1.0, 0.5), (1e9, 1000.0)])
def test_a_gradient_is_cut_down_to_the_norm_asked_for(clip, moved):
    """One weight w on x = 1, target w - 1000: the gradient is 2000, the step lr times it."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    kit = kit_for(small_task(net), config(clip_grad=clip), torch.device("cpu"), net)
    kit.step((torch.ones(1, 1), torch.tensor([[-1000.0]])))
    assert kit.net.weight.item() == pytest.approx(-moved, rel=1e-4)


@pytest.mark.parametrize("tensor_lr", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_heads_rate_is_a_factor_of_the_bodys(optimizer, tensor_lr):
    net = nn.Module()
    net.body, net.fc = nn.Linear(2, 2), nn.Linear(2, 1)
    made = make_optimizer(net, config(optimizer=optimizer, head_lr=10.0), tensor_lr)
    set_learning_rate(made, 0.02)
    rates = {id(p): float(g["lr"]) for g in made.param_groups for p in g["params"]}
    of_body, of_head = ([rates[id(p)] for p in m.parameters()] for m in (net.body, net.fc))
    assert of_body == pytest.approx([0.02] * 2)
    assert of_head == pytest.approx([0.2] * 2)


def test_adamw_decays_weights_apart_from_the_gradient():
    """Without a gradient Adam's penalty makes a step of about lr, AdamW's of lr * decay * w."""
    moved = {}
    for optimizer in ("adam", "adamw"):
        weight = nn.Parameter(torch.tensor([4.0]))
        holder = nn.Module()
        holder.weight = weight
        made = make_optimizer(holder, config(optimizer=optimizer, weight_decay=0.1, lr=0.01))
        weight.grad = torch.zeros(1)
        made.step()
        moved[optimizer] = 4.0 - weight.item()
    assert moved["adamw"] == pytest.approx(0.01 * 0.1 * 4, rel=1e-3)
    assert moved["adam"] == pytest.approx(0.01, rel=1e-3)


def test_constants_that_no_checkpoint_has_are_not_averaged():
    """Such as the taps at rest of a network for small maps: more numbers than its weights."""
    net = nn.Module()
    net.norm = nn.BatchNorm1d(3)
    net.norm.register_buffer("constant", torch.ones(1000), persistent=False)
    assert [len(held) for held, _ in Average(net, 0.9).pairs] == [3] * 4
    assert Average(net, 0.9).state().keys() == {
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "",
    }
