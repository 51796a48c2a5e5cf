"""The driver's ceiling: jobs and reports a second, its CPU time for each, and its memory.

    python benchmarks/scale.py [--workers 1 8 64] [--kinds jobs reports paced idle]
        [--sides ours plain] [--repeats 3] [--json FILE]
    python benchmarks/scale.py --workers 8 --kinds jobs --jobs 10000    # memory: one long run

Trivial trainables without a GPU: a worker does nothing but report, so that the driver is what
there is to wait for. Every row is a driver of its own with a Ray of its own. Kinds:

    jobs     jobs of one epoch, three reports each (begin, epoch, end), as fast as they go
    reports  jobs of --epochs epochs, as fast as they go
    paced    the same, and the workers together make --rate reports a second
    idle     the same, and no worker reports: what the driver spends on looking
    alone    no Ray: what the study alone takes for jobs, and its memory
    wait     no workers: what Ray Tune's wait for one event takes while so many calls are out

`plain` is Ray Tune itself with the same trainable and order of starts, without study or record.
CPU seconds are of the driver's process (`cpu`), of its main thread alone (`main`: Python, ours
and Ray's; the ceiling is one second of it a second), and of Ray's two servers. Counted from when
all workers have begun, over the middle of the run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from machine import describe
from processes import SERVERS
from scale_sides import Meter, alone, ours, plain, wait
from scale_work import trainable

from search.run import cluster


def one(side: str, kind: str, workers: int, jobs: int, epochs: int, rate: float) -> dict[str, Any]:
    """One driver, from Ray's start to its end."""
    if kind == "wait":
        return wait(workers)
    if kind == "alone":
        return alone(jobs)
    pause = {"jobs": 0.0, "reports": 0.0, "paced": workers / rate, "idle": 20.0}[kind]
    epochs = {"jobs": 1, "reports": epochs, "idle": 3}.get(kind) or max(3, round(60 / pause))
    if kind != "jobs":
        jobs = workers
    before = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        there = Path(place) / "there"
        there.mkdir()
        cluster.connect("local", cores=workers)
        meter = Meter()
        meter.sample()
        run = trainable(workers, there, pause)
        {"ours": ours, "plain": plain}[side](run, Path(place), jobs, epochs, meter)
        cluster.disconnect()
    held = {"side": side, "kind": kind, "workers": workers, "worker_mb": meter.worker_mb}
    whole = {"cpu_in_all": time.process_time() - before, "jobs": meter.jobs}
    return held | whole | middle(pd.DataFrame(meter.samples), kind) | {"memory": meter.growth()}


def middle(samples: pd.DataFrame, kind: str) -> dict[str, float]:
    """Rates, and seconds a job, a report and a second, over the middle of a run."""
    last = samples["reports"].iloc[-1]
    # workers of one long job each end one after another: what is left is no full load
    low, high = (0.1, 0.9) if kind == "jobs" else (0.1, 0.7)
    inside = samples[(samples["reports"] >= low * last) & (samples["reports"] <= high * last)]
    first, end = inside.iloc[0], inside.iloc[-1]
    spent = end - first
    found = {"seconds": spent["wall"], "window_jobs": spent["jobs"]}
    found |= {f"{what}_a_second": spent[what] / spent["wall"] for what in ("jobs", "reports")}
    for name in ("cpu", "main", *SERVERS):
        found[f"{name}_share"] = spent[name] / spent["wall"]
        found[f"{name}_ms_a_report"] = 1e3 * spent[name] / spent["reports"]
        if kind == "jobs":
            found[f"{name}_ms_a_job"] = 1e3 * spent[name] / spent["jobs"]
    return {name: float(value) for name, value in found.items()}


def main() -> None:
    """Run every combination in turn, each in a process of its own, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--kinds", nargs="+", default=["jobs", "reports", "paced", "idle"])
    parser.add_argument("--sides", nargs="+", default=["ours", "plain"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    held = parser.parse_args()
    if held.one:
        print(json.dumps(one(*json.loads(held.one))))
        return
    rows: list[dict[str, Any]] = []
    for workers in held.workers:
        for kind in held.kinds:
            for repeat in range(held.repeats):
                for side in held.sides:
                    what = [side, kind, workers, max(held.jobs, 10 * workers), held.epochs]
                    command = [sys.executable, __file__, "--one", json.dumps([*what, held.rate])]
                    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                    load = os.getloadavg()[0]
                    row = json.loads(done.stdout.splitlines()[-1])
                    rows.append({**row, "repeat": repeat, "load": load})
                    print(json.dumps({k: v for k, v in rows[-1].items() if k != "memory"}))
                    if held.json:
                        text = json.dumps({"machine": describe(), "rows": rows}, indent=1)
                        held.json.write_text(text)
    frame = pd.DataFrame(rows).drop(columns="memory", errors="ignore")
    print(describe())
    print(frame.groupby(["kind", "workers", "side"]).median().T.to_string())


if __name__ == "__main__":
    main()
