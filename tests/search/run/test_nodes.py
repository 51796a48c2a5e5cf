"""Who of a cluster takes jobs, without a cluster; with one see tests/cluster."""

from __future__ import annotations

import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from search.run import cluster
from search.run.asking import Answer, _clock_of
from search.run.clocks import Offset, offset
from search.run.errors import StoreError
from search.run.node import Node
from search.run.node_probe import Need
from search.run.nodes import Nodes
from tests.search.run.test_node_probe import DATA, OURS, VERSIONS, whole


@pytest.fixture
def joining(tmp_path, monkeypatch):
    """Nodes with GPUs that join by the CUDA of their torch, the study, and what it notes."""
    events, said, there = [], [], {}
    need = Need(str(tmp_path), "cifar10", [{}], "/data", DATA, gpu=True)
    nodes = Nodes(need, OURS, said.append, events.append)

    def join(name, cuda, lacks=(), gpus=("H100",)):
        facts = whole(node=name, gpus=list(gpus), versions={**VERSIONS, "cuda": cuda})
        there[name] = Node(name, "h", name, {"CPU": 1.0}, facts, list(lacks))

    monkeypatch.setattr(nodes, "_look", lambda wait: nodes.all.update(there))
    return nodes, join, events, said


def test_a_joining_node_is_judged_against_those_in_use_not_by_how_many_have_joined(joining):
    nodes, join, events, _ = joining
    join("a", "12.8")
    join("b", "12.8")
    nodes.begin()
    for name in ("c", "d", "e", "f"):
        join(name, "11.8")
        nodes.refresh()
    assert nodes.asked() == ["a", "b"]
    used = {event["id"]: event["used"] for event in events}
    assert used == {"a": True, "b": True, **dict.fromkeys("cdef", False)}
    assert nodes.all["e"].why_not == ["torch for CUDA 11.8, the study's nodes have 12.8"]
    assert nodes.labels() == {"ray.io/node-id": "!in(c,d,e,f)"}
    for name in ("a", "b"):  # what the study was computed with stays so
        del nodes.all[name]
    join("g", "11.8")
    join("h", "12.8")
    nodes.refresh()
    assert "g" not in nodes.asked()
    assert "h" in nodes.asked()


def test_most_of_those_that_lack_nothing_else_decide_at_the_beginning(joining):
    nodes, join, *_ = joining
    join("a", "12.8")
    for name in ("b", "c"):
        join(name, "11.8")
    for name in ("d", "e"):
        join(name, "12.8", ["other data"])
    nodes.begin()
    assert nodes.asked() == ["b", "c"]


def test_nodes_with_gpus_that_join_a_study_without_any_decide_among_themselves(joining):
    nodes, join, *_ = joining
    join("head", "12.8", gpus=())
    nodes.begin()
    join("a", "11.8")
    nodes.refresh()
    join("b", "12.8")
    nodes.refresh()
    assert nodes.asked() == ["head", "a"]


@pytest.fixture
def answering(tmp_path, monkeypatch):
    """A sound node and one that lacks what a test says, as they answer through Ray's threads."""
    events, said, lacking = [], [], ["data: no data in /data"]
    ids = ["sound", "bare"]

    def there():
        about = {"Alive": True, "NodeManagerAddress": "h", "Resources": {"CPU": 1.0}}
        return [{"NodeID": key, **about} for key in ids]

    def ask(key):
        answer = Future()
        answer.set_result(Answer(whole(node=key), lacking if key == "bare" else []))
        return answer

    need = Need(str(tmp_path), "cifar10", [{}], "/data", DATA)
    nodes = Nodes(need, OURS, said.append, events.append)
    monkeypatch.setattr("ray.nodes", there)
    monkeypatch.setattr(nodes._asking, "ask", ask)
    nodes.begin()
    return nodes, events, said, lacking, ids


def rest_is_over(node):
    assert node.again_at is not None
    node.again_at = time.monotonic() - 1


