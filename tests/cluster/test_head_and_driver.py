"""The driver's machine and the cluster's head are lost: told, and gone on with elsewhere."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from search import record
from search.run.head import LOST, PATIENCE
from tests.cluster.lab import Lab, wait
from tests.cluster.studies import events, write_study
from tests.processes import tree
from tests.tiny import decisions

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]


def end(process: subprocess.Popen[bytes]) -> None:
    """As with its machine's power."""
    for pid in tree(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()


def test_a_study_outlives_the_machine_of_its_driver_and_the_head_of_its_cluster(
    machines: Lab,
) -> None:
    """One worker at a time, so that the decisions are those of an undisturbed run."""
    work, store = machines.work, machines.folder / "store"
    write_study(work)
    own = work / "own"
    for folder in (store, own):
        folder.mkdir()
    uri, empty = f"file://{store}", f"mount -t tmpfs tmpfs {own}"
    machines.start("head", cpus=0)
    machines.start("first", empty)
    machines.ready(2)

    def tells(name: str) -> int:
        run = machines.seen(name, own / "tiny")
        return sum(e["event"] == "tell" for e in events(run))

    words = ("--runs-dir", uri, "--local-dir", "own", "--address", machines.address)
    driver = machines.driver("run", "tiny.toml", *words, log="a", on="first")
    wait(lambda: tells("first") >= 2, 300, "two jobs")
    time.sleep(6)  # until the store has them
    before = events(machines.seen("first", own / "tiny"))
    end(driver)
    machines.kill("first")
    machines.start("second", empty)
    words = (f"{uri}/tiny", "--local-dir", "own", "--address", machines.address)
    driver = machines.driver("resume", *words, log="b", on="second")
    held = sum(e["event"] == "tell" for e in before)
    wait(lambda: tells("second") >= held + 1, 300, "a job after that")

    machines.kill("head")
    began = time.monotonic()
    assert driver.wait(LOST + PATIENCE + 30) == 1, machines.said("b")
    print(f"head lost: said after {time.monotonic() - began:.0f} s")
    said = machines.said("b").splitlines()
    assert sum("Ray's head at 127.0.0.11:6379 has not answered" in line for line in said) == 1
    assert "resume" in said[-1]
    assert not [line for line in said if "Traceback" in line or "GCS" in line]
    shutil.copytree(machines.seen("second", own / "tiny"), machines.folder / "before")
    machines.kill("second")

    machines.start("third", empty)
    words = (f"{uri}/tiny", "--local-dir", "own", "--address", machines.address)
    driver = machines.driver("resume", *words, log="c", on="third")
    assert driver.wait(400) == 0, machines.said("c")
    run = machines.folder / "run"
    shutil.copytree(machines.seen("third", own / "tiny"), run)
    words = ("--name", "alone", "--address", machines.address)
    alone = machines.driver("run", "tiny.toml", *words, log="alone", on="third")
    assert alone.wait(400) == 0, machines.said("alone")

    check(run, machines.work / "runs" / "alone", machines.folder / "before")


def check(run: Path, undisturbed: Path, before: Path) -> None:
    """Nothing finished was done again, and all came out as it would have."""
    held, alone = record.load(run), record.load(undisturbed)
    assert decisions(run) == decisions(undisturbed)
    for column in ("trial", "status", "epochs", "value", "test_accuracy"):
        assert held.trials[column].equals(alone.trials[column]), column
    assert held.trials["attempts"].sum() == 0
    told = [e["trial"] for e in events(before) if e["event"] == "tell"]
    assert len(told) >= 3
    again = [e for e in events(run) if e["event"] == "again"]
    print(
        f"epochs trained twice: {held.trials['repeated_epochs'].sum()}; jobs again: {len(again)}"
    )
    assert len(again) <= 2  # what was running, once a fault
