from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from trainables import TASKS
from trainables.step import (
    eager_step,
    learning_rate,
    make_optimizer,
    restart_momentum,
    set_learning_rate,
)


def schedule(**changed: Any) -> dict[str, Any]:
    return {
        "lr": 0.1,
        "schedule": "step",
        "milestones": (32_000, 48_000),
        "drop_factor": 0.1,
        "warmup_epochs": 0.0,
        **changed,
    }


SHARES = TASKS["cifar10"].settings["milestones"].default


@pytest.mark.parametrize("milestones", [(32_000, 48_000), SHARES], ids=["steps", "shares"])
@pytest.mark.parametrize(
    ("step", "lr"),
    [(0, 0.1), (31_999, 0.1), (32_000, 0.01), (47_999, 0.01), (48_000, 1e-3), (70_399, 1e-3)],
)
def test_learning_rate_drops_where_the_report_dropped_it(milestones, step, lr):
    """200 epochs of 352 steps; the defaults are the same places as shares of the budget."""
    config = schedule(milestones=milestones)
    assert learning_rate(step, 70_400, 352, config) == pytest.approx(lr, rel=1e-12)


def test_learning_rate_scales_fractional_milestones_with_the_budget():
    config = schedule(milestones=(0.5, 0.75), drop_factor=0.2)
    rates = [learning_rate(step, 40, 10, config) for step in (19, 20, 29, 30, 39)]
    assert rates == pytest.approx([0.1, 0.02, 0.02, 0.004, 0.004])


def test_learning_rate_without_milestones_never_drops():
    config = schedule(milestones=())
    assert {learning_rate(step, 40, 10, config) for step in range(40)} == {0.1}


def test_learning_rate_follows_half_a_cosine():
    config = schedule(schedule="cosine", lr=0.4)
    rates = [learning_rate(step, 100, 10, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.4)
    assert rates[25] == pytest.approx(0.2 * (1 + math.sqrt(0.5)))
    assert rates[50] == pytest.approx(0.2)
    assert all(a > b for a, b in pairwise(rates))
    assert 0 < rates[-1] < 0.001


def test_learning_rate_stays_constant():
    config = schedule(schedule="constant")
    assert {learning_rate(step, 40, 10, config) for step in range(40)} == {0.1}


def test_learning_rate_rises_linearly_over_the_warmup():
    """Two epochs of ten steps: a twentieth at the first step, all of it from the twentieth on."""
    config = schedule(schedule="constant", warmup_epochs=2)
    rates = [learning_rate(step, 100, 10, config) for step in (0, 9, 19, 20, 99)]
    assert rates == pytest.approx([0.005, 0.05, 0.1, 0.1, 0.1])


def test_learning_rate_warmup_multiplies_the_schedule():
    config = schedule(schedule="cosine", warmup_epochs=5)
    assert learning_rate(24, 100, 10, config) == pytest.approx(
        0.5 * learning_rate(24, 100, 10, schedule(schedule="cosine"))
    )


def test_set_learning_rate_reaches_every_group():
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [a]}, {"params": [b], "lr": 3.0}], lr=1.0)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def update(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    net(x).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("nesterov", [False, True])
def test_restart_momentum_equals_a_new_sgd(nesterov, complete):
    """Train three steps, then go on with zeroed momentum, or with a newly built optimizer."""
    config = complete("cifar10", nesterov=nesterov, weight_decay=1e-3)
    torch.manual_seed(0)
    restarted = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2))
    optimizer = make_optimizer(restarted, config)
    for seed in range(3):
        update(restarted, optimizer, seed)
    rebuilt, carried = copy.deepcopy(restarted), copy.deepcopy(restarted)
    old = make_optimizer(carried, config)
    old.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    restart_momentum(optimizer)
    new = make_optimizer(rebuilt, config)
    for seed in range(3, 6):
        update(restarted, optimizer, seed)
        update(rebuilt, new, seed)
        update(carried, old, seed)
    for a, b, c in zip(
        restarted.parameters(), rebuilt.parameters(), carried.parameters(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        assert not torch.allclose(a, c)  # without the restart the weights are others


def test_restart_momentum_before_the_first_step_does_nothing(complete):
    net = nn.Linear(5, 2)
    optimizer = make_optimizer(net, complete("cifar10"))
    restart_momentum(optimizer)
    update(net, optimizer, 0)


def test_make_optimizer_builds_the_one_of_the_config(complete):
    net = nn.Linear(3, 2)
    sgd = make_optimizer(
        net, complete("cifar10", lr=0.3, momentum=0.8, nesterov=True, weight_decay=0.01)
    )
    assert isinstance(sgd, torch.optim.SGD)
    (group,) = sgd.param_groups
    told = {"lr": 0.3, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01, "dampening": 0}
    assert {key: group[key] for key in told} == told
    adam = make_optimizer(net, complete("shanghaitech", lr=0.002, weight_decay=0.02))
    assert isinstance(adam, torch.optim.Adam)
    (group,) = adam.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.002, 0.02)


def test_eager_step_updates_and_returns_sums_over_the_batch(complete):
    """Weights zero, so every class has chance 1/10: loss ln 10, and argmax answers class 0."""
    config = complete("cifar10", momentum=0.0, lr=1.0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 2 * 2, 10))
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    batch = torch.ones(4, 3, 2, 2), torch.tensor([0, 0, 1, 2])
    sums = eager_step(TASKS["cifar10"], net, make_optimizer(net, config), batch, config)
    assert float(sums["loss"]) == pytest.approx(4 * math.log(10), rel=1e-6)
    assert float(sums["accuracy"]) == 2
    # the gradient of the bias is the mean of (chance - target)
    expected = -torch.tensor([0.1 - 0.5, 0.1 - 0.25, 0.1 - 0.25, *[0.1] * 7])
    torch.testing.assert_close(net[1].bias.detach(), expected)
