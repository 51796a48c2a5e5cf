"""Who of a cluster takes jobs, without a cluster; with one see tests/cluster."""

from __future__ import annotations

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
