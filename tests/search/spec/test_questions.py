"""Settings that are seldom meant beside one another are asked about, and no sound ones are."""

from __future__ import annotations

import tomllib

import pytest

from search.cli.main import main
from search.record import load_study
from search.run.errors import ExecutionError
from search.spec.questions import find_questions
from search.spec.shipped import shipped_studies
from search.spec.study_spec import SpecError, load_spec, parse_spec, recorded_spec
from tests.search.conftest import begin
from trainables import find_task
from trainables.errors import TaskError

STUDY = """
name = "mine"
task = "{task}"
{top}
[cells]
depth = [18, 34]
{cells}
{space}
[fixed]
{fixed}
[budget]
{trials}
max_epochs = 27
grace_epochs = {grace}
"""
CROWD, CIFAR, OWN = "shanghaitech", "cifar10", "imagefolder"


def questions(task, data=(), grace=3, **held):
    held = {"top": "", "cells": "", "space": "", "fixed": "", **held}
    trials = "trials_per_cell = 9" if "\nlow" in held["space"] else ""  # lists have fewer configs
    text = STUDY.format(task=task, grace=grace if held["space"] else 1, trials=trials, **held)
    return find_questions(parse_spec(tomllib.loads(text), "mine.toml"), data)


@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_leaves_nothing_to_ask(name):
    assert find_questions(load_spec(shipped_studies()[name])[0]) == {}


LR = "[space.lr]\nlow = 0.001\nhigh = 0.1\nlog = true"
SCALED = "crop = 64\nsigma = 1.875\nscale_low = 0.0625\nscale_high = 0.1875"


