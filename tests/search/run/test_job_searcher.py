"""What Ray asks and is told, without Ray: a fault of our own is never taken for Ray's death."""

import json
import math
import platform
import threading
import time
from concurrent.futures import Future
from functools import partial

import pytest
from ray.exceptions import GetTimeoutError, OutOfMemoryError

from search.record import read_events
from search.run.callbacks import Listener
from search.run.deadline import MARGIN
from search.run.errors import DiskError, ExecutionError, InfrastructureError
from search.run.executor import _cannot_go_on, _settle, execute
from search.run.inquiry import Death, Placed, end_hung
from search.run.job_searcher import JobSearcher
from search.run.node import Node
from search.run.node_probe import Need
from search.run.nodes import Nodes
from search.run.study import Study
from tests.search.conftest import TEXT, places
from tests.search.run.test_node_probe import DATA, OURS, whole


class RayTrial:
    """All that a callback reads of Ray's trial."""

    def __init__(self, trial_id, error_file=None):
        self.trial_id, self.error_file = trial_id, error_file


def well(placed, seconds):
    """What a look at a worker sees of one that is well."""
    return seen("")


def seen(text):
    answer = Future()
    answer.set_result(text)
    return answer


def full_disk(*arguments, **more):
    raise OSError(28, "No space left on device")


@pytest.fixture
def given(make_study):
    """A study with one job given to Ray: searcher, listener, Ray's trial, and the job's trial."""
    study = make_study()
    searcher = JobSearcher(study, places(2))
    ray_trial = RayTrial("r1")
    assert "job" in searcher.suggest(ray_trial.trial_id)
    return study, searcher, Listener(study, searcher, well), ray_trial, searcher.jobs["r1"].trial


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
    report = {"kind": kind, "trial": trial, "payload": json.dumps(row)}
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


def ray_says(study, key, error):
    """Ray's trial of a worker that has ended, and the file in which Ray says why."""
    path = study.folder.parent / f"{key}.txt"
    path.write_text(f"Failure # 1 (occurred at 2026-11-28_05-00-00)\n{error}\n", encoding="utf-8")
    return RayTrial(key, str(path))


def lose(searcher, listener, number, error="The actor died: worker died"):
    """Give Ray a job and let its worker die; returns the job's trial."""
    ray_trial = ray_says(listener._study, f"r{number}", error)
    assert "job" in searcher.suggest(ray_trial.trial_id)
    trial = searcher.jobs[ray_trial.trial_id].trial
    searcher.on_trial_complete(ray_trial.trial_id, error=True)
    listener.on_trial_error(1, [], ray_trial)
    return trial


def test_a_worker_that_dies_costs_no_attempt_and_its_job_is_given_out_again(make_study):
    study = make_study()
    searcher = JobSearcher(study, places(2))
    listener = Listener(study, searcher, well)

    trial = lose(searcher, listener, 1)

    lost = read_events(study.folder)[-2:]
    assert [e["event"] for e in lost] == ["lost", "put back"]
    assert (lost[0]["trial"], lost[0]["cause"]) == (trial, "process")
    assert lose(searcher, listener, 2) == trial
    assert study.failed == []


def test_a_job_lost_too_often_fails_and_the_count_outlives_the_driver(make_study):
    study = make_study(text=TEXT.replace("seed = 3", "seed = 3\nlosses = 2\nretries = 0"))
    searcher = JobSearcher(study, places(2))
    listener = Listener(study, searcher, well)
    trials = [lose(searcher, listener, number) for number in range(3)]

    assert len(set(trials)) == 1
    assert study.failed == trials[:1]
    told = read_events(study.folder)
    last = [e for e in told if e["event"] == "tell"][-1]
    assert last["error"] == "lost 3 times; the last time: its worker process died"

    study.close()
    study = make_study(text=TEXT.replace("seed = 3", "seed = 3\nlosses = 2\nretries = 0"))
    study.retry_failed()
    searcher = JobSearcher(study, places(2))
    listener = Listener(study, searcher, well)
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
    searcher = JobSearcher(study, places(2))
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
        return seen("no step for 99 s (stopped by a signal)")

    listener = Listener(study, searcher, end)
    where = {"node_id": "n1", "node": "here", "pid": 4711}
    begin = {"kind": "begin", "trial": trial, "payload": json.dumps(where)}
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


