"""A run that is followed: what is new alone is read, and it is what all of the record says."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from search import record
from search.record import follow
from search.record.follow import Follower
from search.record.outlook import paces_of
from search.record.status import epochs_of, status_rows, title_of
from tests.search.conftest import drive


@pytest.fixture
def whole(monkeypatch):
    """Folders that were read in full, one entry a reading."""
    seen = []

    def read(folder):
        seen.append(folder)
        return loaded(folder)

    loaded = follow.loaded
    monkeypatch.setattr(follow, "loaded", read)
    return seen


def same(follower, folder):
    seen, _ = follower.look()
    held = record.load(folder)
    columns = list(seen.trials)
    assert {"trial", "status", "reason", "epochs", "value", "lr", "depth"} <= set(columns)
    pd.testing.assert_frame_equal(seen.trials, held.trials[columns], check_exact=True)
    pd.testing.assert_frame_equal(seen.decisions, held.decisions, check_exact=True)
    assert status_rows(seen) == status_rows(held)
    assert title_of(seen, follower.epochs) == title_of(held, epochs_of(held))
    assert follower.paces == pytest.approx(paces_of(held))
    watched = held.curves[held.curves["name"] == "val_accuracy"]
    for trial in held.trials["trial"]:
        own = watched[watched["trial"] == trial].sort_values("epoch")
        epochs, values = follower.curve(trial)
        assert list(epochs) == own["epoch"].tolist()
        assert list(values) == own["value"].tolist()


@pytest.mark.long
def test_at_every_moment_it_is_what_all_of_the_record_says(make_study, whole):
    study = make_study()
    follower, at = Follower(study.folder), 0
    while drive(study, most=3):
        at, job = at + 1, None
        if at % 3 == 1 and (job := study.ask()) is not None:
            row = {"epoch": job.train["from_epoch"] + 1, "lr": 0.1, "train_loss": 1.0}
            study.epoch(job.trial, {**row, "val_accuracy": 0.5, "val_loss": 1.0, "seconds": 2.0})
            same(follower, study.folder)
            out = follower.jobs[job.trial]
            assert (out.epoch, out.value, out.seconds[-1]) == (row["epoch"], 0.5, 2.0)
            assert out.told
            study.put_back(job.trial)
        same(follower, study.folder)
        assert not follower.jobs
    assert at > 5
    assert len(whole) == 1
    study.close()  # the frames are written, and no log has grown
    assert follower.look()[1] is False


@pytest.mark.long
def test_a_job_that_is_out_again_is_known_again(make_study):
    study = make_study()
    follower = Follower(study.folder)
    drive(study, most=1)
    job = study.ask()
    follower.look()
    study.put_back(job.trial)
    follower.look()
    assert not follower.jobs
    again = study.ask()
    follower.look()
    assert set(follower.jobs) == {again.trial} == {job.trial}
    assert follower.jobs[job.trial].to_epoch == job.train["to_epoch"]
    study.run.close()


@pytest.mark.long
def test_half_a_line_waits_for_its_end(make_study, whole):
    study = make_study()
    drive(study, most=2)
    follower = Follower(study.folder)
    follower.look()
    drive(study, most=1)
    study.run.close()
    path = study.folder / record.EPOCHS
    lines = path.read_bytes()
    path.write_bytes(lines[:-9])
    follower = Follower(study.folder)
    before = follower.look()[0].trials["epochs"].sum()
    with path.open("ab") as file:
        file.write(lines[-9:])
    seen, new = follower.look()
    assert new
    assert seen.trials["epochs"].sum() in (before, before + 1)
    assert len(whole) == 2
    same(follower, study.folder)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::trainables.errors.RecordWarning")
def test_rows_that_the_journal_has_lost_are_left_out_and_told(make_study):
    study = make_study()
    drive(study, most=4)
    study.run.close()
    path = study.folder / record.JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    asks = [n for n, line in enumerate(lines) if b'"event": "ask"' in line]
    path.write_bytes(b"".join(lines[: asks[-1]]))
    held = record.load(study.folder)
    assert "never asked for" in held.notes[0]
    seen, _ = Follower(study.folder).look()
    assert seen.notes == held.notes
    assert list(seen.trials["trial"]) == list(held.trials["trial"])


def test_another_session_has_all_of_it_read_anew(make_study, whole):
    study = make_study()
    drive(study, most=2)
    follower = Follower(study.folder)
    follower.look()
    study.run.add_session("resume", {})
    follower.look()
    assert len(whole) == 2
    study.run.close()


@pytest.mark.long
def test_damage_is_what_the_record_says_of_it_and_is_not_read_again_at_once(make_study, whole):
    study = make_study()
    drive(study, most=4)
    study.run.close()
    time = iter(range(0, 10_000, 10))  # each reading takes ten seconds
    follower = Follower(study.folder, lambda: float(next(time)))
    follower.look()
    path = study.folder / record.JOURNAL
    sound = path.read_bytes()
    line = json.dumps({"time": "2026-01-01T00:00:00+00:00", "event": "tell", "trial": "no"})
    path.write_bytes(sound + line.encode() + b"\n")
    with pytest.raises(record.JournalError) as expected:
        record.load(study.folder)
    for _ in range(3):
        with pytest.raises(record.JournalError) as error:
            follower.look()
        assert str(error.value) == str(expected.value)
    assert len(whole) == 2
    path.write_bytes(sound)
    for _ in range(follow.REST):
        try:
            follower.look()
        except record.JournalError:
            continue
        break
    same(follower, study.folder)


def test_a_folder_that_is_none_is_told_and_followed_once_it_is_one(tmp_path, make_study):
    follower = Follower(tmp_path / "tiny", lambda: 0.0)
    with pytest.raises(record.RecordError, match="no run folder"):
        follower.look()
    study = make_study()
    drive(study, most=1)
    assert len(follower.look()[0].trials) == 1
    study.run.close()


def test_a_study_without_a_job_yet_has_rows_of_cells(make_study):
    study = make_study()
    seen, _ = Follower(study.folder).look()
    assert len(seen.trials) == 0
    assert [row[1] for row in status_rows(seen)[1]] == ["0/5", "0/5"]
    study.run.close()
