"""Settings that do not go together are found in whichever combination they meet."""

from __future__ import annotations

import itertools
import json
import time
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.spec.conflicts import find_conflicts
from search.spec.study_spec import SpecError, StudySpec, parse_spec
from trainables import find_task

CIFAR10 = """
name = "mine"
task = "cifar10"
[cells]
depth = [18, 34]
{cells}
{space}
[fixed]
{fixed}
[budget]
trials_per_cell = 4
max_epochs = 9
"""
CROWD = CIFAR10.replace('"cifar10"', '"shanghaitech"')


def faults(text):
    with pytest.raises(SpecError) as caught:
        parse_spec(tomllib.loads(text), "mine.toml")
    lines = str(caught.value).splitlines()[1:]
    return {line.strip().partition(": ")[0]: line.strip().partition(": ")[2] for line in lines}


def text(base, cells="", space="", fixed=""):
    return base.format(cells=cells, space=space, fixed=fixed)


@pytest.mark.parametrize("schedules", list(itertools.permutations(["step", "cosine", "constant"])))
def test_a_value_anywhere_in_a_list_is_looked_at(schedules):
    space = f"[space]\nlr = [0.1]\nschedule = {json.dumps(schedules)}"
    found = faults(text(CIFAR10, space=space, fixed="momentum_restart = true"))
    first = next(s for s in schedules if s != "step")
    assert set(found) == {"fixed.momentum_restart"}
    assert found["fixed.momentum_restart"].endswith(
        f"optimizer = 'sgd' (where schedule = {first!r})"
    )


@pytest.mark.parametrize(
    ("base", "held", "key", "said"),
    [
        (CROWD, {"space": "[space.scale_low]\nlow = 0.5\nhigh = 4"}, "space.scale_low",
         "is above scale_high (1.5) (where scale_low = 4.0)"),
        (CROWD, {"space": "[space.scale_high]\nlow = 0.4\nhigh = 4"}, "fixed.scale_low",
         "is above scale_high (0.4) (where scale_high = 0.4)"),
        (CROWD, {"space": "[space]\nscale_low = [0.5, 1.2, 0.6]\nscale_high = [1.5, 1.0, 1.4]"},
         "space.scale_low", "is above scale_high (1.0) (where scale_low = 1.2, scale_high = 1.0)"),
        (CIFAR10, {"space": "[space.momentum]\nlow = 0\nhigh = 0.99", "fixed": "nesterov = true"},
         "fixed.nesterov", "(where momentum = 0.0)"),
        (CIFAR10, {"space": "[space]\noptimizer = ['sgd', 'adam']",
                   "fixed": "momentum_restart = true"},
         "fixed.momentum_restart", "(where optimizer = 'adam')"),
        (CIFAR10, {"space": "[space]\noptimizer = ['sgd', 'adam']\nnesterov = [false, true]"},
         "space.nesterov", "(where optimizer = 'adam', nesterov = true)"),
        (CIFAR10, {"cells": "pretrained = [false, true]\nstem = ['imagenet', 'cifar']"},
         "cells.stem", "(where pretrained = true, stem = 'cifar')"),
        (CIFAR10, {"cells": "nesterov = [false, true]", "space": "[space]\nmomentum = [0.9, 0.0]"},
         "cells.nesterov", "(where nesterov = true, momentum = 0.0)"),
        (CIFAR10, {"space": "[space]\nlr = [0.1]", "fixed": "warmup_epochs = 10"},
         "fixed.warmup_epochs", "is above budget.max_epochs (9)"),
        (CIFAR10, {"space": "[space.warmup_epochs]\nlow = 0\nhigh = 9.5"},
         "space.warmup_epochs", "(where warmup_epochs = 9.5)"),
        (CIFAR10, {"fixed": "milestones = [0.7, 0.5]"}, "fixed.milestones",
         "must rise, not [0.7, 0.5]"),
        (CIFAR10, {"fixed": "milestones = [100, 100]"}, "fixed.milestones", "must rise"),
        (CIFAR10, {"fixed": "milestones = [1.5]"}, "fixed.milestones", "whole numbers of steps"),
        (CROWD, {"cells": "momentum = [0.8, 0.9]"}, "cells.momentum",
         "changes nothing: optimizer is never 'sgd'"),
        (CIFAR10, {"space": "[space]\ndrop_factor = [0.1, 0.2]", "fixed": "schedule = 'cosine'"},
         "space.drop_factor", "changes nothing: schedule is never 'step'"),
    ],
)  # fmt: skip
def test_the_fault_names_its_key_and_the_values_that_make_it(base, held, key, said):
    held = {"cells": "", "space": "", "fixed": "", **held}
    written = text(base, **held)
    if not held["space"]:
        written = written.replace("trials_per_cell = 4\n", "")
    found = faults(written)
    assert set(found) == {key}
    assert said in found[key], found