def test_a_run_folder_that_is_gone_is_not_told_to_be_on_record(given):
    study, *_ = given
    (study.folder / "study.json").unlink()
    fault = FileNotFoundError(2, "removed while the study ran", "decisions.jsonl")
    said = str(_cannot_go_on(study, fault))
    assert "is not there any more, and with it the record" in said
    assert "on record" not in said.replace("put it back", "") and "resume" not in said


def test_a_fault_in_putting_jobs_back_ends_the_run_in_words(given, monkeypatch):
    """After Ray's experiment is over; the first fault that is told is the study's."""
    study, *_ = given

    class Tuner:
        def fit(self):
            pass

    monkeypatch.setattr("search.run.executor._tuner", lambda *held: Tuner())
    monkeypatch.setattr("search.run.executor._room", lambda *held: places(2))
    monkeypatch.setattr(Study, "put_back_all", full_disk)
    with pytest.raises(ExecutionError, match=r"cannot go on \(OSError.*No space.*resume"):
        execute(study)


@pytest.fixture
def cluster(make_study, tmp_path, monkeypatch):
    """A study on two nodes: its searcher, and what ends a job of it with a full disk on one."""
    study = make_study()
    need = Need(str(study.folder), "cifar10", [{}], "/data", DATA)
    nodes = Nodes(need, OURS, print, study.note)
    for name in ("a", "b"):
        nodes.all[name] = Node(name, "h", name, {"CPU": 1.0}, whole())
    searcher = JobSearcher(study, places(9), nodes)

    def full(node, path):
        key = f"r{len(searcher.told_of)}"
        searcher.told_of.append(key)
        assert "job" in searcher.suggest(key)
        trial = searcher.jobs[key].trial
        searcher.placed[key] = Placed(node, node, 1, 0.0, 0.0)
        told = {"ending": "failed", "error": "", "disk": f"{path}: No space left on device"}
        searcher.ended[trial] = told
        searcher.on_trial_complete(key, error=True)
        return trial

    searcher.told_of = []
    return study, searcher, nodes, full


def test_a_full_disk_of_one_node_puts_that_node_aside_and_its_job_goes_elsewhere(cluster):
    study, searcher, nodes, full = cluster
    trial = full("a", "/tmp/rtune-scratch-1/00-000.pt")
    assert searcher.fault is None
    assert nodes.asked() == ["b"]
    lost = next(e for e in read_events(study.folder) if e["event"] == "lost")
    assert (lost["trial"], lost["cause"], lost["node"]) == (trial, "disk", "a")
    config = searcher.suggest("next")
    assert searcher.jobs["next"].trial == trial
    assert json.loads(config["labels"]) == {"ray.io/node-id": "!in(a)"}
    assert study.failed == []


def test_a_full_disk_of_every_node_ends_the_study(cluster):
    _, searcher, _, full = cluster
    full("a", "/tmp/x/00-000.pt")
    full("b", "/tmp/x/00-000.pt")
    assert isinstance(searcher.fault, DiskError)


def test_two_nodes_in_a_row_that_cannot_write_the_run_folder_end_the_study(cluster):
    """Then it is no disk of one node; of a third nobody need hear the same."""
    study, searcher, nodes, full = cluster
    nodes.all["c"] = Node("c", "h", "c", {"CPU": 1.0}, whole())
    at = study.folder / "checkpoints" / "00-000.pt"
    full("a", at)
    assert searcher.fault is None
    full("b", at)
    assert isinstance(searcher.fault, DiskError)


def test_a_run_folder_that_the_driver_too_finds_full_ends_the_study_at_once(cluster, monkeypatch):
    study, searcher, nodes, full = cluster
    monkeypatch.setattr("search.run.disk.LEAST_MB", 2**40)
    full("a", study.folder / "checkpoints" / "00-000.pt")
    assert isinstance(searcher.fault, DiskError)
    assert nodes.asked() == ["a", "b"]


def test_no_job_is_given_out_while_all_nodes_rest(cluster):
    """It could not see the node that comes back: what it asks of one is fixed."""
    _, searcher, nodes, _ = cluster
    for name in ("a", "b"):
        nodes.lost(name, 1.0)
        nodes.lost(name, 1.0)
    assert nodes.resting
    assert searcher.suggest("r1") is None
    assert searcher.fault is None
    del nodes.all["a"], nodes.all["b"]
    assert "job" in searcher.suggest("r1")  # an autoscaler starts nodes for what waits


