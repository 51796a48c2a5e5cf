"""What Ray's own experiment does to a study: its files, its deaths, its schedulers."""

import contextlib
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search import record
from search.record.journal import read_lines
from tests.search.run.whole_studies import command, start, wait_for_lines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Trap:
    """What a malicious pickle would do."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_pickle_that_somebody_puts_into_the_run_folder_is_not_run(study):
    """Ray loads the error of a trial from a file of its experiment's folder."""
    run, mark, trap = study / "runs" / "tiny", study / "was-run", study / "trap"
    trap.write_bytes(pickle.dumps(Trap(mark)))
    pickle.loads(trap.read_bytes())
    assert mark.exists()  # it would bite
    mark.unlink()
    words = ("--weights-dir", "weights", "--set", "cells.pretrained=[true]")
    process = start(study, "run", "tiny.toml", *words)
    wait_for_lines(run / record.JOURNAL, 1, process)
    for path in (study / "weights").iterdir():
        path.write_bytes(b"no weights any more")
    found = set()
    while process.poll() is None:
        for folder in run.rglob("jobs/*/"):
            found.add(folder)
            with contextlib.suppress(OSError):
                shutil.copy(trap, folder / "new")
                (folder / "new").replace(folder / "error.pkl")
        time.sleep(0.002)
    assert "WeightsError" in str(list(record.load(run).trials["error"]))
    assert not mark.exists()
    assert not found
    assert not (run / "ray").exists()
    process.stdout.close()


BREAKING = """
import sys
from search.run import executor
from search.cli.main import main

seen = 0
take = executor.Listener.on_trial_result

def break_down(self, *args, **more):
    global seen
    seen += 1
    if seen in {breaks}:
        raise RuntimeError("a callback broke down")
    take(self, *args, **more)

executor.Listener.on_trial_result = break_down
sys.exit(main(["run", "tiny.toml", "--set", "cells.pretrained=[false]"]))
"""


def run_breaking(study: Path, breaks: str) -> subprocess.CompletedProcess[str]:
    (study / "breaking.py").write_text(BREAKING.format(breaks=breaks))
    return subprocess.run(
        [sys.executable, "breaking.py"],
        cwd=study,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


def test_when_rays_experiment_dies_the_study_goes_on_in_a_new_one(study):
    done = run_breaking(study, breaks="(2, 6)")
    assert done.returncode == 0, done.stdout + done.stderr
    events = read_lines(study / "runs" / "tiny" / record.JOURNAL)
    deaths = [e["error"] for e in events if e["event"] == "ray died"]
    assert len(deaths) == 2
    assert done.stdout.count("a callback broke down); its jobs start again") == 2
    assert all("a callback broke down" in error for error in deaths)
    asks = [str(e["job"]) for e in events if e["event"] == "ask"]
    assert len(asks) == len(set(asks))
    assert set(record.load(study / "runs" / "tiny").trials["status"]) == {"completed", "stopped"}


def test_when_rays_experiment_dies_too_often_the_study_ends_with_the_reason(study):
    done = run_breaking(study, breaks="range(1, 100)")
    assert done.returncode == 1
    assert "died 4 times" in done.stderr
    assert "resnet-search resume" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("scheduler", ["ray-asha", "cell-stop"])
def test_other_rules_run_by_name(study, scheduler):
    done = subprocess.run(
        command(
            "run",
            "tiny.toml",
            "--set",
            f"scheduler={scheduler}",
            "--set",
            "cells.pretrained=[false]",
            "--set",
            "budget.trials_per_cell=9",
            "--set",
            "fixed.val_images=64",
        ),
        cwd=study,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    held = record.load(study / "runs" / "tiny")
    search = held.trials[held.trials["stage"] == "search"]
    assert set(search["status"]) <= {"completed", "stopped"}
    stopped = search[search["status"] == "stopped"]
    assert len(stopped) >= 1
    assert (stopped["epochs"] < 4).all()
    assert stopped["value"].notna().all()
    assert set(held.trials.loc[held.trials["stage"] == "confirm", "status"]) == {"completed"}
