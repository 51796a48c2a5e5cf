"""The Slurm file for real: a controller and two nodes here, a study put back in the middle.

Needs root and Debian's slurm-wlm and munge; nothing is installed, and nothing outlives the test.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from search.record.journal import read_lines

ROOT = Path(__file__).parents[2]
NEEDED = ("slurmctld", "slurmd", "munged")
MISSING = [
    name for name in NEEDED if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.cluster,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="Slurm's daemons are started as root"),
]

STUDY = """
name = "small"
task = "cifar10"
checkpoint_seconds = 1
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
train_images = 64
val_images = 16
test_images = 20
[budget]
trials_per_cell = 3
max_epochs = 8
grace_epochs = 2
reduction_factor = 2
[confirm]
seeds = [1]
"""
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
"""


@pytest.fixture
def slurm(tmp_path):
    """Runs a command of Slurm's in a cluster of two nodes; returns what it printed."""
    folder = Path("/tmp") / f"rtslurm-{os.getpid()}"  # short: sockets lie in it
    (folder / "state").mkdir(parents=True)
    held = [socket.socket() for _ in range(3)]
    for free in held:
        free.bind(("127.0.0.1", 0))
    ports = [free.getsockname()[1] for free in held]
    for free in held:
        free.close()
    host = socket.gethostname().partition(".")[0]
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=host, ports=ports, folder=folder))
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
    env = {**os.environ, "SLURM_CONF": str(config), "PATH": path}
    munge = [f"--{key}-file={folder}/munged.{key}" for key in ("pid", "log", "seed")]
    munge += [f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket"]
    daemons = [
        ["munged", "--foreground", "--force", *munge],
        ["slurmctld", "-D"],
        *(["slurmd", "-D", "-N", node] for node in ("node1", "node2")),
    ]
    running = []

    def run(*words: str) -> str:
        return subprocess.run(words, env=env, capture_output=True, text=True, timeout=30).stdout

    try:
        for words in daemons:
            running.append(
                subprocess.Popen(
                    words,
                    env=env,
                    stdout=(folder / f"{len(running)}.out").open("w"),
                    stderr=subprocess.STDOUT,
                )
            )
            time.sleep(1)
        wait_for(lambda: run("sinfo", "-h", "-o", "%D %t").strip() == "2 idle", 120)
        yield run
    finally:
        run("scancel", "--full", "--signal=KILL", "--state=RUNNING")
        run("scancel", "--user=root")
        time.sleep(2)
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
        for process in reversed(running):
            process.wait(90)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(condition, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "in vain"
        time.sleep(0.5)


def sbatch_file(folder: Path, name: str) -> Path:
    """The shipped file, its lines marked `edit` set for this machine."""
    text = (ROOT / "deploy" / "slurm" / "resnet-search.sbatch").read_text()
    command = folder / "bin" / "resnet-search"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m search "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}:{Path(sys.executable).parent}:$PATH"
    (folder / "activate").write_text(
        f'export PATH="{path}" PYTHONPATH="{ROOT}" OMP_NUM_THREADS=1\n'
    )
    for key, value in (("cpus-per-task", "1"), ("time", "00:30:00")):
        text = re.sub(rf"^#SBATCH --{key}=.*", f"#SBATCH --{key}={value}", text, flags=re.M)
    text = re.sub(r"^#SBATCH --gpus-per-node=.*\n", "", text, flags=re.M)
    for key, value in (("STUDY", "small.toml"), ("NAME", name), ("ACTIVATE", folder / "activate")):
        text = re.sub(rf"^{key}=.*", f"{key}={value}", text, flags=re.M)
    (folder / f"{name}.sbatch").write_text(text)
    return folder / f"{name}.sbatch"


def lines(path: Path, event: str) -> list[dict]:
    return [held for held in read_lines(path) if held["event"] == event] if path.exists() else []


def decided(path: Path) -> Counter:
    keys = ("trial", "cell", "epoch", "value", "verdict")
    return Counter(json.dumps([held[key] for key in keys]) for held in lines(path, "decision"))


def state(slurm, job: str) -> str:
    found = re.search(r"JobState=(\w+)", slurm("scontrol", "show", "job", job))
    return found[1] if found else "GONE"


def test_a_job_that_is_requeued_goes_on_and_decides_as_an_undisturbed_one(slurm, tmp_path):
    (tmp_path / "small.toml").write_text(STUDY)
    journal = tmp_path / "runs" / "put-back" / "decisions.jsonl"
    where = ["--parsable", "-D", str(tmp_path)]
    job = slurm("sbatch", *where, str(sbatch_file(tmp_path, "put-back"))).strip()
    log = tmp_path / f"slurm-{job}.out"
    wait_for(lambda: len(lines(journal, "tell")) >= 5, 600)
    slurm("scontrol", "requeue", job)
    wait_for(lambda: state(slurm, job) == "PENDING", 200)
    told = len(lines(journal, "tell"))
    epochs = len(read_lines(journal.with_name("epochs.jsonl")))
    slurm("scontrol", "update", f"jobid={job}", "StartTime=now")  # else in two minutes
    wait_for(lambda: state(slurm, job) == "COMPLETED", 900)

    text = log.read_text()
    assert "interrupted; everything finished is on record" in text
    assert "resnet-search resume" in text.partition("exit status 130")[2]
    assert text.rstrip().endswith("exit status 0")
    assert 5 <= told < len(lines(journal, "tell"))
    assert epochs > 0
    assert Path(f"/tmp/rt{job}h0").exists() is False  # nothing is left on a node
    plain = subprocess.run(
        [sys.executable, "-m", "search", "run", "small.toml", "--name", "plain"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert plain.returncode == 0, plain.stderr
    assert decided(journal) == decided(tmp_path / "runs" / "plain" / "decisions.jsonl")
