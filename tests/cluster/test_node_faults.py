"""Workers that hang, are stopped or take all memory, and disks that are full, each on one node.

Each is told with its node, costs no config an attempt, and the others go on meanwhile.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from search import record
from tests.cluster.lab import Lab, wait
from tests.cluster.studies import alike, events, write_study

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1200)]

GROUPS = Path("/sys/fs/cgroup/memory")  # version 1, as it is where root may make groups by hand
MEMORY_MB = 2000  # of the machine that has little: enough for its Ray and a worker


def lost(run: Path, node: str) -> list[dict]:
    return [e for e in events(run) if e["event"] == "lost" and e["node"] == node]


def undisturbed(machines: Lab, name: str, *more: str) -> Path:
    """The same study without a fault."""
    words = ("--name", name, "--address", machines.address, *more)
    driver = machines.driver("run", "tiny.toml", *words, log=name)
    assert driver.wait(400) == 0, machines.said(name)
    return machines.work / "runs" / name


def test_stopped_and_hung_workers_are_ended_and_a_full_temporary_folder_is_its_nodes_own(
    machines: Lab,
) -> None:
    """Over a store, so that the stack of the one that hung lies on its node at first."""
    work, store = machines.work, machines.folder / "store"
    write_study(work)
    store.mkdir()
    machines.start("head", cpus=0)
    for name in ("first", "second", "third"):
        folder = machines.folder / f"tmp-{name}"
        folder.mkdir()
        machines.start(name, f"export TMPDIR={folder}")
    machines.ready(4)
    run = work / "own" / "tiny"
    words = ("--runs-dir", f"file://{store}", "--local-dir", "own", "--address", machines.address)
    driver = machines.driver("run", "tiny.toml", *words)

    wait(lambda: run.is_dir() and all(map(machines.workers, ("first", "second"))), 400, "workers")
    wait(lambda: any(e["event"] == "tell" for e in events(run)), 200, "a job")
    (work / "hang-first").touch()
    wait(lambda: machines.workers("second"), 200, "its next job")  # the first may be its own
    os.kill(machines.workers("second")[0], signal.SIGSTOP)
    began = time.monotonic()
    machines.at("third", f"mount -t tmpfs -o size=64k tmpfs {machines.folder}/tmp-third")
    wait(lambda: lost(run, "third"), 200, "a full disk")
    print(f"full temporary folder: told after {time.monotonic() - began:.0f} s")
    wait(lambda: list((store / "tiny" / "stalls").glob("*")) or stalled(run), 300, "a stack")
    print(f"hung worker: told after {time.monotonic() - began:.0f} s")
    (work / "hang-first").unlink()
    wait(lambda: lost(run, "second"), 300, "a stopped worker")
    print(f"stopped worker: told after {time.monotonic() - began:.0f} s")
    machines.at("third", f"umount {machines.folder}/tmp-third")
    assert driver.wait(400) == 0, machines.said()

    (stopped,) = lost(run, "second")
    assert stopped["cause"] == "silent"
    assert "stopped by a signal" in stopped["error"]
    # the mount hides the files of the job that runs there, and then has no room for another
    full = [e for e in lost(run, "third") if e["cause"] == "disk"]
    assert full
    assert {e["cause"] for e in lost(run, "third")} <= {"disk", "read or write"}
    assert "tmp-third" in full[0]["error"]
    rested = [e for e in events(run) if e["event"] == "quarantine"]
    assert {e["node"] for e in rested} == {"third"}
    held = record.load(run)
    (hung,) = stalled(run)
    assert "says where it stood" in hung["error"]
    assert held.trials["attempts"].sum() == 1  # that of the hung one, which may be its own fault
    assert set(held.trials["status"]) == {"completed", "stopped"}
    stacks = [path.read_text() for path in (run / "stalls").glob("*.txt")]
    assert any("in forward" in text for text in stacks)
    print("epochs trained twice:", held.trials["repeated_epochs"].sum())
    alike(run, undisturbed(machines, "alone"))


def stalled(run: Path) -> list[dict]:
    told = [e for e in events(run) if e["event"] == "tell" and e.get("ending") == "failed"]
    return [e for e in told if "stalled_seconds" in e["error"]]


@pytest.fixture
def little(machines: Lab) -> Iterator[str]:
    """Shell commands by which a machine has little memory: a group of processes with a limit."""
    group = GROUPS / f"lab-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(MEMORY_MB * 2**20))
    except OSError as error:
        pytest.skip(f"no group of processes can be made here: {error}")
    yield f"echo $$ > {group}/cgroup.procs"
    machines.close_nodes()
    wait(lambda: not (group / "cgroup.procs").read_text(), 30, "the end of its processes")
    group.rmdir()


def test_a_node_without_memory_rests_until_it_is_well_and_then_one_of_its_disks_is_full(
    machines: Lab, little: str
) -> None:
    work = machines.work
    write_study(work)
    machines.start("head", cpus=0)
    machines.start("first")
    machines.start("little", little)
    machines.ready(3)
    run = work / "runs" / "tiny"
    (work / "eat-little").touch()
    (work / "slow-first").touch()  # so that there is work left when the other comes back
    driver = machines.driver("run", "tiny.toml", "--address", machines.address)

    def rests() -> list[dict]:
        return [e for e in events(run) if e["event"] == "quarantine"]

    wait(lambda: len(lost(run, "little")) >= 2, 400, "two workers without memory")
    assert {e["cause"] for e in lost(run, "little")} == {"memory"}
    wait(rests, 10, "a quarantine")
    (work / "eat-little").unlink()
    began = time.monotonic()

    def again() -> bool:
        held = [e for e in events(run) if e["event"] in ("node", "quarantine")]
        return held[-1]["event"] == "node" and held[-1]["used"]

    wait(again, 200, "its second probe")
    print(f"quarantine: over after {time.monotonic() - began:.0f} s")
    before = len(lost(run, "little"))
    wait(lambda: machines.workers("little"), 200, "a job there")
    machines.at("little", f"mount -t tmpfs -o size=16k tmpfs {run}/checkpoints")
    began = time.monotonic()
    wait(lambda: len(lost(run, "little")) > before, 200, "a full disk")
    print(f"full disk in the run folder: told after {time.monotonic() - began:.0f} s")
    machines.at("little", f"umount {run}/checkpoints")
    (work / "slow-first").unlink()
    assert driver.wait(400) == 0, machines.said()

    assert [e["cause"] for e in lost(run, "little")][before:] == ["disk"]
    assert f"{run}/checkpoints" in rests()[-1]["why"]
    assert len([line for line in machines.said().splitlines() if "quarantine" in line]) == 2
    held = record.load(run)
    assert held.trials["attempts"].sum() == 0
    assert set(held.trials["status"]) == {"completed", "stopped"}
    print("epochs trained twice:", held.trials["repeated_epochs"].sum())
    alike(run, undisturbed(machines, "alone"))


def test_a_worker_that_hangs_as_it_imports_is_ended_and_a_mended_node_is_used(
    machines: Lab,
) -> None:
    """A module that sleeps as it is imported stands for a package on a dead file system."""
    work, code = machines.work, machines.code
    write_study(work)
    hangs = machines.folder / "hangs.py"
    hangs.write_text("import time\ntime.sleep(10000)\n")
    machines.start("head", cpus=0)
    machines.start("first")
    machines.start("second")
    machines.start("blind", f"mount -t tmpfs tmpfs {work}")
    machines.ready(4)
    run = work / "runs" / "tiny"
    (work / "slow-second").touch()  # so that there is work left when the others come back
    more = ("--set", "budget.trials_per_cell=16")
    driver = machines.driver("run", "tiny.toml", "--address", machines.address, *more)

    wait(lambda: machines.workers("first") and events(run), 300, "a job")
    machines.at("first", f"mount --bind {hangs} {code}/search/run/ray_worker.py")
    os.kill(machines.workers("first")[0], signal.SIGKILL)
    wait(lambda: lost(run, "first"), 100, "a lost worker")
    machines.at("blind", f"umount {work}")
    began = time.monotonic()

    def used() -> bool:
        held = [e for e in events(run) if e["event"] == "node" and e["node"] == "blind"]
        return held[-1]["used"]

    wait(used, 200, "its second probe")
    print(f"left out and mended: used after {time.monotonic() - began:.0f} s")
    wait(lambda: len(lost(run, "first")) >= 2, 300, "a worker that hangs")
    print(f"hung as it imports: told after {time.monotonic() - began:.0f} s")
    machines.at("first", f"umount {code}/search/run/ray_worker.py")
    (work / "slow-second").unlink()
    assert driver.wait(400) == 0, machines.said()

    assert [e["cause"] for e in lost(run, "first")][:2] == ["process", "silent"]
    assert "as it imported the package" in lost(run, "first")[1]["error"]
    lines = [line for line in machines.said().splitlines() if "node blind" in line]
    assert "LEFT OUT: it does not see the run folder" in lines[0]
    assert lines[0].endswith("it is asked again in 30 s")
    assert lines[-1].endswith("it was left out before, and takes jobs now")
    held = record.load(run)
    assert "blind" in {e.get("node") for e in events(run) if e["event"] == "tell"}
    assert held.trials["attempts"].sum() == 0
    assert set(held.trials["status"]) == {"completed", "stopped"}
    print("epochs trained twice:", held.trials["repeated_epochs"].sum())
    alike(run, undisturbed(machines, "alone", *more))
