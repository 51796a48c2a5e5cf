"""Losses and sums of all members at once against those of each by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables import find_task
from trainables.engine.arrays.losses import FORMS, add_up, losses_of
from trainables.engine.kit import Kit
from trainables.engine.step import Step, make_optimizer
from trainables.task import Task

TASK = find_task("cifar10")
BATCH, CLASSES = 7, 10
NEAR = 1e-12  # in double precision


def kits(complete: Any, smoothing: Sequence[float], task: Task = TASK) -> list[Kit]:
    made = []
    for share in smoothing:
        config = complete("cifar10", precision="fp32", label_smoothing=share)
        net = nn.Linear(1, CLASSES).double()
        optimizer = make_optimizer(net, config)
        made.append(Kit(net, optimizer, Step(task, net, optimizer, config)))
    return made


def drawn(members: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    outputs = 3 * torch.randn(members, BATCH, CLASSES, generator=draw, dtype=torch.double)
    return outputs, torch.randint(0, CLASSES, (members, BATCH), generator=draw)


def each(made: Sequence[Kit], outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Losses, gradients of the outputs, right answers, by each member's own step."""
    held = outputs.clone().requires_grad_()
    told = zip(made, held, targets, strict=True)
    found = [kit.step.loss(output, target) for kit, output, target in told]
    losses = torch.stack([loss for loss, _ in found])
    losses.sum().backward()
    assert held.grad is not None
    right = torch.stack([sums["accuracy"] for _, sums in found])
    return losses.detach(), held.grad, right


def together(made: Sequence[Kit], outputs: Tensor, targets: Tensor) -> Any:
    held = outputs.clone().requires_grad_()
    losses, sums = losses_of(made)(held, targets)
    torch.autograd.backward(losses, torch.ones_like(losses))
    return losses.detach(), held.grad, sums["accuracy"]


@pytest.mark.parametrize(
    "smoothing", [(0.0, 0.0, 0.0), (0.1, 0.0, 0.9), (0.2, 0.2, 0.2)], ids=["none", "some", "all"]
)
@pytest.mark.parametrize("shared", [True, False], ids=["one seed", "seeds"])
def test_each_member_has_the_loss_that_it_has_alone(complete, smoothing, shared):
    made = kits(complete, smoothing)
    outputs, targets = drawn(3)
    if shared:
        targets = targets[0].expand(3, BATCH)
    for found, expected in zip(
        together(made, outputs, targets), each(made, outputs, targets), strict=True
    ):
        assert found.shape == expected.shape
        assert float((found - expected).abs().max()) <= NEAR * float(expected.abs().max())


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e308])
@pytest.mark.parametrize("hurt", [0, 1])
def test_a_member_that_is_not_finite_leaves_the_others_bit_for_bit(complete, hurt, value):
    made = kits(complete, (0.1, 0.0, 0.3))
    outputs, targets = drawn(3)
    sound = together(made, outputs, targets)
    outputs[hurt, 2] = value
    broken = together(made, outputs, targets)
    for found, expected in zip(broken, sound, strict=True):
        for number in {0, 1, 2} - {hurt}:
            assert torch.equal(found[number], expected[number])


def test_an_answer_that_is_ruled_out_costs_a_member_without_smoothing_nothing(complete):
    """Of one with smoothing the loss is infinite, alone too: 0 times that would be no number."""
    made = kits(complete, (0.1, 0.0))
    outputs, targets = drawn(2)
    targets[:] = 1
    outputs[:, 2, 0] = -math.inf
    found, expected = together(made, outputs, targets), each(made, outputs, targets)
    assert not found[0][0].isfinite() and not expected[0][0].isfinite()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one[1], other[1], rtol=NEAR, atol=NEAR)
    assert found[0][1].isfinite() and found[1][1].isfinite().all()


@pytest.mark.parametrize("smoothing", [(0.0, 0.0), (0.1, 0.0)])
def test_targets_that_are_ignored_count_for_nothing_as_alone(complete, smoothing):
    made, (outputs, targets) = kits(complete, smoothing), drawn(2)
    targets[0, 2] = targets[1, 0] = targets[1, 5] = -100
    alone, *_ = each(made, outputs, targets)
    together, _ = losses_of(made)(outputs, targets)
    assert torch.allclose(together, alone, rtol=NEAR, atol=0)


def test_a_loss_that_cannot_be_hashed_is_computed_of_one_after_another(complete):
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, output: Tensor, target: Tensor, config: Any) -> Any:
            return TASK.loss(output, target, config)

    made, (outputs, targets) = kits(complete, (0.0,), replace(TASK, loss=Unhashable())), drawn(1)
    together, _ = losses_of(made)(outputs, targets)
    assert torch.allclose(together, each(made, outputs, targets)[0], rtol=NEAR, atol=0)


def test_a_loss_without_a_form_is_computed_of_one_member_after_another(complete):
    """Also where its task was made from one that has one."""
    calls = []

    def own(output: Tensor, target: Tensor, config: Any) -> Any:
        calls.append(config["label_smoothing"])
        loss, sums = TASK.loss(output, target, config)
        return 2 * loss, {**sums, "seen": torch.tensor(float(len(target)))}

    assert TASK.loss in FORMS
    made = kits(complete, (0.1, 0.0), replace(TASK, loss=own))
    outputs, targets = drawn(2)
    losses, sums = losses_of(made)(outputs, targets)
    assert calls == [0.1, 0.0]
    assert torch.equal(losses, 2 * each(kits(complete, (0.1, 0.0)), outputs, targets)[0])
    assert sums["seen"].tolist() == [BATCH, BATCH] and sums["accuracy"].shape == (2,)


def test_sums_are_taken_of_each_member_and_go_on_with_it_when_one_leaves(complete):
    made = kits(complete, (0.0, 0.0, 0.0))
    first, second = dict[str, Tensor](), dict[str, Tensor]()
    add_up(first, made, {"loss": torch.tensor([1.0, 2.0, 3.0])})
    add_up(first, made, {"loss": torch.tensor([1.0, 2.0, 3.0])})
    add_up(second, [made[0], made[2]], {"loss": torch.tensor([10.0, 30.0])})
    taken = [kit.step.take() for kit in made]
    assert taken == [{"loss": 12.0}, {"loss": 4.0}, {"loss": 36.0}]
    add_up(second, [made[0], made[2]], {"loss": torch.tensor([1.0, 1.0])})
    assert [made[at].step.take() for at in (0, 2)] == [{"loss": 1.0}] * 2  # begun anew
    made[0].step.add_up(2, torch.tensor(4.0), {})  # and goes on singly
    assert made[0].step.take() == {"loss": 8.0}
