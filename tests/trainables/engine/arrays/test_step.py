"""Members of an array against the same trials alone: weights, statistics, optimizers, sums."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables import find_task
from trainables.engine.arrays.fits import why_not_joined
from trainables.engine.arrays.joint import joined
from trainables.engine.arrays.step import ArrayStep, GraphedArrayStep
from trainables.engine.kit import Kit
from trainables.engine.step import (
    Step,
    learning_rate,
    make_optimizer,
    set_learning_rate,
)
from trainables.task import Batch
from trainables.tasks.images import network_for

pytestmark = pytest.mark.long


def free_gb() -> float:
    """Memory that the machine could still give out; infinite where it does not say."""
    try:
        held = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return math.inf
    return int(held.partition("MemAvailable:")[2].split()[0]) / 2**20


TASK = find_task("cifar10")
SIDE, BATCH, STEPS = 16, 16, 50
# Training multiplies rounding: it is looked up how far a trial moves whose first weights are moved
# by some of double's epsilon. That must be little, or the comparison would show nothing
ROUNDING, LITTLE = 4 * torch.finfo(torch.double).eps, 1e-6
NEAR = 1e-8  # after a few steps


SGD: list[dict[str, Any]] = [
    {"lr": 1e-3, "schedule": "cosine", "weight_decay": 1e-2},
    {"lr": 3e-3, "momentum": 0.5, "nesterov": True, "label_smoothing": 0.1, "clip_grad": 1.0},
    {"lr": 3e-3, "momentum": 0.0, "schedule": "constant", "ema": 0.9, "warmup_epochs": 3.0},
]
ADAM: list[dict[str, Any]] = [
    {"optimizer": "adam", "lr": 3e-4, "schedule": "cosine"},
    {"optimizer": "adam", "lr": 1e-4, "weight_decay": 1e-2, "head_lr": 3.0},
    {"optimizer": "adamw", "lr": 3e-4, "weight_decay": 1e-2, "clip_grad": 1.0},
]

DEEP: list[dict[str, Any]] = [
    {"lr": 1e-4, "schedule": "cosine", "weight_decay": 1e-2, "clip_grad": 1.0},
    {"optimizer": "adam", "lr": 1e-5, "weight_decay": 1e-2},
]

# without a state beside the weights, which are half a gigabyte each; first gradients are large
DEEPEST: list[dict[str, Any]] = [
    {"lr": 1e-4, "momentum": 0.0, "schedule": "constant", "clip_grad": 1.0},
    {"lr": 3e-5, "momentum": 0.0, "weight_decay": 1e-2, "clip_grad": 0.5, "label_smoothing": 0.1},
]


def configs(complete: Any, chosen: Sequence[dict[str, Any]], **shape: Any) -> list[dict[str, Any]]:
    return [complete("cifar10", precision="fp32", **{**shape, **own}) for own in chosen]


SHAPE = ("depth", "stem", "skip_padding")


@lru_cache(maxsize=3)  # the members of one test, which begin several times
def begun(seed: int, *shape: Any) -> nn.Module:
    """A network as it begins, not to be trained itself: to draw its weights takes longer."""
    config = {k: s.default for k, s in TASK.settings.items()} | dict(
        zip(SHAPE, shape, strict=True)
    )
    torch.manual_seed(seed)
    return network_for(config, 10, (SIDE, SIDE), None).to(memory_format=torch.channels_last)


def kits(held: Sequence[dict[str, Any]], dtype: torch.dtype = torch.double) -> list[Kit]:
    """A trial each, of seeds 0, 1, ..., as they begin."""
    made = []
    for seed, config in enumerate(held):
        net = copy.deepcopy(begun(seed, *map(config.__getitem__, SHAPE))).to(dtype).train()
        optimizer = make_optimizer(net, config)
        made.append(Kit(net, optimizer, Step(TASK, net, optimizer, config)))
    return made


def batch_of(seed: int, number: int, dtype: torch.dtype = torch.double) -> Batch:
    draw = torch.Generator().manual_seed(1000 * seed + number)
    x = torch.randn(BATCH, 3, SIDE, SIDE, generator=draw).to(dtype)
    return x, torch.randint(0, 10, (BATCH,), generator=draw)


def train(
    members: Sequence[Kit],
    held: Sequence[dict[str, Any]],
    step: Callable[[list[Batch]], None],
    numbers: range,
    shared: bool,
    dtype: torch.dtype = torch.double,
) -> None:
    for number in numbers:
        for member, config in zip(members, held, strict=True):
            set_learning_rate(member.optimizer, learning_rate(number, STEPS, 10, config))
        one = batch_of(0, number, dtype)
        step([one if shared else batch_of(s, number, dtype) for s in range(len(members))])


def one_by_one(members: Sequence[Kit]) -> Callable[[list[Batch]], None]:
    def step(batches: list[Batch]) -> None:
        for member, batch in zip(members, batches, strict=True):
            member.step(batch)

    return step


def state(member: Kit) -> dict[str, Tensor]:
    """All that a trial is, by name, but for the order of its sums; not copied."""
    found = {f"net.{name}": value for name, value in member.net.state_dict().items()}
    for number, held in member.optimizer.state_dict()["state"].items():
        found |= {f"state.{number}.{key}": v for key, v in held.items() if torch.is_tensor(v)}
    if member.step.average is not None:
        found |= {f"ema.{k}": value for k, value in member.step.average.state().items()}
    return {name: value.detach() for name, value in found.items()}


def off(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference, of the largest in its tensor; infinite where one is no number."""
    assert found.keys() == expected.keys()
    every = [
        largest(found[name].double() - value.double())
        / max(largest(value.double()), torch.finfo(torch.double).tiny)
        for name, value in expected.items()
    ]
    return math.inf if any(map(math.isnan, every)) else max(every)  # max alone passes over NaN


