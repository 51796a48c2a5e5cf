"""An array's jobs against the same jobs alone: rows, outcomes, checkpoints, failures."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables import find_task
from trainables.engine.arrays.fits import why_single
from trainables.engine.arrays.train import (
    TogetherError,
    TogetherMemoryError,
    _in_common,
    train_array,
)
from trainables.engine.checkpoint import DamagedCheckpoint, Row
from trainables.engine.job import Outcome, TrainJob
from trainables.engine.train import train
from trainables.engine.trial import Trial
from trainables.errors import TaskError
from trainables.task import Task

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


class InDouble(nn.Module):
    """A network in double precision, given singles."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x.double())
        return out


def in_double(task: Task) -> Task:
    """The task in double precision: rounding then moves no answer."""
    return replace(
        task,
        network=lambda config, weights: task.network(config, weights).double(),
        batches=lambda *told: ((x.double(), target) for x, target in task.batches(*told)),
        evaluate=lambda net, *told: task.evaluate(InDouble(net), *told),
    )


TASK = in_double(find_task("cifar10"))
EPOCHS = 2
TIMES = {"seconds", "train_seconds"}
SMALL: dict[str, Any] = {
    "edition": "synthetic",
    "train_images": 40,  # an odd last batch
    "val_images": 16,
    "test_images": 20,
    "batch_size": 16,
    "lr": 0.01,
}
MEMBERS: list[dict[str, Any]] = [
    {"schedule": "cosine"},
    {"lr": 0.003, "checkpoint_rule": "last", "label_smoothing": 0.1},
    {"optimizer": "adam", "lr": 1e-3, "ema": 0.9},
]
# of values by the array's program, which adds in another order; in turn nothing differs
NEAR = {True: 1e-8, False: 0.0}


def jobs(complete: Any, folder: Path, **changed: Any) -> list[TrainJob]:
    """Of three members, two of them of one seed."""
    folder.mkdir(exist_ok=True)
    made = []
    for number, own in enumerate(MEMBERS):
        told: dict[str, Any] = {
            "config": complete("cifar10", **{**SMALL, **own}),
            "seed": number // 2,
            "split_seed": 42,
            "to_epoch": EPOCHS,
            "max_epochs": EPOCHS,
            "score_test": True,
            "data_dir": folder,
            "weights": None,
            "device": "cpu",
            "checkpoint": folder / str(number),
        }
        made.append(TrainJob(**{**told, **changed}))
    return made


def alone(held: Sequence[TrainJob]) -> tuple[list[list[Row]], list[Outcome]]:
    rows: list[list[Row]] = [[] for _ in held]
    told = zip(held, rows, strict=True)
    return rows, [train(TASK, job, found.append) for job, found in told]


def together(
    held: Sequence[TrainJob], join: bool | None = None
) -> tuple[list[list[Row]], list[Any]]:
    rows: list[list[Row]] = [[] for _ in held]
    return rows, train_array(TASK, held, [found.append for found in rows], join=join)


def assert_same_rows(found: list[Row], expected: list[Row], near: float) -> None:
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    for row, other in zip(found, expected, strict=True):
        for key in row.keys() - TIMES:
            assert row[key] == pytest.approx(other[key], rel=near, abs=near), key


def tensors(held: Any, name: str = "") -> dict[str, Tensor]:
    if isinstance(held, Tensor):
        return {name: held}
    if isinstance(held, dict):
        parts = [tensors(value, f"{name}.{key}") for key, value in held.items()]
        return {key: value for part in parts for key, value in part.items()}
    return {}


def load(path: Path) -> dict[str, Any]:
    held: dict[str, Any] = torch.load(path, weights_only=True)
    return held


@pytest.fixture(scope="module")
def singles(complete, tmp_path_factory) -> tuple[list[TrainJob], list[list[Row]], list[Outcome]]:
    held = jobs(complete, tmp_path_factory.mktemp("alone"))
    return held, *alone(held)


@pytest.mark.parametrize("join", [True, False], ids=["joined", "in turn"])
def test_each_job_of_an_array_has_the_rows_outcome_and_checkpoint_that_it_has_alone(
    singles, complete, tmp_path, join
):
    """In turn bit for bit; joined within rounding."""
    held, rows, outcomes = singles
    near = NEAR[join]
    found, ended = together(jobs(complete, tmp_path), join)
    for number, (outcome, other) in enumerate(zip(ended, outcomes, strict=True)):
        assert_same_rows(found[number], rows[number], near)
        assert outcome.how["step"] == "eager, array of 3"
        assert (outcome.epoch, outcome.diverged) == (EPOCHS, False)
        assert outcome.value_epoch == other.value_epoch
        assert outcome.value == pytest.approx(other.value, rel=near)
        assert (outcome.parameters, outcome.baselines) == (other.parameters, other.baselines)
        assert outcome.test.metrics == pytest.approx(other.test.metrics, rel=near)
        assert outcome.test.per_image == other.test.per_image
        mine, its = load(tmp_path / str(number)), load(held[number].checkpoint)
        assert mine.keys() == its.keys()
        assert mine["trial"] == its["trial"]
        one, two = tensors(mine), tensors(its)
        assert one.keys() == two.keys()
        for name, value in one.items():
            size = float(two[name].double().abs().max())
            assert float((value - two[name]).double().abs().max()) <= near * size, name