def test_jobs_that_wait_for_nodes_that_are_gone_are_given_out_anew(cluster, monkeypatch):
    study, searcher, nodes, _ = cluster
    monkeypatch.setattr("search.run.callbacks.LOOK_EVERY", 0)
    listener = Listener(study, searcher, well)
    assert "job" in searcher.suggest("r1")
    listener.on_step_end(1, [])
    listener.on_step_end(1, [])
    nodes.all = {"c": Node("c", "h", "c", {"CPU": 1.0}, whole())}
    listener.on_step_end(1, [])
    with pytest.raises(RuntimeError, match="take none any more"):
        listener.on_step_end(1, [])
    assert searcher.fault is None  # the study goes on in another experiment of Ray's


def test_a_job_given_to_a_worker_that_was_stopped_between_two_jobs_comes_back(given, monkeypatch):
    """It has reported nothing, so only the worker's job before it says where it may be."""
    study, searcher, *_ = given
    monkeypatch.setattr("search.run.callbacks.LOOK_EVERY", 0)
    looked = []

    def end(placed, seconds):
        looked.append((placed.pid, seconds))
        return seen("no step between two jobs (stopped by a signal)" if placed.pid == 1 else "")

    listener = Listener(study, searcher, end)
    for pid, key in ((1, "r1"), (2, "r2")):  # both have begun a job; that of the first is over
        assert key == "r1" or "job" in searcher.suggest(key)
        where = {"node_id": "n1", "node": "here", "pid": pid}
        begin = {"kind": "begin", "trial": searcher.jobs[key].trial, "payload": json.dumps(where)}
        listener.on_trial_result(1, [], RayTrial(key), begin)
    searcher.on_trial_complete("r1")
    assert "job" in searcher.suggest("r3")
    listener.on_trial_start(1, [], RayTrial("r3"))
    listener.on_step_end(1, [])
    assert looked == []
    searcher.started["r3"] -= searcher.jobs["r3"].stalled_seconds + MARGIN + 1
    listener.on_step_end(1, [])
    assert looked == [(1, math.inf)]
    job = searcher.jobs["r3"].trial
    searcher.on_trial_complete("r3", error=True)
    listener.on_trial_error(1, [], ray_says(study, "r3", "The actor died"))
    lost = next(e for e in read_events(study.folder) if e["event"] == "lost")
    assert (lost["trial"], lost["cause"], lost["node"]) == (job, "silent", "here")


# of Ray 2.60, cut
DIED = """ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
\tpid: {}
\tip: {}
The actor is dead because its worker process has died."""


@pytest.mark.parametrize(
    ("error", "cause", "node"),
    [
        (DIED.format(7, "10.0.0.2"), "silent", "a"),
        (DIED.format(7, "10.0.0.3"), "process", "b"),  # another node's process of that number
        (DIED.format(8, "10.0.0.3"), "process", "b"),
        (DIED.format(8, "10.0.0.2"), "process", "a"),
        ("The actor died.", "process", ""),  # it may be the other job that the worker had
    ],
)
def test_a_death_is_told_of_a_worker_ended_between_jobs_only_where_it_is_that_workers(
    cluster, error, cause, node
):
    study, searcher, nodes, _ = cluster
    nodes.all["a"].address, nodes.all["b"].address = "10.0.0.2", "10.0.0.3"
    listener = Listener(study, searcher, well)
    for key in ("r1", "r2"):
        assert "job" in searcher.suggest(key)
        listener.on_trial_start(1, [], RayTrial(key))
    idle = Placed("a", "a", 7, 0.0, 0.0)
    listener._workers["a", 7] = idle
    listener._ended(idle, "no step between two jobs (stopped by a signal)", idle=True)
    searcher.on_trial_complete("r2", error=True)
    listener.on_trial_error(1, [], ray_says(study, "r2", error))
    wait_for_end(searcher)
    lost = next(e for e in read_events(study.folder) if e["event"] == "lost")
    assert (lost["cause"], lost["node"]) == (cause, node)
    assert len(searcher.ended_idle) == (cause != "silent")  # it is left for the job that it had


MISSING = """ray::ImplicitFunc.__init__() (pid=71, ip=10.0.0.12, actor_id=ab, repr=run_job)
  File "x.py", line 1, in <module>
ModuleNotFoundError: No module named 'search'"""


