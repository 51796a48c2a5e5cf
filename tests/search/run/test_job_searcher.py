"""What Ray asks and is told, without Ray: a fault of our own is never taken for Ray's death."""

import pytest

from search.record import read_events
from search.run.callbacks import Listener
from search.run.deadline import MARGIN
from search.run.errors import ExecutionError, InfrastructureError
from search.run.executor import _settle, execute
from search.run.job_searcher import JobSearcher
from search.run.study import Study
from tests.search.conftest import TEXT


class RayTrial:
    """All that a callback reads of Ray's trial."""

    def __init__(self, trial_id, error=None):
        self.trial_id, self.error = trial_id, error

    def get_error(self):
        return self.error


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


@pytest.mark.parametrize("name", ["tell", "put_back", "lost"])
def test_a_fault_in_telling_an_end_is_kept(given, monkeypatch, name):
    study, searcher, listener, ray_trial, trial = given
    monkeypatch.setattr(study, name, full_disk)
    if name == "tell":
        searcher.ended[trial] = {"ending": "failed", "error": "its own"}
    if name == "lost":
        searcher.on_trial_complete("r1", error=True)
        with pytest.raises(OSError, match="No space"):
            listener.on_trial_error(1, [], ray_trial)
    else:
        searcher.on_trial_complete("r1")
    assert isinstance(searcher.fault, OSError)


def lose(searcher, listener, number, error="The actor died: worker died"):
    """Give Ray a job and let its worker die; returns the job's trial."""
    ray_trial = RayTrial(f"r{number}", RuntimeError(error))
    assert "job" in searcher.suggest(ray_trial.trial_id)
    trial = searcher.jobs[ray_trial.trial_id].trial
    searcher.on_trial_complete(ray_trial.trial_id, error=True)
    listener.on_trial_error(1, [], ray_trial)
    return trial


def test_a_worker_that_dies_costs_no_attempt_and_its_job_is_given_out_again(make_study):
    study = make_study()
    searcher = JobSearcher(study, lambda: 2)
    listener = Listener(study, searcher)

    trial = lose(searcher, listener, 1)

    lost = read_events(study.folder)[-2:]
    assert [e["event"] for e in lost] == ["lost", "put back"]
    assert (lost[0]["trial"], lost[0]["cause"]) == (trial, "process")
    assert lose(searcher, listener, 2) == trial
    assert study.failed == []


def test_a_job_lost_too_often_fails_and_the_count_outlives_the_driver(make_study):
    study = make_study(text=TEXT.replace("seed = 3", "seed = 3\nlosses = 2\nretries = 0"))
    searcher = JobSearcher(study, lambda: 2)
    listener = Listener(study, searcher)
    trials = [lose(searcher, listener, number) for number in range(3)]

    assert len(set(trials)) == 1
    assert study.failed == trials[:1]
    told = read_events(study.folder)
    last = [e for e in told if e["event"] == "tell"][-1]
    assert (
        last["error"]
        == "lost 3 times before its first epoch; the last time: its worker process died"
    )

    study.close()
    study = make_study(text=TEXT.replace("seed = 3", "seed = 3\nlosses = 2\nretries = 0"))
    study.retry_failed()
    searcher = JobSearcher(study, lambda: 2)
    listener = Listener(study, searcher)
    assert [lose(searcher, listener, number) for number in range(3, 5)] == trials[:2]
    assert study.failed == []  # counted anew


def test_a_job_on_a_node_that_was_not_asked_yet_is_no_loss(given):
    study, searcher, _, _, trial = given
    searcher.ended[trial] = {"ending": "failed", "error": "", "unasked": True}
    searcher.on_trial_complete("r1")
    assert [e["event"] for e in read_events(study.folder)][-1] == "put back"
    assert all(e["event"] != "lost" for e in read_events(study.folder))


def test_a_lone_machine_that_lacks_something_ends_the_run_and_loses_no_config(make_study):
    study = make_study()
    searcher = JobSearcher(study, lambda: 2)
    for number in range(2):
        assert "job" in searcher.suggest(f"r{number}")
        trial = searcher.jobs[f"r{number}"].trial
        error = "Traceback ...\nMissingDataError: no data in /data"
        searcher.ended[trial] = {"ending": "failed", "error": error, "infrastructure": "data"}
        searcher.on_trial_complete(f"r{number}", error=True)
    assert isinstance(searcher.fault, InfrastructureError)
    assert str(searcher.fault) == "MissingDataError: no data in /data"
    assert study.failed == []


def test_a_silent_worker_is_looked_at_and_its_end_is_told_as_seen(given, monkeypatch):
    study, searcher, _, ray_trial, trial = given
    looked = []

    def end(placed, seconds):
        looked.append((placed.pid, seconds))
        return "no step for 99 s (stopped by a signal)"

    listener = Listener(study, searcher, end)
    where = {"node_id": "n1", "node": "here", "pid": 4711}
    begin = {"kind": "begin", "trial": trial, "payload": where}
    listener.on_trial_result(1, [], ray_trial, begin)
    monkeypatch.setattr("search.run.callbacks.LOOK_EVERY", 0)
    listener.on_step_end(1, [])
    assert looked == []
    searcher.placed["r1"].heard -= searcher.jobs["r1"].stalled_seconds + MARGIN + 1
    listener.on_step_end(1, [])
    listener.on_step_end(1, [])
    assert looked == [(4711, searcher.jobs["r1"].stalled_seconds)]

    searcher.on_trial_complete("r1", error=True)
    listener.on_trial_error(1, [], ray_trial)
    lost = next(e for e in read_events(study.folder) if e["event"] == "lost")
    assert (lost["cause"], lost["node"]) == ("silent", "here")
    assert lost["error"].startswith("no step for 99 s")


@pytest.mark.parametrize("told", [{"unasked": True}, {"infrastructure": "store"}, {"disk": "/"}])
def test_what_was_no_fault_of_its_own_is_no_tell_when_ray_dies_either(given, told):
    study, searcher, _, _, trial = given
    searcher.ended[trial] = {"ending": "failed", "error": "", **told}
    _settle(study, searcher)
    assert [e["event"] for e in read_events(study.folder)][-1] == "put back"
    assert all(e["event"] != "tell" for e in read_events(study.folder))
    assert searcher.told == 0


def test_a_fault_in_putting_jobs_back_ends_the_run_in_words(given, monkeypatch):
    """After Ray's experiment is over; the first fault that is told is the study's."""
    study, *_ = given

    class Tuner:
        def fit(self):
            pass

    monkeypatch.setattr("search.run.executor._tuner", lambda *held: Tuner())
    monkeypatch.setattr("search.run.executor._slots", lambda *held: lambda: 2)
    monkeypatch.setattr(Study, "put_back_all", full_disk)
    with pytest.raises(ExecutionError, match=r"cannot go on \(OSError.*No space.*resume"):
        execute(study)
