"""Our rules beside Ray's ASHA and Syne Tune's promotion ASHA, on the same curves, in virtual time.

    python benchmarks/scheduler.py [--repeats 200] [--workers 8 64] [--kills 1000] [--json FILE]
        [--report-curves report_curves.csv] [--syne-tune-python PYTHON]

Ray's own AsyncHyperBandScheduler is driven on bare objects, without a cluster. Syne Tune's
promotion ASHA (up to version 0.14) runs under a Python that has it; its rows are missing without.
Every figure is a mean over repeats; each rule sees the same configs in the same order.
"""

from __future__ import annotations

import argparse
import heapq
import json
import subprocess
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
from kills import count_identical
from machine import describe

from search.schedule.curves import FAMILIES, Curves, synthetic_curves
from search.schedule.simulator import Outcome, mean_outcome, simulate
from search.spec.plan import Plan, audit_epochs, reaching, reaching_at_most, search_epochs

PLAN = Plan(10, (9, 27, 81), 3, 1, "max", ())
CELLS = 10
COLUMNS = ("filled", "slow_filled", "best_full", "regret", "cost", "wall", "idle")


class _Trial:
    """All that Ray's scheduler asks of a trial."""

    def __init__(self, trial_id: int) -> None:
        self.trial_id = str(trial_id)


