"""Random records with every fault that a table could pass over, written as a real run does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from make_run import CHANCE, CONSTANTS, Run

IMAGES = 40
BUDGET = 3  # epochs; the first rung is after one
LEVELS = {"depth": (18, 34, 50), "pretrained": (False, True), "test_images": (20, 40)}


def random_run(folder: Path, seed: int) -> Run:
    """A record of one study, finished or not.

    Cells of one to three parameters; nothing, one or two settings searched, each tried once to
    four times; seeds that are complete, diverged, failed, running or not begun; metrics that are
    not finite; ties; values around the constants; audits won, lost and diverged; collapse; results
    of each image for some trials.
    """
    rng = np.random.default_rng(seed)
    crowd = bool(rng.random() < 0.4)
    cells = _cells(rng, crowd)
    space = [[], ["lr"], ["lr", "weight_decay"]][rng.integers(3)]
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
    run = Run(folder, "shanghaitech" if crowd else "cifar10", cells, **study)
    shift = int(rng.integers(2)) * 100  # some cells are scored on other images than the first
    for cell in range(len(cells)):
        other = shift if cell and rng.random() < 0.2 else 0
        _cell(run, cell, rng, other)
    return run


def _cells(rng: np.random.Generator, crowd: bool) -> list[dict[str, Any]]:
    names = [name for name in LEVELS if rng.random() < (0.7 if name == "depth" else 0.3)]
    names += ["part"] if crowd and rng.random() < 0.5 else []
    cells: list[dict[str, Any]] = [{}]
    for name in names or ["depth"]:
        levels = ("A", "B") if name == "part" else LEVELS[name][: rng.integers(1, 4)]
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
        if pictured:
            run.images(name, truth, answer, names=np.arange(IMAGES) + shift)


def _search(run: Run, cell: int, rng: np.random.Generator) -> dict[str, Any] | None:
    """The trials of a cell's search; its winner's settings, or None where there is none."""
    planned = run.study["spec"]["budget"]["trials_per_cell"]
    done = []
    for number in range(rng.integers(0, planned + 1)):
        drawn = {"lr": (0.1, 0.01, 0.001)[rng.integers(3)]}
        if "weight_decay" in run.study["space_keys"]:
            drawn["weight_decay"] = (0.0, 1e-4, 5e-4)[rng.integers(3)]
        name, value = f"{cell:02d}-{number:03d}", float(rng.choice([0.3, 0.5, 0.7]))
        kind = rng.choice(["value", "value", "stop", "audit", "diverged", "failed", "running"])
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
    if not run.crowd:
        truth = np.arange(IMAGES) % 10
        answer = np.where(np.arange(IMAGES) < round(quality * IMAGES), truth, (truth + 1) % 10)
        loss = float(rng.choice([2.9, 2.302585, 1.5, 1.0])) + 0.01 * float(rng.integers(3))
        return truth, answer, {"loss": loss, "accuracy": float((truth == answer).mean())}
    truth = 20.0 + 10 * np.arange(IMAGES)
    answer = truth + (1 - quality) * 150 * np.where(np.arange(IMAGES) % 2, 1, -1)
    wrong = answer - truth
    scores = {"mae": float(np.abs(wrong).mean()), "rmse": float(np.sqrt((wrong**2).mean()))}
    return truth, answer, scores


def _constants(run: Run) -> dict[str, Any]:
    return CONSTANTS if run.crowd else CHANCE
