"""Copies for other tools: what is in them, over every resume, and what they refuse."""

from __future__ import annotations

import importlib.util
import json
import os
import struct
import threading

import pandas as pd
import pytest

from search import record
from search.record.journal import read_lines
from search.run import copies, mlflow_log, stand_in, wandb_log
from search.run.copies import Apart, Copied, Stay, check_logs, without_secrets
from search.run.options import PreflightError
from search.spec.study_spec import SpecError, parse_spec
from tests.search.conftest import TEXT, Silent, drive, score

RAW = {
    "name": "s",
    "task": "cifar10",
    "cells": {"depth": [18]},
    "budget": {"max_epochs": 3},
    "confirm": {"seeds": [1]},
}


def there(package):
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(
        missing, reason=f"{package} is not installed (pip install {package})"
    )


class Listed:
    """A log that keeps what it is told, and raises what it is given."""

    name, later = "a list", ""

    def __init__(self, error=None):
        self.said, self.error = [], error

    def _take(self, *what):
        if self.error is not None:
            raise self.error
        self.said.append(what)

    def catch_up(self, held):
        self._take("catch up", len(held.trials))

    def begin(self, stay: Stay):
        self._take("begin", stay.trial, stay.stage)

    def add(self, trial, epoch, scalars):
        self._take("add", trial, epoch, scalars)

    def end(self, trial, epoch, last, scores, failed):
        self._take("end", trial, epoch, scores, failed)

    def close(self):
        self._take("close")


@pytest.fixture
def listed(monkeypatch):
    """Logs by name, which the study file's [log] gets instead of the real ones."""
    made = {}

    def make(place, given):
        return Apart(made.setdefault(place, Listed()), patience=10)

    monkeypatch.setattr(copies, "_made", make)
    return made


def both(text=TEXT):
    return f'{text}[log]\nto = ["mlflow", "wandb"]\n'


def test_every_log_is_told_all_that_the_record_has(make_study, listed):
    study = make_study(text=both())
    drive(study)
    study.end_copies()
    study.close()
    held = record.load(study.folder)
    rows = {(t, e) for t, e in zip(held.curves["trial"], held.curves["epoch"], strict=True)}
    for log in listed.values():
        added = [what for what in log.said if what[0] == "add"]
        assert {(trial, epoch) for _, trial, epoch, _ in added} == rows
        assert all("epoch" not in scalars for *_, scalars in added)
        scores = {what[1]: what[3] for what in log.said if what[0] == "end" and what[3]}
        scored = held.trials.dropna(subset=["test_accuracy"])
        assert set(scores) == set(scored["trial"])
        assert log.said[-1] == ("close",)
    assert listed["mlflow"].said == listed["wandb"].said


def test_an_error_ends_the_log_once_and_is_on_record_without_secrets(
    make_study, listed, monkeypatch
):
    monkeypatch.setenv("WANDB_API_KEY", "deadbeef0123")
    error = RuntimeError("refused at https://me:pass@host/ for deadbeef0123\nand more")
    listed["wandb"] = Listed(error)
    said = []
    study = make_study(text=both(), noted=said.append)
    drive(study)
    study.end_copies()
    study.close()
    assert [text for text in said if "no more" in text] == [
        "warning: no more is written for a list (refused at https://***@host/ for ***)"
    ]
    events = read_lines(study.folder / record.JOURNAL)
    (ended,) = (event for event in events if event["event"] == "log ended")
    assert ended["error"] == "refused at https://***@host/ for ***\nand more"
    whole = b"".join(path.read_bytes() for path in study.folder.rglob("*") if path.is_file())
    assert b"deadbeef0123" not in whole
    held = record.load(study.folder)
    assert not held.notes
    assert set(held.trials["status"]) >= {"completed"}
    assert any(what[0] == "add" for what in listed["mlflow"].said)  # the other goes on


