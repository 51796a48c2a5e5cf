"""An autoscaler brings nodes for jobs that wait, though Ray itself is never given them."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from search.run import demand
from tests.tiny import tiny_study

RAY = Path(sys.executable).with_name("ray")
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


def test_an_autoscaler_that_does_not_answer_is_told_once_and_hides_no_error(
    make_study, monkeypatch
):
    def gone(bundles):
        raise RuntimeError("GCS is gone")

    monkeypatch.setattr(demand, "request_resources", gone)
    study, said = make_study(), []
    study._watcher.noted = said.append
    asks = demand.Demand(study)
    for _ in range(3):
        asks._next = 0.0
        asks.on_step_begin(0, [])
    assert said == ["note: no room can be asked of an autoscaler (GCS is gone)"]
    monkeypatch.setattr(demand, "_asked", [{"CPU": 1.0}])
    with pytest.raises(OSError, match="a full disk"), demand.withdrawn():
        raise OSError("a full disk")
    study.close()


@pytest.fixture
def autoscaled(tmp_path, monkeypatch):
    """A Ray whose autoscaler adds up to two nodes of a CPU; (address, nodes there are now)."""
    port = _free_port()
    address = f"127.0.0.1:{port}"
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
    with _head(tmp_path, port, switches, f"--autoscaling-config={tmp_path / 'autoscaler.json'}"):
        yield address


@contextmanager
def _head(folder, port, switches, *options):
    """A head of a CPU."""
    temporary = Path("/tmp") / f"rtd-{os.getpid()}"  # short: sockets lie in it
    head = subprocess.Popen(
        [
            *(RAY, "start", "--head", "--block", f"--port={port}", "--num-cpus=1"),
            *("--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats"),
            *(f"--temp-dir={temporary}", "--object-store-memory=80000000", *options),
        ],
        env={**os.environ, **switches},
        stdout=(folder / "head.log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        _wait_for(lambda: "ray start --address" in (folder / "head.log").read_text(), 60)
        yield
    finally:
        for process in _below(head.pid):
            os.kill(process, 9)
        head.wait()
        shutil.rmtree(temporary, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


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
until = time.monotonic() + 150
while (held := sum(n["Alive"] for n in ray.nodes())) < 2 and time.monotonic() < until:
    time.sleep(0.5)
print("nodes", held)
"""


# what version 2 of the autoscaler, KubeRay's, reads from the head
REQUESTED = """
import sys
from search.run import cluster, demand
import ray
from ray._raylet import GcsClient
from ray.core.generated.autoscaler_pb2 import GetClusterResourceStateReply

def held():
    state = GetClusterResourceStateReply()
    state.ParseFromString(GcsClient(address=sys.argv[1]).get_cluster_resource_state())
    asked = state.cluster_resource_state.cluster_resource_constraints
    rows = [row for one in asked for row in one.resource_requests]
    return [(row.count, dict(row.request.resources_bundle)) for row in rows]

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
with demand.withdrawn():
    demand.ask([{"CPU": 1.0}] * 3)
    print(held())
print(held())
"""


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_a_request_stands_until_the_experiment_ends(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    port = _free_port()
    with _head(tmp_path, port, {"RAY_enable_autoscaler_v2": "1"}):
        asked = subprocess.run(
            [sys.executable, "-c", REQUESTED, f"127.0.0.1:{port}"], capture_output=True, text=True
        )
    assert asked.stdout.split("\n")[:2] == ["[(3, {'CPU': 1.0})]", "[]"], asked.stderr


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_an_autoscaler_adds_a_node_for_a_study_that_has_jobs_left(autoscaled, tmp_path):
    (tmp_path / "tiny.toml").write_text(tiny_study())
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
        [sys.executable, "-c", WATCH, autoscaled], capture_output=True, text=True, timeout=200
    )
    text = driver.communicate(timeout=150)[0]
    assert watcher.stdout.strip() == "nodes 2", watcher.stderr + text
    assert driver.returncode == 0, text
