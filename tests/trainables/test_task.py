from __future__ import annotations

import math

import pytest

from trainables import TASKS, find_task
from trainables.task import Setting

NUMBER = Setting(0.5, "a number", low=0.1, high=2.0)
WHOLE = Setting(4, "a whole number", low=1, high=8)
POSITIVE = Setting(0.1, "above zero", positive=True)
SWITCH = Setting(False, "a switch")
TEXT = Setting("a", "one of two", choices=("a", "b"))
CHOICE = Setting(18, "one of three", choices=(18, 34, 50))
LIST = Setting((0.5, 0.7), "numbers")
MAYBE = Setting(None, "a whole number or nothing", low=1, optional=True, kind=int)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        (NUMBER, 0.1),
        (NUMBER, 2.0),
        (NUMBER, 1),
        (WHOLE, 1),
        (WHOLE, 8),
        (POSITIVE, 1e-300),
        (SWITCH, True),
        (TEXT, "b"),
        (CHOICE, 50),
        (LIST, [0.1]),
        (LIST, (32_000, 48_000)),
        (LIST, []),
        (MAYBE, None),
        (MAYBE, 1),
    ],
)
def test_setting_accepts_what_it_allows(setting, value):
    assert setting.fault(value) is None


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        (NUMBER, 0.09, "at least 0.1"),
        (NUMBER, 2.1, "at most 2.0"),
        (NUMBER, "0.5", "a number"),
        (NUMBER, True, "a number"),
        (NUMBER, [0.5], "a number"),
        (NUMBER, math.inf, "must be"),
        (NUMBER, math.nan, "must be"),
        (WHOLE, 0, "at least 1"),
        (WHOLE, 9, "at most 8"),
        (WHOLE, 4.0, "a whole number"),
        (WHOLE, True, "a whole number"),
        (POSITIVE, 0, "above 0"),
        (POSITIVE, -0.5, "above 0"),
        (SWITCH, 1, "true or false"),
        (SWITCH, "true", "true or false"),
        (TEXT, "c", "one of 'a', 'b'"),
        (TEXT, 3, "a text"),
        (CHOICE, 20, "one of 18, 34, 50"),
        (CHOICE, True, "a whole number"),
        (LIST, 0.5, "a list of numbers"),
        (LIST, "0.5", "a list of numbers"),
        (LIST, [0.5, "0.7"], "a list of numbers"),
        (LIST, [True], "a list of numbers"),
        (LIST, [0.5, math.nan], "a list of numbers"),
        (LIST, [0.5, 0], "above 0"),
        (MAYBE, 0, "at least 1"),
        (MAYBE, 2.5, "a whole number"),
        (MAYBE, False, "a whole number"),
    ],
)
def test_setting_fault_quotes_the_bad_value_and_the_allowed_ones(setting, value, says):
    fault = setting.fault(value)
    assert fault is not None
    assert says in fault
    assert repr(value) in fault


@pytest.mark.parametrize("setting", [NUMBER, WHOLE, SWITCH, TEXT, LIST])
def test_setting_that_is_not_optional_must_be_given(setting):
    assert setting.fault(None) == "must be given"


@pytest.mark.parametrize("name", TASKS)
def test_task_is_consistent_with_its_own_settings(name):
    task = find_task(name)
    assert task.name == name
    assert task.metric in task.metrics
    assert set(task.report_settings) <= set(task.settings)
    defaults = {key: setting.default for key, setting in task.settings.items()}
    for config in (defaults, {**defaults, **task.report_settings}):
        faults = {key: task.settings[key].fault(value) for key, value in config.items()}
        assert not {key: fault for key, fault in faults.items() if fault}
        assert task.conflicts(config) == {}


@pytest.mark.parametrize(
    ("name", "changed", "key"),
    [
        ("cifar10", {"pretrained": True, "stem": "cifar"}, "stem"),
        ("cifar10", {"nesterov": True, "optimizer": "adam"}, "nesterov"),
        ("cifar10", {"nesterov": True, "momentum": 0.0}, "nesterov"),
        ("shanghaitech", {"nesterov": True}, "nesterov"),  # its default optimizer is Adam
        ("shanghaitech", {"stem": "cifar"}, "stem"),
        ("shanghaitech", {"scale_low": 1.6}, "scale_low"),
        ("shanghaitech", {"val_fraction": 0.0}, "val_fraction"),
    ],
)
def test_conflicts_name_the_key_of_settings_that_do_not_go_together(name, changed, key, complete):
    assert set(find_task(name).conflicts(complete(name, **changed))) == {key}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("cifar10", {"stem": "cifar"}),
        ("cifar10", {"pretrained": True}),
        ("cifar10", {"nesterov": True}),
        ("shanghaitech", {"scale_low": 1.0, "scale_high": 1.0}),
        ("shanghaitech", {"val_fraction": 0.0, "checkpoint_rule": "last"}),
    ],
)
def test_conflicts_lets_the_neighbouring_combinations_pass(name, changed, complete):
    assert find_task(name).conflicts(complete(name, **changed)) == {}


def test_report_settings_are_the_reports_protocol():
    """SGD 0.9, batch 128, drops at 32,000 and 48,000 steps; Adam, batch 1, 512 px crops."""
    cifar10 = {k: s.default for k, s in find_task("cifar10").settings.items()}
    cifar10.update(find_task("cifar10").report_settings)
    told = {
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 0.0,
        "batch_size": 128,
        "schedule": "step",
        "milestones": (32_000, 48_000),
        "drop_factor": 0.1,
        "warmup_epochs": 0.0,
        "momentum_restart": True,
        "val_fraction": 0.1,
        "label_smoothing": 0.0,
        "normalise": "half",
        "augment": True,
        "augment_evaluation": True,
        "checkpoint_rule": "last",
        "stem": "imagenet",
        "train_images": None,
    }
    assert {k: cifar10[k] for k in told} == told
    crowd = {k: s.default for k, s in find_task("shanghaitech").settings.items()}
    crowd.update(find_task("shanghaitech").report_settings)
    told = {
        "optimizer": "adam",
        "weight_decay": 0.0,
        "batch_size": 1,
        "schedule": "constant",
        "warmup_epochs": 0.0,
        "crop": 512,
        "scale_low": 0.5,
        "scale_high": 1.5,
        "sigma": 15.0,
        "kernel": "disc",
        "density_scale": 512.0,
        "loss": "mse",
        "outside": "skip",
        "double_single_head": True,
        "round_counts": True,
        "val_fraction": 0.0,
        "checkpoint_rule": "last",
        "train_images": None,
    }
    assert {k: crowd[k] for k in told} == told
    assert (find_task("cifar10").report_split, find_task("shanghaitech").report_split) == (
        "val",
        "test",
    )


def test_what_tables_say_of_the_reports_settings_is_what_its_protocol_sets():
    for name in TASKS:
        task = find_task(name)
        held = {**{k: s.default for k, s in task.settings.items()}, **task.report_settings}
        for table in task.about["tables"].values():
            assert {k: held[k] for k in table["report"]} == table["report"]
