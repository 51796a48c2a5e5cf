"""What a job costs to launch: ours, journal and record included, beside a trial of plain Ray Tune.

    python benchmarks/launch.py [--jobs 400 4000] [--repeats 3] [--arrays 4 8] [--json FILE]

All sides run the same trivial trainable (one epoch's report, one end's) with actor reuse on the
same Ray in the same process, in turn. Plain Ray Tune samples one float at random. Ours runs a
whole study of ten cells: scheduler, samplers, journal forced to disk, Optuna file, frames; and its
jobs report once more, as real ones do, when they begin. `silent` is ours without that report.
`arrays of N` is ours with so many jobs of a cell as one trial of Ray's, which reports for all of
them at once, as a real array does what comes within a second (search/run/ray_worker.py).
Times are from the first job's start to the last one's end, the start of Ray and of the first
workers aside; `cpu` is what the driver's process took of it, which other programs on the machine
change less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pandas as pd
from machine import describe
from studies import CELLS, begun, trivial_study

from search.record.run_folder import RunFolder
from search.run import cluster, executor

FIRST = 16  # jobs that wait for the workers to start, or are of arrays that do


class Clocks:
    """A watcher that only notes when jobs end."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []  # wall and CPU seconds at each

    def told(self, *_: object) -> None:
        """A job has ended."""
        self.ends.append((perf_counter(), process_time()))

    def __getattr__(self, name: str) -> object:
        """Every other hook of a watcher, doing nothing."""
        return lambda *args: None


def trivial(config: dict[str, object]) -> None:
    """What both sides run: an epoch's report and an end's."""
    from ray import tune

    held = json.loads(config.get("job") or '{"trial": "t", "train": {"to_epoch": 1}}')
    epoch = held["train"]["to_epoch"]
    value = hash(str(held["trial"])) % 1000 / 1000
    row = {"epoch": epoch, "lr": 0.1, "train_loss": 1.0, "val_accuracy": value, "seconds": 0.0}
    told = {
        "ending": "value",
        "value": value,
        "epoch": epoch,
        "value_epoch": epoch,
        "seconds": 0.0,
    }
    if held.get("others"):
        report_all(held, row, told)
        return
    tune.report({"kind": "epoch", "trial": held["trial"], "payload": json.dumps(row)})
    tune.report({"kind": "end", "trial": held["trial"], "payload": json.dumps(told)})


def report_all(held: dict[str, Any], row: dict[str, object], told: dict[str, object]) -> None:
    """The row and the end of every member of an array, in one report."""
    from ray import tune

    trials = [held["trial"], *(other["trial"] for other in held["others"])]
    kinds = {"epoch": row, "end": told}
    payload = [
        {"kind": kind, "trial": trial, "payload": what}
        for trial in trials
        for kind, what in kinds.items()
    ]
    tune.report({"kind": "array", "trial": held["trial"], "payload": json.dumps(payload)})


def beginning(config: dict[str, object]) -> None:
    """The same with the report that a job of ours begins with."""
    from ray import tune

    where = {"node_id": "a" * 56, "node": "node", "pid": os.getpid()}
    trial = json.loads(config["job"])["trial"]
    tune.report({"kind": "begin", "trial": trial, "payload": json.dumps(where)})
    trivial(config)


def ours(
    jobs: int, folder: Path, run_job: Callable[..., None], array: int = 1
) -> list[tuple[float, float]]:
    """A study of about so many jobs, in arrays of so many; wall and CPU seconds at each end."""
    executor.run_job, clocks = run_job, Clocks()
    with RunFolder.make(folder) as run:
        study = begun(run, trivial_study("launch", jobs), clocks)
        study.places = replace(study.places, arrays=dict.fromkeys(range(CELLS), array))
        if not executor.execute(study):
            raise RuntimeError("the study did not end")
        study.write_views()
    return clocks.ends


def plain(jobs: int, folder: Path) -> list[tuple[float, float]]:
    """So many trials of plain Ray Tune; wall and CPU seconds at the end of each."""
    from ray import tune

    clocks = Clocks()

    class Ends(tune.Callback):
        def on_trial_complete(self, iteration, trials, trial, **info):
            clocks.told()

    tune.Tuner(
        tune.with_resources(trivial, {"CPU": 1}),
        param_space={"lr": tune.loguniform(0.01, 0.1)},
        tune_config=tune.TuneConfig(num_samples=jobs, reuse_actors=True),
        run_config=tune.RunConfig(
            name="plain", storage_path=str(folder), callbacks=[Ends()], verbose=0
        ),
    ).fit()
    return clocks.ends


def per_job(ends: list[tuple[float, float]]) -> dict[str, float]:
    """Seconds a job after the first few, and of each fifth; CPU seconds of the driver a job."""
    steady = np.asarray(ends[FIRST:])  # the first ones wait for the workers to start
    fifths = [np.diff(part).mean() for part in np.array_split(steady[:, 0], 5)]
    seconds, cpu = (steady[-1] - steady[0]) / (len(steady) - 1)
    return {
        "seconds_a_job": float(seconds),
        "cpu_a_job": float(cpu),
        **{f"fifth_{n}": float(held) for n, held in enumerate(fifths, 1)},
    }


def main() -> None:
    """Run both sides in turn and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, nargs="+", default=[400, 4000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--arrays", type=int, nargs="*", default=[4, 8])
    parser.add_argument("--json", type=Path)
    held = parser.parse_args()
    cluster.connect("local")
    rows = []
    for jobs in held.jobs:
        for repeat in range(held.repeats):
            done = jobs
            sides: dict[str, tuple[Callable[..., None] | None, int]] = {
                "ours": (beginning, 1),
                "silent": (trivial, 1),
                **{f"arrays of {n}": (beginning, n) for n in held.arrays},
                "plain": (None, 1),
            }
            first = repeat % len(sides)  # the load beside drifts
            for side in [*list(sides)[first:], *list(sides)[:first]]:
                run_job, array = sides[side]
                with tempfile.TemporaryDirectory() as place:
                    folder = Path(place) / "launch"
                    ends = ours(jobs, folder, run_job, array) if run_job else plain(done, folder)
                done = len(ends)
                mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                row = {"side": side, "jobs": done, "repeat": repeat, **per_job(ends)}
                rows.append({**row, "driver_mb": mb, "load": os.getloadavg()[0]})
                print(rows[-1], flush=True)
                if held.json:
                    held.json.write_text(
                        json.dumps({"machine": describe(), "rows": rows}, indent=1)
                    )
    cluster.disconnect()
    frame = pd.DataFrame(rows)
    print(describe())
    print(frame.to_string(index=False, float_format="{:.4f}".format))
    for column in ("seconds_a_job", "cpu_a_job"):
        wide = frame.pivot_table(column, ["jobs", "repeat"], "side")
        wide["ours_of_plain"] = wide["ours"] / wide["plain"]
        wide["ours_of_silent"] = wide["ours"] / wide["silent"]
        for array in held.arrays:
            wide[f"ours_of_{array}"] = wide["ours"] / wide[f"arrays of {array}"]
        print(column, wide.to_string(float_format="{:.4f}".format), sep="\n")


if __name__ == "__main__":
    main()
