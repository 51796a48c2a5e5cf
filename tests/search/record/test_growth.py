"""Logs that have grown since the frames were written: what is new is read, and all is right."""

import json
import shutil
import zlib
from io import BytesIO

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from search import record
from search.record import curves_file, growth, read, splice, written
from search.record.columns import CURVES
from search.record.growth import grown_frames
from search.record.splice import spliced
from search.record.stored import CSV, PARQUET, STAMP, sizes_in, sizes_of, stamp_of
from search.record.written import write
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


def test_what_only_a_decision_is_new_of_keeps_its_rows(make_study):
    """The last decisions of a cell are on each of its trials: their rows are not read again."""
    study = make_study()
    drive(study, most=3)
    study.write_views()
    while drive(study, most=1):
        pass
    study.close()
    told = growth._told(study.folder, read.read_events(study.folder), stamped(study.folder))
    events = record.read_events(study.folder)
    decided = {e["trial"] for e in events if e["event"] == "decision" and e["trial"]}
    assert decided - told
    same(record.load(study.folder), from_logs(study.folder))


def stamped(folder):
    return sizes_in(stamp_of(folder))


def test_files_of_a_record_that_has_grown_are_those_of_one_written_at_once(
    make_study, monkeypatch
):
    """Byte by byte: the curves as csv are put together of old lines and new ones."""
    study, at, put = make_study(), 0, []
    monkeypatch.setattr(written, "spliced", lambda *args: put.append(spliced(*args)) or put[-1])
    while drive(study, most=2):
        at += 1
        if at % 2:
            study.write_views()
            names = [*PARQUET, *CSV, STAMP]
            held = {name: (study.folder / name).read_bytes() for name in names}
            (study.folder / STAMP).unlink()
            write(study.folder)
            assert {name: (study.folder / name).read_bytes() for name in names} == held
    study.close()
    assert len(put) > 3
    assert all(put)


def test_csv_that_was_changed_is_written_whole(make_study):
    study = make_study()
    drive(study, most=3)
    study.write_views()
    path = study.folder / "csv" / "curves.csv"
    whole = path.read_text()
    path.write_text(whole.replace("0.", "1.", 1))
    drive(study, most=1)
    study.write_views()
    study.close()
    assert grown(study.folder) is not None
    assert path.read_text().count("\n") == len(record.load(study.folder).curves) + 1
    assert set(whole.splitlines()) <= set(path.read_text().splitlines())


@pytest.mark.parametrize("text", ["a\nb", "a\rb"])
def test_lines_are_not_put_into_a_csv_whose_rows_may_be_more_than_one(tmp_path, text, monkeypatch):
    """Also where a row that is there already is the one."""
    monkeypatch.setattr(written, "spliced", lambda *args: pytest.fail("rows are no lines"))
    texts = {name: ["s", "s"] for name in curves_file.TEXTS} | {"trial": [text, "b"]}
    frame = pd.DataFrame({**texts, "epoch": 1, "value": 0.5})[CURVES]
    frame = frame.astype(dict.fromkeys(curves_file.TEXTS, "category"))
    new = growth.Inserted(frame.iloc[1:], np.array([1]))
    path = tmp_path / "curves.csv"
    written._write_curves(path, frame, new, 0, path)
    assert len(pd.read_csv(path)) == 2


@pytest.mark.parametrize("piece", [1, 7, 2**22])
def test_lines_are_put_between_lines(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(splice, "PIECE", piece)
    old, file = tmp_path / "old", BytesIO()
    old.write_bytes(b"head\na\nb\nc\n")
    known = zlib.crc32(old.read_bytes())
    more = [(1, b"0\n"), (3, b"bb\nbbb\n"), (4, b"d\n")]
    assert spliced(old, known, more, file)
    assert file.getvalue() == b"head\n0\na\nb\nbb\nbbb\nc\nd\n"
    assert not spliced(old, known + 1, more, BytesIO())
    assert not spliced(old, known, [(5, b"e\n")], BytesIO())
    assert not spliced(tmp_path / "none", known, more, BytesIO())


@pytest.mark.parametrize("piece", [2, 2**18])
@pytest.mark.parametrize("column", ["study", "trial", "epoch", "name", "value", "rows", None])
def test_a_file_of_curves_is_held_against_a_frame(finished, monkeypatch, column, piece):
    monkeypatch.setattr(curves_file, "PIECE", piece)
    path, made = finished / "curves.parquet", from_logs(finished).curves
    pd.testing.assert_frame_equal(curves_file.read_curves(path), made, check_exact=True)
    changed = made.astype({"study": str, "trial": str, "name": str})
    if column == "rows":
        changed = changed.iloc[:-1]
    elif column is not None:
        last = changed.loc[len(changed) - 1, column]
        changed.loc[len(changed) - 1, column] = f"{last}x" if isinstance(last, str) else last + 1
    texts = dict.fromkeys(curves_file.TEXTS, "category")
    changed.astype(texts).to_parquet(path, index=False)
    assert curves_file.holds(path, made) == (column is None)
    path.write_bytes(path.read_bytes()[:-9])
    assert not curves_file.holds(path, made)


def test_rows_of_some_trials_are_those_of_the_frame(finished, monkeypatch):
    path, made = finished / "curves.parquet", from_logs(finished).curves
    made.to_parquet(path, index=False, row_group_size=9)
    trials = ["00-seed1", "nobody"]
    held = curves_file.read_curves(path, trials)
    other = made[made["trial"].isin(trials)]
    assert 0 < len(held) < len(made)
    assert held.astype(str).to_dict("list") == other.astype(str).to_dict("list")
    assert len(curves_file._groups(pq.read_metadata(path), trials)) < len(made) / 9


def test_rows_that_are_put_in_keep_their_trials_where_a_byte_counts_no_further():
    """An int8 counts to 127: a frame of 120 trials and 20 more is that of all 140."""
    log = [{"trial": f"t{n:03d}", "epoch": 1, "loss": float(n)} for n in range(140)]

    def frame(rows):
        return pd.DataFrame(
            {
                "study": pd.Categorical(["s"] * len(rows)),
                "trial": pd.Categorical([row["trial"] for row in rows]),
                "epoch": pd.array([1] * len(rows), dtype="Int64"),
                "name": pd.Categorical(["loss"] * len(rows)),
                "value": [row["loss"] for row in rows],
            }
        )

    made, _ = growth.GrownCurves(lambda: frame(log[:120]), frame(log[120:])).made()
    assert made["trial"].astype(str).tolist() == [row["trial"] for row in log]
    assert made["value"].tolist() == [row["loss"] for row in log]
