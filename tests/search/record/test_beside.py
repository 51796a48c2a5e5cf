"""What lies beside the journal is held against it: what it has lost or says otherwise is told."""

import json
import os
import shutil
import warnings
from pathlib import Path

import pandas as pd
import pytest

from analysis.cli import main as report
from search import record
from search.cli.main import main
from search.record import JournalError, RecordError, RecordWarning
from search.record.run_folder import RunFolder
from search.record.stored import PER_IMAGE, STAMP
from search.run.store import open_store
from search.run.worker import _write_detail
from tests.search.conftest import drive
from tests.search.record.test_damage import change_line, part_of

LONG = 0.12345678901234568  # as long as any number
LOGS = (record.JOURNAL, record.EPOCHS)


def lines_of(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def keep_lines(folder, name, count):
    path = folder / name
    path.write_text("".join(path.read_text().splitlines(True)[:count]))


def line_of_row(folder, trial, epoch):
    """The number of a line of the log of epochs, from 1, and its row."""
    for number, line in enumerate(lines_of(folder, record.EPOCHS), 1):
        if (line["trial"], line["row"]["epoch"]) == (trial, epoch):
            return number, line["row"]
    raise AssertionError


def change_row(folder, trial, epoch, **values):
    number, row = line_of_row(folder, trial, epoch)
    change_line(folder, record.EPOCHS, number, row={**row, **values})


def sound(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecordWarning)
        return record.load(folder)


# ---- a journal that has lost its end


def test_a_journal_that_lost_its_end_is_refused_by_every_output(finished, capsys):
    keep_lines(finished, record.JOURNAL, 20)
    for command, name in ((report, "table"), (main, "status"), (main, "resume")):
        assert command([name, str(finished)]) == 2
        said = capsys.readouterr().err
        assert f"{finished / record.JOURNAL} is shorter than it was: it holds 20 lines, " in said
        assert "restore the file from a copy" in said


def test_without_a_copy_what_it_lost_is_told_and_run_again(finished, make_study):
    before = record.load(finished).trials.set_index("trial")
    keep_lines(finished, record.JOURNAL, 20)
    with pytest.raises(JournalError, match="is shorter than it was"):
        make_study(finished)
    (finished / STAMP).unlink()  # as told
    for _ in range(2):  # also once the frames have been written anew
        with pytest.warns(RecordWarning, match="never asked for: that has lost lines"):
            record.load(finished)
        record.write(finished)
    study = make_study(finished)
    drive(study)
    study.close()
    after = sound(finished).trials.set_index("trial")
    assert after["value"].equals(before["value"])
    assert after["test_accuracy"].equals(before["test_accuracy"])


def test_a_lost_tell_of_a_test_score_is_refused(finished):
    """Also where the log has grown again: the frame has the score that the journal lacks."""
    lines = lines_of(finished, record.JOURNAL)
    at = next(n for n, line in enumerate(lines) if line.get("test"))
    lines[at] = {k: v for k, v in lines[at].items() if k not in ("test", "baselines")}
    lines[at]["error"] = "x" * 200
    (finished / record.JOURNAL).write_text("".join(f"{json.dumps(x)}\n" for x in lines))
    with pytest.raises(JournalError, match=r"test_\w+ is nothing there, and .* in trials.parquet"):
        record.load(finished)


def test_rows_beyond_what_was_asked_for_are_told(finished):
    trials = record.load(finished).trials.set_index("trial")
    stopped = trials.index[trials["status"] == "stopped"][0]
    with (finished / record.EPOCHS).open("a") as file:
        file.write(json.dumps({"trial": stopped, "row": {"epoch": 4, "val_accuracy": 0.5}}) + "\n")
        file.write(json.dumps({"trial": "09-000", "row": {"epoch": 1, "lr": 0.1}}) + "\n")
    with pytest.warns(RecordWarning, match=f"holds 2 epochs of trials {stopped}, 09-000 that dec"):
        record.load(finished)


@pytest.mark.parametrize("place", ["parts", "frame"])
def test_predictions_that_nobody_asked_for_are_told(finished, place):
    trials = record.load(finished).trials.set_index("trial")
    stopped = trials.index[trials["status"] == "stopped"][0]
    part_of(finished, stopped)
    if place == "frame":
        record.write(finished)
        shutil.rmtree(finished / "parts")
    with pytest.warns(RecordWarning, match=f"predictions of trials {stopped}, whose score on te"):
        record.load(finished)


def test_no_sound_record_is_refused_or_noted(make_study, tmp_path):
    """At any moment of a run, after a kill in the middle of a line, moved, and gone on with."""
    study, moment = make_study(), 0
    while drive(study, most=3):
        moment += 1
        if moment % 2:
            study.write_views()
        job = study.ask()
        if job is not None:
            row = {"epoch": job.train["from_epoch"] + 1, "val_accuracy": 0.5, "seconds": 2.0}
            study.epoch(job.trial, row)  # beyond the last tell
        sound(study.folder)
        copy = shutil.copytree(study.folder, tmp_path / f"copy{moment}")
        if job is not None:
            study.put_back(job.trial)
        for name in LOGS:
            with (copy / name).open("a") as file:
                file.write('{"time": "20')
        sound(copy)
        record.write(copy)  # by hand: its stamp tells of the half lines too
        shutil.rmtree(copy / "parts")
        sound(copy)
        resumed = make_study(copy)
        sound(copy)
        drive(resumed, most=2)
        resumed.close()
        sound(copy)
    study.close()
    assert moment > 3


def test_a_stamp_is_never_newer_than_what_is_on_disk_of_the_logs(finished, monkeypatch):
    """Else a power cut that takes the end of a log would make it damaged."""
    synced, force = [], os.fsync

    def look(handle):
        assert not (finished / STAMP).exists() or not synced
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        force(handle)

    (finished / STAMP).unlink()
    monkeypatch.setattr(os, "fsync", look)
    record.write(finished)
    assert {str(finished / name) for name in LOGS} <= set(synced)


def test_lost_rows_of_a_job_that_is_out_are_kept_and_told(make_study):
    study = make_study()
    drive(study, most=2)
    job = study.ask()
    study.epoch(job.trial, {"epoch": 1, "val_accuracy": 0.5, "seconds": 1.0})
    study.write_views()
    before = sound(study.folder)
    keep_lines(study.folder, record.EPOCHS, len(lines_of(study.folder, record.EPOCHS)) - 1)
    for _ in range(2):  # also once the frames have been written anew
        with pytest.warns(RecordWarning, match=rf"lacks 1 epoch that .*{job.trial}.* It is read"):
            held = record.load(study.folder)
        assert len(held.curves) == len(before.curves)
        record.write(study.folder)
    study.run.close()


# ---- no journal at all


@pytest.mark.parametrize("left", [STAMP, "trials.parquet", "csv", "parts", "checkpoints"])
def test_a_folder_without_logs_is_no_empty_study(finished, left, capsys):
    part_of(finished, "00-seed1")
    (finished / "checkpoints" / "00-seed1.pt").write_bytes(b"x")
    names = [*LOGS, STAMP, "trials.parquet", "curves.parquet", PER_IMAGE]
    for name in set(names) - {left}:
        (finished / name).unlink()
    for name in {"csv", "parts", "checkpoints"} - {left}:
        shutil.rmtree(finished / name)
    kept = {p: p.read_bytes() for p in finished.rglob("*.parquet")}
    for command, name in ((report, "table"), (main, "status"), (main, "resume")):
        assert command([name, str(finished)]) == 2
        assert str(finished / record.JOURNAL) in capsys.readouterr().err
    with RunFolder(finished) as run, pytest.raises(JournalError, match="restore"):
        run.write_frames()
    assert {p: p.read_bytes() for p in finished.rglob("*.parquet")} == kept


@pytest.mark.parametrize("logs", [True, False])
def test_a_study_that_has_not_begun_is_no_damage(make_study, logs):
    study = make_study()
    study.close()  # writes frames without rows
    if not logs:
        for name in LOGS:
            (study.folder / name).unlink()
    assert not len(sound(study.folder).trials)


# ---- a number that was changed


@pytest.mark.parametrize(
    "value",
    [0.01, 2.0, 2, None],  # the log gets longer, stays as long, gets shorter
)
def test_a_changed_number_of_an_epoch_is_refused_with_both_values(finished, make_study, value):
    curves = (finished / "curves.parquet").read_bytes()
    change_row(finished, "00-seed1", 2, val_loss=value)
    number = float(value or "nan")
    said = rf"trial 00-seed1, epoch 2: val_loss is {number} in epochs\.jsonl, and 1\.0 in"
    for read in (record.load, record.write, make_study):
        with pytest.raises(JournalError, match=said):
            read(finished)
    assert (finished / "curves.parquet").read_bytes() == curves
    (finished / STAMP).unlink()  # as told
    held = sound(finished).trials.set_index("trial")
    if value:
        assert held.loc["00-seed1", "last_val_loss"] == 1.0


def test_an_epoch_that_was_trained_again_since_is_no_change(finished):
    number, row = line_of_row(finished, "00-seed1", 2)
    count = len(lines_of(finished, record.EPOCHS))
    with (finished / record.EPOCHS).open("a") as file:
        line = {"line": count + 1, "trial": "00-seed1", "row": {**row, "val_loss": 0.9}}
        file.write(json.dumps(line) + "\n")
    sound(finished)
    record.write(finished)
    sound(finished)
    assert number <= count


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("test", {"loss": 1.0, "accuracy": LONG}, f"test_accuracy is {LONG} there, and 0"),
        ("value", LONG, f"value is {LONG} there, and 0"),
    ],
)
def test_a_changed_score_is_refused_with_both_values(finished, key, value, said):
    lines = lines_of(finished, record.JOURNAL)
    at = next(n for n, line in enumerate(lines, 1) if line.get("test"))
    change_line(finished, record.JOURNAL, at, **{key: value})
    with pytest.raises(JournalError, match=rf"trial {lines[at - 1]['trial']}: {said}"):
        record.load(finished)


