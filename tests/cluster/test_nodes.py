"""Nodes that differ take no jobs, and the table is that of those that do not."""

from __future__ import annotations

import pytest

from search import record
from tests.cluster.lab import ADDRESS, Lab, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_nodes_that_differ_are_left_out_and_a_sound_one_that_joins_late_is_used(
    machines: Lab,
) -> None:
    work, code, other = machines.work, machines.code, machines.folder / "other"
    machines.start("whole")
    machines.start("unshared", f"mount -t tmpfs tmpfs {work}")
    machines.start("readonly", f"mount --bind {work} {work}; mount -o remount,ro,bind {work}")
    changed = f"cp -r {code} {other}; echo '# other' >> {other}/trainables/engine/train.py"
    machines.start("changed", f"{changed}; mount --bind {other} {code}")
    machines.start("bare", machines.without_package)
    machines.ready(5)

    driver = machines.driver("run", "tiny.toml", "--address", ADDRESS)
    epochs = work / "runs" / "tiny" / record.EPOCHS
    wait(lambda: epochs.is_file() and epochs.stat().st_size, 120, "an epoch")
    machines.start("late")
    assert driver.wait(200) == 0, machines.said()

    left_out = {
        "unshared": "it does not see the run folder",
        "readonly": "it cannot write the run folder",
        "changed": "it has other code of resnet-tune",
        "127.0.0.15": "its worker cannot import the package (ModuleNotFoundError",
    }
    lines = machines.said().splitlines()
    for name, why in left_out.items():
        told = [line for line in lines if f"node {name} (127.0.0.1" in line]
        assert len(told) == 1
        assert f"LEFT OUT: {why}" in told[0]
    held = record.load(work / "runs" / "tiny")
    assert set(held.trials["node"]) == {"whole", "late"}
    assert held.trials["code"].nunique() == 1
    assert set(held.trials["status"]) == {"completed", "stopped"}
    assert not (work / "runs" / "tiny" / "probe").exists()
    joined = [e for e in record.read_events(work / "runs" / "tiny") if e["event"] == "node"]
    assert {e["node"]: e["used"] for e in joined} == {
        **dict.fromkeys(left_out, False),
        "whole": True,
        "late": True,
    }


def test_nodes_answer_through_the_store_of_a_study_at_a_uri(machines: Lab) -> None:
    store = machines.folder / "store"
    store.mkdir()
    machines.start("whole")
    machines.start("unshared", f"mount -t tmpfs tmpfs {store}")
    machines.ready(2)

    words = ("--address", ADDRESS, "--runs-dir", f"file://{store}", "--local-dir", "own")
    driver = machines.driver("run", "tiny.toml", *words)

    assert driver.wait(200) == 0, machines.said()
    lines = machines.said().splitlines()
    (told,) = [line for line in lines if "node unshared (127.0.0.12" in line]
    assert "LEFT OUT: it does not see the store" in told
    held = record.load(machines.work / "own" / "tiny")
    assert set(held.trials["node"]) == {"whole"}
    assert len(held.per_image) > 0
    assert not list(store.glob("tiny/probe/*"))
    assert not (machines.work / "own" / "tiny" / "probe").exists()


def test_strict_refuses_a_cluster_of_which_one_node_differs(machines: Lab) -> None:
    machines.start("whole")
    machines.start("unshared", f"mount -t tmpfs tmpfs {machines.work}")
    machines.ready(2)

    driver = machines.driver("run", "tiny.toml", "--address", ADDRESS, "--strict")

    assert driver.wait(100) == 1
    assert "1 of 2 nodes cannot take this study's jobs, and --strict asks" in machines.said()
    assert not (machines.work / "runs" / "tiny").exists()


def test_a_node_without_the_package_gets_it_from_the_driver(machines: Lab) -> None:
    machines.start("head", cpus=0)
    machines.start("bare", machines.without_package)
    machines.ready(2)

    driver = machines.driver("run", "tiny.toml", "--address", ADDRESS, "--ship-code")

    assert driver.wait(200) == 0, machines.said()
    trials = record.load(machines.work / "runs" / "tiny").trials
    assert set(trials["node"]) == {"bare"}
    assert trials["code"].nunique() == 1
