"""A change of study.json that is known stays known, wherever a driver may die."""

import json
import warnings

import pandas as pd
import pytest

from search import record
from search.record import RecordWarning, set_aside, stored
from search.record.run_folder import RunFolder
from search.record.stored import STAMP, stamp_of
from tests.search.conftest import drive


@pytest.fixture
def edited(make_study):
    """A study that was stopped, with frames, whose study.json somebody has changed since."""
    study = make_study()
    drive(study, most=5)
    study.close()
    path = study.folder / record.STUDY
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, "machine": {"processor": "another"}}))
    assert tells(study.folder)
    return study.folder


def tells(folder):
    """Whether `load` and `verify` both tell of it."""
    with warnings.catch_warnings(action="ignore", category=RecordWarning):
        told = record.load(folder).notes, record.verify(folder).faults
    return all(any("study.json has another checksum" in n for n in notes) for notes in told)


def killed(*_args, **_options):
    raise KeyboardInterrupt


def while_frames_are_replaced(folder, monkeypatch):
    monkeypatch.setattr(pd.DataFrame, "to_parquet", killed)
    with pytest.raises(KeyboardInterrupt):
        record.write(folder)


def where_frames_get_no_stamp(folder, monkeypatch):
    with (folder / record.EPOCHS).open("a") as file:
        number = (folder / record.EPOCHS).read_bytes().count(b"\n") + 1
        row = {"epoch": 1, "lr": 0.1}
        file.write(json.dumps({"trial": "09-000", "row": row, "line": number}) + "\n")
    record.write(folder)


def after_a_log_was_cut(folder, monkeypatch):
    with (folder / record.JOURNAL).open("a") as file:
        file.write('{"event": "te')
    with RunFolder(folder) as run:
        assert run.open_logs()


def while_rows_are_set_aside(folder, monkeypatch):
    (folder / "parts" / "09-000.parquet").write_bytes(b"")
    monkeypatch.setattr(set_aside, "_out_of_frame", killed)
    with RunFolder(folder) as run, pytest.raises(KeyboardInterrupt):
        run.set_aside_unasked(run.events())
    (folder / "parts" / "09-000.parquet").unlink()


PLACES = [
    while_frames_are_replaced,
    where_frames_get_no_stamp,
    after_a_log_was_cut,
    while_rows_are_set_aside,
]


@pytest.mark.parametrize("die", PLACES)
def test_a_change_of_the_study_that_is_known_stays_known(edited, die):
    with pytest.MonkeyPatch.context() as patch:
        die(edited, patch)
    assert tells(edited)
    assert set(stamp_of(edited)) == {"study"}
    said = record.verify(edited).unchecked
    assert any(
        f"{STAMP} says nothing of logs and frames any more: a log that was" in x for x in said
    )
    with warnings.catch_warnings(action="ignore", category=RecordWarning):
        record.write(edited)
    assert tells(edited)


@pytest.mark.parametrize("die", PLACES)
def test_of_a_study_that_nobody_has_changed_nothing_is_told(make_study, die):
    study = make_study()
    drive(study, most=5)
    study.close()
    with pytest.MonkeyPatch.context() as patch:
        die(study.folder, patch)
    with RunFolder(study.folder) as run:  # a withdrawn stamp follows what the driver writes
        run.add_packing([{"depth": 18}])
    with warnings.catch_warnings(action="ignore", category=RecordWarning):
        assert not any("study.json" in note for note in record.load(study.folder).notes)
    assert stamp_of(study.folder) == {"study": stored.study_sum(study.folder)}


def test_a_withdrawn_stamp_is_no_word_on_frames(make_study):
    """Frames that somebody has left from another state are neither taken nor held against it."""
    study = make_study()
    drive(study, most=5)
    study.close()
    before = record.load(study.folder)
    stored.withdraw(study.folder)
    path = study.folder / "trials.parquet"
    frame = pd.read_parquet(path)
    frame["value"] += 1
    frame.to_parquet(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecordWarning)
        after = record.load(study.folder)
    pd.testing.assert_frame_equal(after.trials, before.trials)
    pd.testing.assert_frame_equal(after.curves, before.curves)
