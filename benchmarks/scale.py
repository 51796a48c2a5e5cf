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
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# 64 processes that start at once on two cores take longer than Ray waits for one
os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "8")
# else whatever runs beside the benchmark goes before them
os.environ.setdefault("RAY_worker_niceness", "0")

import numpy as np
import pandas as pd
from machine import describe
from processes import SERVERS, cpu_of, own_mb, private_mb, ray_workers, servers
from studies import begun, trivial_study

from search.record.run_folder import RunFolder
from search.run import cluster, executor
from search.run.ray_schedulers import InOrder

import ray  # isort: skip

EVERY = 0.2  # seconds between samples
ROW = {"lr": 0.1, "train_loss": 1.0123456789012345, "train_accuracy": 0.5123456789012345}
ROW |= {"val_loss": 1.0123456789012345, "val_accuracy": 0.5123456789, "seconds": 1.8396320720}
TOLD = {"seconds": 0.0, "node": "node", "device": "CPU", "code": "c"}


class Meter:
    """A study's watcher that counts what arrives and samples what the driver has spent."""

    def __init__(self) -> None:
        self.jobs, self.reports, self.samples = 0, 0, list[dict[str, float]]()
        self.worker_mb, self._servers = float("nan"), servers() if ray.is_initialized() else {}

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Every other hook of a watcher, doing nothing."""
        return lambda *args: None

    def told(self, *_: object) -> None:
        """A job has ended."""
        self.jobs += 1
        self.reports += 2  # its begin and its end
        self.sample()

    def reported(self, *_: object) -> None:
        """An epoch's row has arrived."""
        self.reports += 1
        self.sample()

    def sample(self) -> None:
        """Look at the clocks, unless that was done just now."""
        now = time.perf_counter()
        if self.samples and now - self.samples[-1]["wall"] < EVERY:
            return
        if len(self.samples) == 5 and self._servers:  # all of them are at work
            self.worker_mb = float(np.mean([private_mb(pid) for pid in ray_workers()]))
        self.samples.append(
            {
                "wall": now,
                "cpu": time.process_time(),
                "main": time.thread_time(),
                **{name: cpu_of(pid) for name, pid in self._servers.items()},
                "jobs": self.jobs,
                "reports": self.reports,
                "mb": own_mb(),
            }
        )


def trainable(workers: int, folder: Path, pause: float) -> Callable[[dict[str, Any]], None]:
    """What every worker runs: it waits once until all are there, then only reports."""

    def trivial(config: dict[str, Any]) -> None:
        from ray import tune

        here = folder / str(os.getpid())
        if not here.exists():
            here.touch()
            while sum(1 for _ in folder.iterdir()) < workers:
                time.sleep(0.5)
            time.sleep(pause * (hash(here) % 97) / 97)  # else all of them report at once
        held = json.loads(config["job"])
        trial, train = held["trial"], held["train"]
        where = {"node_id": "a" * 56, "node": "node", "pid": os.getpid()}
        tune.report({"kind": "begin", "trial": trial, "payload": json.dumps(where), "value": 0.5})
        value = hash(trial) % 1000 / 1000
        for epoch in range(train["from_epoch"] + 1, train["to_epoch"] + 1):
            time.sleep(pause)
            held = {"kind": "epoch", "trial": trial, "payload": json.dumps(ROW | {"epoch": epoch})}
            tune.report({**held, "value": value})
        told = {"ending": "value", "value": value, "epoch": train["to_epoch"], **TOLD}
        told |= {"value_epoch": train["to_epoch"]}
        tune.report({"kind": "end", "trial": trial, "payload": json.dumps(told), "value": value})

    return trivial


def ours(run: Callable[..., None], folder: Path, jobs: int, epochs: int, meter: Meter) -> None:
    """A study of about so many jobs of so many epochs each."""
    executor.run_job = run
    with RunFolder.make(folder / "scale") as held:
        if not executor.execute(begun(held, trivial_study("scale", jobs, epochs), meter)):
            raise RuntimeError("the study did not end")


