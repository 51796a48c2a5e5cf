from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import generated_tasks
from tests.rounding import TERMS, assert_same_sums, nudge
from trainables import find_task
from trainables.engine import kit
from trainables.engine.step import restart_momentum
from trainables.engine.train import Outcome, Row, TrainJob, train, watched_split
from trainables.task import Config, Evaluation, Task

pytestmark = pytest.mark.long

EPOCHS = 3
TIMES = {"seconds", "train_seconds"}

# Small, but with an odd last batch, a moving lr, momentum or Adam's state, and augmentation.
SMALL: dict[str, dict[str, Any]] = {
    "cifar10": {
        "train_images": 40,
        "val_images": 16,
        "test_images": 20,
        "batch_size": 16,
        "lr": 0.01,
        "schedule": "cosine",
        "augment_evaluation": True,
        "checkpoint_rule": "last",
    },
    "shanghaitech": {
        "train_images": 5,
        "val_images": 3,
        "test_images": 4,
        "batch_size": 3,
        "crop": 64,
        "schedule": "cosine",
        "checkpoint_rule": "last",
    },
    # all that is off elsewhere: averages, clipping, a rate of the head's own, jitter, crops
    "shanghaitech conv": {
        "head": "conv",
        "stride": 16,
        "loss": "bayesian",
        "train_sample": 2,
        "train_images": 5,
        "val_images": 3,
        "test_images": 4,
        "batch_size": 4,
        "crops": 2,
        "jitter": 0.2,
        "crop": 64,
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "ema": 0.9,
        "clip_grad": 1.0,
        "head_lr": 10.0,
        "schedule": "cosine",
        "checkpoint_rule": "last",
    },
}


def job(config: Config, checkpoint: Path, to_epoch: int, **changed: Any) -> TrainJob:
    told: dict[str, Any] = {
        "config": config,
        "seed": 1,
        "split_seed": 42,
        "to_epoch": to_epoch,
        "max_epochs": EPOCHS,
        "score_test": False,
        "data_dir": checkpoint.parent,
        "weights": None,
        "device": "cpu",
        "checkpoint": checkpoint,
    }
    return TrainJob(**{**told, **changed})