def ray_asha(plan: Plan, values: np.ndarray, workers: int) -> tuple[dict[str, float], set[int]]:
    """Ray's AsyncHyperBandScheduler over whole trainings that report every epoch.

    Args:
        plan: rungs, eta.
        values: `(cells, configs, epochs)`, larger is better.
        workers: trials at once.

    Returns:
        The outcome's numbers, and the trials trained in full; trial i is config i // cells of
        cell i % cells.
    """
    from ray.tune.schedulers import AsyncHyperBandScheduler

    cells, configs, epochs = values.shape
    scheduler = AsyncHyperBandScheduler(
        time_attr="epoch",
        metric="value",
        mode="max",
        max_t=epochs,
        grace_period=plan.rungs[0],
        reduction_factor=plan.reduction_factor,
        stop_last_trials=False,
    )
    running: list[tuple[int, int, int]] = []
    trials = [_Trial(i) for i in range(cells * configs)]
    waiting, now, busy, full = list(range(len(trials)))[::-1], 0, 0, set()
    while waiting or running:
        while waiting and len(running) < workers:
            trial = waiting.pop()
            scheduler.on_trial_add(None, trials[trial])
            heapq.heappush(running, (now + 1, trial, 1))
        now, trial, epoch = heapq.heappop(running)
        busy += 1
        value = values[trial % cells, trial // cells, epoch - 1]
        result = {"epoch": epoch, "value": value}
        if epoch == epochs:
            scheduler.on_trial_complete(None, trials[trial], result)
            full.add(trial)
        elif scheduler.on_trial_result(None, trials[trial], result) == "CONTINUE":
            heapq.heappush(running, (now + 1, trial, epoch + 1))
    return {"wall": now, "spent": busy, "idle": 1 - busy / (workers * now)}, full


def syne_tune(
    python: str, plan: Plan, values: np.ndarray, workers: int
) -> tuple[dict[str, float], set[int]]:
    """Syne Tune's promotion ASHA, in a process of its own; see syne_tune_oracle.py."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "values.npy", values)
        done = subprocess.run(
            [
                python,
                str(Path(__file__).with_name("syne_tune_oracle.py")),
                str(Path(folder) / "values.npy"),
                str(workers),
                str(plan.rungs[0]),
                str(plan.reduction_factor),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    held = json.loads(done.stdout.splitlines()[-1])
    return {k: held[k] for k in ("wall", "spent", "idle")}, set(held["full"])


def as_outcome(values: np.ndarray, numbers: dict[str, float], full: set[int]) -> dict[str, float]:
    """The same columns as our simulator's."""
    cells, configs, epochs = values.shape
    final = values[:, :, -1]
    held = [[t // cells for t in full if t % cells == cell] for cell in range(cells)]
    regrets = [final[c].max() - final[c][h].max() for c, h in enumerate(held) if h]
    return {
        "filled": sum(bool(h) for h in held),
        "slow_filled": sum(bool(h) for h in held[1::2]),
        "best_full": sum(int(final[c].argmax()) in h for c, h in enumerate(held)),
        "regret": float(np.mean(regrets)),
        "cost": numbers["spent"] / (cells * configs * epochs),
        "wall": numbers["wall"],
        "idle": numbers["idle"],
    }


def ours(rule: str, plan: Plan, curves: Curves, workers: int, seed: int) -> dict[str, float]:
    """Our simulator's outcome, with the slow cells apart."""
    outcome: Outcome = simulate(rule, plan, curves, workers, seed)
    slow = outcome.filled - sum(outcome.filled_cells[::2])
    return {**asdict(outcome), "slow_filled": slow}


def compare(
    family: str, workers: int, repeats: int, python: str | None
) -> list[dict[str, object]]:
    """Every rule on one family of curves."""
    drawn = [
        synthetic_curves(family, CELLS, PLAN.trials_per_cell, 81, np.random.default_rng(i))
        for i in range(repeats)
    ]
    # the order in which our simulator samples configs
    values = [
        c.sample(PLAN.trials_per_cell, np.random.default_rng(i))[0] for i, c in enumerate(drawn)
    ]
    plans = {
        "cell-promote, 1 full": ("cell-promote", PLAN),
        "cell-promote, 1 full, audit 5 %": ("cell-promote", replace(PLAN, audit_share=0.05)),
        "cell-promote, 2 full": ("cell-promote", replace(PLAN, full_per_cell=2)),
        "cell-promote, 2 full, audit 5 %": (
            "cell-promote",
            replace(PLAN, full_per_cell=2, audit_share=0.05),
        ),
        "cell-stop, 1 full": ("cell-stop", PLAN),
        "our copy of Ray's rule": ("ray-asha", PLAN),
        "plain grid": ("full", PLAN),
    }
    rows: dict[str, list[dict[str, float]]] = {
        name: [ours(rule, plan, c, workers, i) for i, c in enumerate(drawn)]
        for name, (rule, plan) in plans.items()
    }
    rows["Ray's ASHA"] = [as_outcome(v, *ray_asha(PLAN, v, workers)) for v in values]
    if python:
        some = values[: max(1, repeats // 10)]  # a process each
        rows["Syne Tune's promotion ASHA"] = [
            as_outcome(v, *syne_tune(python, PLAN, v, workers)) for v in some
        ]
    return [
        {"family": family, "workers": workers, "rule": name, "repeats": len(held)}
        | {key: float(np.mean([row[key] for row in held])) for key in COLUMNS}
        for name, held in rows.items()
    ]


def speed() -> dict[str, float]:
    """Decisions a second, and a 10,000-trial plan: previewed and simulated once."""
    curves = synthetic_curves("plain", CELLS, 1000, 81, np.random.default_rng(0))
    plan = replace(PLAN, trials_per_cell=1000)
    outcomes = [simulate("cell-promote", plan, curves, 8, seed) for seed in range(5)]
    started = time.perf_counter()
    for counts in (reaching(plan), reaching_at_most(plan)):
        search_epochs(plan, counts)
    sum(audit_epochs(replace(plan, audit_share=0.05), cell) for cell in range(CELLS))
    simulate("cell-promote", plan, curves, 8, 0)
    return {
        "decisions_per_second": mean_outcome(outcomes)["decisions_per_second"],
        "seconds_10000_trials": time.perf_counter() - started,
    }


def report_replay(path: Path) -> pd.DataFrame:
    """The course report's published runs as configs: what each rule would have kept.

    CIFAR-10 alone has whole curves: two modes at each of five depths. Each depth is a cell of two
    configs (scratch, fine-tuned), as if the mode were a nuisance parameter; 200 epochs, rungs 22
    and 66, eta 3 and, since a third of two is none, full_per_cell 1.
    """
    held = pd.read_csv(path)
    held = held[(held["task"] == "cifar10") & (held["name"] == "val_accuracy")]
    rows = []
    for depth, part in held.groupby("depth"):
        curves = {mode: run.sort_values("epoch") for mode, run in part.groupby("mode")}
        modes, length = sorted(curves), min(len(run) for run in curves.values())
        values = np.stack([curves[mode]["value"].to_numpy()[:length] for mode in modes])[None]
        plan = Plan(2, (22, 66, length), 3, 1, "max", ())
        wrapped = Curves(
            [values[0][:, None, :]], [np.ones_like(values[0][:, None, :])], "max", False
        )
        order = np.random.default_rng(0).permutation(2)
        full = {
            rule: [modes[order[c]] for c in simulate(rule, plan, wrapped, 2, 0).full_configs[0]]
            for rule in ("cell-promote", "cell-stop", "ray-asha")
        }
        best = modes[int(values[0, :, -1].argmax())]
        rows.append({"depth": depth, "epochs": length, "best at the end": best} | full)
    return pd.DataFrame(rows)


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    parser.add_argument("--report-curves", type=Path)
    parser.add_argument("--syne-tune-python")
    parser.add_argument("--json", type=Path)
    held = parser.parse_args()
    rows = [
        row
        for workers in held.workers
        for family in (held.families if workers == held.workers[0] else ["slow-start"])
        for row in compare(family, workers, held.repeats, held.syne_tune_python)
    ]
    result = {"machine": describe(), "speed": speed(), "rules": rows}
    result["resume"] = {"kills": held.kills, "identical": count_identical(held.kills)}
    frame = pd.DataFrame(rows)
    print(result["machine"])
    print(frame.to_string(index=False, float_format="{:.3f}".format))
    print({key: round(value, 3) for key, value in result["speed"].items()})
    print(f"resume: identical decisions in {result['resume']['identical']} of {held.kills} kills")
    if held.report_curves:
        replay = report_replay(held.report_curves)
        print(replay.to_string(index=False))
        result["report"] = replay.to_dict("records")
    if held.json:
        held.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