@pytest.mark.parametrize(
    ("error", "cause", "said"),
    [
        (MISSING, "import", "ModuleNotFoundError: No module named 'search'"),
        ("Task was killed due to the node running low on memory.", "memory", "want of memory"),
        ("The actor died because its node has died.", "node", "its node is gone"),
    ],
)
def test_what_ray_has_written_of_a_worker_is_the_cause_on_record(given, error, cause, said):
    study, searcher, listener, *_ = given
    searcher.on_trial_complete("r1", error=True)
    listener.on_trial_error(1, [], ray_says(study, "r1", error))
    lost = next(e for e in read_events(study.folder) if e["event"] == "lost")
    assert lost["cause"] == cause
    assert said in lost["error"]
    assert lost["node"] == platform.node()  # there is no other


def wait_for_end(searcher):
    ends = time.monotonic() + 10
    while searcher._dead and time.monotonic() < ends:
        searcher.take_dead(0.1)


def test_a_loss_before_a_jobs_first_report_names_the_node_it_was_placed_on(cluster):
    study, searcher, nodes, _ = cluster
    nodes.all["a"].address, nodes.all["b"].address = "10.0.0.1", "10.0.0.12"
    listener = Listener(study, searcher, well)
    for number in range(2):
        trial = lose(searcher, listener, number, MISSING)
        wait_for_end(searcher)
        lost = read_events(study.folder)
        assert [e["node"] for e in lost if e["event"] == "lost"][-1] == "b"
        assert [e["trial"] for e in lost if e["event"] == "lost"][-1] == trial
    assert nodes.asked() == ["a"]  # and it counts against that node


def test_a_job_that_fails_by_itself_does_not_count_as_well(cluster):
    _, searcher, nodes, _ = cluster

    def ends(key, **told):
        assert "job" in searcher.suggest(key)
        trial = searcher.jobs[key].trial
        searcher.placed[key] = Placed("a", "a", 1, time.monotonic(), time.monotonic())
        searcher.ended[trial] = {"node": "a", "seconds": 1.0, **told}
        searcher.on_trial_complete(key)

    broken = {"ending": "failed", "error": "CUDA error: no device", "infrastructure": "GPU"}
    ends("r1", **broken)
    ends("r2", ending="failed", error="ValueError: of its own")
    assert nodes.all["a"].losses == 1
    ends("r3", **broken)
    assert nodes.asked() == ["b"]
    nodes.all["a"].why_not = []
    ends("r4", ending="diverged", value=None, epoch=1, value_epoch=1)
    assert nodes.all["a"].losses == 0


def test_nodes_that_do_not_answer_hold_up_no_report_of_the_others(cluster, monkeypatch):
    """Neither when a worker dies, nor when one is silent; each is told when it is known."""
    study, searcher, nodes, _ = cluster
    gate = threading.Event()

    class Call:
        def remote(self, *arguments):
            return self

    def get(call, timeout):
        if not gate.wait(timeout):
            raise GetTimeoutError

    monkeypatch.setattr("search.run.inquiry.on", lambda key, function: Call())
    monkeypatch.setattr("ray.get", get)
    monkeypatch.setattr("search.run.inquiry.PING", 1.0)
    monkeypatch.setattr("search.run.callbacks.LOOK_EVERY", 0)
    listener = Listener(study, searcher, partial(end_hung, nodes))
    now = time.monotonic()
    for key, node in (("r1", "a"), ("r2", "b")):
        assert "job" in searcher.suggest(key)
        searcher.placed[key] = Placed(node, node, 1, now, now, killed=0)
    searcher.placed["r2"].heard -= searcher.jobs["r2"].stalled_seconds + MARGIN + 1
    searcher.on_trial_complete("r1", error=True)
    listener.on_trial_error(1, [], ray_says(study, "r1", "The actor died: worker died"))
    listener.on_step_end(1, [])
    assert time.monotonic() - now < 0.5
    assert [e["event"] for e in read_events(study.folder)] == ["ask", "ask"]
    assert searcher.suggest("r9") is not None or searcher.fault is None
    ends = time.monotonic() + 10
    while nodes.resources() and time.monotonic() < ends:
        listener.on_step_end(1, [])
        time.sleep(0.05)
    lost = next(e for e in read_events(study.folder) if e["event"] == "lost")
    assert (lost["cause"], lost["error"]) == ("node", "its node does not answer")
    rests = [e for e in read_events(study.folder) if e["event"] == "quarantine"]
    assert {(e["node"], e["why"]) for e in rests} == {
        ("a", "it does not answer"),
        ("b", "it does not answer"),
    }


