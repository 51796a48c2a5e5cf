"""Real Ray: whole studies by the command line, and what happens when something dies."""

import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search import record
from search.record.journal import read_lines
from tests.processes import ray_workers
from tests.tiny import tiny_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

STUDY = tiny_study(cells="pretrained = [false, true]", trials=3)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "search", *words]


def start(folder: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(*words),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_lines(path: Path, count: int, process: subprocess.Popen) -> None:
    """Until a log has so many lines; other work on the machine may hold a start up for minutes."""
    ends = time.monotonic() + 300
    while time.monotonic() < ends:
        if path.is_file() and path.read_bytes().count(b"\n") >= count:
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    raise AssertionError(f"{path} never had {count} lines")


@pytest.fixture
def study(tmp_path):
    """A study file whose pretrained cell starts from weights that the test makes."""
    import torch
    from torchvision.models import resnet18

    from trainables.resnet import weights_name

    (tmp_path / "weights").mkdir()
    torch.save(resnet18().state_dict(), tmp_path / "weights" / weights_name(18))
    (tmp_path / "tiny.toml").write_text(STUDY)
    return tmp_path


def test_killed_in_the_middle_a_study_resumes_and_repeats_nothing_finished(study):
    run = study / "runs" / "tiny"
    process = start(study, "run", "tiny.toml")
    wait_for_lines(run / record.EPOCHS, 5, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = read_lines(run / record.JOURNAL)
    told = {(e["trial"], e["epoch"]) for e in before if e["event"] == "tell"}
    time.sleep(5)  # workers of a killed driver take seconds to go

    done = subprocess.run(
        command("resume", "runs/tiny"), cwd=study, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    after = read_lines(run / record.JOURNAL)
    assert after[: len(before)] == before
    later = {(e["trial"], e["epoch"]) for e in after[len(before) :] if e["event"] == "tell"}
    assert not told & later
    asks = [str(e["job"]) for e in after if e["event"] == "ask"]
    assert len(asks) == len(set(asks))
    assert _repeated_epochs(run, before, after) == set()

    held = record.load(run)
    complete = held.trials[held.trials["status"] == "completed"]
    assert set(complete.loc[complete["stage"] == "confirm", "cell"]) == {0, 1}
    assert complete.loc[complete["stage"] == "confirm", "test_accuracy"].notna().all()
    assert len(held.per_image) == 2 * 20
    assert [s["kind"] for s in held.study["sessions"]] == ["run", "resume"]
    assert list((run / "checkpoints").iterdir()) == []


def _repeated_epochs(run: Path, before: list[dict], after: list[dict]) -> set[tuple[str, int]]:
    """Epochs of jobs told before the kill that were trained again: rows with another time."""
    told = {e["trial"]: e["epoch"] for e in before if e["event"] == "tell"}
    seen: dict[tuple[str, int], set[float]] = {}
    for line in read_lines(run / record.EPOCHS):
        row = line["row"]
        seen.setdefault((line["trial"], row["epoch"]), set()).add(row["seconds"])
    return {
        pair for pair, times in seen.items() if len(times) > 1 and pair[1] <= told.get(pair[0], 0)
    }


SIGNALS = (
    (signal.SIGINT, os.kill),
    (signal.SIGTERM, os.kill),
    (signal.SIGHUP, os.kill),
    (signal.SIGUSR1, os.killpg),  # as a batch system warns: every process of the job
    (signal.SIGUSR2, os.killpg),
)


def test_a_signal_ends_cleanly_and_resume_goes_on(study):
    """One study, ended by each of them in turn, so that each is a resumed one's too."""
    run = study / "runs" / "tiny"
    words = ["run", "tiny.toml"]
    for number, send in SIGNALS:
        lines = len(read_lines(run / record.EPOCHS)) if run.exists() else 0
        process = start(study, *words)
        wait_for_lines(run / record.EPOCHS, lines + 2, process)
        send(process.pid, number)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 130, (number, output)
        assert "resnet-search resume runs/tiny" in output
        assert "Traceback" not in output
        words = ["resume", "runs/tiny"]
    done = subprocess.run(command(*words), cwd=study, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = record.load(run).trials
    assert set(trials["status"]) == {"completed", "stopped"}
    assert trials["attempts"].sum() == 0
    assert len(record.load_study(run)["sessions"]) == len(SIGNALS) + 1


@pytest.mark.parametrize("shown", ["starting Ray", "epoch 0 to 1"])
def test_a_warning_of_a_batch_system_is_heeded_from_the_start(study, shown):
    process = start(study, "run", "tiny.toml", "--set", "cells.pretrained=[false]")
    for line in process.stdout:
        if shown in line:
            break
    os.killpg(process.pid, signal.SIGUSR1)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in output
    assert "Traceback" not in output
    journal = read_lines(study / "runs" / "tiny" / record.JOURNAL)
    assert not [event for event in journal if event["event"] == "ray died"]


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


def test_a_killed_worker_costs_its_job_only(study):
    run = study / "runs" / "tiny"
    process = start(study, "run", "tiny.toml")
    wait_for_lines(run / record.EPOCHS, 2, process)
    os.kill(ray_workers(process.pid)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    trials = record.load(run).trials
    assert trials["losses"].sum() == 1
    assert trials["attempts"].sum() == 0
    assert "lost on" in output
    assert set(trials["status"]) == {"completed", "stopped"}


def test_jobs_that_fail_are_told_with_their_error_and_the_other_cell_is_filled(study):
    run = study / "runs" / "tiny"
    process = start(study, "run", "tiny.toml", "--weights-dir", "weights")
    wait_for_lines(run / record.JOURNAL, 1, process)
    for path in (study / "weights").iterdir():
        path.write_bytes(b"no weights any more")
    output, _ = process.communicate(timeout=300)
    assert "Traceback" not in output
    trials = record.load(run).trials
    failed = trials[trials["status"] == "failed"]
    assert len(failed) >= 1
    assert failed["pretrained"].all()
    assert failed["error"].str.contains("WeightsError").all()
    assert (failed["attempts"] == 2).all()  # tried again once
    assert output.count("is run again, since its job failed") == len(failed)
    other = trials[~trials["pretrained"] & (trials["stage"] == "confirm")]
    assert list(other["status"]) == ["completed"]


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


def test_output_is_plain_lines_without_ray_s_own(study):
    done = subprocess.run(
        command("run", "tiny.toml", "--set", "cells.pretrained=[false]", "--epochs", "1"),
        cwd=study,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr
    assert "\x1b" not in done.stdout
    assert "select 00-0" in done.stdout
    assert "resnet-report build runs/tiny" in done.stdout


def test_a_request_no_machine_can_meet_is_refused_at_once(study):
    done = subprocess.run(
        command("run", "tiny.toml", "--set", "resources.gpus_per_trial=64"),
        cwd=study,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "resources.gpus_per_trial asks for 64, and this machine has" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (
        study / "runs" / "tiny" / record.STUDY
    ).exists()  # the mended study may take its name


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
