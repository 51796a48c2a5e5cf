"""One update for all members against each member's own, in Triton's interpreter on a CPU."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.trainables.engine.arrays import test_step as steps
from tests.trainables.kernels.gpu_compile import sizes_of_binaries
from trainables.engine.arrays import update, update_check
from trainables.engine.arrays.step import ArrayStep, GraphedArrayStep
from trainables.engine.kit import Kit

CPU = torch.device("cpu")
MIXED = [steps.SGD[1], {**steps.ADAM[2], "ema": 0.5}]  # the interpreter takes 2 s a step of each


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[update.Update]:
    """Captured steps update all members at once, on a CPU too; the updates that were made."""
    made: list[update.Update] = []

    class Seen(update.Update):
        def __init__(self, members: Sequence[Kit]) -> None:
            super().__init__(members)
            made.append(self)

    monkeypatch.setattr(update_check, "works", lambda *_: True)
    monkeypatch.setattr(update, "Update", Seen)
    return made


def graphed(members: Sequence[Kit], config: dict[str, Any]) -> GraphedArrayStep:
    """A captured step; the "graph" calls the function again."""
    for member in members:
        for group in member.optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], dtype=torch.double)
    return GraphedArrayStep(members, config, lambda run: run)


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor is several programs' work, and a member's parts are added up in several rounds."""
    monkeypatch.setitem(update.BLOCK, "cpu", 32)
    monkeypatch.setattr(update, "PIECE", 4)


@pytest.mark.long
@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("dtype", [torch.float, torch.double])
def test_small_members_of_every_kind_are_updated_as_each_does_it(dtype):
    update_check.check(CPU, dtype)


@pytest.mark.long
@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("column", range(7))
def test_another_setting_is_no_longer_the_same(column, monkeypatch):
    """What a worker is asked once before it trusts the kernels would show that one is not read."""
    told = update._settings

    def other(member: Kit) -> list[float]:
        own = told(member)
        return [*own[:column], own[column] / 2, *own[column + 1 :]]

    monkeypatch.setattr(update, "_settings", other)
    if column == 5:  # Adam's epsilon: to be seen it has to be large
        monkeypatch.setattr(update, "_settings", lambda m: [*told(m)[:5], 0.1, told(m)[6]])
    if column == 6:
        monkeypatch.setattr(update, "_settings", lambda m: [*told(m)[:6], 0.0])
    with pytest.raises(AssertionError):
        update_check.check(CPU, torch.double)


def test_on_a_cpu_each_member_is_updated_by_itself():
    assert not update_check.works(CPU)


def test_what_does_not_work_is_told_once_and_left(monkeypatch):
    def broken(*_: Any) -> None:
        raise RuntimeError("no such GPU\nmore")

    monkeypatch.setattr(update_check, "check", broken)
    update_check.works.cache_clear()
    with pytest.warns(UserWarning, match=r"one by one: .* \(RuntimeError: no such GPU\)"):
        assert not update_check.works(torch.device("cuda"))
    assert not update_check.works(torch.device("cuda"))
    update_check.works.cache_clear()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_captured_step_with_one_update_computes_what_the_eager_one_does(complete, together):
    """Which computes what single trials do: test_step.py."""
    held, found = steps.configs(complete, MIXED, depth=18), []
    for way in (ArrayStep, graphed):
        members = steps.kits(held)
        step = way(members, held[0])
        steps.train(members, held, step, range(1), True)
        x, target = steps.batch_of(0, 1)
        step([(x[:4], target[:4])] * len(members))  # of another shape: beside the graph
        steps.train(members, held, step, range(2, 3), True)
        found.append([{**steps.state(m), **tensors(m.step.take())} for m in members])
    assert len(together) == 1
    for eager, graph in zip(*found, strict=True):
        assert steps.off(graph, eager) < steps.NEAR


def tensors(sums: dict[str, float]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in sums.items()}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("hurt", range(len(update_check.KINDS)))
def test_a_member_that_is_not_finite_any_more_leaves_the_others_alone_bit_for_bit(hurt, value):
    """By a gradient that is not; each kind of member as that one."""
    found = []
    for last in (1.0, value):
        torch.manual_seed(0)
        members = [update_check._small(own, CPU, torch.double) for own in update_check.KINDS]
        for number in range(3):
            for member in members:
                for weight in member.net.parameters():
                    weight.grad = torch.randn_like(weight)
            members[hurt].net["conv"].weight.grad[0, 0, 0, 0] = last if number else 1.0
            if number:
                update.Update(members)()
            else:
                for member in members:
                    member.step.move()
        found.append([update_check.tensors(member) for member in members])
    sound, broken = found
    assert not all(held.isfinite().all() for held in broken[hurt])
    for number in {*range(len(sound))} - {hurt}:
        assert all(held.isfinite().all() for held in sound[number])
        assert all(map(torch.equal, broken[number], sound[number]))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_trials_go_on_singly_from_an_array_and_in_one_from_singly(complete, together):
    """By torch's own state dicts, as checkpoints have them."""
    held = steps.configs(complete, MIXED, depth=18)
    alone = steps.kits(held)
    steps.train(alone, held, steps.one_by_one(alone), range(3), True)
    members = steps.kits(held)
    steps.train(members, held, steps.one_by_one(members), range(1), True)
    members = resumed(members, held)
    steps.train(members, held, graphed(members, held[0]), range(1, 2), True)
    members = resumed(members, held)
    steps.train(members, held, steps.one_by_one(members), range(2, 3), True)
    assert len(together) == 1
    for member, other in zip(members, alone, strict=True):
        assert steps.off(steps.state(member), steps.state(other)) < steps.NEAR


def resumed(members: Sequence[Kit], held: Sequence[dict[str, Any]]) -> list[Kit]:
    """Others, with the state of these."""
    made = steps.kits(held)
    for member, other in zip(members, made, strict=True):
        other.net.load_state_dict(member.net.state_dict())
        lrs = [group["lr"] for group in other.optimizer.param_groups]
        other.optimizer.load_state_dict(copy.deepcopy(member.optimizer.state_dict()))
        for group, lr in zip(other.optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr
        if member.step.average is not None and other.step.average is not None:
            other.step.average.load(member.step.average.state())
    return made


def test_a_gradient_in_another_layout_is_refused(complete):
    held = steps.configs(complete, steps.SGD[:1], depth=18)
    members = steps.kits(held)
    graphed(members, held[0])
    steps.train(members, held, steps.one_by_one(members), range(1), True)
    for group in members[0].optimizer.param_groups:
        group["lr"] = torch.tensor(1e-3, dtype=torch.double)
    made = update.Update(members)
    weight = next(members[0].net.parameters())
    weight.grad = torch.zeros(weight.shape, dtype=torch.double)
    with pytest.raises(ValueError, match="laid out in another way"):
        made()


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from trainables.kernels.update_kernels import KERNELS, tl

flags = {"BLOCK": 2048, "PIECE": 1024, "RATES": tl.float32}
for of, T in (("*fp32", tl.float32), ("*fp64", tl.float64)):
    kinds = {"tensors": "*i64", "chunks": "*i64", "extents": "*i64", "parts": of}
    for kernel in KERNELS:
        told = {"T": T, **flags}
        constants = {name: told[name] for name in kernel.arg_names if name in told}
        kind = lambda name: "constexpr" if name in constants else kinds.get(name, "*fp64")
        source = ASTSource(kernel, {name: kind(name) for name in kernel.arg_names}, constants)
        print(len(compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]))
"""


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_that_is_not_here(tmp_path):
    assert len(sizes_of_binaries(COMPILE, tmp_path)) == 2 * 3