def test_a_node_that_was_left_out_at_the_start_is_asked_again_and_used_once_it_passes(answering):
    nodes, events, said, lacking, _ = answering
    assert nodes.asked() == ["sound"]
    assert said[-1].endswith("LEFT OUT: data: no data in /data; it is asked again in 30 s")
    wait = nodes.all["bare"].again_at - time.monotonic()
    assert 25 < wait <= 30
    rest_is_over(nodes.all["bare"])
    nodes.refresh()
    assert len(said) == len(events) == 2  # it lacks the same: once is enough
    assert 55 < nodes.all["bare"].again_at - time.monotonic() <= 60
    lacking.clear()
    rest_is_over(nodes.all["bare"])
    nodes.refresh()
    assert nodes.asked() == ["sound", "bare"]
    assert said[-1].startswith("node bare (h): 1 CPUs")
    assert said[-1].endswith("it was left out before, and takes jobs now")
    assert (events[-1]["event"], events[-1]["node"], events[-1]["used"]) == ("node", "bare", True)
    assert nodes.all["bare"].again_at is None


def test_a_node_that_rejoins_is_asked_at_once(answering):
    nodes, events, _, lacking, ids = answering
    lacking.clear()
    ids[1] = "mended"  # the same machine; Ray gives a new id
    nodes.refresh()
    assert nodes.asked() == ["sound", "mended"]
    assert [e["event"] for e in events[-2:]] == ["node gone", "node"]


