"""Real Ray, real training, a local S3 server: a study whose driver is lost, and its faults."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from pyarrow import fs

from search import record
from search.record.journal import read_lines
from search.run import machine
from tests.search.run.whole_studies import command, start, wait_for_lines
from tests.tiny import decisions, tiny_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


STUDY = tiny_study('network = ["shufflenet_v2_x0_5"]', trials=3, fixed="")


@pytest.fixture
def here(tmp_path):
    """A folder with a study of one cell, whose jobs run one after another."""
    cores = f"[resources]\ncpus_per_trial = {machine.cores()}\n"
    (tmp_path / "tiny.toml").write_text(STUDY + cores)
    return tmp_path


def done(folder, *words):
    """A command's output; it must end well."""
    held = subprocess.run(command(*words), cwd=folder, capture_output=True, text=True)
    assert held.returncode == 0, held.stdout + held.stderr
    return held.stdout + held.stderr


@pytest.mark.cluster
def test_a_killed_driver_is_followed_by_one_on_an_empty_disk(here, s3, bucket):
    """Over S3 with refused writes, a read that is cut off and three seconds without a server."""
    done(here, "run", "tiny.toml", "--runs-dir", "undisturbed")
    uri = f"{bucket}/runs"
    process = start(here, "run", "tiny.toml", "--runs-dir", uri, "--local-dir", "a")
    wait_for_lines(here / "a" / "tiny" / record.EPOCHS, 2, process)
    s3.refuse = 5
    wait_for_lines(here / "a" / "tiny" / record.EPOCHS, 3, process)
    s3.gone_for(3)
    wait_for_lines(here / "a" / "tiny" / record.EPOCHS, 6, process)
    time.sleep(5)  # until the mirror has looked
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = read_lines(here / "a" / "tiny" / record.JOURNAL)
    assert len(decisions(here / "a" / "tiny")) > 0
    shutil.rmtree(here / "a")

    s3.cut = 1
    said = done(here, "resume", f"{uri}/tiny", "--local-dir", "b")
    assert s3.seen == 6
    assert "are trained again" not in said  # its checkpoints were there
    run = here / "b" / "tiny"
    after = read_lines(run / record.JOURNAL)
    held = [e for e in after if e in before]
    assert len(held) >= len(before) - 2  # what the mirror had not handed in yet
    assert decisions(run) == decisions(here / "undisturbed" / "tiny")
    told = record.load(run)
    plain = record.load(here / "undisturbed" / "tiny")
    for column in ("trial", "status", "epochs", "value", "test_accuracy"):
        assert told.trials[column].equals(plain.trials[column]), column
    assert told.per_image.equals(plain.per_image)
    assert told.trials["repeated_epochs"].sum() <= 1
    assert not list(here.rglob("s3:*"))
    files, base = fs.FileSystem.from_uri(f"{uri}/tiny")
    there = files.get_file_info(fs.FileSelector(base, recursive=True))
    assert not [i.path for i in there if i.is_file and "/checkpoints/" in i.path and i.size]
    assert not [i.path for i in there if i.is_file and "/lock/" in i.path and i.size]

    assert "1/1" in done(here, "status", f"{uri}/tiny")
    done(here, "fetch", f"{uri}/tiny", "--to", "c")
    assert record.load(here / "c").per_image.equals(plain.per_image)


def test_a_node_without_the_run_folder_loses_its_jobs_and_makes_nothing(here):
    """The driver's own folder, taken away under its workers: as a node that never had it."""
    process = start(here, "run", "tiny.toml")
    run = here / "runs" / "tiny"
    wait_for_lines(run / record.EPOCHS, 1, process)
    (run / record.STUDY).rename(here / "study.json")
    output, _ = process.communicate(timeout=120)
    (here / "study.json").rename(run / record.STUDY)
    assert process.returncode == 1, output
    assert f"does not see the run folder {run}" in output
    assert "the study cannot go on" in output
    events = read_lines(run / record.JOURNAL)
    lost = [e for e in events if e["event"] == "lost"]
    assert {e["cause"] for e in lost} == {"run folder"}
    assert all(f"does not see the run folder {run}" in e["error"] for e in lost)
    assert all(e["ending"] != "failed" for e in events if e["event"] == "tell")
