from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import trainables.engine.graphed
from tests.rounding import assert_same_sums, moves
from trainables import find_task
from trainables.engine.graphed import GraphedStep
from trainables.engine.step import (
    Step,
    autocast,
    learning_rate,
    make_optimizer,
    resolve_precision,
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


SHARES = find_task("cifar10").settings["milestones"].default


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


def test_a_step_updates_and_adds_up_over_the_batch(complete):
    """Weights zero, so every class has chance 1/10: loss ln 10, and argmax answers class 0."""
    config = complete("cifar10", momentum=0.0, lr=1.0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 2 * 2, 10))
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    batch = torch.ones(4, 3, 2, 2), torch.tensor([0, 0, 1, 2])
    optimizer = make_optimizer(net, config)
    step = Step(find_task("cifar10"), net, optimizer, config)
    step(batch)
    sums = step.take()
    assert_same_sums(sums["loss"], 4 * math.log(10), 10, dtype=torch.float32)  # ten chances
    assert sums["accuracy"] == 2
    # the gradient of the bias is the mean of (chance - target)
    expected = -torch.tensor([0.1 - 0.5, 0.1 - 0.25, 0.1 - 0.25, *[0.1] * 7])
    torch.testing.assert_close(net[1].bias.detach(), expected)
    set_learning_rate(optimizer, 0.0)
    step(batch)
    first = step.take()
    step(batch)
    step(batch)
    assert step.take() == {name: 2 * value for name, value in first.items()}  # counted anew


# ---- the path of the CUDA graph: on the CPU, "replaying" calls the captured function again


def repeat(run: Callable[[], None]) -> Callable[[], None]:
    return run


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 10)
    ).to(memory_format=torch.channels_last)


ADDENDS = 3 * 9 + 16  # of a value of small_net: taps of its convolution, inputs of its last layer


def assert_same_learned(
    eager: Callable[[nn.Module], dict[str, Any]], found: dict[str, Any]
) -> None:
    """Sums and weights are those of eager steps on the same small network."""
    expected = eager(small_net())
    assert found.keys() == expected.keys()
    moved = moves(eager, small_net(), expected, ADDENDS)
    for name, value in expected.items():
        assert_same_sums(
            found[name], value, ADDENDS, moved=moved[name], dtype=torch.float32, name=name
        )


def some_batches(*sizes: int) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(n, 3, 4, 4, generator=draw), torch.randint(0, 10, (n,), generator=draw))
        for n in sizes
    ]


OPTIMIZERS: list[dict[str, Any]] = [
    {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "adam", "weight_decay": 0.01},
]


@pytest.mark.long
@pytest.mark.parametrize("held", OPTIMIZERS, ids=lambda held: "-".join(map(str, held.values())))
@pytest.mark.parametrize("trained", [0, 2], ids=["new", "gone on with"])
def test_a_graphed_step_computes_what_the_eager_one_does(held, trained, complete):
    """An odd batch among even ones, another lr at each step, from the start or with momentum."""
    config = complete("cifar10", precision="fp32", lr=0.05, **held)
    task = find_task("cifar10")

    def learned(net: nn.Module, graphed: bool) -> dict[str, Any]:
        optimizer = make_optimizer(net.train(), config, tensor_lr=graphed)
        before = Step(task, net, optimizer, config)
        for batch in some_batches(5, 5)[:trained]:
            before(batch)
        step = (
            GraphedStep(task, net, optimizer, config, repeat)
            if graphed
            else Step(task, net, optimizer, config)
        )
        for number, batch in enumerate(some_batches(8, 8, 3, 8)):
            set_learning_rate(optimizer, 0.05 / (number + 1))
            step(batch)
        return {**step.take(), **net.state_dict()}

    assert_same_learned(lambda net: learned(net, False), learned(small_net(), True))


@pytest.mark.parametrize("held", OPTIMIZERS, ids=lambda held: "-".join(map(str, held.values())))
def test_the_warm_up_leaves_network_optimizer_and_random_state_alone(held, complete):
    """What is captured is not run by the capture, so after it all is as before."""
    config = complete("cifar10", precision="fp32", lr=0.05, **held)
    net = small_net().train()
    optimizer = make_optimizer(net, config, tensor_lr=True)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    calls = []

    def note(run: Callable[[], None]) -> Callable[[], None]:
        calls.append({name: value.clone() for name, value in net.state_dict().items()})
        assert torch.equal(torch.get_rng_state(), random)
        for state in optimizer.state.values():
            assert not any(value.any() for value in state.values() if torch.is_tensor(value))
        return lambda: None

    step = GraphedStep(find_task("cifar10"), net, optimizer, config, note)
    step(some_batches(8)[0])
    assert len(calls) == 1
    assert all(torch.equal(calls[0][name], value) for name, value in before.items())
    assert step.take() == {"loss": 0.0, "accuracy": 0.0}


