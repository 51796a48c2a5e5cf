"""Who of a cluster takes jobs, without a cluster; with one see tests/cluster."""

from __future__ import annotations

import time
from concurrent.futures import Future

import pytest

from search.run.asking import Answer
from search.run.errors import StoreError
from search.run.node import Node
from search.run.node_probe import Need
from search.run.nodes import Nodes
from tests.search.run.test_node_probe import DATA, OURS, VERSIONS, whole


def test_a_node_of_another_cuda_is_left_out_when_it_joins_late_too(tmp_path, monkeypatch):
    need = Need(str(tmp_path), "cifar10", [{}], "/data", DATA, gpu=True)
    events, said = [], []
    nodes = Nodes(need, OURS, said.append, events.append)
    joining = [Node(name, "h", name, {"GPU": 1.0}, whole()) for name in ("a", "b")]
    monkeypatch.setattr(nodes, "_look", lambda wait: nodes.all.update({n.id: n for n in joining}))
    nodes.begin()
    other = whole(versions={**VERSIONS, "cuda": "11.8"})
    joining.append(Node("late", "h", "late", {"GPU": 1.0}, other))
    nodes.refresh()
    nodes.refresh()
    assert [(event["id"], event["used"]) for event in events] == [
        ("a", True),
        ("b", True),
        ("late", False),
    ]
    assert nodes.all["late"].why_not == ["torch for CUDA 11.8, most nodes have 12.8"]
    assert nodes.labels() == {"ray.io/node-id": "!in(late)"}


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


def test_a_node_that_lacks_something_after_a_quarantine_is_asked_again_later(
    tmp_path, monkeypatch
):
    """A disk may be free by then; none that was left out from the beginning is."""
    events, said = [], []
    need = Need(str(tmp_path), "cifar10", [{}], "/data", DATA)
    nodes = Nodes(need, OURS, said.append, events.append)
    answer = Future()
    answer.set_result(Answer(whole(), ["12 MB free for its cache"]))
    for name, rests in (("rested", 1), ("new", 0)):
        node = Node(name, "h", name, {"CPU": 1.0}, rests=rests)
        node.asked = answer
        nodes.all[name] = node
        nodes._take(node, answer, wait=False)
    assert nodes.all["rested"].again_at is not None
    assert nodes.all["new"].again_at is None
    assert nodes.resting


def test_a_store_that_does_not_answer_holds_up_nobody_while_a_node_joins(tmp_path, monkeypatch):
    """It is asked of again when the store is there; meanwhile the driver goes on at once."""
    monkeypatch.setattr("search.run.objects.WAITS", (0.5, 0.5))
    joined = {"NodeID": "n1", "Alive": True, "NodeManagerAddress": "h", "Resources": {"CPU": 1.0}}
    monkeypatch.setattr("ray.nodes", lambda: [joined])
    asked = []

    def gone(key, function):
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
