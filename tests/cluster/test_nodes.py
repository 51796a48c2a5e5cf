"""Nodes that differ take no jobs, and the table is that of those that do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from search import record
from tests.cluster.conftest import empty_lab
from tests.cluster.lab import ADDRESS, Lab, wait

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(300)]

SMALL = ("--set", "budget.trials_per_cell=2", "--epochs", "1")
LEFT_OUT = {
    "unshared": "it does not see the run folder",
    "readonly": "it cannot write the run folder",
    "changed": "it has other code of resnet-tune",
    "127.0.0.15": "its worker cannot import the package (ModuleNotFoundError",
}


@pytest.fixture(scope="module")
def mixed() -> Iterator[Lab]:
    """One sound node, and one for each way in which a node may differ."""
    with empty_lab() as machines:
        start(machines)
        yield machines


def start(machines: Lab) -> None:
    work, code, other = machines.work, machines.code, machines.folder / "other"
    store = machines.folder / "store"
    store.mkdir()
    machines.start("whole")
    machines.start("unshared", f"mount -t tmpfs tmpfs {work}; mount -t tmpfs tmpfs {store}")
    machines.start("readonly", f"mount --bind {work} {work}; mount -o remount,ro,bind {work}")
    changed = f"cp -r {code} {other}; echo '# other' >> {other}/trainables/engine/train.py"
    machines.start("changed", f"{changed}; mount --bind {other} {code}")
    machines.start("bare", machines.without_package)
    machines.ready(5)


def test_strict_refuses_a_cluster_of_which_one_node_differs(mixed: Lab) -> None:
    driver = mixed.driver("run", "tiny.toml", "--address", ADDRESS, "--strict", log="strict")

    assert driver.wait(150) == 1, mixed.said("strict")
    assert "4 of 5 nodes cannot take this study's jobs, and --strict asks" in mixed.said("strict")
    assert not (mixed.work / "runs" / "tiny").exists()


def test_nodes_that_differ_are_left_out_and_a_sound_one_that_joins_late_is_used(
    mixed: Lab,
) -> None:
    run = mixed.work / "runs" / "tiny"
    driver = mixed.driver("run", "tiny.toml", "--address", ADDRESS)
    wait(lambda: (run / record.EPOCHS).is_file(), 120, "a log")
    mixed.start("late")
    assert driver.wait(250) == 0, mixed.said()

    lines = mixed.said().splitlines()
    for name, why in LEFT_OUT.items():
        told = [line for line in lines if f"node {name} (127.0.0.1" in line]
        assert len(told) == 1
        assert f"LEFT OUT: {why}" in told[0]
    held = record.load(run)
    assert set(held.trials["node"]) == {"whole", "late"}
    assert held.trials["code"].nunique() == 1
    assert set(held.trials["status"]) == {"completed", "stopped"}
    assert not (run / "probe").exists()
    joined = [event for event in record.read_events(run) if event["event"] == "node"]
    used = {"whole": True, "late": True, **dict.fromkeys(LEFT_OUT, False)}
    assert {event["node"]: event["used"] for event in joined} == used


def test_nodes_without_the_package_or_with_another_get_it_from_the_driver(mixed: Lab) -> None:
    words = ("--address", ADDRESS, "--ship-code", "--name", "shipped", *SMALL)
    driver = mixed.driver("run", "tiny.toml", *words, log="shipped")

    assert driver.wait(250) == 0, mixed.said("shipped")
    run = mixed.work / "runs" / "shipped"
    joined = [event for event in record.read_events(run) if event["event"] == "node"]
    used = {event["node"] for event in joined if event["used"]}
    assert used == {"whole", "late", "changed", "bare"}
    assert record.load(run).trials["code"].nunique() == 1


def test_nodes_answer_through_the_store_of_a_study_at_a_uri(mixed: Lab) -> None:
    store = mixed.folder / "store"
    words = ("--address", ADDRESS, "--runs-dir", f"file://{store}", "--local-dir", "own")
    driver = mixed.driver("run", "tiny.toml", *words, *SMALL, log="store")

    assert driver.wait(250) == 0, mixed.said("store")
    lines = mixed.said("store").splitlines()
    (told,) = [line for line in lines if "node unshared (127.0.0.12" in line]
    assert "LEFT OUT: it does not see the store" in told
    held = record.load(mixed.work / "own" / "tiny")
    assert set(held.trials["node"]) <= {"whole", "late", "readonly"}
    assert len(held.per_image) > 0
    assert not list(store.glob("tiny/probe/*"))
    assert not (mixed.work / "own" / "tiny" / "probe").exists()