@pytest.mark.parametrize("kind", [RuntimeError, Exception])  # Triton's errors are plain ones
def test_a_failed_capture_runs_eagerly_with_one_warning_that_says_why(complete, kind):
    config = complete("cifar10", precision="fp32", lr=0.05)
    task = find_task("cifar10")

    def refuse(run: Callable[[], None]) -> Callable[[], None]:
        raise kind("operation not permitted when stream is capturing")

    def learned(net: nn.Module, graphed: bool) -> dict[str, Any]:
        optimizer = make_optimizer(net.train(), config, tensor_lr=graphed)
        step: Step = Step(task, net, optimizer, config)
        if graphed:
            step = GraphedStep(task, net, optimizer, config, refuse)
        for batch in some_batches(8, 8):
            step(batch)
        return {**step.take(), **net.state_dict()}

    with pytest.warns(UserWarning, match="runs eagerly .*not permitted when") as warned:
        found = learned(small_net(), True)
    assert len(warned) == 1
    assert_same_learned(lambda net: learned(net, False), found)


def test_weights_move_after_the_gradients_of_the_second_stream_are_there(complete, monkeypatch):
    happened = []

    @contextmanager
    def noted(net: nn.Module, device: torch.device) -> Iterator[Callable[[], None]]:
        yield lambda: happened.append("join")

    monkeypatch.setattr(trainables.engine.graphed, "as_captured", noted)
    config, net = complete("cifar10", precision="fp32", lr=0.05), small_net().train()
    optimizer = make_optimizer(net, config, tensor_lr=True)
    optimizer.register_step_pre_hook(lambda *_: happened.append("update"))
    step = GraphedStep(find_task("cifar10"), net, optimizer, config, lambda run: (run(), run)[1])
    step(some_batches(8)[0])
    assert happened[: 2 * 4] == ["join", "update"] * 4  # three to warm up, one captured
    step(some_batches(3)[0])
    assert happened[-1] == "update" and happened[-2] != "join"  # another shape: stock and eager


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("held", OPTIMIZERS, ids=lambda held: "-".join(map(str, held.values())))
def test_a_captured_graph_agrees_with_eager_on_a_gpu(held, complete):
    from trainables.engine.graphed import cuda_graph

    config = complete("cifar10", precision="fp32", lr=0.01, **held)
    task = find_task("cifar10")
    resolve_precision(config, torch.device("cuda"))

    def learned(net: nn.Module, graphed: bool) -> dict[str, Any]:
        net = net.cuda().train()
        optimizer = make_optimizer(net, config, tensor_lr=True)
        step: Step = Step(task, net, optimizer, config)
        if graphed:
            step = GraphedStep(task, net, optimizer, config, cuda_graph)
        for x, target in some_batches(8, 8, 3, 8, 8):
            step((x.cuda(), target.cuda()))
        assert not getattr(step, "failed", "")
        return {**step.take(), **net.state_dict()}

    assert_same_learned(lambda net: learned(net, False), learned(small_net(), True))


@pytest.mark.parametrize(
    ("asked", "found"), [("auto", "fp32"), ("fp32", "fp32"), ("bf16", "bf16")]
)
def test_precision_on_a_cpu_is_single_unless_the_study_says_bf16(asked, found, complete):
    device = torch.device("cpu")
    config = complete("cifar10", precision=asked)
    assert resolve_precision(config, device) == found
    with autocast({**config, "precision": found}, device):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if found == "bf16" else torch.float32)


def test_a_running_mean_over_all_batches_counts_them():
    """BatchNorm without momentum divides by the batches counted."""
    nets = [nn.BatchNorm2d(3, momentum=None) for _ in range(2)]
    batches = [torch.full((2, 3, 2, 2), value) for value in (1.0, 3.0)]
    for batch in batches:
        nets[0](batch)
        with trainables.engine.graphed._counted_together(nets[1]):
            nets[1](batch)
    assert nets[0].running_mean.tolist() == nets[1].running_mean.tolist() == [2.0] * 3