def untimed(rows: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def judged_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """Those that a finished trial is judged by, of its checkpoint."""
    held: dict[str, Tensor] = state["best_weights"] or state["net"]
    return held


# ---- the contract of every task, on synthetic data


@pytest.fixture(scope="module", params=[*generated_tasks(), "shanghaitech conv"])
def runs(request, complete, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """The same trial twice: without a stop to epoch 3, and to epoch 1, then to epoch 3."""
    task = find_task(request.param.split()[0])
    config = complete(task.name, edition="synthetic", **SMALL[request.param])
    folder = tmp_path_factory.mktemp("train")
    at_once, in_two = folder / "at_once", folder / "in_two"
    rows: list[Row] = []
    first: list[Row] = []
    second: list[Row] = []
    torch.manual_seed(100)
    outcome = train(task, job(config, at_once, EPOCHS, score_test=True), rows.append)
    torch.manual_seed(200)
    train(task, job(config, in_two, 1), first.append)
    torch.manual_seed(300)
    resumed = train(task, job(config, in_two, EPOCHS, score_test=True), second.append)
    yield SimpleNamespace(
        task=task,
        config=config,
        outcome=outcome,
        rows=rows,
        first=first,
        second=second,
        resumed=resumed,
        state=load(at_once),
        resumed_state=load(in_two),
    )
    for path in folder.iterdir():  # half a gigabyte
        path.unlink()


def test_train_reports_a_row_an_epoch_with_the_promised_keys(runs):
    assert [row["epoch"] for row in runs.rows] == [1, 2, 3]
    for row in runs.rows:
        scores = {f"val_{name}" for name in (*runs.task.metrics, *runs.task.also)}
        assert {"epoch", "lr", "seconds", "train_loss", *scores} <= set(row)
        assert row.get("val_collapsed", 0.0) in (0.0, 1.0)
        extra = set(row) - scores - {"epoch", "lr", "seconds", "val_collapsed"}
        assert all(key.startswith("train_") for key in extra)
        assert all(math.isfinite(value) for value in row.values())
        assert row["seconds"] >= row["train_seconds"] > 0
    rates = [row["lr"] for row in runs.rows]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == EPOCHS


def test_train_is_repeatable_whatever_the_global_random_state(runs):
    assert untimed(runs.first) == untimed(runs.rows[:1])


def test_train_with_a_stop_equals_train_without_bit_for_bit(runs):
    assert runs.second[0] == runs.first[0]  # told again, as it was
    assert untimed(runs.second) == untimed(runs.rows)
    one, other = judged_weights(runs.state), judged_weights(runs.resumed_state)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(other[name], value), name
    assert runs.resumed.test.metrics == runs.outcome.test.metrics
    assert runs.resumed.test.per_image == runs.outcome.test.per_image


def test_train_to_an_epoch_already_trained_only_reports_again(runs, tmp_path):
    """The checkpoint is left as it is, and test can still be scored, to the same result."""
    path = tmp_path / "checkpoint"
    torch.save(runs.state, path)
    before = path.stat().st_mtime_ns
    rows: list[Row] = []
    outcome = train(runs.task, job(runs.config, path, EPOCHS, score_test=True), rows.append)
    assert rows == runs.rows
    assert path.stat().st_mtime_ns == before
    assert (outcome.epoch, outcome.value) == (EPOCHS, runs.outcome.value)
    assert outcome.test.per_image == runs.outcome.test.per_image
    path.unlink()


def test_train_with_another_seed_has_another_curve(runs, tmp_path):
    rows: list[Row] = []
    train(runs.task, job(runs.config, tmp_path / "checkpoint", 1, seed=2), rows.append)
    assert rows[0]["train_loss"] != runs.rows[0]["train_loss"]
    (tmp_path / "checkpoint").unlink()


def test_train_scores_test_with_equally_long_columns(runs):
    test = runs.outcome.test
    assert set(test.metrics) == {*runs.task.metrics, *runs.task.also}
    assert all(math.isfinite(value) for value in test.metrics.values())
    assert set(test.per_image) == {"image", "truth", "prediction"}
    count = SMALL[runs.task.name]["test_images"]
    assert {len(column) for column in test.per_image.values()} == {count}
    held = [*runs.outcome.baselines.values()]
    for metric in runs.task.metrics:
        assert any(metric in scores for scores in held), metric


def test_train_returns_the_last_value_and_the_size_of_the_network(runs):
    outcome = runs.outcome
    assert (outcome.diverged, outcome.epoch, outcome.value_epoch) == (False, EPOCHS, EPOCHS)
    assert outcome.value == runs.rows[-1][f"val_{runs.task.metric}"]
    stock = runs.task.network({**runs.config, "skip_padding": False}, None)
    assert outcome.parameters == sum(p.numel() for p in stock.parameters())


def test_train_says_how_it_ran(runs):
    assert runs.outcome.how["precision"] == "fp32"
    assert runs.outcome.how["step"] == "eager"
    assert runs.outcome.how["checkpoints"] == 1  # at the end, and no minute has passed
    assert runs.outcome.how["checkpoint_mb"] > 1
    assert 0 < runs.outcome.how["checkpoint_seconds"] < 60


def test_train_that_diverges_ends_without_an_exception(runs, tmp_path):
    config = {**runs.config, "lr": 1e20, "schedule": "constant"}
    rows: list[Row] = []
    path = tmp_path / "checkpoint"
    outcome = train(runs.task, job(config, path, EPOCHS, score_test=True), rows.append)
    assert outcome.diverged
    assert math.isnan(outcome.value)
    assert outcome.test is None
    assert len(rows) == outcome.epoch == outcome.value_epoch
    assert not all(math.isfinite(value) for value in rows[-1].values())


# ---- the loop's own rules, on a task whose every number can be worked out by hand


class Counter(nn.Module):
    """One weight, from 0; the loss falls by what it rises, so plain SGD with lr 1 counts steps."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.expand(len(x))


class Toy:
    """A task whose validation metric after n steps is `curve[n]`, and whose test metric is n."""

    def __init__(self, *curve: float, mode: str = "max", sizes: tuple[int, ...] = (2,)) -> None:
        self.curve, self.sizes = curve, sizes
        self.tested = 0
        self.draws: dict[str, list[float]] = {"train": [], "val": [], "test": []}
        self.task = Task(
            name="toy",
            metric="height",
            mode=mode,
            metrics=("height", "training"),
            settings={},
            report_settings={},
            report_split="val",
            conflicts=lambda config: {},
            fingerprint=lambda folder, config: {},
            open_data=lambda folder, config, seed, device: None,
            network=lambda config, weights: Counter(),
            batches=self.batches,
            steps=lambda data, config: len(self.sizes),
            loss=lambda output, target, config: (-output.mean(), {"seen": target.sum()}),
            evaluate=self.evaluate,
            baselines=lambda data: {"zero": {"height": 0.0}},
        )

    def batches(self, data: Any, config: Config, generator: torch.Generator) -> Iterator[Any]:
        self.draws["train"].append(torch.rand((), generator=generator).item())
        for size in self.sizes:
            yield torch.zeros(size, 1, 1, 1), torch.ones(size)

    def evaluate(
        self, net: Any, data: Any, split: str, config: Any, generator: Any, detail: bool
    ) -> Evaluation:
        self.draws[split].append(torch.rand((), generator=generator).item())
        steps = net.weight.item()
        self.tested += split == "test"
        height = steps if split == "test" else self.curve[round(steps)]
        columns = {"image": ["a"], "truth": [0], "prediction": [steps]} if detail else {}
        return Evaluation({"height": height, "training": float(net.training)}, columns)


def toy_config(**changed: Any) -> dict[str, Any]:
    return {
        "optimizer": "sgd",
        "lr": 1.0,
        "momentum": 0.0,
        "nesterov": False,
        "weight_decay": 0.0,
        "schedule": "constant",
        "milestones": (0.5,),
        "drop_factor": 0.1,
        "warmup_epochs": 0.0,
        "momentum_restart": False,
        "precision": "auto",
        "cuda_graph": True,
        "checkpoint_rule": "best",
        "val_fraction": 0.1,
        **changed,
    }


def go(
    toy: Toy, checkpoint: Path, to_epoch: int, config: Config | None = None, **changed: Any
) -> tuple[Outcome, list[Row]]:
    rows: list[Row] = []
    told = {"max_epochs": 4, **changed}
    outcome = train(
        toy.task, job(config or toy_config(), checkpoint, to_epoch, **told), rows.append
    )
    return outcome, rows


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return tmp_path / "trial.pt"


def test_the_folder_of_a_checkpoint_is_never_made(tmp_path):
    """A node that does not see the run folder would make one of its own, and keep them there."""
    with pytest.raises(FileNotFoundError, match="away"):
        go(Toy(9, 1), tmp_path / "away" / "trial.pt", 1)
    assert list(tmp_path.iterdir()) == []


def test_each_checkpoint_is_handed_on_when_it_is_whole(checkpoint):
    held = []

    def hand_on(path):
        held.append((path, torch.load(path, weights_only=True)["epoch"]))

    go(Toy(9, 1, 5, 3), checkpoint, 2, on_checkpoint=hand_on, checkpoint_seconds=0.0)
    assert held[-1] == (checkpoint, 2)
    assert len(held) >= 1


def test_what_refuses_a_checkpoint_that_is_handed_on_fails_the_job(checkpoint):
    def refuse(path):
        raise OSError("the store is gone")

    with pytest.raises(OSError, match="the store is gone"):
        go(Toy(9, 1), checkpoint, 1, on_checkpoint=refuse)


def test_how_says_at_which_epoch_training_began(checkpoint):
    assert go(Toy(9, 1, 5, 3), checkpoint, 1)[0].how["began_at"] == 0
    assert go(Toy(9, 1, 5, 3), checkpoint, 3)[0].how["began_at"] == 1


@pytest.mark.parametrize(
    ("changed", "config", "said"),
    [
        ({"seed": 2}, {}, "seed 1 there, 2 here"),
        ({"split_seed": 7}, {}, "split_seed 42 there, 7 here"),
        ({"max_epochs": 9}, {}, "max_epochs 4 there, 9 here"),
        ({"study": "s2"}, {}, "study '' there, 's2' here"),
        ({}, {"weight_decay": 0.5}, "weight_decay 0.0 there, 0.5 here"),
        ({}, {"milestones": (0.7,)}, r"milestones \[0.5\] there, \[0.7\] here"),
    ],
)
def test_another_trial_s_checkpoint_is_none(checkpoint, changed, config, said):
    go(Toy(9, 1, 5, 3), checkpoint, 1)
    told = []
    now = {"on_other": told.append, **changed}
    outcome, rows = go(Toy(9, 1, 5, 3), checkpoint, 2, toy_config(**config), **now)
    assert outcome.how["began_at"] == 0
    assert [row["epoch"] for row in rows] == [1, 2]
    assert len(told) == 1
    assert re.fullmatch(said, told[0])
    again, _ = go(Toy(9, 1, 5, 3), checkpoint, 3, toy_config(**config), **now)
    assert again.how["began_at"] == 2  # it was written over
    assert len(told) == 1


def test_where_and_how_far_a_trial_is_trained_makes_no_other(checkpoint, tmp_path):
    go(Toy(9, 1, 5, 3), checkpoint, 1)
    now = {"data_dir": tmp_path / "elsewhere", "checkpoint_seconds": 3.0, "score_test": True}
    outcome, _ = go(Toy(9, 1, 5, 3), checkpoint, 2, **now)
    assert outcome.how["began_at"] == 1


def test_a_checkpoint_that_does_not_say_what_it_is_of_is_taken(checkpoint):
    go(Toy(9, 1, 5, 3), checkpoint, 1)
    state = torch.load(checkpoint, weights_only=True)
    del state["trial"]
    torch.save(state, checkpoint)
    assert go(Toy(9, 1, 5, 3), checkpoint, 2)[0].how["began_at"] == 1


@pytest.mark.parametrize(
    ("mode", "curve", "best"),
    [
        ("max", (9, 1, 5, 3, 2), 2),
        ("min", (0, 4, 2, 1, 3), 3),
        ("max", (9, 1, 2, 3, 4), 4),
        ("max", (9, 4, 3, 4, 4), 1),  # the earlier one on a tie
    ],
)
def test_best_rule_judges_and_tests_by_the_best_epoch(mode, curve, best, checkpoint):
    toy = Toy(*curve, mode=mode)
    outcome, rows = go(toy, checkpoint, 4, score_test=True)
    assert [row["val_height"] for row in rows] == list(curve[1:])
    assert (outcome.value_epoch, outcome.value, outcome.epoch) == (best, curve[best], 4)
    assert outcome.test.metrics["height"] == best  # the weights of that epoch
    assert outcome.baselines == {"zero": {"height": 0.0}}


def test_last_rule_judges_and_tests_by_the_last_epoch(checkpoint):
    config = toy_config(checkpoint_rule="last")
    outcome, _ = go(Toy(9, 1, 5, 3, 2), checkpoint, 4, config, score_test=True)
    assert (outcome.value_epoch, outcome.value) == (4, 2)
    assert outcome.test.metrics["height"] == 4


def test_best_rule_remembers_the_best_epoch_over_stops(checkpoint):
    """Best at epoch 1 or 2, and stops after every epoch."""
    for curve, best in (((9, 5, 4, 3, 2), 1), ((9, 1, 5, 3, 2), 2), ((9, 1, 2, 3, 4), 4)):
        checkpoint.unlink(missing_ok=True)
        for epoch in range(1, 4):
            outcome, _ = go(Toy(*curve), checkpoint, epoch)
            assert outcome.value_epoch == min(best, epoch)
        outcome, rows = go(Toy(*curve), checkpoint, 4, score_test=True)
        assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
        assert (outcome.value_epoch, outcome.value) == (best, curve[best])
        assert outcome.test.metrics["height"] == best


def test_test_is_scored_once_and_only_when_asked(checkpoint):
    toy = Toy(9, 1, 5, 3, 2)
    outcome, _ = go(toy, checkpoint, 3)
    assert outcome.test is None
    assert not outcome.baselines
    assert toy.tested == 0
    outcome, _ = go(toy, checkpoint, 4, score_test=True)
    assert toy.tested == 1
    assert outcome.test.per_image == {"image": ["a"], "truth": [0], "prediction": [2.0]}


def test_test_can_be_scored_after_the_budget_ended(checkpoint):
    """A finished trial keeps no more than the weights it is judged by; they are enough."""
    go(Toy(9, 1, 5, 3, 2), checkpoint, 4)
    toy = Toy(9, 1, 5, 3, 2)
    outcome, rows = go(toy, checkpoint, 4, score_test=True)
    assert len(rows) == 4
    assert outcome.test.metrics["height"] == 2
    assert toy.tested == 1


def test_without_validation_images_the_test_split_is_watched(checkpoint):
    config = toy_config(val_fraction=0.0, checkpoint_rule="last")
    outcome, rows = go(Toy(), checkpoint, 2, config)
    assert [row["test_height"] for row in rows] == [1, 2]
    assert not [key for row in rows for key in row if key.startswith("val_")]
    assert outcome.value == 2
    assert watched_split(config) == "test"
    assert watched_split(toy_config()) == "val"


def test_train_rows_hold_means_over_images(checkpoint):
    """Batches of 2 and 1 images see weight 0 and 1: their losses 0 and -1 make -1/3 an image."""
    _, rows = go(Toy(*range(9), sizes=(2, 1)), checkpoint, 1)
    assert rows[0]["train_loss"] == pytest.approx(-1 / 3)
    assert rows[0]["train_seen"] == 1
    assert rows[0]["val_height"] == 2  # two steps


def test_evaluation_sees_the_network_in_evaluation_mode(checkpoint):
    outcome, rows = go(Toy(*range(9)), checkpoint, 2, score_test=True)
    assert [row["val_training"] for row in rows] == [0, 0]
    assert outcome.test.metrics["training"] == 0


@pytest.mark.parametrize("stops", [(4,), (2, 4), (1, 2, 3, 4)], ids=["none", "at the drop", "all"])
@pytest.mark.parametrize(("restart", "after"), [(True, 3.0), (False, 3.171)])
def test_momentum_restarts_at_the_drop_wherever_the_trial_stopped(
    restart, after, stops, checkpoint
):
    """Momentum 0.9, gradient 1: the weight is 1, then 2.9; then lr is a tenth of what it was.

    With the old momentum the third step is 0.1 * (1 + 0.9 * 1.9) = 0.271, restarted it is 0.1.
    """
    config = toy_config(
        momentum=0.9, schedule="step", momentum_restart=restart, checkpoint_rule="last"
    )
    toy = Toy(*range(9))
    for epoch in stops:
        outcome, rows = go(toy, checkpoint, epoch, config, score_test=True)
    assert [row["lr"] for row in rows] == pytest.approx([1, 1, 0.1, 0.1])
    last = 0.1 * (1.9 if restart else 1 + 0.9 * 2.71)
    assert outcome.test.metrics["height"] == pytest.approx(after + last, rel=1e-6)


@pytest.mark.parametrize(
    ("changed", "restarts"),
    [
        ({"schedule": "cosine"}, 0),
        ({"schedule": "cosine", "warmup_epochs": 1.0}, 0),
        ({"schedule": "constant", "warmup_epochs": 2.0}, 0),
        ({"schedule": "step", "milestones": (0.5, 0.75)}, 2),
        ({"schedule": "step", "milestones": (40, 999), "warmup_epochs": 1.0}, 2),
        ({"schedule": "step", "milestones": (250,)}, 1),  # the first step of an epoch
        ({"schedule": "step", "milestones": (0.0001, 0.5)}, 1),  # before the first step
        ({"schedule": "step", "milestones": (0.5,), "drop_factor": 1.0}, 0),  # is no drop
        ({"schedule": "step", "milestones": (2_000,)}, 0),
    ],
)
@pytest.mark.parametrize("stops", [(4,), (1, 2, 3, 4)], ids=["none", "all"])
def test_momentum_restarts_where_a_milestone_drops_lr_and_nowhere_else(
    changed, restarts, stops, checkpoint, monkeypatch
):
    """Of 1,000 steps; the fall of a cosine zeroed it before every one."""
    from trainables.engine import trial as loop

    counted: list[torch.optim.Optimizer] = []

    def restart(optimizer: torch.optim.Optimizer) -> None:
        counted.append(optimizer)
        restart_momentum(optimizer)

    monkeypatch.setattr(loop, "restart_momentum", restart)
    config = toy_config(momentum=0.9, lr=1e-9, momentum_restart=True, **changed)
    for epoch in stops:
        go(Toy(0.0, sizes=(1,) * 250), checkpoint, epoch, config)
    assert len(counted) == restarts


def test_learning_rate_is_laid_out_over_the_budget_not_the_stay(checkpoint):
    config = toy_config(schedule="cosine", checkpoint_rule="last")
    _, rows = go(Toy(*range(9)), checkpoint, 2, config)
    assert [row["lr"] for row in rows] == pytest.approx([1, 0.5 * (1 + math.sqrt(0.5))])


def test_random_draws_are_others_in_every_epoch_and_of_every_seed(tmp_path):
    """What a batch or an evaluation draws hangs on the trial's seed and the epoch alone."""

    def draws(seed: int, *stops: int) -> dict[str, list[float]]:
        toy = Toy(*range(9))
        for epoch in stops:
            go(toy, tmp_path / f"{seed}-{len(stops)}", epoch, seed=seed)
        return toy.draws

    first, stopped, other = draws(1, 4), draws(1, 1, 4), draws(2, 4)
    assert first == stopped
    seen = [*first["train"], *first["val"], *other["train"], *other["val"]]
    assert len(set(seen)) == len(seen) == 16


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_metric_that_is_not_finite_ends_the_trial(bad, checkpoint):
    outcome, rows = go(Toy(0, 1, bad, 3, 4), checkpoint, 4, score_test=True)
    assert outcome.diverged
    assert (outcome.epoch, len(rows)) == (2, 2)
    assert math.isnan(outcome.value)
    assert outcome.test is None


# ---- checkpoints


def test_checkpoint_is_plain_data_that_loads_without_running_code(checkpoint):
    go(Toy(*range(9)), checkpoint, 2)
    state = load(checkpoint)
    assert state["epoch"] == 2
    assert [row["epoch"] for row in state["rows"]] == [1, 2]
    assert state["net"]["weight"].tolist() == [2]


def test_checkpoint_half_written_by_a_killed_process_is_ignored(checkpoint):
    go(Toy(*range(9)), checkpoint, 2)
    left = checkpoint.with_name(checkpoint.name + ".partial")
    left.write_bytes(checkpoint.read_bytes()[:300])
    outcome, rows = go(Toy(*range(9)), checkpoint, 3)
    assert [row["val_height"] for row in rows] == [1, 2, 3]
    assert list(checkpoint.parent.iterdir()) == [checkpoint]
    assert load(checkpoint)["epoch"] == outcome.epoch == 3


def test_checkpoint_half_written_before_the_first_one_is_ignored(checkpoint):
    checkpoint.with_name(checkpoint.name + ".partial").write_bytes(b"PK")
    _, rows = go(Toy(*range(9)), checkpoint, 1)
    assert [row["val_height"] for row in rows] == [1]


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize(("seconds", "kept"), [(0.0, {1, 2}), (3600.0, {None})])
def test_checkpoint_is_also_written_between_when_enough_time_passed(seconds, kept, checkpoint):
    """Killed in epoch 3, a trial goes on after the last checkpoint, to the same end."""
    told: list[float] = []

    def report(row: Row) -> None:
        told.append(row["epoch"])
        if row["epoch"] == 3:
            raise KilledError

    curve = (9, 1, 5, 3, 2)
    long = job(toy_config(), checkpoint, 4, max_epochs=4, checkpoint_seconds=seconds)
    with pytest.raises(KilledError):
        train(Toy(*curve).task, long, report)
    assert told == [1, 2, 3]
    # after epoch 1; after epoch 2 only if that took far longer than writing the first one
    assert (load(checkpoint)["epoch"] if checkpoint.exists() else None) in kept
    outcome, rows = go(Toy(*curve), checkpoint, 4, score_test=True)
    assert [row["val_height"] for row in rows] == [1, 5, 3, 2]
    assert (outcome.value_epoch, outcome.test.metrics["height"]) == (2, 2)


@pytest.mark.parametrize(("rule", "value"), [("best", (2, 5)), ("last", (2, 5))])
def test_a_checkpoint_ahead_of_the_job_is_judged_at_the_jobs_own_epoch(rule, value, checkpoint):
    """After a power cut the checkpoint may know more than the journal: it must not tell."""
    config = toy_config(checkpoint_rule=rule)
    go(Toy(9, 1, 5, 3, 8), checkpoint, 4, config)
    outcome, rows = go(Toy(9, 1, 5, 3, 8), checkpoint, 2, config)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert (outcome.epoch, (outcome.value_epoch, outcome.value)) == (2, value)
    outcome, rows = go(Toy(9, 1, 5, 3, 8), checkpoint, 3, config, from_epoch=2)
    assert [row["epoch"] for row in rows] == [3]
    assert outcome.value == (5 if rule == "best" else 3)


# ---- a worker that trains one trial after another; "graphs" on the CPU call the function again


@pytest.mark.parametrize("task", generated_tasks())
def test_a_warm_worker_computes_what_a_fresh_one_does(task, complete, tmp_path, monkeypatch):
    """Two trials of a shape and a third that goes on from a checkpoint, in one process."""
    config = complete(task, edition="synthetic", **SMALL[task])
    plans = [
        ({"lr": config["lr"]}, {"seed": 1, "to_epoch": 1}, "a"),
        ({"lr": config["lr"] / 2}, {"seed": 2, "to_epoch": 2}, "b"),
        ({"lr": config["lr"]}, {"seed": 1, "to_epoch": 2, "from_epoch": 1}, "a"),
    ]

    # training multiplies what rounding does: how far rows move when its first weights are moved.
    # Random rounding errors of a sum add up to sqrt(n) u, not n u (Higham and Mary, 2019)
    terms = math.isqrt(TERMS)

    def nudged(held: Config, weights: Path | None) -> nn.Module:
        net = find_task(task).network(held, weights)
        nudge(list(net.parameters()), terms, torch.float32)
        return net

    def rows_of(folder: str, task: Task) -> tuple[list[list[Row]], list[str]]:
        (tmp_path / folder).mkdir()
        held, how = [], []
        for changed, told, name in plans:
            rows: list[Row] = []
            told = job({**config, **changed}, tmp_path / folder / name, **told)
            how.append(train(task, told, rows.append).how["step"])
            held.append(untimed(rows))
        return held, how

    captured = []

    def repeat(run: Any) -> Any:
        captured.append(run)
        return run

    cold, eager = rows_of("cold", find_task(task))
    moved, _ = rows_of("moved", replace(find_task(task), network=nudged))
    monkeypatch.setattr(kit, "capture_on", lambda device, config: repeat)
    warm, graph = rows_of("warm", find_task(task))
    kit._warm.clear()
    assert (set(eager), set(graph)) == ({"eager"}, {"graph, unfused"})
    assert len(captured) == 1  # three stays, one capture
    for ours, theirs, others in zip(warm, cold, moved, strict=True):
        for mine, row, other in zip(ours, theirs, others, strict=True):
            assert mine.keys() == row.keys()
            # what one number moves by in one direction may be next to nothing by chance: what is
            # usual in its row counts as well
            usual = median(abs(other[name] / value - 1) for name, value in row.items() if value)
            for name, value in row.items():
                move = 4 * max(abs(other[name] - value), usual * abs(value))
                assert_same_sums(
                    mine[name], value, terms, moved=move, dtype=torch.float32, name=name
                )


def test_a_warm_network_is_not_for_one_that_training_leaves_other_layers_of(complete, monkeypatch):
    """From pretrained weights BatchNorm is frozen, which one that is trained from scratch is not.

    A network of the same layers is there to be used again.
    """
    monkeypatch.setattr(kit, "capture_on", lambda device, config: lambda run: run)
    task, device = find_task("shanghaitech"), torch.device("cpu")
    kit.forget()
    found = []
    for pretrained in (False, False, True, True, False):
        config = complete(task.name, head="conv", pretrained=pretrained)
        made = kit.kit_for(task, config, device, task.network(config, None))
        found.append(made)
        norm = made.net.train().bn1
        assert norm.training is norm.weight.requires_grad is not pretrained
    kit.forget()
    kept = [one.net is other.net for one, other in pairwise(found)]
    assert kept == [True, False, True, False]


def test_averaged_weights_are_what_a_trial_is_judged_by(tmp_path, complete):
    """With rule best too: kept, written and scored are averages, whether or not it was stopped.

    The best epoch's network, loaded from the checkpoint, gives that epoch's value on validation.
    """
    task = find_task("shanghaitech")
    settings = {**SMALL["shanghaitech conv"], "checkpoint_rule": "best"}
    config = complete(task.name, edition="synthetic", **settings)
    rows: list[Row] = []
    whole = train(task, job(config, tmp_path / "a", EPOCHS, score_test=True), rows.append)
    train(task, job(config, tmp_path / "b", 2), lambda row: None)
    parts = train(task, job(config, tmp_path / "b", EPOCHS, score_test=True), lambda row: None)
    assert whole.test.per_image == parts.test.per_image
    state = load(tmp_path / "a")
    net = task.network(config, None).eval()
    net.load_state_dict(judged_weights(state))
    data = task.open_data(tmp_path, config, 42, torch.device("cpu"))
    told = task.evaluate(net, data, "val", config, torch.Generator(), False).metrics["mae"]
    assert told == pytest.approx(whole.value, rel=1e-4)
    assert told == pytest.approx(rows[whole.value_epoch - 1]["val_mae"], rel=1e-4)


@pytest.mark.parametrize("rule", ["best", "last"])
def test_statistics_estimated_anew_are_kept_with_the_weights_and_leave_training_alone(
    rule, tmp_path, complete
):
    """The network of the checkpoint gives the trial's value; training takes the same steps."""
    task = find_task("shanghaitech")
    settings = {**SMALL["shanghaitech conv"], "checkpoint_rule": rule, "ema": 0.0}
    rows: dict[int, list[Row]] = {}
    for count in (0, 3):
        config = complete(task.name, edition="synthetic", norm_batches=count, **settings)
        made = job(config, tmp_path / f"{count}", EPOCHS, score_test=True)
        found = train(task, made, rows.setdefault(count, []).append)
    assert [row["train_loss"] for row in rows[0]] == [row["train_loss"] for row in rows[3]]
    assert [row["val_mae"] for row in rows[0]] != [row["val_mae"] for row in rows[3]]
    net = task.network(config, None).eval()
    net.load_state_dict(judged_weights(load(tmp_path / "3")))
    data = task.open_data(tmp_path, config, 42, torch.device("cpu"))
    for split, value in (("val", found.value), ("test", found.test.metrics["mae"])):
        told = task.evaluate(net, data, split, config, torch.Generator(), False).metrics["mae"]
        assert told == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("name", [*generated_tasks(), "shanghaitech conv"])
def test_in_bf16_the_network_alone_computes_so_and_every_task_is_scored(name, tmp_path, complete):
    """The samples of a conv head stack double precision, which a CPU's autocast refuses."""
    task, inside, seen = find_task(name.split()[0]), list[bool](), list[torch.dtype]()
    config = complete(task.name, edition="synthetic", precision="bf16", **SMALL[name])

    def evaluate(net: nn.Module, *more: Any) -> Evaluation:
        inside.append(torch.is_autocast_enabled("cpu"))
        hook = net.register_forward_hook(lambda net, x, out: seen.append(out.dtype))
        found = task.evaluate(net, *more)
        hook.remove()
        return found

    watched = replace(task, evaluate=evaluate)
    found = train(watched, job(config, tmp_path / "a", 1, max_epochs=1, score_test=True), print)
    assert inside and not any(inside)
    assert set(seen) == {torch.float32}
    assert found.test is not None
    assert all(math.isfinite(value) for value in found.test.metrics.values())
    assert bool(found.test.samples) == (task.name == "shanghaitech")
