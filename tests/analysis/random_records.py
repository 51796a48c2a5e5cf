"""Random records with every fault that a table could pass over, written as a real run does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from make_run import CHANCE, CONSTANTS, Run

from trainables.about import plain

IMAGES = 40
BUDGET = 3  # epochs; the first rung is after one
LEVELS = {"depth": (18, 34, 50), "pretrained": (False, True), "test_images": (20, 40)}
LONG = "a layer after another, and so on, for as long as anybody wants to write it down here"
STRANGE = {  # values as a study file may have them
    "momentum": (0.9, 0.999, 0.9999),
    "optimizer": ("sgd", "adamw", "a|b_c & <d> 50 % of $x"),
    "nesterov": (False, True),
    "Größe µ": (1, 2),
    "norm": (LONG, "group\nnorm", "ночь"),
}
SPACE: dict[str, tuple[Any, ...]] = {
    "lr": (0.1, 0.01, 0.001),
    "weight_decay": (0.0, 1e-4, 5e-4),
    "nesterov": (False, True),
    "optimizer": ("sgd", "adamw"),
}
OWN = "mine:TASK"  # a regression of the user's own: more is better, and it may be below 0


def random_run(folder: Path, seed: int, strange: bool = False) -> Run:
    """A record of one study, finished or not.

    Cells of one to three parameters; nothing, one or two settings searched, each tried once to
    four times; seeds that are complete, diverged, failed, running or not begun; metrics that are
    not finite; ties; values around the constants; audits won, lost and diverged; collapse; results
    of each image for some trials.
    """
    rng = np.random.default_rng(seed)
    crowd = bool(rng.random() < 0.4)
    own = strange and bool(rng.random() < 0.4)
    cells = _cells(rng, crowd and not own, strange)
    spaces = [[], ["lr"], ["lr", "weight_decay"], ["nesterov", "lr"], ["optimizer"]]
    space = spaces[rng.integers(5 if strange else 3)]
    space = [key for key in space if not cells or key not in cells[0]]
    report = rng.random() < 0.25
    study: dict[str, Any] = {
        "space_keys": space,
        "confirm_seeds": [[1, 2, 3], [1, 2, 3], [1, 2], [42], []][rng.integers(5)],
        "rungs": [1, BUDGET],
        "synthetic": bool(rng.random() < 0.1),
        "protocol": "report" if report else "honest",
        "shown_split": "val" if report and not crowd and rng.random() < 0.5 else "test",
        "spec": {"fixed": {}, "budget": {"trials_per_cell": int(rng.integers(1, 6))}},
    }
    if strange:
        study |= _strange(rng, study, own)
    task = OWN if own else "shanghaitech" if crowd else "cifar10"
    run = Run(folder, task, cells, **study)
    shift = int(rng.integers(2)) * 100  # some cells are scored on other images than the first
    for cell in range(len(cells)):
        if strange and rng.random() < 0.3:  # begun, or gone on with after an update
            run.begin(int(rng.integers(2)))
        other = shift if cell and rng.random() < 0.2 else 0
        _cell(run, cell, rng, other)
    return run


def _strange(rng: np.random.Generator, study: dict[str, Any], own: bool) -> dict[str, Any]:
    """Keys of study.json as other studies have them."""
    found: dict[str, Any] = {}
    if study["protocol"] == "report" and study["shown_split"] == "test" and rng.random() < 0.5:
        found |= {"watched": "test", "checkpoint_rule": "last"}
    if rng.random() < 0.3:
        found["spec"] = {**study["spec"], "confirm": {"paired": True}}
    versions = ("2.12", "2.13") if rng.random() < 0.5 else ("2.13", "2.13")
    sessions = [{"started": "2026-11-01T10:00:00", "versions": {"torch": v}} for v in versions]
    found["sessions"] = sessions
    if own:
        about = plain(OWN, "r2", "max", {"r2": "max", "mse": "min"})
        found |= {"about": about, "metric": "r2", "mode": "max", "metrics": ["r2", "mse"]}
        watched = found.get("watched", "val")
        found["row_metrics"] = [f"{s}_{m}" for s in ("train", watched) for m in ("r2", "mse")]
    return found


def _cells(rng: np.random.Generator, crowd: bool, strange: bool) -> list[dict[str, Any]]:
    names = [name for name in LEVELS if rng.random() < (0.7 if name == "depth" else 0.3)]
    if strange:
        names = [str(rng.choice(list(STRANGE))), *names[:1]]
    names += ["part"] if crowd and rng.random() < 0.5 else []
    cells: list[dict[str, Any]] = [{}]
    for name in names or ["depth"]:
        levels = ("A", "B") if name == "part" else {**LEVELS, **STRANGE}[name]
        levels = levels if name == "part" else levels[: rng.integers(1, 4)]
        cells = [{**cell, name: level} for cell in cells for level in levels]
    return cells[:6]


def _cell(run: Run, cell: int, rng: np.random.Generator, shift: int) -> None:
    winner = _search(run, cell, rng) if run.study["space_keys"] else {}
    if winner is None:
        return
    level = rng.choice([0.1, 0.3, 0.5, 0.5, 0.8])  # the same for several cells, so that some tie
    spread = rng.choice([0.0, 0.05, 0.3])
    pictured = rng.random() < 0.6
    for place, seed in enumerate(run.study["confirm_seeds"]):
        kind = rng.choice(["value"] * 6 + ["diverged", "failed", "running", "none"])
        if kind == "none":
            continue
        name, common = f"{cell:02d}-seed{seed}", {"stage": "confirm", "seed": seed, **winner}
        if kind != "value":
            run.trial(name, cell, ending=str(kind), epochs=2, value=None, **common)
            continue
        quality = float(np.clip(level + spread * (place - 1), 0.0, 1.0))
        truth, answer, test = _scored(run, quality, rng)
        if rng.random() < 0.1:
            test[str(rng.choice(list(test)))] = None
        value = test[run.study["metric"]]
        value = 0.5 if value is None else value
        run.trial(name, cell, value=value, epochs=BUDGET, test=test, baselines=_constants(run),
                  collapsed=bool(rng.random() < 0.1), **common)  # fmt: skip
        if pictured and not (run.study["task"] == OWN and rng.random() < 0.3):
            run.images(name, truth, answer, names=np.arange(IMAGES) + shift)


def _search(run: Run, cell: int, rng: np.random.Generator) -> dict[str, Any] | None:
    """The trials of a cell's search; its winner's settings, or None where there is none."""
    planned = run.study["spec"]["budget"]["trials_per_cell"]
    done, kinds = [], []
    for number in range(rng.integers(0, planned + 1)):
        drawn = {key: SPACE[key][rng.integers(len(SPACE[key]))] for key in run.study["space_keys"]}
        name, value = f"{cell:02d}-{number:03d}", float(rng.choice([0.3, 0.5, 0.7]))
        kind = rng.choice(["value", "value", "stop", "audit", "diverged", "failed", "running"])
        kinds.append(str(kind))
        if kind == "value":
            run.trial(name, cell, value=value, epochs=BUDGET, **drawn)
            done.append((value, name, drawn))
        elif kind in ("stop", "audit"):
            run.trial(name, cell, value=value, epochs=1, **drawn)
            run.decide(name, cell, str(kind), value, epoch=1)
            if kind == "audit":
                _audit(run, name, cell, rng, drawn)
        else:
            run.trial(name, cell, ending=str(kind), epochs=2, value=None, **drawn)
    if len(kinds) == planned and set(kinds) <= {"diverged", "failed"}:
        run.decide(None, cell, "empty", None, epoch=0)
    if not done:
        return None
    best = min(done)[0] if run.study["mode"] == "min" else max(done)[0]
    value, name, drawn = next(held for held in done if held[0] == best)
    run.decide(name, cell, "select", value, epoch=BUDGET)
    if not run.study["confirm_seeds"]:
        _, _, test = _scored(run, 0.5, rng)
        run.trial(name, cell, value=value, epochs=BUDGET, test=test, **drawn)
    return drawn


def _audit(run: Run, name: str, cell: int, rng: np.random.Generator, drawn: Any) -> None:
    kind = rng.choice(["value", "value", "diverged", "failed", "running"])
    value = float(rng.choice([0.2, 0.5, 0.9])) if kind == "value" else None
    run.trial(name, cell, value=value, epochs=BUDGET, stage="audit", ending=str(kind), **drawn)
    if value is not None:
        run.decide(name, cell, "audited", value, epoch=BUDGET)


def _scored(run: Run, quality: float, rng: np.random.Generator) -> tuple[Any, Any, dict[str, Any]]:
    """True values and predictions of each image, and the scores that they give."""
    if run.study["task"] != OWN and not run.crowd:
        label = np.arange(IMAGES) % 10
        said = np.where(np.arange(IMAGES) < round(quality * IMAGES), label, (label + 1) % 10)
        loss = float(rng.choice([2.9, math.log(10), 1.5, 1.0])) + 0.01 * float(rng.integers(3))
        return label, said, {"loss": loss, "accuracy": float((label == said).mean())}
    truth = 20.0 + 10 * np.arange(IMAGES)
    answer = truth + (1 - quality) * 150 * np.where(np.arange(IMAGES) % 2, 1, -1)
    if run.study["task"] == OWN:
        square = float(((answer - truth) ** 2).mean())
        return truth, answer, {"r2": 1 - square / float(truth.var()), "mse": square}
    wrong = answer - truth
    scores = {"mae": float(np.abs(wrong).mean()), "rmse": float(np.sqrt((wrong**2).mean()))}
    return truth, answer, scores


def _constants(run: Run) -> dict[str, Any]:
    truth = 20.0 + 10 * np.arange(IMAGES)
    if run.study["task"] == OWN:
        square = float(((truth - 200) ** 2).mean())
        return {"training mean": {"count": 200.0, "r2": 1 - square / truth.var(), "mse": square}}
    if not run.crowd:
        return CHANCE
    counts = {name: scores["count"] for name, scores in CONSTANTS.items()}
    off = {name: truth - count for name, count in counts.items()}
    return {
        name: {
            "count": counts[name],
            "mae": float(np.abs(wrong).mean()),
            "rmse": float(np.sqrt((wrong**2).mean())),
        }
        for name, wrong in off.items()
    }