@pytest.mark.parametrize("value", [1.5, -0.1])
def test_an_accuracy_that_cannot_be_is_refused(finished, value):
    (finished / STAMP).unlink()
    change_row(finished, "00-seed1", 2, val_accuracy=value)
    with pytest.raises(JournalError, match=rf"epoch 2: val_accuracy is {value}, and can only be"):
        record.load(finished)
    lines = lines_of(finished, record.JOURNAL)
    at = next(n for n, line in enumerate(lines, 1) if line.get("test"))
    change_line(finished, record.JOURNAL, at, test={"loss": 1.0, "accuracy": value})
    with pytest.raises(JournalError, match=rf"line {at}: test\.accuracy: accuracy is {value}, "):
        record.load(finished)


# ---- what is said twice


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"config": {"lr": 0.02222}}, r"settings\.lr is 0\.\d+, and 0\.02222 in config"),
        ({"settings": {"depth": 50}}, r"settings\.depth is 50, and 18 in cell 0 of study\.json"),
        ({"seed": 7}, "seed is 7, and 1 in job"),
    ],
)
def test_an_ask_that_contradicts_itself_is_refused_by_line(finished, keys, said):
    lines = lines_of(finished, record.JOURNAL)
    at, ask = next(
        (n, line)
        for n, line in enumerate(lines, 1)
        if line["event"] == "ask" and line["job"]["trial"] == "00-seed1"
    )
    merged = {k: {**ask[k], **v} if isinstance(v, dict) else v for k, v in keys.items()}
    change_line(finished, record.JOURNAL, at, **merged)
    with pytest.raises(JournalError, match=rf"decisions\.jsonl, line {at}: {said}"):
        record.load(finished)