def test_for_a_node_that_never_took_jobs_no_other_is_held_back(answering):
    """An autoscaler may start one for what waits; nobody knows whether that one is mended."""
    nodes, *_, ids = answering
    del ids[0]
    nodes.refresh()
    assert nodes.resources() == []
    assert not nodes.resting


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Two nodes that take jobs; what was noted and said of them."""
    events, said = [], []
    need = Need(str(tmp_path), "cifar10", [{}], "/data", DATA)
    nodes = Nodes(need, OURS, said.append, events.append)
    held = {name: Node(name, "h", name, {"CPU": 1.0}, whole()) for name in ("a", "b")}
    monkeypatch.setattr(nodes, "_look", lambda wait: nodes.all.update(held))
    nodes.begin()
    return nodes, events, said


def test_a_node_that_loses_two_jobs_quickly_is_asked_again_before_it_takes_more(two, monkeypatch):
    nodes, events, said = two
    nodes.lost("a", 5.0)
    nodes.lost("a", 500.0)  # it may well have been the job's own fault
    assert len(nodes.resources()) == 2
    nodes.lost("a", 5.0)
    assert nodes.labels() == {"ray.io/node-id": "!in(a)"}
    assert nodes.asked() == ["b"]
    (event,) = [e for e in events if e["event"] == "quarantine"]
    assert (event["node"], event["seconds"]) == ("a", 30.0)
    assert "lost 2 jobs within 60 s each" in event["why"]
    assert said[-1].endswith("quarantine; it is asked again in 30 s")
    nodes.refresh()
    assert nodes.all["a"].facts is not None  # not before it has rested
    nodes.all["a"].again_at = time.monotonic() - 1
    nodes.refresh()
    assert not nodes.all["a"].known


def test_a_node_is_put_aside_while_there_is_another_that_takes_jobs(two):
    nodes, events, _ = two
    assert nodes.put_aside("a", "its disk (/d/x: No space left on device)")
    assert nodes.put_aside("a", "a second job says the same")
    assert [e["why"] for e in events if e["event"] == "quarantine"] == [
        "its disk (/d/x: No space left on device)"
    ]
    assert not nodes.put_aside("b", "its disk")
    assert nodes.asked() == ["b"]
    assert not nodes.resting


def test_a_node_that_lacks_something_after_a_quarantine_is_waited_for(answering):
    """A disk may be free by then."""
    nodes, _, said, lacking, ids = answering
    lacking.clear()
    rest_is_over(nodes.all["bare"])
    nodes.refresh()
    del ids[0]
    nodes.refresh()
    nodes.silent("bare")
    lacking.append("12 MB free for its cache")
    rest_is_over(nodes.all["bare"])
    nodes.refresh()
    assert said[-2].endswith("LEFT OUT: 12 MB free for its cache; it is asked again in 60 s")
    assert said[-1] == "no node is left that may take jobs; waiting for one"
    assert nodes.resting


def test_the_node_that_ray_names_of_a_dead_worker_is_found_by_id_or_address(two):
    nodes, *_ = two
    one, other = "a1" * 28, "b2" * 28
    nodes.all = {
        one: Node(one, "10.0.0.1", "first", {}, whole()),
        other: Node(other, "10.0.0.12", "second", {}, whole()),
    }
    said = "The actor died unexpectedly before finishing this task.\n\tpid: 7\n\tip: {}\nThe actor"
    assert nodes.there(said.format("10.0.0.12")).name == "second"
    assert nodes.there(said.format("10.0.0.1")).name == "first"
    assert nodes.there(f"its node has died. Node Id: {other}").name == "second"
    assert nodes.there("The actor died.") is None


def test_a_clock_is_told_to_differ_only_by_more_than_its_measuring_may_be_wrong(
    tmp_path, monkeypatch
):
    """A node under load starts a process for seconds before it reads its clock."""
    events, said = [], []
    need = Need(str(tmp_path), "cifar10", [{}], "/data", DATA)
    nodes = Nodes(need, OURS, said.append, events.append)
    clocks = {"slow": Offset(6.0, 6.0), "off": Offset(6.0, 0.1), "mute": Offset(0.0, None)}
    for name, clock in clocks.items():
        nodes.all[name] = Node(name, "h", name, {"CPU": 1.0}, whole(), clock=clock)
    monkeypatch.setattr(nodes, "_look", lambda wait: None)
    nodes.begin()
    notes = [line for line in said if "clock" in line]
    assert [line.split(";")[0] for line in notes] == [
        "note: the clock of off is +6 s from this one's (measured to 0.1 s)"
    ]
    told = {e["node"]: (e["clock_offset"], e["clock_bound"]) for e in events}
    assert told == clocks


def test_a_clock_is_measured_by_the_quickest_answer_and_never_wrong_by_more_than_its_bound():
    slow = iter([0.4, 0.0, 0.2])

    def ask():
        time.sleep(next(slow))
        return time.time() - 100.0  # read at the end of it all

    held = offset(ask)
    assert held.bound < 0.1
    assert abs(held.seconds + 100.0) <= held.bound + 0.01
    assert offset(lambda: 1 / 0) == Offset(0.0, None)


def test_the_drivers_own_node_has_the_drivers_clock(monkeypatch):
    """However long it takes to answer."""
    mine = SimpleNamespace(get_node_id=lambda: "a")
    monkeypatch.setattr("ray.get_runtime_context", lambda: mine)
    monkeypatch.setattr("search.run.asking.on", lambda *of: 1 / 0)
    assert _clock_of("a") == Offset(0.0, 0.0)
    assert _clock_of("b") == Offset(0.0, None)


def test_nodes_that_are_gone_are_not_counted_among_those_joined(monkeypatch):
    def node(name, alive):
        return {"NodeID": name, "Alive": alive, "Resources": {"CPU": 2.0, "GPU": 1.0}}

    nodes = [node("a", True), node("b", False), node("c", True)]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 4.0, "GPU": 2.0})
    here = SimpleNamespace(gcs_address="10.0.0.1:6379")
    monkeypatch.setattr("ray.get_runtime_context", lambda: here)
    assert cluster.joined() == "Ray at 10.0.0.1:6379: 2 node(s), 4 CPUs, 2 GPUs"


def test_a_store_that_does_not_answer_holds_up_nobody_while_a_node_joins(tmp_path, monkeypatch):
    """It is asked of again when the store is there; meanwhile the driver goes on at once."""
    monkeypatch.setattr("search.run.objects.WAITS", (0.5, 0.5))
    joined = {"NodeID": "n1", "Alive": True, "NodeManagerAddress": "h", "Resources": {"CPU": 1.0}}
    monkeypatch.setattr("ray.nodes", lambda: [joined])
    asked = []

    def gone(key, function, anew):
        asked.append(key)
        raise RuntimeError("its node has died")  # no Ray runs here

    monkeypatch.setattr("search.run.asking.on", gone)
    need = Need(f"file://{tmp_path}/store", "cifar10", [{}], "/data", DATA)
    nodes = Nodes(need, OURS, print, print)
    began = time.monotonic()
    nodes.refresh()
    assert time.monotonic() - began < 0.5
    with pytest.raises(StoreError):
        nodes.all["n1"].asked.result(20)
    nodes.refresh()
    assert not nodes.all["n1"].known
    assert asked == []
    (tmp_path / "store").mkdir()
    ends = time.monotonic() + 20
    while not nodes.all["n1"].known and time.monotonic() < ends:
        nodes.refresh()
        time.sleep(0.1)
    assert nodes.all["n1"].why_not[0].startswith("its node is gone")
    assert not list((tmp_path / "store").rglob("nonce/*"))
