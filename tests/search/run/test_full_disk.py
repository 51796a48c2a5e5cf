"""Real Ray on a disk that fills up: one line, and nothing lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search import record
from search.record.journal import read_lines
from tests.search.run.whole_studies import command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize("kilobytes", [12, 84])
def test_a_full_disk_is_one_line_and_costs_no_trial(study, kilobytes):
    """study.json, logs, frames or the checkpoints of workers: whatever comes first."""
    disk = study / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    one = ["--set", "cells.pretrained=[false]", "--runs-dir", "disk"]
    try:
        first = subprocess.run(
            command("run", "tiny.toml", *one), cwd=study, capture_output=True, text=True
        )
        assert first.returncode == 1, first.stdout + first.stderr
        assert len(first.stderr.splitlines()) == 1
        assert "No space left" in first.stderr
        assert str(disk) in first.stderr
        subprocess.run(["mount", "-o", "remount,size=500m", str(disk)], check=True)
        words = ["resume", "disk/tiny"] if (disk / "tiny" / record.STUDY).exists() else []
        done = subprocess.run(
            command(*(words or ["run", "tiny.toml", *one])),
            cwd=study,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        trials = record.load(disk / "tiny").trials
        assert set(trials["status"]) == {"completed", "stopped"}
        assert trials["attempts"].sum() == 0
        shares = [w.split("/") for w in done.stdout.split() if w.startswith("[") and "/" in w]
        assert shares
        assert all(int(now[1:]) <= int(of) for now, of in shares)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


FULL = """
import sys
from search.record import journal
from search.cli.main import main

write, seen = journal.Appender.write, 0

def fill_up(self, event):
    global seen
    if {what}:
        seen += 1
        if seen == 2:
            raise OSError(28, "No space left on device")
    write(self, event)

journal.Appender.write = fill_up
sys.exit(main(["run", "tiny.toml", "--set", "cells.pretrained=[false]"]))
"""


@pytest.mark.parametrize("what", ['event.get("event") == "tell"', '"row" in event'])
def test_a_full_disk_ends_the_run_with_the_reason_and_resume_goes_on(study, what):
    """An error of the study's own, which Ray would swallow: neither a hang nor a lost job."""
    (study / "full.py").write_text(FULL.replace("{what}", what))
    done = subprocess.run(
        [sys.executable, "full.py"],
        cwd=study,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "No space left on device" in done.stderr
    assert "resnet-search resume" in done.stderr
    assert "Traceback" not in done.stderr
    # Ray did not die: nothing was started again behind the user's back
    before = read_lines(study / "runs" / "tiny" / record.JOURNAL)
    assert not [e for e in before if e["event"] in ("ray died", "again")]
    done = subprocess.run(
        command("resume", "runs/tiny"), cwd=study, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(record.load(study / "runs" / "tiny").trials["status"]) == {"completed", "stopped"}