def alone(jobs: int) -> dict[str, Any]:
    """The study without Ray: what asking, telling and recording so many jobs take."""
    meter = Meter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with RunFolder.make(folder / "scale") as held:
            study = begun(held, trivial_study("scale", jobs), meter)
            while job := study.ask():
                meter.sample()
                study.epoch(job.trial, {"epoch": 1, **ROW})
                value = hash(job.trial) % 1000 / 1000
                told = {"ending": "value", "value": value, "epoch": job.train["to_epoch"]}
                study.tell(job.trial, told | {"value_epoch": job.train["to_epoch"]} | TOLD)
    growth = np.polyfit(*np.transpose(_growth(meter)), 1)[0]
    first, last = meter.samples[0], meter.samples[-1]
    spent = 1e3 * (last["main"] - first["main"]) / (last["jobs"] - first["jobs"])
    found = {"main_ms_a_job": spent, "mb_a_1000_jobs": 1e3 * float(growth)}
    return {"side": "ours", "kind": "alone", "workers": 0, "jobs": meter.jobs} | found


def plain(run: Callable[..., None], folder: Path, jobs: int, epochs: int, meter: Meter) -> None:
    """So many trials of Ray Tune itself."""
    from ray import tune

    class Ends(tune.Callback):  # type: ignore[misc]
        def on_trial_result(self, iteration, trials, trial, result, **info):  # type: ignore[no-untyped-def]
            meter.reports += 1
            meter.sample()

        def on_trial_complete(self, iteration, trials, trial, **info):  # type: ignore[no-untyped-def]
            meter.jobs += 1

    train = {"from_epoch": 0, "to_epoch": epochs}
    tune.Tuner(
        tune.with_resources(run, {"CPU": 1}),
        param_space={
            "job": json.dumps({"trial": "00-000", "train": train}),
            "lr": tune.loguniform(0.01, 0.1),
        },
        tune_config=tune.TuneConfig(num_samples=jobs, reuse_actors=True, scheduler=InOrder()),
        run_config=tune.RunConfig(
            name="plain", storage_path=str(folder), callbacks=[Ends()], verbose=0
        ),
    ).fit()


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
    return held | whole | middle(pd.DataFrame(meter.samples), kind) | {"memory": _growth(meter)}


def wait(futures: int) -> dict[str, Any]:
    """Ray Tune's wait for one event while so many calls of workers are out; one worker has all.

    Returns:
        `main_ms`: of the driver's main thread for an event, `look_ms` for a look that finds none.
    """
    from ray.air.execution import PlacementGroupResourceManager, ResourceRequest
    from ray.air.execution._internal import RayActorManager

    class Holder:
        async def hold(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

    cluster.connect("local", cores=1)
    manager = RayActorManager(PlacementGroupResourceManager())
    actor = ray.remote(max_concurrency=futures + 1)(Holder)
    holder = manager.add_actor(actor, {}, ResourceRequest([{"CPU": 1}]))  # type: ignore[arg-type]
    for _ in range(futures - 1):
        manager.schedule_actor_task(holder, "hold", (3600.0,))
    while manager.next(timeout=2.0):  # until it has started
        pass
    events, looks = [], []
    for _ in range(100):
        before = time.thread_time()
        manager.next(timeout=0.05)
        looks.append(time.thread_time() - before)
        manager.schedule_actor_task(holder, "hold", (0.0,))
        time.sleep(0.05)  # it is there when it is waited for, as with many workers
        before = time.thread_time()
        came = manager.next(timeout=20.0)
        events.append(time.thread_time() - before)
        assert came
    cluster.disconnect()
    medians = {"main_ms": 1e3 * np.median(events), "look_ms": 1e3 * np.median(looks)}
    return {"side": "ray", "kind": "wait", "workers": futures, "memory": [], **medians}


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


def _growth(meter: Meter) -> list[tuple[float, float]]:
    """(jobs, MiB of the driver) at up to 40 times."""
    held = [(s["jobs"], s["mb"]) for s in meter.samples]
    return held[:: max(1, len(held) // 40)]


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
