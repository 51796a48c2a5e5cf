"""A worker that cannot end itself is ended from another process; one that is well is not."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from search.run.deadline import end_if_hung
from search.run.watch import beat_file

pytestmark = pytest.mark.long


@pytest.fixture
def worker(tmp_path):
    """A process under its own watch; called with the body of its loop."""
    started = []

    def start(body: str) -> int:
        text = f"""
import time
from pathlib import Path
from search.run.watch import Watch

with Watch(Path({str(tmp_path / "stalls" / "t.txt")!r}), 1000.0) as watch:
    print("began", flush=True)
    while True:
{textwrap.indent(body, "        ")}
"""
        process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"began\n"
        return process.pid

    yield start
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
        beat_file(process.pid).unlink(missing_ok=True)


def running(pid: int) -> bool:
    return os.waitpid(pid, os.WNOHANG) == (0, 0)


def test_a_stopped_worker_is_ended(worker):
    pid = worker("watch.alive(); time.sleep(.1)")
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.2)
    said = end_if_hung(pid, 1000.0)
    assert "stopped by a signal" in said
    assert "ended by the driver" in said
    time.sleep(0.2)
    assert not running(pid)


def test_a_worker_that_makes_no_step_is_ended(worker):
    pid = worker("time.sleep(1)")
    time.sleep(1.2)
    assert "running without a step" in end_if_hung(pid, 1.0)


@pytest.mark.parametrize(
    "body",
    ["watch.alive(); time.sleep(.1)", "with watch.paused(): time.sleep(9)"],
    ids=["steps", "waiting for the driver"],
)
def test_a_worker_that_is_well_is_left_alone(worker, body):
    pid = worker(body)
    time.sleep(2.5)
    assert end_if_hung(pid, 2.0) == ""
    assert running(pid)


def test_a_process_that_is_gone_is_said_so(worker):
    process = subprocess.Popen(["true"])
    process.wait()
    assert end_if_hung(process.pid, 1.0) == "its process is gone"


@pytest.mark.parametrize("stopped", [True, False])
def test_a_worker_between_two_jobs_is_ended_only_where_it_is_stopped(worker, stopped):
    pid = worker("time.sleep(9)")
    beat_file(pid).unlink()
    if stopped:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.2)
    said = end_if_hung(pid, math.inf)
    assert ("no step between two jobs (stopped by a signal)" in said) == stopped
    time.sleep(0.2)
    assert running(pid) != stopped