# ---- predictions of another trial


def scored(folder, trial):
    """A part whose predictions give the score that was told of a trial, to a millionth."""
    share = record.load(folder).trials.set_index("trial").loc[trial, "test_accuracy"]
    wrong = pd.Series(range(1_000_000)) >= round(share * 1_000_000)
    frame = pd.DataFrame({"image": 0, "truth": 0.0, "prediction": wrong.astype(float)})
    frame.to_parquet(folder / "parts" / f"{trial}.parquet")


def test_a_part_with_another_trial_s_predictions_is_told(finished):
    for trial in ("00-seed1", "00-seed2"):
        scored(finished, trial)
    assert len(sound(finished).per_image) == 2_000_000
    parts = finished / "parts"
    shutil.copy(parts / "00-seed2.parquet", parts / "00-seed1.parquet")
    with pytest.warns(RecordWarning, match="predictions of trials 00-seed1 .* do not give the sc"):
        record.load(finished)


def test_a_part_says_whose_it_is(finished):
    store = open_store(str(finished))
    _write_detail(store, "00-seed2", {"image": ["a"], "truth": [1], "prediction": [2]}, {})
    parts = finished / "parts"
    assert set(record.load(finished).per_image["trial"]) == {"00-seed2"}
    (parts / "00-seed2.parquet").rename(parts / "00-seed1.parquet")
    with pytest.raises(RecordError, match=r"00-seed1\.parquet holds predictions of 00-seed2; "):
        record.load(finished)


# ---- in words


def test_a_line_of_nothing_is_said_to_be_no_text(finished):
    path = finished / record.EPOCHS
    held = path.read_bytes()
    path.write_bytes(held[:-40] + b"\0" * 39 + b"\n")
    with pytest.raises(JournalError, match=r"is not JSON .it is no text, but has NUL bytes"):
        record.load(finished)


def test_a_doubled_line_is_said_to_change_no_figure(finished):
    before = record.load(finished)
    path = finished / record.EPOCHS
    lines = path.read_text().splitlines(True)
    path.write_text("".join([*lines[:5], lines[4], *lines[5:]]))
    with pytest.warns(RecordWarning, match="line 6 is not where .* no figure is another for it"):
        held = record.load(finished)
    pd.testing.assert_frame_equal(held.trials, before.trials)


def test_a_cut_part_says_its_path_once(finished):
    path = part_of(finished, "00-seed1")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RecordError, match=r"is damaged .it is cut off") as caught:
        record.load(finished)
    assert str(caught.value).count(str(path)) == 1
