"""What a job costs to launch: ours, journal and record included, beside a trial of plain Ray Tune.

    python benchmarks/launch.py [--jobs 400 4000] [--repeats 3] [--json FILE]

Both sides run the same trivial trainable (one epoch's report, one end's) with actor reuse on the
same Ray in the same process, in turn. Plain Ray Tune samples one float at random. Ours runs a
whole study of ten cells: scheduler, samplers, journal forced to disk, Optuna file, frames.
Times are from the first job's start to the last one's end, the start of Ray and of the first
workers aside.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import tomllib
from datetime import datetime
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from machine import describe

from search import record
from search.record import manifest
from search.record.journal import read_lines
from search.record.run_folder import RunFolder
from search.run import cluster, executor, machine
from search.run.study import Places, Study
from search.spec.study_spec import parse_spec

CELLS = 10
TEXT = """
name = "launch"
task = "cifar10"
[cells]
batch_size = {cells}
[space.lr]
low = 0.01
high = 0.1
log = true
[fixed]
edition = "synthetic"
[budget]
trials_per_cell = {trials}
max_epochs = 9
grace_epochs = 1
audit_share = 0.0
"""


class Silent:
    """A watcher that looks away."""

    def __getattr__(self, name: str) -> object:
        """Every hook of a watcher, doing nothing."""
        return lambda *args: None


def trivial(config: dict[str, object]) -> None:
    """What both sides run: an epoch's report and an end's."""
    from ray import tune

    held = json.loads(config.get("job") or '{"trial": "t", "train": {"to_epoch": 1}}')
    epoch = held["train"]["to_epoch"]
    value = hash(str(held["trial"])) % 1000 / 1000
    row = {"epoch": epoch, "lr": 0.1, "train_loss": 1.0, "val_accuracy": value, "seconds": 0.0}
    tune.report({"kind": "epoch", "trial": held["trial"], "payload": row})
    told = {"ending": "value", "value": value, "epoch": epoch, "value_epoch": epoch}
    tune.report({"kind": "end", "trial": held["trial"], "payload": {**told, "seconds": 0.0}})


def ours(jobs: int, folder: Path) -> tuple[int, list[float]]:
    """A study of about so many jobs; jobs told, and the times of their tells in seconds."""
    # of n trials a cell, n/3 and n/9 go on, and each cell's winner is scored
    trials = round((jobs / CELLS - 1) / (1 + 1 / 3 + 1 / 9))
    cells = [16 * (n + 1) for n in range(CELLS)]
    spec = parse_spec(tomllib.loads(TEXT.format(cells=cells, trials=trials)), "launch")
    data = {"data": "synthetic", "edition": "synthetic", "synthetic": True}
    data |= {"train_images": 1, "test_images": 1}
    with RunFolder.make(folder) as run:
        run.create(manifest.describe_study(spec, "", [], [data], {}, machine.here()))
        study = Study(spec, run, Places(folder, {}, {}), Silent())
        if not executor.execute(study):
            raise RuntimeError("the study did not end")
        study.write_views()
    tells = [e["time"] for e in read_lines(folder / record.JOURNAL) if e["event"] == "tell"]
    return len(tells), [datetime.fromisoformat(text).timestamp() for text in tells]


def plain(jobs: int, folder: Path) -> list[float]:
    """So many trials of plain Ray Tune; the times of their ends in seconds."""
    from ray import tune

    times: list[float] = []

    class Ends(tune.Callback):
        def on_trial_complete(self, iteration, trials, trial, **info):
            times.append(perf_counter())

    tune.Tuner(
        tune.with_resources(trivial, {"CPU": 1}),
        param_space={"lr": tune.loguniform(0.01, 0.1)},
        tune_config=tune.TuneConfig(num_samples=jobs, reuse_actors=True),
        run_config=tune.RunConfig(
            name="plain", storage_path=str(folder), callbacks=[Ends()], verbose=0
        ),
    ).fit()
    return times


def per_job(times: list[float]) -> dict[str, float]:
    """Seconds a job after the first few, and of each fifth."""
    steady = np.asarray(times[5:])  # the first ones wait for the workers to start
    fifths = [np.diff(part).mean() for part in np.array_split(steady, 5)]
    return {
        "seconds_a_job": float((steady[-1] - steady[0]) / (len(steady) - 1)),
        **{f"fifth_{n}": float(held) for n, held in enumerate(fifths, 1)},
    }


def main() -> None:
    """Run both sides in turn and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, nargs="+", default=[400, 4000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    held = parser.parse_args()
    executor.run_job = trivial
    cluster.connect("local")
    rows = []
    for jobs in held.jobs:
        for repeat in range(held.repeats):
            with tempfile.TemporaryDirectory() as folder:
                done, times = ours(jobs, Path(folder) / "launch")
                rows.append({"side": "ours", "jobs": done, "repeat": repeat} | per_job(times))
                rows[-1]["driver_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                ends = plain(done, Path(folder))
                rows.append({"side": "plain", "jobs": done, "repeat": repeat} | per_job(ends))
                rows[-1]["driver_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cluster.disconnect()
    frame = pd.DataFrame(rows)
    print(describe())
    print(frame.to_string(index=False, float_format="{:.4f}".format))
    wide = frame.pivot_table("seconds_a_job", ["jobs", "repeat"], "side")
    wide["ratio"] = wide["ours"] / wide["plain"]
    print(wide.to_string(float_format="{:.4f}".format))
    if held.json:
        held.json.write_text(json.dumps({"machine": describe(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