@pytest.mark.parametrize("listens", [True, False])
def test_why_the_last_job_was_lost_is_taken_where_tune_asks_for_another(
    cluster, monkeypatch, listens
):
    """With no trial left Tune asks its searcher for ten minutes, and calls no callback."""
    study, searcher, _, _ = cluster
    answer = Future()
    monkeypatch.setattr("search.run.job_searcher.why_dead", lambda *arguments: answer)
    listener = Listener(study, searcher, well)
    if not listens:
        searcher = JobSearcher(study, places(2))
    assert "job" in searcher.suggest("r1")
    searcher.on_trial_complete("r1", error=True)
    searcher.died("r1", "The actor died: worker died")
    assert listener.searcher.fault is searcher.fault is None
    answer.set_result(Death("process", "its worker process died"))
    trial = read_events(study.folder)[0]["job"]["trial"]

    assert trial in searcher.suggest("r2")["job"]
    assert "lost" in [e["event"] for e in read_events(study.folder)]


def test_a_head_that_is_gone_is_seen_where_tune_only_asks_for_another_job(given, monkeypatch):
    _, searcher, _, ray_trial, _ = given
    searcher.on_trial_complete(ray_trial.trial_id, {}, error=False)
    monkeypatch.setattr("search.run.head.fault", lambda: "Ray's head has not answered")
    assert searcher.suggest("r2") is None
    assert isinstance(searcher.fault, InfrastructureError)
    assert searcher.suggest("r3") == JobSearcher.FINISHED


def test_a_worker_that_the_driver_ends_is_told_so_though_ray_is_the_first_to_know(given):
    study, searcher, *_ = given
    answer = Future()
    listener = Listener(study, searcher, lambda placed, seconds: answer)
    now = time.monotonic()
    searcher.placed["r1"] = Placed("n1", "here", 1, now, now, look=answer)
    answer.set_result("no step for 99 s (stopped by a signal)")
    searcher.on_trial_complete("r1", error=True)
    listener.on_trial_error(1, [], ray_says(study, "r1", "The actor died: worker died"))
    lost = next(e for e in read_events(study.folder) if e["event"] == "lost")
    assert (lost["cause"], lost["error"]) == ("silent", "no step for 99 s (stopped by a signal)")


# of Ray 2.60's memory monitor, cut: the first lines, and which of its workers it has chosen
MONITOR = """1 worker(s) were killed due to the node running low on memory. Memory on the node \
(IP: 10.0.0.12, ID: {}) was 7.16GB used / 23.54GB limit (0.304261)
Ray killed 1 worker(s) based on the killing policy
Selected to kill: (Actor(220b): job ID=01000000, task name=A.__init__, pid=71, actual memory \
used=0.22GB)
To disable worker killing, set the environment variable `RAY_memory_monitor_refresh_ms` to zero."""


def test_what_rays_memory_monitor_ends_is_a_loss_of_that_job_and_no_death_of_rays(
    cluster, monkeypatch
):
    """Tune's experiment dies by it, and no other job is to be blamed."""
    study, _, nodes, _ = cluster
    one, other = "a1" * 28, "b2" * 28
    nodes.all = {key: Node(key, key[:2], key[:2], {"CPU": 1.0}, whole()) for key in (one, other)}
    began = []

    class Tuner:
        def __init__(self, study, folder, searcher, *more):
            self.searcher = searcher

        def fit(self):
            began.append(self)
            if len(began) > 6:
                raise KeyboardInterrupt
            now = time.monotonic() - 100.0
            for key, pid, node in (("r1", 71, other), ("r2", 71, one), ("r3", 72, other)):
                assert "job" in self.searcher.suggest(key)
                self.searcher.placed[key] = Placed(node, node[:2], pid, now, now)
            try:
                raise OutOfMemoryError(MONITOR.format(other))
            except OutOfMemoryError as error:
                raise RuntimeError("Caught unexpected exception") from error

    monkeypatch.setattr("search.run.executor._tuner", Tuner)
    monkeypatch.setattr("search.run.executor._room", lambda *held: places(9))
    with pytest.raises(KeyboardInterrupt):
        execute(study, nodes)
    events = read_events(study.folder)
    lost = [e for e in events if e["event"] == "lost"]
    assert {(e["cause"], e["node"]) for e in lost} == {("memory", "b2")}
    assert len(lost) == 6  # more often than Ray may die
    assert lost[0]["error"] == "Ray's memory monitor ended its worker"
    first = lost[0]["trial"]
    assert [e["ending"] for e in events if e["event"] == "tell" and e["trial"] == first] == [
        "failed"
    ]