def largest(held: Tensor) -> float:
    """Of the absolute values; NaN where one is."""
    low, high = held.aminmax()
    return float(torch.maximum(-low, high))


def nudged(members: Sequence[Kit]) -> Sequence[Kit]:
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in (weight for member in members for weight in member.net.parameters()):
            noise = torch.rand(weight.shape, generator=draw, dtype=torch.double)
            weight.mul_(noise.mul_(2 * ROUNDING).add_(1 - ROUNDING))
    return members


def compare(complete: Any, chosen: Any, steps: int, shared: bool, **shape: Any) -> None:
    """As far from single trials as rounding has these, and not ten times as far."""
    held = configs(complete, chosen, **shape)

    def ended(
        members: Sequence[Kit], step: Any
    ) -> list[tuple[dict[str, Tensor], dict[str, float]]]:
        train(members, held, step(members), range(steps), shared)
        return [(state(member), member.step.take()) for member in members]

    # one after another, and only what they came to is kept: deep ones are gigabytes
    alone = ended(kits(held), one_by_one)
    allowed = [
        10 * off(other, expected)
        for (other, _), (expected, _) in zip(
            ended(nudged(kits(held)), one_by_one), alone, strict=True
        )
    ]
    assert max(allowed) < LITTLE
    members = kits(held)
    assert why_not_joined(members[0].net) == ""
    found = ended(members, lambda kits: ArrayStep(kits, held[0]))
    for (mine, sums), (expected, others), most in zip(found, alone, allowed, strict=True):
        assert off(mine, expected) <= most
        assert sums == pytest.approx(others, rel=most)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("chosen", [SGD, ADAM], ids=["sgd", "adam"])
def test_members_compute_what_they_would_alone(complete, chosen):
    compare(complete, chosen, STEPS, True, depth=18)


@pytest.mark.parametrize("chosen", [SGD, ADAM], ids=["sgd", "adam"])
def test_members_of_several_seeds_have_batches_of_their_own(complete, chosen):
    compare(complete, chosen, 4, False, depth=18)


@pytest.mark.parametrize("shared", [True, False], ids=["one seed", "seeds"])
def test_members_with_the_stem_for_small_images_compute_what_they_would_alone(complete, shared):
    compare(complete, [SGD[1], ADAM[1]], 2, shared, depth=18, stem="cifar")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("depth", "steps", "chosen"),
    [(34, 10, DEEP), (50, 4, [DEEP[0], {**SGD[2], "lr": 1e-4}])],
    ids=["34", "50"],
)
def test_members_of_any_depth_compute_what_they_would_alone(complete, depth, steps, chosen):
    """Of one optimizer and another; at depth 50 of SGD: Adam's first steps there are rounding."""
    compare(complete, chosen, steps, True, depth=depth)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(free_gb() < 12, reason="takes up to 6 GB, and so much is not left here")
@pytest.mark.parametrize("depth", [101, 152])
def test_members_of_the_deepest_networks_compute_what_they_would_alone(complete, depth):
    """Two steps, in up to 6 GB: each bias is what its gradients were, and all are compared."""
    compare(complete, DEEPEST, 2, True, depth=depth)


