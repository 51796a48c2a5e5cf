"""In which order Ray gives workers to jobs."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from search.run import cluster  # first: it sets what ray reads when imported
from search.run.callbacks import Listener
from search.run.ended_trials import Unprinted
from search.run.job_searcher import JobSearcher
from search.run.ray_schedulers import InOrder, RayASHA, scheduler_of
from search.run.room import Fits
from search.run.watch import Watch, stacks, stall_file
from search.run.worker import WorkerJob
from tests.search.conftest import places

import ray  # isort: skip
from ray import tune
from ray.tune.experiment import Trial

REPORT = {
    "kind": "epoch",
    "trial": "any",
    "payload": "{}",
    "value": 1.0,
    "value_epoch": 1,
    "epoch": 1,
}
BUDGET = SimpleNamespace(max_epochs=9, grace_epochs=1, reduction_factor=3)


def trials(*statuses: str) -> list[Trial]:
    made = [Trial("job", stub=True) for _ in statuses]
    for trial, status in zip(made, statuses, strict=True):
        trial.status = status
    return made


@pytest.mark.parametrize(("rule", "kind"), [("cell-promote", InOrder), ("ray-asha", RayASHA)])
def test_the_newest_waiting_job_gets_a_free_worker(rule, kind):
    scheduler = scheduler_of(rule, BUDGET, "max")
    assert type(scheduler) is kind
    held = trials("PENDING", "PENDING", "RUNNING")
    for trial in held:
        scheduler.on_trial_add(None, trial)
    assert scheduler.choose_trial_to_run(None) is held[1]
    held[1].status = "RUNNING"
    assert scheduler.choose_trial_to_run(None) is held[0]
    held[0].status = "TERMINATED"
    assert scheduler.choose_trial_to_run(None) is None


class ShortJobs:
    """Stands for a study of so many jobs that end at once."""

    def __init__(self, count: int, folder: Path | str) -> None:
        self.left, self.running, self.folder, self.gpus = count, 0, folder, 0.0
        self.told: list[dict] = []
        self.causes: list[str] = []

    @property
    def done(self) -> bool:
        return not self.left and not self.running

    def shapes(self) -> set[tuple[float, float]]:
        return {(1.0, self.gpus)}

    def ask(self, fits: Fits) -> WorkerJob | None:
        if not self.left:
            return None
        self.left, self.running = self.left - 1, self.running + 1
        return WorkerJob("cifar10", f"job {self.left}", str(self.folder), {}, 1.0, self.gpus)

    def epoch(self, trial: str, row: dict) -> None:
        pass

    def tell(self, trial: str, told: dict) -> None:
        self.running -= 1
        self.told.append(told)

    def lost(
        self, trial: str, cause: str, node: str, text: str, apart: bool, members: int
    ) -> None:
        assert not apart and not members
        self.running -= 1
        self.causes.append(cause)

    def put_back(self, trial: str) -> None:
        raise AssertionError("a job ended without a result")


def run_all(study: ShortJobs, job, folder: Path, *callbacks: tune.Callback) -> None:
    """Every job of the study on two workers of a Ray of its own."""
    cluster.connect("local", 2)
    searcher = JobSearcher(study, places(2))
    try:
        tune.Tuner(
            tune.with_resources(job, {"CPU": 1}),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                reuse_actors=True,
                scheduler=scheduler_of("cell-promote", BUDGET, "max"),
            ),
            run_config=tune.RunConfig(
                storage_path=str(folder / "ray"),
                callbacks=[Listener(study, searcher), Unprinted(), *callbacks],
                verbose=0,
            ),
        ).fit()
    finally:
        ray.shutdown()


def test_while_a_job_of_another_shape_waits_no_more_are_given(tmp_path):
    """Small ones would take every place that it waits for."""
    study = ShortJobs(5, tmp_path)
    searcher = JobSearcher(study, places(4))
    assert searcher.suggest("a") is not None
    assert searcher.suggest("b") is not None
    study.gpus = 1.0
    assert searcher.suggest("large") is not None
    assert searcher.suggest("c") is None
    listener = Listener(study, searcher)
    for name in ("a", "b"):
        listener.on_trial_start(0, [], SimpleNamespace(trial_id=name))
    assert searcher.suggest("c") is None
    listener.on_trial_start(0, [], SimpleNamespace(trial_id="large"))
    assert searcher.suggest("c") is not None


@pytest.mark.parametrize("kind", ["folder", "uri"])
def test_a_stack_of_an_earlier_stall_is_no_reason_for_a_later_death(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "stalls").mkdir()
    where = tmp_path if kind == "folder" else f"file://{tmp_path}/store"
    study = ShortJobs(2, where)
    searcher = JobSearcher(study, places(1))
    written = stall_file(where, "job 1")
    written.write_text("in hang")
    os.utime(written, (1, 1))
    searcher.suggest("a")
    searcher.on_trial_complete("a", error=True)
    searcher.died("a", "The actor died: worker died")
    assert study.causes == ["process"]
    assert study.told == []
    study.left, study.running = 2, 0
    searcher.suggest("b")
    # not "now": a file system's clock may be milliseconds behind the one that jobs begin by
    later = time.time() + 1
    os.utime(written, (later, later))
    searcher.died("b", "The actor died: worker died")
    assert study.causes == ["process"]
    assert [told["ending"] for told in study.told] == ["failed"]
    assert f"{where}/stalls/{written.name} says where" in study.told[0]["error"]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_jobs_shorter_than_a_worker_s_start_still_get_every_worker(tmp_path):
    """In Ray's own order all of them ran on one of two workers."""
    pids = tmp_path / "pids"
    pids.mkdir()

    def job(config):
        (pids / str(os.getpid())).touch()
        tune.report(REPORT)

    study = ShortJobs(300, tmp_path)
    run_all(study, job, tmp_path)
    assert len(study.told) == 300
    assert len(list(pids.iterdir())) >= 2


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_job_that_hangs_is_told_as_failed_with_the_place_of_its_stack(tmp_path):
    def job(config):
        name = json.loads(config["job"])["trial"]
        with Watch(stall_file(tmp_path, name), 2.0):
            if name == "job 1":
                time.sleep(100)
            tune.report(REPORT)

    (tmp_path / "stalls").mkdir()
    study = ShortJobs(3, tmp_path)
    run_all(study, job, tmp_path)
    (stack,) = stacks(tmp_path, "job 1", 0)
    assert study.causes == []
    failed = [told for told in study.told if told["ending"] == "failed"]
    assert len(study.told) == 3
    assert [told["error"] for told in failed] == [
        f"it made no step for `stalled_seconds` and was ended; {stack} says where it stood"
    ]
    assert "in job" in stack.read_text()
