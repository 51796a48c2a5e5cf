"""A study driven without Ray and training: values are a function of trial and epoch."""

import json
import random
import socket
import tomllib
from pathlib import Path

import pytest

from search import record
from search.record import manifest
from search.record.run_folder import RunFolder
from search.run.job_form import Places
from search.run.study import Study
from search.spec.study_spec import parse_spec

TEXT = """
name = "tiny"
task = "cifar10"
seed = 3
[cells]
depth = [18, 34]
[space.lr]
low = 0.01
high = 0.1
log = true
[fixed]
edition = "synthetic"
[budget]
trials_per_cell = 5
max_epochs = 4
grace_epochs = 1
reduction_factor = 2
audit_share = 0.4
[confirm]
seeds = [1, 2]
"""


def places(count):
    """What a JobSearcher asks for room, of so many workers that take any one job."""
    return lambda out: lambda *shape: count - len(out)


class Silent:
    """A watcher that looks away."""

    def restored(self, held):
        pass

    def asked(self, job, config, decisions):
        pass

    def reported(self, job, row):
        pass

    def told(self, job, told, decisions):
        pass

    def noted(self, text):
        pass


def begin(folder, spec, text, data, weights=None):
    """A run folder of a study that has not begun to run."""
    here = {"versions": {}, "git": None, "machine": {}}
    with RunFolder.make(folder) as run:
        run.create(manifest.describe_study(spec, text, [], data, weights or {}, here))


def open_study(spec, folder, places, watcher):
    """A study on its folder; its `close` writes what is to be seen and lets go of the folder."""
    run = RunFolder(folder)
    try:
        study = Study(spec, run, places, watcher)
    except BaseException:
        run.close()
        raise

    def close():
        study.write_views()
        run.close()

    study.run, study.close = run, close
    return study


def score(trial: str, epoch: int) -> float:
    """What the trial reaches at the epoch, the same in every run."""
    return random.Random(f"{trial} {epoch}").random()


def outcome(worker_job):
    """The tell of a job, as a worker would send it; a share of jobs fails or diverges."""
    trial, epoch = worker_job.trial, worker_job.train["to_epoch"]
    draw = random.Random(f"{trial} {epoch} luck").random()
    rest = {"seconds": 1.0, "gpu_seconds": 0.0, "peak_mb": 1.0, "node": "n", "device": "cpu"}
    if draw < 0.08:
        return {"ending": "failed", "error": "made to fail", **rest}
    if draw < 0.16:
        return {"ending": "diverged", "value": None, "epoch": epoch, "value_epoch": epoch, **rest}
    told = {"ending": "value", "value": score(trial, epoch), "epoch": epoch, "value_epoch": epoch}
    if worker_job.train["score_test"]:
        told["test"] = {"loss": 1.0, "accuracy": score(trial, 99)}
        told["baselines"] = {"uniform guess": {"loss": 2.3, "accuracy": 0.1}}
    return {**told, **rest}


@pytest.fixture
def closed():
    """A port of this machine at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


@pytest.fixture
def make_study(tmp_path):
    """Open a study in a folder (made when new), with changes to TEXT."""

    def make(folder: Path | None = None, text: str = TEXT, noted=None) -> Study:
        folder = folder or tmp_path / "tiny"
        spec = parse_spec(tomllib.loads(text), "tiny.toml")
        if not (folder / record.STUDY).exists():
            data = [{"data": "synthetic", "edition": "synthetic", "synthetic": True}]
            data[0] |= {"train_images": 9, "test_images": 9}
            begin(folder, spec, text, data)
        watcher = Silent()
        watcher.noted = noted or watcher.noted
        return open_study(spec, folder, Places(tmp_path, {}, {}), watcher)

    return make


def drive(study, most=10**9):
    """Run a study's jobs one after another, at most so many; returns the trials' names."""
    order = []
    while len(order) < most and (worker_job := study.ask()) is not None:
        start = max(
            (j["to_epoch"] for j in past_jobs(study.folder, worker_job.trial)[:-1]), default=0
        )
        for epoch in range(start + 1, worker_job.train["to_epoch"] + 1):
            row = {"epoch": epoch, "lr": 0.1, "train_loss": 1.0, "seconds": 1.0}
            row |= {"val_loss": 1.0, "val_accuracy": score(worker_job.trial, epoch)}
            study.epoch(worker_job.trial, row)
        study.tell(worker_job.trial, outcome(worker_job))
        order.append(worker_job.trial)
    return order


def past_jobs(folder, trial):
    lines = (folder / record.JOURNAL).read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return [e["job"] for e in events if e["event"] == "ask" and e["job"]["trial"] == trial]
