"""Logs that have grown since the frames were written: what is new is read, and all is right."""

import json
import shutil

import pandas as pd
import pytest

from search import record
from search.record import growth, read
from search.record.growth import grown_frames
from search.record.stored import sizes_of
from tests.search.conftest import drive


def grown(folder):
    study = record.load_study(folder)
    events = read.read_events(folder)
    return grown_frames(folder, study, events, sizes_of(folder))


def from_logs(folder):
    return read.read_from_logs(folder, sizes_of(folder))[0]


def same(one, other):
    for frame in ("trials", "curves", "per_image", "decisions"):
        pd.testing.assert_frame_equal(
            getattr(one, frame), getattr(other, frame), check_exact=True, obj=frame
        )
    assert one.notes == other.notes


@pytest.mark.filterwarnings("ignore::trainables.errors.RecordWarning")
def test_at_every_moment_of_a_run_it_is_what_all_of_the_logs_give(make_study):
    """With jobs in the middle, put back, failed, diverged and audited; and after each write."""
    study, moments, at = make_study(), 0, 0
    while drive(study, most=2):
        at, job = at + 1, None
        if at % 4 == 1 and (job := study.ask()) is not None:  # it is trained again later
            row = {"epoch": job.train["from_epoch"] + 1, "lr": 0.1, "val_accuracy": None}
            study.epoch(job.trial, {**row, "seconds": 2.0})
        held = grown(study.folder)
        if held is not None:
            moments += 1
            trials, curves, _ = held
            other = from_logs(study.folder)
            pd.testing.assert_frame_equal(trials, other.trials, check_exact=True)
            pd.testing.assert_frame_equal(curves(), other.curves, check_exact=True)
        same(record.load(study.folder), from_logs(study.folder))
        if job is not None:
            study.put_back(job.trial)
        if at % 3 == 0 or at == 1:
            study.write_views()
    study.close()
    assert moments > 3
    same(record.load(study.folder), from_logs(study.folder))


def append(folder, **line):
    with (folder / record.EPOCHS).open("a") as file:
        file.write(json.dumps(line) + "\n")


def test_an_epoch_that_was_trained_again_is_read_with_all_the_others(finished):
    append(finished, trial="00-seed1", row={"epoch": 2, "val_loss": 0.5, "seconds": 3.0})
    assert grown(finished) is None
    trials = record.load(finished).trials.set_index("trial")
    assert trials.loc["00-seed1", "repeated_epochs"] == 1


@pytest.mark.parametrize("name", [record.JOURNAL, record.EPOCHS, "trials.parquet"])
def test_frames_of_other_logs_are_not_grown(finished, name):
    path = finished / name
    if name == "trials.parquet":
        held = pd.read_parquet(path)
        held.assign(value=held["value"] + 1).to_parquet(path)
    else:
        path.write_text(path.read_text().replace('"time": "20', '"time": "19', 1))
    append(finished, trial="00-seed1", row={"epoch": 9, "val_loss": 0.5})
    assert grown(finished) is None


def test_what_is_grown_does_not_read_the_log_again(finished, monkeypatch):
    def never(*args):
        raise AssertionError

    monkeypatch.setattr(read, "whole_epochs", never)
    held = record.load(finished)
    assert len(held.trials)
    assert len(held.curves)


def test_curves_are_those_of_the_moment_when_the_record_was_read(finished):
    held, other = record.load(finished), from_logs(finished)
    for name in ("curves.parquet", "trials.parquet"):
        (finished / name).with_suffix(".new").write_bytes(b"something else")
        (finished / name).with_suffix(".new").replace(finished / name)
    shutil.rmtree(finished)
    pd.testing.assert_frame_equal(held.curves, other.curves)


def test_where_much_is_new_the_log_is_read_at_once(make_study, monkeypatch):
    """Line by line it costs some eight times as much a byte, and fifteen times the memory."""
    study = make_study()
    drive(study, most=3)
    study.write_views()
    while drive(study, most=3):
        pass
    assert grown(study.folder) is not None
    monkeypatch.setattr(growth, "LITTLE", 0)
    assert grown(study.folder) is None
    same(record.load(study.folder), from_logs(study.folder))
    study.write_views()  # nothing is new
    assert grown(study.folder) is not None
    study.close()
