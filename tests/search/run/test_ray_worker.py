"""What a worker process reports, and what is known of one that hangs or cannot write."""

import json
import os
import subprocess
import sys
import time

import pytest

from search.run.deadline import end_if_hung
from tests.search.run.test_worker import worker_job

pytestmark = pytest.mark.long

JOB = """
import json, os, sys
from ray import tune
from search.run import ray_worker, watch
tune.report = lambda told: print(json.dumps(told), flush=True)
{before}
try:
    ray_worker.run_job({{"job": sys.argv[1]}})
except ray_worker.JobFailed:
    print("failed", flush=True)
"""


@pytest.fixture
def worker(tmp_path):
    """Called with what is done before a job: the process that runs it and prints its reports."""
    started = []

    def start(before):
        words = [sys.executable, "-c", JOB.format(before=before)]
        words.append(json.dumps(vars(worker_job(tmp_path, score_test=False))))
        env = {**os.environ, "TMPDIR": str(tmp_path)}
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_worker_that_hangs_in_its_run_folder_is_known_and_can_be_ended(
    worker, tmp_path, monkeypatch
):
    """A pipe that nobody reads stands for a network's file system that does not answer."""
    process = worker('os.mkfifo(watch.stall_file(json.loads(sys.argv[1])["run"], "t"))')
    begin = json.loads(process.stdout.readline())
    assert begin["kind"] == "begin"
    assert json.loads(begin["payload"])["pid"] == process.pid
    time.sleep(1.0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where that worker's step is marked
    said = end_if_hung(process.pid, 0.5)
    assert "running without a step" in said
    assert process.wait(5) == -9


def test_a_worker_that_hangs_before_its_watch_is_ended_too(worker):
    """The driver has waited for it as long as for any other."""
    hang = "import time; ray_worker.stall_file = lambda *held: time.sleep(100)"
    process = worker(hang)
    assert json.loads(process.stdout.readline())["kind"] == "begin"
    assert "running without a step" in end_if_hung(process.pid, 0.5)
    assert process.wait(5) == -9


def test_a_temporary_folder_without_room_is_told_as_a_full_disk(worker):
    # a link stands for the full disk here; in earnest none is followed
    follow = "watch._BEAT &= ~os.O_NOFOLLOW; "
    process = worker(f'{follow}watch.beat_file(os.getpid()).symlink_to("/dev/full")')
    told = process.communicate(timeout=50)[0].splitlines()
    begin, end = (json.loads(line) for line in told[:2])
    assert (begin["kind"], end["kind"], told[2:]) == ("begin", "end", ["failed"])
    assert json.loads(end["payload"])["disk"].endswith(".beat: No space left on device")