CONV = "head = 'conv'"


@pytest.mark.parametrize(
    ("base", "held", "key", "said"),
    [
        (CROWD, {"cells": "stride = [8, 16]"}, "stride", "head is never 'conv'"),
        (CROWD, {"cells": "norm = ['trained', 'group']"}, "norm", "head is never 'conv'"),
        (CROWD, {"cells": "head = ['fc', 'conv']\nstride = [8, 16]"}, "stride",
         "for head = 'fc', so cells would be the same (stride = 8 and 16)"),
        (CROWD, {"cells": "loss = ['bayesian', 'mse']\nkernel = ['gaussian', 'adaptive']",
                 "fixed": CONV}, "kernel", "for loss = 'bayesian', so cells would be the same"),
        (CROWD, {"cells": "kernel = ['gaussian', 'dots']", "fixed": f"{CONV}\nloss = 'dm'"},
         "kernel", "it needs loss = 'mse' or 'dice' or 'huber', or loss = 'dm'"),
        (CROWD, {"cells": "sigma = [4.0, 8.0]", "fixed": f"{CONV}\nloss = 'dm'"}, "sigma",
         "it needs loss = 'bayesian', or loss = 'mse' or 'dice' or 'huber' and kernel = "),
        (CROWD, {"cells": "sigma = [4.0, 8.0]", "fixed": "kernel = 'dots'"}, "sigma", "it needs"),
        (CROWD, {"cells": "double_single_head = [false, true]",
                 "fixed": f"{CONV}\nloss = 'bayesian'"}, "double_single_head", "loss is never"),
        (CIFAR10, {"cells": "network = ['resnet', 'densenet121']"}, "depth",
         "for network = 'densenet121', so cells would be the same (depth = 18 and 34)"),
        (CIFAR10.replace("cifar10", "imagefolder"), {"cells": "smallest_area = [0.1, 0.5]"},
         "smallest_area", "crop_by is never 'resize'"),
    ],
)  # fmt: skip
def test_cells_that_differ_in_what_nothing_reads_are_refused(base, held, key, said):
    found = faults(text(base, **held).replace("trials_per_cell = 4\n", ""))
    assert set(found) == {f"cells.{key}"}
    assert said in found[f"cells.{key}"]


@pytest.mark.parametrize(
    "held",
    [
        {"cells": "head = ['fc', 'conv']\nstride = [16]"},
        {"cells": "stride = [8, 16]", "fixed": CONV},
        {"cells": "kernel = ['gaussian', 'disc']", "fixed": f"{CONV}\nloss = 'dm'"},
        {"cells": "flip_average = [false, true]"},
        {"cells": "kernel = ['gaussian', 'dots']", "fixed": CONV,
         "space": "[space]\nlr = [0.1, 0.01]\nloss = ['bayesian', 'mse']"},
        {"cells": "kernel = ['gaussian', 'dots']", "fixed": CONV,
         "space": "[[points]]\nloss = 'dm'\n[[points]]\nloss = 'mse'"},
    ],
)  # fmt: skip
def test_cells_that_differ_in_what_some_config_reads_are_compared(held):
    written = text(CROWD, **held)
    parse_spec(tomllib.loads(written.replace("trials_per_cell = 4\n", "")), "mine.toml")


def test_a_condition_s_range_counts_where_it_holds():
    space = "[space.momentum]\nlow = 0.5\nhigh = 0.9\n"
    space += "[[space.momentum.when]]\ndepth = 34\nlow = 0\nhigh = 0.9"
    found = faults(text(CIFAR10, space=space, fixed="nesterov = true"))
    assert found["fixed.nesterov"].endswith("(where depth = 34, momentum = 0.0)")


