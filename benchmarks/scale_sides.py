"""Sides of `scale`: a driver of ours, one of Ray Tune alone, and parts of them by themselves."""

from __future__ import annotations

import asyncio
import json
import os
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
from processes import cpu_of, own_mb, private_mb, ray_workers, servers
from scale_work import ROW, TOLD
from studies import begun, trivial_study

from search.record.run_folder import RunFolder
from search.run import cluster, executor
from search.run.ray_schedulers import NewestFirst

import ray  # isort: skip

EVERY = 0.2  # seconds between samples


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

    def growth(self) -> list[tuple[float, float]]:
        """(jobs, MiB of the driver) at up to 40 times."""
        held = [(s["jobs"], s["mb"]) for s in self.samples]
        return held[:: max(1, len(held) // 40)]


def ours(run: Callable[..., None], folder: Path, jobs: int, epochs: int, meter: Meter) -> None:
    """A study of about so many jobs of so many epochs each."""
    executor.run_job = run
    with RunFolder.make(folder / "scale") as held:
        if not executor.execute(begun(held, trivial_study("scale", jobs, epochs), meter)):
            raise RuntimeError("the study did not end")


def plain(run: Callable[..., None], folder: Path, jobs: int, epochs: int, meter: Meter) -> None:
    """So many trials of Ray Tune itself."""
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler

    class InOrder(NewestFirst, FIFOScheduler):  # type: ignore[misc]
        """As ours starts them; it keeps all that Ray keeps."""

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
    growth = np.polyfit(*np.transpose(meter.growth()), 1)[0]
    first, last = meter.samples[0], meter.samples[-1]
    spent = 1e3 * (last["main"] - first["main"]) / (last["jobs"] - first["jobs"])
    found = {"main_ms_a_job": spent, "mb_a_1000_jobs": 1e3 * float(growth)}
    return {"side": "ours", "kind": "alone", "workers": 0, "jobs": meter.jobs} | found


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
