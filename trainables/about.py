"""What is said of a task wherever its numbers are shown: plain values, kept in study.json.

Loads nothing, so that a record can be read without torch. A task without a declaration of its own
gets `plain`.

    title       what tables and captions call it
    metrics     name -> {title: as tables head it, mode: max or min, digits: behind the point}
    formulas    a sentence on metrics that the field writes in several ways; "" for none
    training    a sentence on training values that are of other things than those of validation
    images      settings that say which images a value is of: never compared across
    side        the setting whose values stand side by side in a table, e.g. part; "" for none
    chance      constant predictors known without data: name -> metric -> value
    constants   constant predictors that a scored trial has on record, a row each from the start
    skill       {metric, over: the constant predictor} that skill is told of; None for none
    tables      tables of a published report that its studies can fill, by key:
        title, note (on the published numbers), split (what those are of, where a head must say)
        where   settings that a cell must have; has, lacks: cell parameters of its study
        first   the parameter that heads the rows; implied: parameters that no row repeats
        match   settings by which a cell finds its published value
        only    settings under which published values may stand beside ours
        report  settings of what was published: where cells differ in one, it stands beside those
                that have it so
    sheets      learning curves: key, name, where, without (parameters not repeated in labels),
                metrics, mode and only (of the published curves), train ("beside" what is watched,
                "apart" where it is of other images, "none"); beside: settings of cells whose
                training values are of the watched kind though others' are not; sheets of one key
                are one figure, a row each; with `side`, one for each of its values
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

About = Mapping[str, Any]

CROP = 512  # the course report's, px
_REPORT = "Published: in the course report"
_CLASSES = {
    "where": {"pretrained": False},
    "has": [],
    "lacks": [],
    "first": "depth",
    "implied": ["pretrained"],
    "match": ["depth"],
    "only": {"network": "resnet"},
    "report": {
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 0.0,
        "batch_size": 128,
        "schedule": "step",
        "stem": "imagenet",
    },
    "split": "val ",  # what the report headed "test"
    "note": f"{_REPORT} on real images, lr 0.1, 200 epochs, one run, validation values of the "
    "last epoch (headed test there).",
}
_CROWDS = {
    "where": {},
    "first": "depth",
    "implied": ["part"],
    "match": ["depth", "part"],
    "only": {"network": "resnet", "head": "fc", "pretrained": False, "crop": CROP},
    "report": {"optimizer": "adam", "batch_size": 1, "loss": "mse", "kernel": "disc"},
    "split": "",
}

CIFAR10: About = {
    "title": "CIFAR-10",
    "metrics": {
        "loss": {"title": "loss", "mode": "min", "digits": 4},
        "accuracy": {"title": "accuracy", "mode": "max", "digits": 4},
    },
    "formulas": "",
    "images": ["edition"],
    "side": "",
    "chance": {"uniform guess": {"loss": math.log(10), "accuracy": 0.1}},
    "constants": [],
    "skill": None,
    "tables": {
        "T1": {**_CLASSES, "title": "CIFAR-10 by depth, from scratch"},
        "T2": {
            **_CLASSES,
            "title": "CIFAR-10 by depth, fine-tuned",
            "where": {"pretrained": True},
        },
    },
    "sheets": [
        {
            "key": key,
            "name": name,
            "where": {"pretrained": tuned},
            "without": ["pretrained"],
            "metrics": metrics,
            "mode": "pretrained" if tuned else "scratch",
            "only": {"network": "resnet"},
            "train": train,
        }
        for key, name, tuned, metrics, train in (
            ("F1", "from scratch", False, ["loss", "accuracy"], "beside"),
            ("F1", "fine-tuned", True, ["loss", "accuracy"], "beside"),
            ("F2", "accuracy by depth, from scratch", False, ["accuracy"], "none"),
            ("F3", "loss by depth, from scratch", False, ["loss"], "none"),
        )
    ],
}

SHANGHAITECH: About = {
    "title": "ShanghaiTech",
    "metrics": {
        "mae": {"title": "MAE", "mode": "min", "digits": 1},
        "rmse": {"title": "MSE (root)", "mode": "min", "digits": 1},
    },
    "formulas": "MAE = mean |z - z'|, MSE (root) = sqrt(mean (z - z')^2) over the images, z heads "
    "annotated and z' predicted; people an image.",
    "training": "Train values are, with head = fc, of the crops that are trained on (people a "
    "crop), and those of validation and test of whole images (people an image), so the two do not "
    "compare; with head = conv they are of whole training images, a fixed sample, and compare.",
    "images": ["edition", "part"],
    "side": "part",
    "chance": {},
    "constants": ["zero", "training mean", "training median"],
    "skill": {"metric": "mae", "over": "training median"},  # the best constant for that metric
    "tables": {
        "T3": {
            **_CROWDS,
            "title": "Crowd counting by learning rate",
            "has": ["lr"],
            "lacks": [],
            "first": "lr",
            "match": ["depth", "lr", "part"],
            "note": f"{_REPORT}, depth 18, 50 epochs, one run. Two published rows are not what "
            "their author's log says: B at lr 0.001 (logged: MAE 56.6, root MSE 83.5), and A at "
            "lr 0.01, logged at lr 0.001 over 100 epochs.",
        },
        "T4": {
            **_CROWDS,
            "title": "Crowd counting by depth",
            "has": ["depth"],
            "lacks": ["lr"],
            "note": f"{_REPORT}, lr 0.01, 50 epochs, one run.",
        },
    },
    "sheets": [
        {
            "key": "curves",
            "name": "",
            "where": {},
            "without": ["part"],
            "metrics": ["mae"],
            "mode": "scratch",
            "only": {"network": "resnet", "head": "fc"},
            "train": "apart",  # of crops; what is watched is of whole images
            "beside": {"head": "conv"},  # whole training images: see Task.measures_train
        }
    ],
}

# by the name of their task: what records from before `about` was kept there are read with
SHIPPED: Mapping[str, About] = {"cifar10": CIFAR10, "shanghaitech": SHANGHAITECH}


def plain(
    name: str, metric: str, mode: str, metrics: Mapping[str, str] | tuple[str, ...]
) -> About:
    """What is said of a task that says no more than its metrics.

    Args:
        name: of the task.
        metric: the one that ranks trials.
        mode: which values of it are better.
        metrics: all of them; of the others, or where a mapping does not say, less is better.
    """
    modes = dict(metrics) if isinstance(metrics, Mapping) else {}
    return {
        "title": name,
        "metrics": {
            held: {
                "title": held,
                "mode": mode if held == metric else modes.get(held, "min"),
                "digits": 4,
            }
            for held in metrics
        },
        "formulas": "",
        "images": [],
        "side": "",
        "chance": {},
        "constants": [],
        "skill": None,
        "tables": {},
        "sheets": [
            {
                "key": "curves",
                "name": "",
                "where": {},
                "without": [],
                "metrics": [metric],
                "mode": "",
            }
        ],
    }