@pytest.mark.parametrize(
    ("task", "held", "asked"),
    [
        (CROWD, {"fixed": "crop = 64"},
         {"fixed.sigma": "60 of the crop's 64 px", "fixed.scale_low": "validation and test at"}),
        (CROWD, {"cells": "crop = [64, 512]"},
         {"fixed.sigma": "(where crop = 64)", "fixed.scale_low": "(where crop = 64)"}),
        (CROWD, {"fixed": "crop = 64\nedition = 'synthetic'"}, {"fixed.sigma": "is 1.88"}),
        (CROWD, {"fixed": "crop = 64\nsigma = 2.0", "space": "[space]\nscale_low = [0.05, 0.6]"},
         {"space.scale_low": "(where scale_low = 0.6)"}),
        (CROWD, {"fixed": "crop = 1024", "cells": "part = ['A', 'B']"},
         {"fixed.scale_high": "(where part = 'A')"}),
        # with the conv head whole images are shown as they are, whatever the crop
        (CROWD, {"fixed": "head = 'conv'\ncrop = 256\nscale_low = 1.2"},
         {"fixed.scale_low": "heads at 1.2 to 1.5 of the size"}),
        (CROWD, {"fixed": "stride = 16"}, {"fixed.stride": "head is never 'conv'"}),
        (CROWD, {"fixed": "sigma = 0.3"}, {"fixed.sigma": "leaves a head one pixel"}),
        # half resolution with the default crop never shows what is evaluated
        (CROWD, {"fixed": "head = 'conv'\nresize = 0.5"},
         {"fixed.crop": "heads at 1.33 times the size that they have in validation and test, or "
          "larger, and never at that size; use 384 at most"}),
        (CROWD, {"fixed": "head = 'conv'\ncrop = 512", "cells": "resize = [0.75, 1.0]\n"
                 "part = ['A', 'B']"}, {"fixed.crop": "(where resize = 0.75, part = 'A')"}),
        (CROWD, {"fixed": "head = 'conv'\nloss = 'dm'\nsigma = 8.0\nkernel = 'adaptive'"},
         {"fixed.sigma": "changes nothing: it needs", "fixed.kernel": "changes nothing"}),
        # a sigma that nothing reads does not spread heads over a crop, whatever it is
        (CROWD, {"fixed": "head = 'conv'\nloss = 'dm'\nsigma = 40.0\ncrop = 256"},
         {"fixed.sigma": "changes nothing: it needs"}),
        (CROWD, {"fixed": "head = 'conv'\nloss = 'bayesian'\nkernel = 'disc'\nsigma = 25.0"},
         {"fixed.kernel": "it needs loss = 'mse' or 'dice' or 'huber', or loss = 'dm'"}),
        (CROWD, {"fixed": "head = 'conv'\nloss = 'bayesian'\nsigma = 40.0\ncrop = 256"},
         {"fixed.sigma": "40 px spreads a head over 160 of the crop's 256 px"}),
        (CROWD, {"fixed": "head = 'conv'\nloss = 'bayesian'\nkernel = 'dots'"},
         {"fixed.kernel": "it needs loss = 'mse' or 'dice' or 'huber', or loss = 'dm'"}),
        (CROWD, {"space": "[space]\noutput = ['relu', 'none']\nlr = [0.1]"},
         {"space.output": "head is never 'conv'"}),
        (CROWD, {"fixed": "kernel = 'disc'", "space": "[space.sigma]\nlow = 10\nhigh = 30"},
         {"fixed.kernel": "(where sigma = 30.0)"}),
        (CROWD, {"fixed": "optimizer = 'sgd'"}, {"fixed.lr": "0.001 is for optimizer = 'adam'"}),
        (CIFAR, {"fixed": "optimizer = 'adam'"}, {"fixed.lr": "0.1 is for optimizer = 'sgd'"}),
        (CIFAR, {"space": "[space]\noptimizer = ['sgd', 'adam']"}, {"fixed.lr": "is left out"}),
        (CIFAR, {"space": LR, "fixed": "optimizer = 'adam'\nmomentum = 0.8"},
         {"fixed.momentum": "changes nothing: optimizer is never 'sgd'"}),
        (CIFAR, {"fixed": "schedule = 'cosine'\nmilestones = [0.5]\ndrop_factor = 0.2"},
         {"fixed.milestones": "schedule is never 'step'", "fixed.drop_factor": "changes nothing"}),
        (CIFAR, {"space": LR, "fixed": "warmup_epochs = 3"},
         {"fixed.warmup_epochs": "budget.grace_epochs = 3"}),
        (CIFAR, {"space": LR + "\n[space.warmup_epochs]\nlow = 0\nhigh = 5"},
         {"space.warmup_epochs": "(where warmup_epochs = 5.0)"}),
        (CIFAR, {"fixed": "warmup_epochs = 20"}, {"fixed.warmup_epochs": "drop of lr (0.455"}),
        (CIFAR, {"fixed": "train_images = 100"}, {"fixed.batch_size": "above the 100 training"}),
        (OWN, {"fixed": "stem = 'cifar'"}, {"fixed.stem": "at 224 px all maps"}),
        (OWN, {"fixed": "image_size = 24"}, {"fixed.stem": "leaves one pixel of 24 px"}),
        (OWN, {"fixed": "crop = 100"}, {"fixed.crop": "the middle 20% of each image"}),
        (OWN, {"fixed": "smallest_area = 0.5"}, {"fixed.smallest_area": "never 'resize'"}),
        (OWN, {"fixed": "augment = false\ncrop_by = 'resize'"},
         {"fixed.crop_by": "augment is never true"}),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_asked_by_key(task, held, asked):
    found = questions(task, **held)
    assert set(found) == set(asked)
    for key, said in asked.items():
        assert said in found[key]


@pytest.mark.parametrize(
    ("top", "space", "drawn", "asked"),
    [
        ("", "lr = [0.01, 0.1]\nmomentum = [0.8, 0.9]", 4, True),
        ("sampler = 'random'", "lr = [0.01, 0.1]", 3, True),
        ("sampler = 'grid'", "lr = [0.01, 0.1]", 2, False),
        ("", "lr = [0.01, 0.1]\nmomentum = [0.8, 0.9]", 3, False),
        ("", "lr = [0.01, 0.1]", 1, False),
        ("", "lr = [0.01, 0.1]\nmomentum = {low = 0.5, high = 0.9}", 9, False),
    ],
)
def test_lists_whose_configs_would_come_twice_are_asked_about(top, space, drawn, asked):
    text = STUDY.format(
        task=CIFAR,
        top=top,
        cells="",
        space=f"[space]\n{space}",
        fixed="",
        trials=f"trials_per_cell = {drawn}",
        grace=3,
    )
    found = find_questions(parse_spec(tomllib.loads(text), "mine.toml"))
    assert list(found) == ["space"] * asked
    assert not asked or 'sampler = "grid" takes each once' in found["space"]


def test_a_depth_that_no_network_reads_is_asked_about():
    text = STUDY.replace("depth = [18, 34]", "network = ['densenet121']")
    text = text.format(
        task=CIFAR, top="", cells="", space="", fixed="depth = 34", trials="", grace=1
    )
    spec = parse_spec(tomllib.loads(text), "mine.toml")
    assert find_questions(spec) == {"fixed.depth": "changes nothing: network is never 'resnet'"}


@pytest.mark.parametrize(
    ("task", "held"),
    [
        (CROWD, {"fixed": SCALED}),
        (CROWD, {"fixed": "head = 'conv'\nresize = 0.5\ncrop = 384"}),
        (CROWD, {"fixed": "crop = 384"}),
        (CROWD, {"fixed": "kernel = 'disc'\nsigma = 22.0"}),
        *((CROWD, {"fixed": f"head = 'conv'\nkernel = '{kernel}'\ncrop = 96\nscale_high = 2.0"})
          for kernel in ("dots", "adaptive")),
        (CROWD, {"fixed": "optimizer = 'sgd'\nlr = 1e-6"}),
        (CROWD, {"top": "protocol = 'report'", "fixed": "lr = 0.01"}),
        (CIFAR, {"space": LR, "fixed": "warmup_epochs = 2"}),
        (CIFAR, {"space": "[space]\noptimizer = ['sgd', 'adam']\nlr = [0.1]",
                 "fixed": "momentum = 0.8"}),
        (CIFAR, {"fixed": "warmup_epochs = 5"}),
        (CIFAR, {"fixed": "train_images = 128"}),
        (OWN, {"fixed": "image_size = 32\nstem = 'cifar'"}),
        (OWN, {"fixed": "image_size = 256\ncrop = 224\ncrop_by = 'resize'\nsmallest_area = 0.5"}),
    ],
)  # fmt: skip
def test_sound_neighbours_are_not_asked_about(task, held):
    assert questions(task, **held) == {}


def test_what_hangs_on_the_number_of_images_is_asked_where_that_is_known():
    few = {"data": "mine", "train_images": 100, "test_images": 9}
    found = questions(OWN, [few])
    assert found["fixed.val_fraction"].startswith("leaves 10 of 100 images for validation, few to")
    assert "is above the 90 training images" in found["fixed.batch_size"]
    plain = {
        "space": "",
        "fixed": "lr = 0.1\ncheckpoint_rule = 'last'",
    }  # validation chooses nothing
    assert "fixed.val_fraction" not in questions(OWN, [few], **plain)
    assert "fixed.val_fraction" in questions(OWN, [few], space="", fixed="lr = 0.1")
    many = {**few, "train_images": 1000}
    assert questions(OWN, [many]) == {}
    assert set(questions(OWN, [many, few])) == {"fixed.val_fraction", "fixed.batch_size"}
    beside = {**few, "val_images": 9}  # a folder of its own is what there is
    assert set(questions(OWN, [beside])) == {"fixed.batch_size"}
    chosen = "val_images = 8\nbatch_size = 16"
    assert questions(OWN, [few], fixed=chosen) == {}


OWN_TASK = """
from dataclasses import replace
from torch import nn
from trainables.tasks.arrays import array_task
def load(data_dir, config):
    raise NotImplementedError
TASK = array_task("digits", load, lambda config: nn.Linear(2, 2))
TASK = replace(TASK, questions=lambda c: {"lr": "sure?"} if c["lr"] > 0.5 else {})
BROKEN = replace(TASK, questions=lambda c: c["none"])
"""


def test_a_task_of_one_s_own_asks_too(tmp_path):
    (tmp_path / "asking.py").write_text(OWN_TASK)
    text = (
        'name = "mine"\ntask = "asking:TASK"\n[cells]\nlr = [0.1, 0.9]\n[budget]\nmax_epochs = 2'
    )
    spec = parse_spec(tomllib.loads(text), "mine.toml", tmp_path)
    assert find_questions(spec) == {"cells.lr": "sure? (where lr = 0.9)"}
    text = text.replace("TASK", "BROKEN")
    spec = parse_spec(tomllib.loads(text), "mine.toml", tmp_path)
    with pytest.raises(TaskError, match="its questions fail"):
        find_questions(spec)


def test_what_was_asked_is_on_record(tmp_path):
    text = STUDY.format(
        task=CROWD, top="", cells="", space="", fixed="crop = 64", trials="", grace=1
    )
    spec = parse_spec(tomllib.loads(text), "mine.toml")
    data = [{"data": "crowd", "edition": "A", "synthetic": False}]
    data[0] |= {"train_images": 300, "test_images": 9}
    begin(tmp_path / "mine", spec, text, data)
    assert set(load_study(tmp_path / "mine")["questions"]) == {"fixed.sigma", "fixed.scale_low"}


def test_a_run_prints_its_questions_before_ray(tmp_path, monkeypatch, capsys):
    def no_ray(*arguments):
        raise ExecutionError("no Ray here")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("search.run.cluster.connect", no_ray)
    words = ["run", "quickstart-crowd", "--set", "fixed.sigma=15.0", "--set", "weights=none"]
    assert main([*words, "--set", "cells.pretrained=[false]"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("note: fixed.sigma: 15 px spreads a head over 60") == 1
    assert shown.index("note: ") < shown.index("starting Ray")


def test_a_study_that_was_begun_with_cells_that_nothing_reads_may_go_on():
    """A new one is refused; an old one may have been begun before that was looked at."""
    raw = {
        "name": "s",
        "task": "cifar10",
        "cells": {"depth": [18], "momentum": [0.5, 0.9]},
        "fixed": {"optimizer": "adam"},
        "budget": {"max_epochs": 3},
        "confirm": {"seeds": [1, 2]},
    }
    with pytest.raises(SpecError, match="changes nothing"):
        parse_spec(raw, "s.toml")
    settings = {key: setting.default for key, setting in find_task("cifar10").settings.items()}
    held = recorded_spec({"spec": raw, "settings": settings, "task_dir": None}, "study.json")
    assert held.cells["momentum"] == (0.5, 0.9)