@pytest.mark.parametrize("join", [True, False], ids=["joined", "in turn"])
def test_a_job_goes_on_alone_from_a_checkpoint_of_an_array_and_the_other_way(
    singles, complete, tmp_path, join
):
    _, rows, _ = singles
    crossed: list[list[Row]] = [[], [], []]
    first = jobs(complete, tmp_path, to_epoch=1, score_test=False)
    for number, found in enumerate(together(first, join)[0]):
        crossed[number] += found
    size = first[0].checkpoint.stat().st_size
    single = jobs(complete, tmp_path / "single", to_epoch=1, score_test=False)
    alone(single[:1])
    assert size == single[0].checkpoint.stat().st_size  # no other member's weights are in it
    for number, found in enumerate(alone(jobs(complete, tmp_path, from_epoch=1))[0]):
        crossed[number] += found
    for found, expected in zip(crossed, rows, strict=True):
        assert_same_rows(found, expected, NEAR[join])


def test_a_member_that_is_behind_catches_up_first(singles, complete, tmp_path):
    """As after a kill between two writes."""
    _, rows, _ = singles
    ahead = jobs(complete, tmp_path, to_epoch=1, score_test=False)[:1]
    alone(ahead)
    found, ended = together(jobs(complete, tmp_path), join=True)
    assert [len(mine) for mine in found] == [2, 2, 2]
    assert all(isinstance(outcome, Outcome) for outcome in ended)
    for mine, expected in zip(found, rows, strict=True):
        assert_same_rows(mine, expected, NEAR[True])


@pytest.mark.parametrize("join", [True, False], ids=["joined", "in turn"])
def test_a_member_that_diverges_ends_by_itself(singles, complete, tmp_path, join):
    _, rows, _ = singles
    held = jobs(complete, tmp_path)
    config = {**held[1].config, "lr": 1e30}
    held[1] = TrainJob(**{**vars(held[1]), "config": config})
    found, ended = together(held, join)
    assert ended[1].diverged and math.isnan(ended[1].value) and ended[1].epoch == 1
    assert len(found[1]) == 1
    assert not held[1].checkpoint.exists()
    for number in (0, 2):
        assert_same_rows(found[number], rows[number], NEAR[join])


def test_what_a_member_fails_with_is_its_own(singles, complete, tmp_path):
    _, rows, _ = singles
    held = jobs(complete, tmp_path)
    held[0].checkpoint.write_bytes(b"no checkpoint")
    reports: list[Any] = [[], [], []]

    def full(row: Row) -> None:
        raise OSError(28, "No space left on device")

    calls = [reports[0].append, full, reports[2].append]
    ended = train_array(TASK, held, calls, join=True)
    assert isinstance(ended[0], DamagedCheckpoint)
    assert isinstance(ended[1], OSError)
    assert isinstance(ended[2], Outcome)
    assert_same_rows(reports[2], rows[2], NEAR[True])


def test_what_all_fail_with_is_that_of_all(complete, tmp_path, monkeypatch):
    from trainables.engine.arrays import train as loop

    def broken(*_: Any) -> None:
        raise RuntimeError("out of something")

    monkeypatch.setattr(loop, "_epoch", broken)
    ended = together(jobs(complete, tmp_path))[1]
    assert [type(error) for error in ended] == [TogetherError] * 3
    assert [str(error) for error in ended] == ["RuntimeError: out of something"] * 3


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), TogetherMemoryError),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator"), TogetherMemoryError),
        (MemoryError(), TogetherMemoryError),
        (RuntimeError("CUDA error: an illegal memory access"), TogetherError),
    ],
)
def test_memory_that_all_lack_is_told_apart_from_other_failures(error, kind):
    assert type(_in_common(error)) is kind


def test_memory_that_a_member_lacks_beside_the_others_is_that_of_all(
    complete, tmp_path, monkeypatch
):
    """It may have enough of it when the others are gone."""
    held, made = jobs(complete, tmp_path), []

    class Full(Trial):
        def __init__(self, *told: Any) -> None:
            made.append(told)
            if len(made) == 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            super().__init__(*told)

    monkeypatch.setattr("trainables.engine.arrays.train.Trial", Full)
    _, ended = together(held)
    assert [type(one) for one in ended] == [Outcome, Outcome, TogetherMemoryError]


