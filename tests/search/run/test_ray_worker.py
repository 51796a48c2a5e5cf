"""What a worker process reports, and what is known of one that hangs or cannot write."""

import json
import os
import platform
import subprocess
import sys
import time

import pytest
from ray import cloudpickle

from search.run.bootstrap import run_job
from search.run.deadline import end_if_hung
from tests.search.run.test_worker import worker_job

pytestmark = pytest.mark.long

JOB = """
import json, os, sys
from ray import tune
from search.run import bootstrap, ray_worker, watch
tune.report = lambda told: print(json.dumps(told), flush=True)
{before}
try:
    bootstrap.run_job({{"job": sys.argv[1]}})
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


# what an editable install would find, as if it were not there
BARE = """
import sys
from pathlib import Path
sys.path = [path for path in sys.path if not (Path(path) / "search" / "run").is_dir()]
sys.meta_path = [f for f in sys.meta_path if "editable" not in str(f).lower()]
"""

ELSEWHERE = """
import json
from ray import cloudpickle, tune
tune.report = lambda told: print(json.dumps(told), flush=True)
run_job, end_if_hung = cloudpickle.loads(Path(sys.argv[2]).read_bytes())
assert not any(name.partition(".")[0] in ("search", "trainables") for name in sys.modules)
if len(sys.argv) > 3:
    print(end_if_hung(int(sys.argv[3]), 0.5))
else:
    run_job({"job": sys.argv[1]})
"""


@pytest.fixture
def elsewhere(tmp_path):
    """Called with where the package is: a process that Ray's pickle of a job was taken to."""
    path, started = tmp_path / "job.pickle", []
    path.write_bytes(cloudpickle.dumps((run_job, end_if_hung)))
    job = json.dumps(vars(worker_job(tmp_path, score_test=False)))

    def start(package, *more):
        words = [sys.executable, "-c", BARE + ELSEWHERE, job, str(path), *more]
        env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(package)}
        kept = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(words, text=True, env=env, cwd=tmp_path, **kept)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_worker_that_hangs_as_it_imports_the_package_is_known_and_can_be_ended(
    elsewhere, tmp_path
):
    """Also by a process that would hang in the same import: neither needs it."""
    (tmp_path / "code" / "search").mkdir(parents=True)
    hangs = "import time; time.sleep(1000)"  # stands for a file system that does not answer
    (tmp_path / "code" / "search" / "__init__.py").write_text(hangs)
    process = elsewhere(tmp_path / "code")
    begin = json.loads(process.stdout.readline())
    assert begin["kind"] == "begin"
    assert json.loads(begin["payload"])["pid"] == process.pid
    other = elsewhere(tmp_path / "code", str(process.pid))
    said = other.communicate(timeout=50)[0]
    assert "as it imported the package" in said
    assert process.wait(5) == -9


def test_a_worker_that_cannot_import_the_package_says_so_with_its_place(elsewhere, tmp_path):
    process = elsewhere(tmp_path / "nothing")
    begin, end = (json.loads(line) for line in process.communicate(timeout=50)[0].splitlines())
    assert json.loads(begin["payload"])["node"] == platform.node()
    told = json.loads(end["payload"])
    assert (end["kind"], told["ending"], told["infrastructure"]) == ("end", "failed", "import")
    assert told["error"].endswith("ModuleNotFoundError: No module named 'search'")
    assert process.returncode == 1