def test_a_study_that_is_done_is_caught_up_with_and_its_record_stays_as_it_is(make_study, listed):
    study = make_study(text=both())
    drive(study)
    study.end_copies()
    study.close()
    before = (study.folder / record.JOURNAL).read_bytes()
    trials = len(record.load(study.folder).trials)
    listed["wandb"] = Listed(RuntimeError("no answer"))
    said = []
    study = make_study(text=both(), noted=said.append)
    assert study.done
    study.end_copies(on_record=False)
    study.run.close()
    assert listed["mlflow"].said[-2:] == [("catch up", trials), ("close",)]
    assert said == ["warning: no more is written for a list (no answer)"]
    assert (study.folder / record.JOURNAL).read_bytes() == before


def test_a_log_that_hangs_holds_up_neither_a_job_nor_the_end(make_study):
    gone = threading.Event()

    class Hangs(Listed):
        def add(self, *what):
            gone.wait(30)

    said, noted = [], []
    watcher = Silent()
    watcher.noted = said.append
    study = make_study()
    study._watcher = Copied(Apart(Hangs(), patience=0.1), watcher, noted.append)
    assert len(drive(study, most=4)) == 4
    study.end_copies()
    gone.set()
    study.close()
    assert "waiting for a list" in said[-2]
    assert "did not take all within 0.1 s" in said[-1]
    assert noted[-1]["event"] == "log ended"


def test_a_missing_package_is_told_before_the_first_trial_with_key_and_command(monkeypatch):
    def version(name):
        raise stand_in.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(stand_in.importlib.metadata, "version", version)
    spec = parse_spec({**RAW, "log": {"to": ["wandb", "mlflow", "tensorboard"]}}, "s.toml")
    with pytest.raises(PreflightError) as error:
        check_logs(spec)
    assert "log.to = 'mlflow' needs mlflow" in str(error.value)
    assert "pip install 'wandb>=" in str(error.value)
    check_logs(parse_spec({**RAW, "log": {"to": ["tensorboard"]}}, "s.toml"))


def test_an_old_package_is_told_with_its_version(monkeypatch):
    monkeypatch.setattr(stand_in.importlib.metadata, "version", lambda name: "0.15.2")
    spec = parse_spec({**RAW, "log": {"to": ["wandb"], "wandb": {"mode": "offline"}}}, "s.toml")
    assert "0.21 or newer, not 0.15.2" in wandb_log.fault(spec)
    monkeypatch.setattr(stand_in.importlib.metadata, "version", lambda name: "3.1.0rc1")
    assert wandb_log.fault(spec) == mlflow_log.fault(spec) == ""


