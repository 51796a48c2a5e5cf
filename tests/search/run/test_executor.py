"""Real Ray: whole studies by the command line, and what happens when something dies."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from search import record
from search.record.journal import read_lines
from tests.processes import ray_workers
from tests.search.run.whole_studies import command, start, wait_for_lines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


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


SIGNALS = (  # of each kind one; that each of the others is handled alike: test_signals
    (signal.SIGINT, os.kill),
    (signal.SIGHUP, os.kill),
    (signal.SIGUSR1, os.killpg),  # as a batch system warns: every process of the job
)


def test_a_signal_ends_cleanly_and_resume_goes_on(study):
    """One study, ended by each of them in turn, so that each is a resumed one's too."""
    run = study / "runs" / "tiny"
    # so many trials that each of the signals finds some of them left
    words = ["run", "tiny.toml", "--set", "budget.trials_per_cell=4"]
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
