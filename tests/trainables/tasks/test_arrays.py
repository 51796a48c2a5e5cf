"""Tasks on arrays: what `array_task` fills in, and what it refuses."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from trainables.engine.train import TrainJob, train
from trainables.errors import TaskError
from trainables.task import DataError, Setting
from trainables.tasks.arrays import array_task

CPU = torch.device("cpu")


def classes_of(count, seed):
    y = np.arange(count) % 3
    return np.random.default_rng(seed).normal(0, 0.1, (count, 4)) + y[:, None], y


def numbers_of(count, seed):
    x = np.random.default_rng(seed).normal(0, 1, (count, 4))
    return x, x.sum(1)


def task_of(make, kind="classification", outputs=3, **arrays):
    held = {"train": make(90, 0), "test": make(30, 1), **arrays}
    return array_task("mine", lambda d, c: held, lambda c: nn.Linear(4, outputs), kind)


def config_of(task, **changed):
    return {**{key: held.default for key, held in task.settings.items()}, **changed}


def outcome_of(task, tmp_path, epochs=8, **changed):
    config = config_of(task, batch_size=32, lr=0.1, **changed)
    rows = []
    job = TrainJob(config, 1, 0, epochs, epochs, True, tmp_path, None, "cpu", tmp_path / "c.pt")
    return train(task, job, rows.append), rows


def test_a_classification_learns_and_is_scored_row_by_row(tmp_path):
    outcome, rows = outcome_of(task_of(classes_of), tmp_path)
    assert outcome.test.metrics["accuracy"] > 0.9
    assert set(rows[0]) >= {"train_loss", "train_accuracy", "val_loss", "val_accuracy"}
    assert len(outcome.test.per_image["truth"]) == 30
    right = np.equal(outcome.test.per_image["truth"], outcome.test.per_image["prediction"])
    assert outcome.test.metrics["accuracy"] == pytest.approx(right.mean())
    assert outcome.baselines["uniform guess"] == {"loss": math.log(3), "accuracy": 1 / 3}
    assert outcome.baselines["majority class"] == {"accuracy": 1 / 3}


def test_a_regression_learns_and_beats_its_constants(tmp_path):
    outcome, rows = outcome_of(task_of(numbers_of, "regression", 1), tmp_path)
    best = min(held["rmse"] for held in outcome.baselines.values())
    assert outcome.test.metrics["rmse"] < best / 4
    wrong = np.subtract(outcome.test.per_image["truth"], outcome.test.per_image["prediction"])
    assert outcome.test.metrics["mae"] == pytest.approx(np.abs(wrong).mean())
    assert outcome.test.metrics["rmse"] == pytest.approx(np.sqrt((wrong**2).mean()))
    assert {"train_mae", "val_rmse"} <= set(rows[0])


def test_validation_is_cut_off_class_by_class_by_the_seed():
    task = task_of(classes_of)
    first, again, other = (task.open_data(None, config_of(task), s, CPU) for s in (0, 0, 1))
    assert torch.bincount(first.targets["val"]).tolist() == [3, 3, 3]
    assert len(first.targets["train"]) == 81
    assert torch.equal(first.inputs["val"], again.inputs["val"])
    assert not torch.equal(first.inputs["val"], other.inputs["val"])
    every = torch.cat([first.inputs["train"], first.inputs["val"]])
    assert len(every.unique(dim=0)) == 90


def test_validation_of_one_s_own_is_taken_as_it_is():
    task = task_of(classes_of, val=classes_of(12, 2))
    data = task.open_data(None, config_of(task), 0, CPU)
    assert (len(data.targets["train"]), len(data.targets["val"])) == (90, 12)
    assert task.fingerprint(None, config_of(task))["val_images"] == 12


def test_an_epoch_is_every_row_once_and_no_step_is_of_one_row():
    task = task_of(classes_of)
    data = task.open_data(None, config_of(task), 0, CPU)
    config = config_of(task, batch_size=40)
    held = list(task.batches(data, config, torch.Generator().manual_seed(0)))
    assert [len(x) for x, _ in held] == [40, 41]
    assert task.steps(data, config) == 2
    rows = torch.cat([x for x, _ in held])
    assert torch.equal(rows.unique(dim=0), data.inputs["train"].unique(dim=0))


def test_other_arrays_have_another_fingerprint():
    first = task_of(classes_of)
    x, y = classes_of(90, 0)
    x[3, 1] += 1e-3
    changed = task_of(classes_of, train=(x, y))
    prints = [task.fingerprint(None, config_of(task)) for task in (first, first, changed)]
    assert prints[0] == prints[1] != prints[2]
    assert (prints[0]["train_images"], prints[0]["shape"]) == (90, [4])


def test_rows_in_two_splits_are_told():
    x, y = classes_of(30, 1)
    x[:2] = classes_of(90, 0)[0][:2]
    task = task_of(classes_of, test=(x, y))
    assert task.fingerprint(None, config_of(task))["notes"] == [
        "2 of 30 test rows are rows of train too, and are kept there"
    ]


def test_settings_of_one_s_own_reach_load():
    seen = []

    def load(data_dir, config):
        seen.append(dict(config))
        return {"train": classes_of(90, 0), "test": classes_of(30, 1)}

    settings = {"depth": Setting(2, "of something"), "lr": Setting(0.3, "rate", positive=True)}
    task = array_task("mine", load, lambda c: nn.Linear(4, 3), settings=settings)
    task.open_data(None, config_of(task, depth=5), 0, CPU)
    assert seen == [{"depth": 5, "lr": 0.3}]
    task.open_data(None, config_of(task, depth=5), 1, CPU)
    assert len(seen) == 1  # another split of what was read


GOOD = classes_of(30, 0)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ([], "must return a dict of train, test and maybe val, not list"),
        ({"train": GOOD}, r"not \['train'\]"),
        ({"train": GOOD, "test": GOOD, "extra": GOOD}, "extra"),
        ({"train": GOOD, "test": GOOD[0]}, r"test must be a pair \(x, y\), not ndarray"),
        ({"train": GOOD, "test": (GOOD[0], GOOD[1][:5])}, r"test: x \(30, 4\) and y \(5,\)"),
        ({"train": GOOD, "test": (GOOD[0][:0], GOOD[1][:0])}, "n > 0"),
        ({"train": GOOD, "test": (GOOD[0][:, :2], GOOD[1])}, "x differs in shape"),
        ({"train": (GOOD[0] + np.inf, GOOD[1]), "test": GOOD}, "train: x is not finite in row 0"),
        ({"train": (GOOD[0], GOOD[1] - 1), "test": GOOD}, "y holds -1; classes count from 0"),
        ({"train": (GOOD[0], GOOD[1] + 0.5), "test": GOOD}, "must be classes, whole numbers"),
        ({"train": GOOD, "test": (GOOD[0], GOOD[1] + 4)}, "y holds class 6, and train has 3"),
        ({"train": (GOOD[0].astype(str), GOOD[1]), "test": GOOD}, "train must hold arrays of num"),
        ({"train": (GOOD[0] + 1j, GOOD[1]), "test": GOOD}, "train must hold arrays of num"),
        ({"train": GOOD, "test": (GOOD[0] * 1e39, GOOD[1])}, "test: x holds numbers too large"),
        ({"train": (GOOD[0][:3], GOOD[1][:3]), "test": GOOD}, "no class has a second row"),
    ],
)
def test_arrays_that_cannot_be_are_refused_with_split_and_reason(held, said):
    task = array_task("mine", lambda d, c: held, lambda c: nn.Linear(4, 3))
    with pytest.raises(DataError, match=said):
        task.fingerprint(None, config_of(task))


def test_limits_draw_rows_of_every_class_where_arrays_are_in_order_of_class():
    x, y = classes_of(90, 0)
    order = np.argsort(y, kind="stable")
    arrays = dict.fromkeys(("train", "val", "test"), (x[order], y[order]))
    task = task_of(classes_of, **arrays)
    limits = {f"{split}_images": 30 for split in arrays}
    first, other = (task.open_data(None, config_of(task, **limits), s, CPU) for s in (0, 1))
    for split in arrays:
        assert len(first.targets[split]) == 30
        assert set(first.targets[split].tolist()) == {0, 1, 2}
    assert torch.equal(first.inputs["test"], other.inputs["test"])  # one test for all seeds
    assert not torch.equal(first.inputs["train"], other.inputs["train"])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.int16, ">i4", np.float16])
def test_numbers_of_every_kind_are_read(kind):
    x, y = np.arange(40).reshape(10, 4) % 7, np.arange(10) % 2
    held = x.astype(kind)[::-1], y.astype(kind)
    task = task_of(classes_of, train=held, test=held)
    task.fingerprint(None, config_of(task))
    data = task.open_data(None, config_of(task, val_fraction=0.5), 0, CPU)
    every = torch.cat([data.inputs["train"], data.inputs["val"]])
    assert torch.equal(every.sort(0).values, torch.from_numpy(x).float().sort(0).values)


@pytest.mark.parametrize(
    ("kind", "network", "said"),
    [
        ("classification", nn.Linear(5, 3), r"network fails on two rows of train, \(2, 4\)"),
        ("classification", nn.Linear(4, 2), r"returns \(2, 2\) for two rows, not \(2, 3\)"),
        ("classification", nn.Flatten(0), "network returns"),
        ("regression", nn.Linear(4, 3), r"returns \(2, 3\) for two rows, not \(2,\) or \(2, 1\)"),
    ],
)
def test_a_network_that_does_not_fit_the_arrays_is_refused(kind, network, said):
    held = {"train": classes_of(90, 0), "test": classes_of(30, 1)}
    task = array_task("mine", lambda d, c: held, lambda c: network, kind)
    with pytest.raises(DataError, match=said):
        task.fingerprint(None, config_of(task))


def test_a_worker_gets_lists_where_the_study_has_tuples():
    """A config travels as JSON."""
    held = {"train": classes_of(90, 0), "test": classes_of(30, 1)}
    widths = {"widths": Setting((8, 4), "of hidden layers")}
    task = array_task("mine", lambda d, c: held, lambda c: nn.Linear(4, 3), settings=widths)
    config = json.loads(json.dumps(config_of(task)))
    assert len(task.open_data(None, config, 0, CPU).targets["train"]) == 81


def test_a_misspelt_kind_or_role_is_told():
    """A misspelt classification trained as a regression, in silence."""
    with pytest.raises(TaskError, match="kind must be one of classification, regression"):
        task_of(classes_of, "classificaton")
    with pytest.raises(ValueError, match="role must be one of any, cell, study, not 'search'"):
        Setting(1, "of something", role="search")