def test_an_array_of_networks_that_multiply_by_padding_computes_the_same(complete):
    compare(complete, SGD, 2, True, depth=18, skip_padding=False)


def test_a_member_that_is_not_finite_any_more_leaves_the_others_alone_bit_for_bit(complete):
    """A rate that no weight survives, of one member, against a sound one in its place."""
    found = []
    for lr in (1e-3, 1e200):
        held = configs(complete, [SGD[0], {**SGD[0], "lr": lr}, SGD[1]], depth=18)
        members = kits(held)
        train(members, held, ArrayStep(members, held[0]), range(4), True)
        found.append([{**state(member), **member.step.take()} for member in members])
    sound, hurt = found
    assert math.isfinite(sound[1]["loss"]) and not math.isfinite(hurt[1]["loss"])
    for number in (0, 2):
        for name, value in sound[number].items():
            other = hurt[number][name]
            assert torch.equal(other, value) if torch.is_tensor(value) else other == value, name


def test_members_go_on_when_one_has_left(complete):
    """Averages and momentum go with them."""
    chosen = [SGD[0], SGD[1], SGD[2]]
    held = configs(complete, chosen, depth=18)
    alone, members = kits(held), kits(held)
    train(alone, held, one_by_one(alone), range(4), True)
    train(members, held, ArrayStep(members, held[0]), range(2), True)
    left, rest = [members[0], members[2]], [held[0], held[2]]
    gone = {name: value.clone() for name, value in state(members[1]).items()}
    train(left, rest, ArrayStep(left, rest[0]), range(2, 4), True)
    assert off(state(left[0]), state(alone[0])) < NEAR
    assert off(state(left[1]), state(alone[2])) < NEAR
    assert all(torch.equal(value, gone[name]) for name, value in state(members[1]).items())


def test_state_dicts_go_in_and_out_of_a_member(complete):
    """What is loaded into a member's network is what the joint one computes with."""
    held = configs(complete, SGD[:2], depth=18)
    members, others = kits(held), kits([held[1], held[0]])
    joint = joined([member.net for member in members])
    for member, other in zip(members, others, strict=True):
        member.net.load_state_dict(copy.deepcopy(other.net.state_dict()))
    x, _ = batch_of(0, 0)
    found = joint(x)
    for number, other in enumerate(others):
        torch.testing.assert_close(found[number], other.net(x))


@pytest.mark.parametrize("chosen", [SGD, ADAM], ids=["sgd", "adam"])
def test_a_graphed_step_of_an_array_computes_what_the_eager_one_does(complete, chosen):
    """Here a "graph" calls the function again; the last batch has another shape."""
    held = configs(complete, chosen, depth=18)
    found = []
    for graphed in (False, True):
        members = kits(held)
        captured: list[Any] = []

        def repeat(run: Any, captured: list[Any] = captured) -> Any:
            captured.append(run)
            return run

        for member in members if graphed else []:
            for group in member.optimizer.param_groups:
                group["lr"] = torch.tensor(group["lr"], dtype=torch.double)
        step: Any = ArrayStep(members, held[0])
        if graphed:
            step = GraphedArrayStep(members, held[0], repeat)
        train(members, held, step, range(2), True)
        x, target = batch_of(0, 2)
        step([(x[:4], target[:4])] * len(members))
        assert len(captured) == graphed
        found.append(
            [
                {**state(m), **{k: torch.tensor(v) for k, v in m.step.take().items()}}
                for m in members
            ]
        )
    for eager, graph in zip(*found, strict=True):
        assert off(graph, eager) < NEAR


class Odd(nn.Sequential):
    """No ResNet."""


def test_what_has_no_form_for_arrays_is_told(complete):
    config = complete("cifar10", depth=18)
    assert "Odd is no ResNet" in why_not_joined(Odd())
    net = network_for(config, 10, (SIDE, SIDE), None)
    assert why_not_joined(net) == ""
    net.fc = nn.Sequential(nn.Dropout(), net.fc)
    assert "its layer fc.0 (Dropout" in why_not_joined(net)
    net = network_for(config, 10, (SIDE, SIDE), None)
    net.bn1.weight.requires_grad_(False)
    assert why_not_joined(net) == "its bn1.weight is not trained"
    net = network_for(config | {"skip_padding": False}, 10, (SIDE, SIDE), None)
    net.layer1[0].conv1 = nn.Conv2d(64, 64, 3, padding=1, bias=False, groups=2)
    assert "its layer layer1.0.conv1" in why_not_joined(net)