def test_every_point_is_looked_at_as_it_is():
    points = """[[points]]\nschedule = "step"\nmomentum_restart = true
[[points]]\nschedule = "cosine"\nmomentum_restart = false
[[points]]\nschedule = "cosine"\nmomentum_restart = true"""
    written = text(CIFAR10, space=points).replace("trials_per_cell = 4\n", "")
    assert list(faults(written)) == ["points.2.momentum_restart"]
    sound = written.replace('"cosine"\nmomentum_restart = true', '"step"\nmomentum_restart = true')
    assert len(parse_spec(tomllib.loads(sound), "mine.toml").points) == 3


@pytest.mark.parametrize(
    "held",
    [
        {"space": "[space]\nschedule = ['step', 'cosine', 'constant']"},
        {"space": "[space.momentum]\nlow = 0.1\nhigh = 0.9", "fixed": "nesterov = true"},
        {"space": "[space]\nmomentum = [0.8, 0.9]\noptimizer = ['adam', 'sgd']"},
        {"space": "[space.warmup_epochs]\nlow = 0\nhigh = 9"},
        {"space": "[space]\nlr = [0.1]", "fixed": "milestones = [0.5, 100, 0.7, 200]"},
    ],
)
def test_sound_neighbours_are_let_through(held):
    parse_spec(tomllib.loads(text(CIFAR10, **held)), "mine.toml")


CHOICES = {
    "schedule": ["step", "cosine", "constant"],
    "optimizer": ["sgd", "adam"],
    "nesterov": [True, False],
    "momentum": [0.0, 0.5, 0.9],
    "momentum_restart": [True, False],
    "scale_low": [0.5, 1.0, 2.0],
    "scale_high": [0.6, 1.5, 3.0],
    "warmup_epochs": [0.0, 9.0, 12.0],
    "lr": [0.1, 0.2],
}


@given(
    st.dictionaries(st.sampled_from(list(CHOICES)), st.randoms(use_true_random=False), min_size=1)
)
@settings(max_examples=60, deadline=None)
def test_it_finds_the_keys_that_going_through_every_config_finds(draws):
    space = {}
    for key, draw in draws.items():
        values = draw.sample(CHOICES[key], draw.randint(1, len(CHOICES[key])))
        space[key] = {"values": tuple(values)}
    spec = StudySpec.model_validate(
        {"name": "m", "task": "shanghaitech", "cells": {"depth": [18]}, "space": space,
         "budget": {"max_epochs": 9}}
    )  # fmt: skip
    expected = set()
    for values in itertools.product(*(held["values"] for held in space.values())):
        config = spec.config({"depth": 18}, dict(zip(space, values, strict=True)))
        expected |= set(find_task("shanghaitech").conflicts(config))
        expected |= {"warmup_epochs"} if config["warmup_epochs"] > 9 else set()
    found = find_conflicts(spec)
    unread = {key for key, said in found.items() if "changes nothing" in said}
    assert {key.split(".")[1] for key in found.keys() - unread} == expected


def test_many_long_lists_are_looked_at_by_their_ends_in_time():
    """40 million combinations of what the checks read; the faulty one is of three ends."""
    lists = {
        "scale_low": [round(0.1 + n * 0.004, 4) for n in range(300)],
        "scale_high": [round(1.3 - n * 0.0005, 4) for n in range(300)],
        "warmup_epochs": [n / 50 for n in range(450)],
    }
    space = "[space]\n" + "\n".join(f"{key} = {values}" for key, values in lists.items())
    began = time.monotonic()
    found = faults(text(CROWD, space=space))
    assert time.monotonic() - began < 10
    assert set(found) == {"space.scale_low"}
    assert "scale_low = 1.296, scale_high = 1.1505" in found["space.scale_low"]


def test_what_is_wrong_in_every_config_names_no_value_of_one():
    cells = "pretrained = [false, true]"
    space = "[space]\nlr = [0.1, 0.2]"
    found = faults(text(CIFAR10, cells, space, "warmup_epochs = 40\nschedule = 'cosine'"))
    assert found["fixed.warmup_epochs"].endswith("so lr is never reached")
