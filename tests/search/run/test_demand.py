"""An autoscaler brings nodes for jobs that wait, though Ray itself is never given them."""

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from search.run import demand

RAY = Path(sys.executable).with_name("ray")
STUDY = """
name = "tiny"
task = "cifar10"
[cells]
momentum = [0.8, 0.9]
[space.lr]
low = 0.01
high = 0.1
log = true
[fixed]
depth = 18
edition = "synthetic"
batch_size = 16
train_images = 32
val_images = 16
test_images = 20
[budget]
trials_per_cell = 4
max_epochs = 4
grace_epochs = 1
reduction_factor = 2
[confirm]
seeds = [1]
"""
HEAD = "f" * 51 + "00000"  # the name that Ray's own test provider gives the head


def test_what_could_run_counts_new_trials_and_jobs_that_are_out(make_study):
    study = make_study()  # two cells of five trials
    assert study.usable() == Counter({(1.0, 0.0): 10})
    study.ask()
    assert study.usable() == Counter({(1.0, 0.0): 10})
    study.put_back_all()
    assert study.usable() == Counter({(1.0, 0.0): 10})
    study.close()


def test_what_could_run_shrinks_as_the_study_ends(make_study):
    study, seen = make_study(), []
    while (job := study.ask()) is not None:
        epoch = job.train["to_epoch"]
        told = {"ending": "value", "value": 0.5, "value_epoch": epoch, "epoch": epoch}
        study.tell(job.trial, {**told, "seconds": 1.0, "node": "n", "device": "cpu"})
        seen.append(sum(study.usable().values()))
    assert study.done
    assert seen[-1] == 0
    assert demand.bundles(study) == []
    study.close()


def test_what_could_run_is_what_so_many_workers_are_given(make_study):
    study = make_study()
    count = sum(study.usable().values())
    asked = [study.ask() for _ in range(count)]
    assert None not in asked
    assert study.ask() is None
    study.close()


@pytest.fixture
def autoscaled(tmp_path, monkeypatch):
    """A Ray whose autoscaler adds up to two nodes of a CPU; (address, nodes there are now)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, temporary = f"127.0.0.1:{port}", Path("/tmp") / f"rtd-{os.getpid()}"
    worker = {"CPU": 1, "object_store_memory": 80_000_000}
    kinds = {
        "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": worker, "node_config": {}, "min_workers": 0, "max_workers": 2},
    }
    lists = ("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands")
    commands = ("setup_commands", "head_setup_commands", "worker_setup_commands")
    starts = ("head_start_ray_commands", "worker_start_ray_commands")
    config = {
        "cluster_name": "test",
        "max_workers": 2,
        "idle_timeout_minutes": 1,
        "upscaling_speed": 1.0,
        "provider": {"type": "fake_multinode", "gcs_address": address},
        "available_node_types": kinds,
        "head_node_type": "ray.head.default",
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "auth": {},
        "docker": {},
        **{key: [] for key in (*lists, *commands, *starts)},
    }
    (tmp_path / "autoscaler.json").write_text(json.dumps(config))
    # for all who take part: a Ray that finds a token of the user's asks for it
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    switches = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    switches["RAY_OVERRIDE_NODE_ID_FOR_TESTING"] = HEAD
    head = subprocess.Popen(
        [
            *(RAY, "start", "--head", "--block", f"--port={port}", "--num-cpus=1"),
            *("--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats"),
            *(f"--temp-dir={temporary}", "--object-store-memory=80000000"),
            f"--autoscaling-config={tmp_path / 'autoscaler.json'}",
        ],
        env={**os.environ, **switches},
        stdout=(tmp_path / "head.log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        _wait_for(lambda: "ray start --address" in (tmp_path / "head.log").read_text(), 60)
        yield address
    finally:
        for process in _below(head.pid):
            os.kill(process, 9)
        head.wait()
        subprocess.run(["rm", "-rf", temporary], check=False)


def _below(root: int) -> list[int]:
    """A process and all that it has started, and they."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rpartition(")")[2].split()[1]
                )
            except OSError:
                continue
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def _wait_for(condition, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "in vain"
        time.sleep(0.5)


WATCH = """
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
until = time.monotonic() + 100
while (held := sum(n["Alive"] for n in ray.nodes())) < 2 and time.monotonic() < until:
    time.sleep(0.5)
print("nodes", held)
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_autoscaler_adds_a_node_for_a_study_that_has_jobs_left(autoscaled, tmp_path):
    (tmp_path / "tiny.toml").write_text(STUDY)
    words = ["run", "tiny.toml", "--address", autoscaled]
    driver = subprocess.Popen(
        [sys.executable, "-m", "search", *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watcher = subprocess.run(
        [sys.executable, "-c", WATCH, autoscaled], capture_output=True, text=True, timeout=150
    )
    text = driver.communicate(timeout=150)[0]
    assert watcher.stdout.strip() == "nodes 2", watcher.stderr + text
    assert driver.returncode == 0, text