def test_wandb_without_a_key_is_told_unless_it_is_offline(monkeypatch, tmp_path):
    monkeypatch.setattr(stand_in.importlib.metadata, "version", lambda name: "0.31.0")
    for name in (wandb_log.KEY, wandb_log.MODE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    spec = parse_spec({**RAW, "log": {"to": ["wandb"]}}, "s.toml")
    assert "WANDB_API_KEY" in wandb_log.fault(spec)
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password x\n")
    (tmp_path / "netrc").chmod(0o600)
    assert wandb_log.fault(spec) == ""
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv(wandb_log.MODE, "offline")
    assert wandb_log.fault(spec) == ""


@pytest.mark.parametrize(
    ("log", "fault"),
    [
        ({"to": ["aim"]}, "log.to"),
        ({"to": ["wandb"], "wandb": {"api_key": "x"}}, "log.wandb.api_key: no such key; keys and"),
        ({"to": ["tensorboard"], "wandb": {"project": "p"}}, "log.wandb: says where to"),
        (
            {"to": ["mlflow"], "mlflow": {"tracking_uri": "https://me:pw@host"}},
            "a user, a password or a query",
        ),
        ({"to": ["mlflow"], "mlflow": {"tracking_uri": ""}}, "log.mlflow.tracking_uri"),
        (
            {"to": ["mlflow"], "mlflow": {"tracking_uri": "https://h/p?token=me:pw"}},
            "log.mlflow.tracking_uri",
        ),
        ({"to": ["wandb"], "wandb": {"mode": "shared"}}, "log.wandb.mode"),
    ],
)
def test_faults_of_the_table_are_told_by_key(log, fault):
    with pytest.raises(SpecError) as error:
        parse_spec({**RAW, "log": log}, "s.toml")
    assert fault in str(error.value)
    assert "me:pw" not in str(error.value)


def test_short_values_of_the_environment_are_left_in_a_text(monkeypatch):
    monkeypatch.setenv("MY_KEY", "1")
    assert without_secrets("11 of 12") == "11 of 12"


@there("mlflow")
@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("stops", [(), (1, 2, 7)])
def test_mlflow_has_a_run_a_trial_over_every_resume(make_study, stops, monkeypatch):
    monkeypatch.delenv(mlflow_log.PLACE, raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    text = f'{TEXT}[log]\nto = ["mlflow"]\n'
    said = []
    for most in (*stops, 10**9):
        study = make_study(text=text, noted=said.append)
        study._watcher._log._patience = 200
        drive(study, most=most)
        study.end_copies()
        study.run.close()
    assert not [line for line in said if "no more" in line]
    assert_mlflow_has(study.folder)


def assert_mlflow_has(folder):
    """A run a trial with its settings and status, and every number of the record, once each."""
    from mlflow import MlflowClient

    held = record.load(folder)
    client = MlflowClient(f"sqlite:///{folder / mlflow_log.FILE}")
    experiment = client.get_experiment_by_name("tiny").experiment_id
    found = client.search_runs([experiment])
    runs = {run.data.tags["trial"]: run for run in found}
    assert len(found) == len(runs) and set(runs) == set(held.trials["trial"])
    names = set(held.curves["name"])
    for row in held.trials.to_dict("records"):
        run = runs[row["trial"]]
        assert float(run.data.params["lr"]) == row["lr"]
        assert set(run.data.params) == {"stage", "depth", "lr"}
        assert run.data.tags["stage"] == row["stage"]
        failed = row["status"] in mlflow_log.FAILED
        assert run.info.status == ("FAILED" if failed else "FINISHED")
        own = held.curves[held.curves["trial"] == row["trial"]]
        for name in names:
            points = client.get_metric_history(run.info.run_id, name)
            rows = own[own["name"] == name]
            assert sorted((point.step, point.value) for point in points) == [
                *zip(rows["epoch"], rows["value"], strict=True)
            ]
        scores = {k: v for k, v in run.data.metrics.items() if k not in names}
        told = {k: row[k] for k in ("test_loss", "test_accuracy")}
        assert scores == {k: v for k, v in told.items() if not pd.isna(v)}


@there("mlflow")
@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["log_batch", "create_run"])
def test_a_resume_sends_mlflow_what_it_lacks(make_study, monkeypatch, name):
    """Its server goes after some calls and is back for the next session; the study goes on."""
    from mlflow import MlflowClient

    monkeypatch.delenv(mlflow_log.PLACE, raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    real, calls = getattr(MlflowClient, name), []

    def gone(*args, **kwargs):
        calls.append(name)
        if len(calls) > 2:
            raise RuntimeError("connection refused")
        return real(*args, **kwargs)

    said = []
    for session, most in enumerate((8, 6, 10**9)):
        with monkeypatch.context() as patch:
            if session == 0:
                patch.setattr(MlflowClient, name, gone)
            study = make_study(text=f'{TEXT}[log]\nto = ["mlflow"]\n', noted=said.append)
            study._watcher._log._patience = 200
            drive(study, most=most)
            study.end_copies()
            study.run.close()
    assert len(calls) > 2
    assert [line for line in said if "no more" in line] == [
        "warning: no more is written for MLflow (connection refused); `resume` sends it what it "
        "lacks, also once the study is done"
    ]
    assert_mlflow_has(study.folder)


@there("mlflow")
@pytest.mark.long
@pytest.mark.timeout(300)
def test_what_waits_for_mlflow_at_a_kill_is_sent_by_the_resume(make_study, monkeypatch):
    """And an epoch that is trained again, as a kill in a job has it, is no second point."""
    monkeypatch.delenv(mlflow_log.PLACE, raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    text = f'{TEXT}[log]\nto = ["mlflow"]\n'
    study = make_study(text=text)
    drive(study, most=6)
    log = study._watcher._log
    taken = threading.Event()
    log._calls.put((taken.set, ()))
    assert taken.wait(200)
    monkeypatch.setattr(log, "_put", lambda *what: None)  # the thread gets no more of it
    drive(study, most=3)
    study.run.close()
    study = make_study(text=text)
    study._watcher._log._patience = 200
    begun = study.ask()
    again = max(record.load(study.folder).curves.query(f"trial == '{begun.trial}'")["epoch"])
    row = {"epoch": int(again), "lr": 0.1, "train_loss": 1.0, "seconds": 1.0, "val_loss": 1.0}
    study.epoch(begun.trial, row | {"val_accuracy": score(begun.trial, int(again))})
    study.end_copies()
    study.run.close()  # killed in that job, which comes again
    study = make_study(text=text)
    study._watcher._log._patience = 200
    drive(study)
    study.end_copies()
    study.run.close()
    assert_mlflow_has(study.folder)


def wandb_records(path):
    """What a file of W&B's holds: protobufs in the log format of LevelDB, in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    data, at, held = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 2**15 - at % 2**15 < 7:
            at += 2**15 - at % 2**15
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        held, at = held + data[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(held)
            held = b""


def wandb_history(folder):
    """Trial -> step -> name -> value, of all offline runs in a folder."""
    found = {}
    for path in sorted(folder.glob("offline-run-*/run-*.wandb")):
        for entry in wandb_records(path):
            if entry.WhichOneof("record_type") == "history":
                pairs = {
                    (i.key or i.nested_key[0]): json.loads(i.value_json)
                    for i in entry.history.item
                }
                steps = found.setdefault(path.stem.removeprefix("run-"), {})
                steps.setdefault(pairs["_step"], {}).update(pairs)
    return found


@there("wandb")
@pytest.mark.long
@pytest.mark.timeout(300)
def test_wandb_has_offline_runs_whose_ids_are_the_trials(make_study, monkeypatch):
    monkeypatch.delenv(wandb_log.KEY, raising=False)
    monkeypatch.setenv(wandb_log.MODE, "offline")
    text = f'{TEXT}[log]\nto = ["wandb"]\n'
    said = []
    for most in (4, 10**9):
        study = make_study(text=text, noted=said.append)
        study._watcher._log._patience = 200
        drive(study, most=most)
        study.end_copies()
        study.run.close()
    assert not [line for line in said if "no more" in line]
    held = record.load(study.folder)
    ids = {
        path.stem.removeprefix("run-")
        for path in (study.folder / "wandb").glob("offline-run-*/run-*.wandb")
    }
    run_id = held.study["run_id"]
    assert ids == {f"{run_id}-{trial}" for trial in held.trials["trial"]}
    history = wandb_history(study.folder / "wandb")
    for row in held.curves.itertuples():
        assert history[f"{run_id}-{row.trial}"][row.epoch][row.name] == row.value
    scored = held.trials.dropna(subset=["test_accuracy"])
    assert len(scored)
    for row in scored.itertuples():
        last = history[f"{run_id}-{row.trial}"][row.epochs]
        assert last["test_accuracy"] == row.test_accuracy
        assert last["value_epoch"] == row.value_epoch
    assert os.environ[wandb_log.MODE] == "offline"
