"""What MLflow is sent over resumes, held against a stand-in of its client: it need not be here."""

from __future__ import annotations

import math
import sys
from collections import namedtuple
from types import ModuleType, SimpleNamespace

import pytest

from search import record
from search.run.copies import Copied, Given
from search.run.mlflow_log import MLflow
from tests.search.conftest import drive, score


class Server:
    """What of MLflow's client is called, for one experiment; `away` while it takes nothing."""

    def __init__(self):
        self.runs, self.away = {}, False

    def update_run(self, run, status):
        self.runs[run].info.status = status

    set_terminated = update_run

    def set_tag(self, run, key, value):
        self.runs[run].data.tags[key] = value

    def log_batch(self, run, metrics=(), params=()):
        if self.away:
            raise RuntimeError("connection refused")
        held = self.runs[run]
        held.data.params.update({p.key: p.value for p in params})
        held.points.extend(metrics)
        held.data.metrics.update({m.key: m.value for m in metrics})

    def get_metric_history(self, run, key):
        return [m for m in self.runs[run].points if m.key == key]

    def search_runs(self, experiments, asked, max_results, page_token):
        found = [run for run in self.runs.values() if _fits(run, asked)]
        return type("Page", (list,), {"token": None})(found)


def _fits(run, asked):
    tags = [part.removeprefix("tags.").split(" = ") for part in asked.split(" and ")]
    return all(run.data.tags[key] == value.strip("'") for key, value in tags)


class Ours(MLflow):
    """The log, before a server that is here."""

    server: Server

    def _begun(self):
        runs, server = {}, self.server

        def start(shown):
            runs[shown] = f"run {len(server.runs)}"
            info = SimpleNamespace(status="RUNNING", run_id=runs[shown])
            data = SimpleNamespace(metrics={}, params={}, tags=dict(callback.tags))
            server.runs[runs[shown]] = SimpleNamespace(info=info, data=data, points=[])

        def end(shown, failed=False):
            server.update_run(runs[shown], "FAILED" if failed else "FINISHED")

        util = SimpleNamespace(experiment_id="1")
        callback = SimpleNamespace(
            _trial_runs=runs, log_trial_start=start, log_trial_end=end, tags={}, mlflow_util=util
        )
        self._client = server
        return callback


@pytest.fixture
def sessions(make_study, monkeypatch):
    """Begins sessions of one study, and what MLflow holds."""
    entities = ModuleType("mlflow.entities")
    entities.Metric = namedtuple("Metric", "key value timestamp step")
    entities.Param = namedtuple("Param", "key value")
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    Ours.server = server = Server()

    def copied(spec, run, run_id, watcher, note):
        cells = [record.cell_label(cell) for cell in spec.cell_values()]
        given = Given(run, spec.name, run_id, "val_accuracy", cells, spec)
        return Copied(Ours(given), watcher, note)

    monkeypatch.setattr("search.run.study.copied", copied)
    return make_study, server


def steps(server, trial):
    """Epochs of a trial's points, in the order in which they came."""
    (run,) = [run for run in server.runs.values() if run.data.tags["trial"] == trial]
    return [m.step for m in run.points if m.key == "val_accuracy"]


def row(trial, epoch):
    value = score(trial, epoch)
    return {"epoch": epoch, "lr": 0.1, "train_loss": 1.0, "seconds": 1.0, "val_accuracy": value}


def to_a_long_job(study):
    """Drive until a job of several epochs is out; its trial, and its first and last epoch."""
    while True:
        job = study.ask()
        first, last = job.train["from_epoch"] + 1, job.train["to_epoch"]
        if last > first:
            return job.trial, first, last
        study.put_back(job.trial)
        drive(study, most=1)


def killed_while_away(sessions, **last):
    """A session of which MLflow gets nothing, killed in a long job after its first epoch.

    Returns:
        What `to_a_long_job` does; the server is back.
    """
    make_study, server = sessions
    server.away = True
    study = make_study()
    found = trial, first, _ = to_a_long_job(study)
    study.epoch(trial, row(trial, first) | last)
    study.run.close()
    server.away = False
    return found


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_an_epoch_that_comes_again_after_a_stop_in_a_job_is_no_second_point(sessions, how):
    make_study, server = sessions
    study = make_study()
    trial, first, last = to_a_long_job(study)
    study.epoch(trial, row(trial, first))
    if how == "stopped":
        study.put_back_all()
        study.end_copies()
    study.run.close()
    study = make_study()
    assert study.ask().trial == trial
    for epoch in range(first, last + 1):  # the worker reports its checkpoint's again
        study.epoch(trial, row(trial, epoch))
    assert steps(server, trial) == list(range(1, last + 1))
    study.run.close()


def test_epochs_before_the_job_in_which_the_driver_was_killed_are_sent_too(sessions):
    make_study, server = sessions
    trial, first, last = killed_while_away(sessions)
    study = make_study()
    assert study.ask().trial == trial
    for epoch in range(first, last + 1):
        study.epoch(trial, row(trial, epoch))
    assert sorted(steps(server, trial)) == list(range(1, last + 1))
    study.run.close()


def test_what_is_not_finite_is_sent_by_no_resume(sessions):
    make_study, server = sessions
    trial, first, _ = killed_while_away(sessions, val_accuracy=None)
    for _ in range(3):
        study = make_study()
        study.run.close()
    (run,) = [run for run in server.runs.values() if run.data.tags["trial"] == trial]
    assert not [m for m in run.points if math.isnan(m.value)]
    sent = [(m.key, m.step) for m in run.points]
    assert len(sent) == len(set(sent)) and ("train_loss", first) in sent
    assert first not in steps(server, trial)
