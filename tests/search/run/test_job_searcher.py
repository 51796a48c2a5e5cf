"""What Ray asks and is told, without Ray: a fault of our own is never taken for Ray's death."""

import pytest

from search.run.errors import ExecutionError
from search.run.executor import execute
from search.run.job_searcher import JobSearcher, Listener
from search.run.study import Study


class RayTrial:
    """All that a callback reads of Ray's trial."""

    def __init__(self, trial_id):
        self.trial_id = trial_id


def full_disk(*arguments, **more):
    raise OSError(28, "No space left on device")


@pytest.fixture
def given(make_study):
    """A study with one job given to Ray: searcher, listener, Ray's trial, and the job's trial."""
    study = make_study()
    searcher = JobSearcher(study, lambda: 2)
    ray_trial = RayTrial("r1")
    assert "job" in searcher.suggest(ray_trial.trial_id)
    return study, searcher, Listener(study, searcher), ray_trial, searcher.jobs["r1"].trial


def test_a_fault_in_suggest_is_kept_and_ends_the_experiment(given, monkeypatch):
    study, searcher, listener, *_ = given
    monkeypatch.setattr(study, "ask", full_disk)
    assert searcher.suggest("r2") is None
    assert isinstance(searcher.fault, OSError)
    with pytest.raises(OSError, match="No space"):
        listener.on_step_end(1, [])


def test_a_fault_in_counting_the_slots_is_kept(make_study):
    searcher = JobSearcher(make_study(), full_disk)
    assert searcher.suggest("r1") is None
    assert isinstance(searcher.fault, OSError)


@pytest.mark.parametrize("kind", ["epoch", "end"])
def test_a_fault_in_taking_a_report_is_kept(given, monkeypatch, kind):
    study, searcher, listener, ray_trial, trial = given
    monkeypatch.setattr(study, "epoch", full_disk)
    row = {"epoch": 1, "val_accuracy": 0.5}
    report = {"kind": kind, "trial": trial, "payload": row}
    if kind == "end":
        report.pop("payload")  # a report that is not whole is a fault of ours, too
    with pytest.raises((OSError, KeyError)):
        listener.on_trial_result(1, [], ray_trial, report)
    assert searcher.fault is not None


def test_a_fault_in_noting_a_start_is_kept(given):
    _, searcher, listener, ray_trial, _ = given
    del searcher.jobs
    with pytest.raises(AttributeError):
        listener.on_trial_start(1, [], ray_trial)
    assert isinstance(searcher.fault, AttributeError)


@pytest.mark.parametrize(
    ("name", "result", "error"),
    [("tell", None, True), ("put_back", None, False)],
)
def test_a_fault_in_telling_an_end_is_kept(given, monkeypatch, name, result, error):
    study, searcher, *_ = given
    monkeypatch.setattr(study, name, full_disk)
    searcher.on_trial_complete("r1", result, error)
    assert isinstance(searcher.fault, OSError)


def test_a_fault_in_putting_jobs_back_ends_the_run_in_words(given, monkeypatch):
    """After Ray's experiment is over; the first fault that is told is the study's."""
    study, *_ = given

    class Tuner:
        def fit(self):
            pass

    monkeypatch.setattr("search.run.executor._tuner", lambda *held: Tuner())
    monkeypatch.setattr("search.run.executor._slots", lambda held: lambda: 2)
    monkeypatch.setattr(Study, "put_back_all", full_disk)
    with pytest.raises(ExecutionError, match=r"cannot go on \(OSError.*No space.*resume"):
        execute(study)