def test_where_an_array_has_broken_its_process_no_member_pays_for_it(
    complete, tmp_path, monkeypatch
):
    """After an illegal access every call to the GPU fails, whoever's it is."""
    from search.run.worker import _outcomes, failure

    def broken(*told: Any, **more: Any) -> Any:
        return [TogetherError("CUDA error: an illegal memory access")] * 3

    monkeypatch.setattr("trainables.engine.arrays.train.train_array", broken)
    monkeypatch.setattr("search.run.worker.why_broken", lambda kind: "CUDA error: an illegal")
    found, short = _outcomes(TASK, jobs(complete, tmp_path), [print] * 3, lambda: None)
    assert not short
    assert [failure(error)["infrastructure"] for error in found] == ["process"] * 3


def test_what_fails_together_or_is_no_array_is_trained_one_by_one(complete, tmp_path, monkeypatch):
    """Memory for all of them, say, that each by itself has enough of."""
    from search.run.worker import _outcomes
    from trainables.engine.arrays import train as loop

    def broken(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    def outcomes(held: Sequence[TrainJob]) -> Any:
        rows: list[list[Row]] = [[] for _ in held]
        return _outcomes(TASK, held, [found.append for found in rows], lambda: None), rows

    other = jobs(complete, tmp_path / "other")
    other[2] = TrainJob(**{**vars(other[2]), "config": {**other[2].config, "batch_size": 8}})
    (singly, short), _ = outcomes(other)
    assert not short  # they are no array
    assert [outcome.how["step"] for outcome in singly] == ["eager"] * 3
    monkeypatch.setattr(loop, "_epoch", broken)
    nets: list[Any] = []
    made = loop.Trial

    def trial(*told: Any) -> Any:
        found = made(*told)
        nets.append(weakref.ref(found.kit.net))
        return found

    monkeypatch.setattr(loop, "Trial", trial)
    alone = []

    def singly_trained(*told: Any) -> Any:
        alone.append([net() is None for net in nets])  # their memory is free by then
        return train(*told)

    monkeypatch.setattr("trainables.engine.train.train", singly_trained)
    (found, short), rows = outcomes(jobs(complete, tmp_path / "held"))
    assert short
    assert alone == [[True] * 3] * 3
    assert [outcome.how["step"] for outcome in found] == ["eager"] * 3
    assert [len(held) for held in rows] == [EPOCHS] * 3


def test_what_a_loss_draws_is_in_turn_what_it_draws_alone(complete, tmp_path):
    def noisy(output: Tensor, target: Tensor, config: Any) -> Any:
        loss, sums = TASK.loss(output, target, config)
        return loss * (1 + torch.rand(())), sums

    task = replace(TASK, loss=noisy)
    expected: list[list[Row]] = [[], [], []]
    for job, rows in zip(jobs(complete, tmp_path / "alone"), expected, strict=True):
        train(task, job, rows.append)
    found: list[list[Row]] = [[], [], []]
    torch.manual_seed(7)  # of whatever the worker did before
    train_array(task, jobs(complete, tmp_path), [rows.append for rows in found], join=False)
    for mine, theirs in zip(found, expected, strict=True):
        assert_same_rows(mine, theirs, 0.0)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"to_epoch": 1}, "they differ in to_epoch"),
        ({"depth": 34}, "they differ in depth"),
        ({"batch_size": 8}, "they differ in batch_size"),
        ({"augment": False}, "they differ in augment"),
    ],
)
def test_jobs_of_other_shapes_are_no_array(complete, tmp_path, changed, why):
    held = jobs(complete, tmp_path)
    last = vars(held[2])
    own = changed if "to_epoch" in changed else {"config": {**last["config"], **changed}}
    held[2] = TrainJob(**{**last, **own})
    assert why_single(TASK, held) == why
    with pytest.raises(TaskError, match=f"cannot be trained as an array: {why}"):
        together(held)


def test_jobs_that_freeze_by_their_start_are_no_array(complete, tmp_path):
    """A task's own habit: what starts pretrained keeps its first layer."""

    def network(config: Any, weights: Any) -> torch.nn.Module:
        net = TASK.network(config, weights)
        net.conv1.weight.requires_grad_(not config["pretrained"])
        return net

    task, held = replace(TASK, network=network), jobs(complete, tmp_path)
    assert why_single(task, held) == ""
    last = vars(held[2])
    held[2] = TrainJob(**{**last, "config": {**last["config"], "pretrained": True}})
    assert why_single(TASK, held) == ""
    assert why_single(task, held).startswith("training leaves other layers at rest")


def test_other_networks_are_no_array(complete, tmp_path):
    def told(**config: Any) -> str:
        held = jobs(complete, tmp_path)
        made = [TrainJob(**{**vars(job), "config": {**job.config, **config}}) for job in held]
        return why_single(TASK, made)

    assert told() == ""
    assert told(network="densenet121") == "network = 'densenet121' is no ResNet of ours"
