"""The checkpoint rule is one: training, the worker, the simulator and the record agree on it."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from search.record.epoch_table import table_of
from search.record.frames import trials_frame
from search.run.ray_worker import Judge
from search.run.worker import WorkerJob
from search.schedule.curves import read_curves
from tests.trainables.engine.test_train import Toy, go, toy_config
from trainables.judging import best_epoch, judged_epochs, sound_epochs

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent
# few values, so that many are tied
VALUES = st.lists(
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, math.nan, math.inf, -math.inf]),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize(
    ("values", "rule", "mode", "expected"),
    [
        ([3, 1, 3, 4, 4], "best", "max", [1, 1, 1, 4, 4]),
        ([3, 1, 3, 0, 0], "best", "min", [1, 2, 2, 4, 4]),
        ([3, 1, 3], "last", "max", [1, 2, 3]),
        ([3, math.nan, 5], "best", "max", [1, 0, 0]),
        ([3, None, 5], "last", "max", [1, 0, 0]),
        ([math.inf, 1], "best", "max", [0, 0]),
        ([1, -math.inf], "best", "min", [1, 0]),
        ([], "best", "max", []),
    ],
)
def test_a_trial_is_judged_by_the_first_of_its_best_or_by_its_last(values, rule, mode, expected):
    assert judged_epochs(values, rule, mode) == expected


def by_training(values, rule, mode, folder):
    """Value and epoch as `train` has them, epoch by epoch on, until it diverges."""
    checkpoint = folder / f"{next(COUNT)}.pt"
    config = toy_config(checkpoint_rule=rule)
    found = []
    for epoch in range(1, len(values) + 1):
        toy = Toy(0, *values, mode=mode)
        outcome, _ = go(toy, checkpoint, epoch, config, max_epochs=len(values), score_test=True)
        if outcome.diverged:
            return found
        # the toy's test metric is the number of steps, so it names the weights that were kept
        assert outcome.test.metrics["height"] == outcome.value_epoch
        found.append((outcome.value, outcome.value_epoch))
    return found


COUNT = itertools.count()
TASK_OF = {"max": ("cifar10", "val_accuracy"), "min": ("shanghaitech", "val_mae")}


def by_worker(values, rule, mode):
    """What the worker tells Ray; JSON has no NaN, so such a value is None there."""
    task, metric = TASK_OF[mode]
    train = {"config": {"checkpoint_rule": rule, "val_fraction": 0.1}}
    judge, found = Judge(WorkerJob(task, "t", "", train, 1, 0)), []
    for epoch, value in enumerate(values, 1):
        judge.see({"epoch": epoch, metric: value if math.isfinite(value) else None})
        found.append((judge.value, judge.epoch))
    return found


def by_simulator(values, rule, mode, folder):
    path = folder / "curves.csv"
    lost = not all(map(math.isfinite, values))  # a table must say so where a value is not finite
    rows = [f"18,a,{epoch},{value},{lost}" for epoch, value in enumerate(values, 1)]
    path.write_text("\n".join(["depth,config,epoch,height,diverged", *rows]))
    held = read_curves(path, [{"depth": 18}], "height", mode, len(values), rule)
    return held.values[0][0, 0].tolist()


def by_record(values, mode):
    """The record's columns `best` and `last` after each epoch."""
    study = {"name": "s", "task": "t", "cells": [{"depth": 18}], "space_keys": [], "rungs": [9]}
    study |= {"checkpoint_rule": "best", "watched": "val", "metric": "height", "mode": mode}
    study |= {"row_metrics": ["val_height"], "metrics": ["height"]}
    job = {"trial": "t", "stage": "search", "cell": 0, "to_epoch": 9}
    ask = {"event": "ask", "job": job, "config": {}, "settings": {}, "seed": 0, "trial": "t"}
    kept = [v if math.isfinite(v) else None for v in values]
    rows = [{"epoch": epoch, "val_height": value} for epoch, value in enumerate(kept, 1)]
    found = []
    for epoch in range(1, len(rows) + 1):
        seen = table_of({"trial": "t", "row": row} for row in rows[:epoch])
        trial = trials_frame(study, [ask], seen, {}).iloc[0]
        found.append(SimpleNamespace(**{k: trial[k] for k in ("best", "last")}))
    return found


def same(found, expected):
    np.testing.assert_array_equal(np.array(found, float), np.array(expected, float))


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("rule", ["best", "last"])
@given(values=VALUES)
@example(values=[0.5, math.nan, 0.75])  # comes back after it was gone
@example(values=[0.5, math.inf, 0.75])
@example(values=[0.5, 0.25, 0.5, 0.75, 0.75])
@settings(max_examples=20, deadline=None)
def test_training_worker_simulator_and_record_agree(tmp_path_factory, rule, mode, values):
    folder = tmp_path_factory.mktemp("judged")
    at = judged_epochs(values, rule, mode)
    expected = [values[epoch - 1] if epoch else math.nan for epoch in at]
    until = at.index(0) if 0 in at else len(at)
    same(by_training(values, rule, mode, folder), list(zip(expected, at, strict=True))[:until])
    told = by_worker(values, rule, mode)
    same([value for value, _ in told], expected)
    assert [epoch for _, epoch in told][:until] == at[:until]
    same(by_simulator(values, rule, mode, folder), expected)
    for held, value in zip(by_record(values, mode), expected, strict=True):
        column = held.best if rule == "best" else held.last
        if not math.isnan(value):
            assert column == value
        elif rule == "last":
            assert pd.isna(column)


@pytest.mark.parametrize("mode", ["max", "min"])
@given(values=VALUES)
def test_the_best_of_all_epochs_is_the_last_that_the_rule_names(mode, values):
    sound = values[: sound_epochs(values)]
    assert all(map(math.isfinite, sound))
    assert len(sound) == len(values) or not math.isfinite(values[len(sound)])
    assert best_epoch(sound, mode) == [0, *judged_epochs(sound, "best", mode)][-1]


def test_the_rule_loads_neither_torch_nor_pandas():
    code = "import sys, trainables.judging; print({'torch', 'pandas', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr
