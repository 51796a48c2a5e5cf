"""A record that is changed anywhere is told by file, trial and both values; a sound one holds."""

import json
import shutil
import warnings
from pathlib import Path

import pandas as pd
import pytest

from analysis.cli import main as report
from search import record
from search.record import JournalError, RecordError, RecordWarning, stored
from search.record.stored import CSV, STAMP
from tests.search.conftest import drive

SHIPPED = Path(__file__).parents[3] / "results"
FILES = ("study.json", "*.jsonl", "*.parquet", STAMP)


@pytest.fixture(params=["earlier", "ours"])
def crowd(tmp_path, request):
    """A real record of crowd counting, with the stamp of an earlier version or one of ours."""
    return shipped("crowd-a-64px", tmp_path, anew=request.param == "ours")


def shipped(name, tmp_path, anew=True):
    folder = tmp_path / name
    folder.mkdir()
    for path in (p for pattern in FILES for p in (SHIPPED / name).glob(pattern)):
        shutil.copy(path, folder)
    if anew:
        record.write(folder)
    else:
        sizes = {path.name: path.stat().st_size for path in folder.glob("*.jsonl")}
        (folder / STAMP).write_text(json.dumps(sizes))
    return folder


def change(folder, frame, at, column, value):
    """Another value in the first row of a frame that has these."""
    path = folder / f"{frame}.parquet"
    held = pd.read_parquet(path)
    rows = (held[list(at)] == pd.Series(at)).all(axis=1)
    held.loc[rows.idxmax(), column] = value
    held.to_parquet(path)


def faults(folder):
    return record.verify(folder).faults


def quietly(folder):
    with warnings.catch_warnings(action="ignore", category=RecordWarning):
        return record.load(folder)


# ---- what holds


@pytest.mark.parametrize("name", sorted(p.parent.name for p in SHIPPED.glob("*/study.json")))
def test_every_shipped_record_holds(name, capsys):
    """Its frames are those of its logs, and its scores those of its predictions."""
    assert report(["verify", str(SHIPPED / name)]) == 0
    *_, said, digest = capsys.readouterr().out.splitlines()
    assert "trials.parquet, curves.parquet, per_image.parquet held against the logs" in said
    assert said.endswith("all of it holds")
    scored = int(said.partition("scores on test of ")[2].split()[0])
    assert scored == record.load(SHIPPED / name).per_image["trial"].nunique() > 0
    assert digest == f"sha256 {record.load(SHIPPED / name).digest}"


def test_frames_of_a_study_that_runs_are_held_against_what_the_logs_were(make_study):
    study = make_study()
    drive(study, most=5)
    study.write_views()
    drive(study, most=5)
    assert not faults(study.folder)
    change(study.folder, "trials", {"trial": "00-000"}, "value", 0.123)
    assert any("trial 00-000, value is 0.123 there" in fault for fault in faults(study.folder))
    study.run.close()


# ---- what does not


def test_a_score_that_was_raised_in_the_frame_is_told_and_not_believed(crowd, capsys):
    before = quietly(crowd).trials
    change(crowd, "trials", {"trial": "00-seed1"}, "test_mae", 1.5)
    mae = before.set_index("trial").loc["00-seed1", "test_mae"]
    said = f"trials.parquet: trial 00-seed1, test_mae is 1.5 there, {mae} by the logs"
    assert said in faults(crowd)
    with pytest.warns(RecordWarning, match="test_mae is 1.5 there"):
        held = record.load(crowd)
    pd.testing.assert_frame_equal(held.trials, before)
    assert report(["verify", str(crowd)]) == 1
    assert f"does not hold: {said}\n" in capsys.readouterr().out
    assert report(["table", str(crowd)]) == 0
    assert f"DAMAGED RECORD: {said}" in capsys.readouterr().out


def test_an_epoch_that_was_changed_in_the_frame_is_told_and_not_believed(crowd):
    before = quietly(crowd).curves
    at = {"trial": "01-seed2", "epoch": 4, "name": "val_mae"}
    change(crowd, "curves", at, "value", 2.25)
    said = "curves.parquet: trial 01-seed2, value of epoch 4, name val_mae is 2.25 there"
    assert any(fault.startswith(said) for fault in faults(crowd))
    with pytest.warns(RecordWarning, match="val_mae is 2.25 there"):
        pd.testing.assert_frame_equal(record.load(crowd).curves, before)


@pytest.mark.parametrize("frame", ["trials", "curves"])
def test_rows_and_columns_that_a_frame_has_lost_are_told(crowd, frame):
    path, before = crowd / f"{frame}.parquet", getattr(quietly(crowd), frame)
    held = pd.read_parquet(path)
    held[held["trial"] != "00-seed3"].to_parquet(path)
    assert any(f"{frame}.parquet: trial 00-seed3, row" in fault for fault in faults(crowd))
    with pytest.warns(RecordWarning, match=rf"{frame}\.parquet: trial 00-seed3, row"):
        pd.testing.assert_frame_equal(getattr(record.load(crowd), frame), before)
    column = {"trials": "test_mae", "curves": "value"}[frame]
    held.drop(columns=column).to_parquet(path)
    assert any(f"{frame}.parquet: column {column} is missing" in fault for fault in faults(crowd))
    with pytest.warns(RecordWarning, match=f"column {column} is missing there"):
        pd.testing.assert_frame_equal(getattr(record.load(crowd), frame), before)


def test_a_row_that_no_log_gives_is_told(crowd):
    path = crowd / "trials.parquet"
    held = pd.read_parquet(path)
    pd.concat([held, held.tail(1).assign(trial="00-seed9")]).to_parquet(path)
    assert any("trial 00-seed9, row is one row more there" in fault for fault in faults(crowd))


def test_many_differences_are_counted(crowd):
    path = crowd / "curves.parquet"
    held = pd.read_parquet(path)
    held.assign(value=held["value"] + 1).to_parquet(path)
    found = [fault for fault in faults(crowd) if fault.startswith("curves.parquet: ")]
    assert any(f"{len(held)} in all" in fault for fault in found)
    assert len(found) < 30


@pytest.mark.parametrize(
    ("name", "metrics"),
    [("crowd-a-64px", ("test.mae", "test.rmse")), ("cifar10-source", ("test.accuracy",))],
)
def test_scores_are_computed_again_from_the_predictions(tmp_path, name, metrics):
    folder = shipped(name, tmp_path)
    path = folder / "per_image.parquet"
    held = pd.read_parquet(path)
    trial = held["trial"].iloc[0]
    rows = held.index[held["trial"] == trial][:40]
    held.loc[rows, "prediction"] = held.loc[rows, "truth"] + 1
    held.to_parquet(path)
    found = faults(folder)
    for metric in metrics:
        of = [f for f in found if f.startswith(f"decisions.jsonl: trial {trial}, {metric} is ")]
        assert len(of) == 1
        assert of[0].endswith("by its predictions")
    with pytest.warns(RecordWarning, match=f"predictions of trials {trial} .* do not give"):
        record.load(folder)


def test_the_constants_scores_are_computed_again_too(tmp_path):
    folder = shipped("crowd-a-64px", tmp_path)
    path = folder / record.JOURNAL
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    tell = next(line for line in lines if line.get("test"))
    tell["baselines"]["training median"]["mae"] = 100.0
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (folder / STAMP).unlink()
    said = f"trial {tell['trial']}, baselines.training median.mae is 100.0 there, 242."
    assert any(said in fault for fault in faults(folder))


def test_without_predictions_a_score_is_not_said_to_hold(tmp_path, capsys):
    folder = shipped("cifar10-source", tmp_path)
    for name in ("per_image.parquet", "csv/per_image.csv", STAMP):
        (folder / name).unlink()
    assert report(["verify", str(folder)]) == 1
    assert "not checked: per_image.parquet: no predictions of trials" in capsys.readouterr().out
    assert not faults(folder)


@pytest.mark.parametrize("name", CSV)
def test_a_csv_file_that_was_changed_is_told(tmp_path, name):
    folder = shipped("crowd-a-64px", tmp_path)
    path = folder / name
    path.write_text(path.read_text().replace("00-seed1", "00-seed7", 1))
    assert any(f"{name}: checksum is " in fault for fault in faults(folder))
    (folder / STAMP).unlink()  # then by value
    assert any(f"{name}: trial 00-seed7" in fault for fault in faults(folder))


def test_csv_files_as_they_are_written_hold_by_value(tmp_path):
    folder = shipped("crowd-a-64px", tmp_path)
    (folder / STAMP).unlink()
    assert not faults(folder)


def test_a_frame_in_another_packing_is_no_damage(tmp_path):
    folder = shipped("crowd-a-64px", tmp_path)
    path = folder / "trials.parquet"
    pd.read_parquet(path).to_parquet(path, compression="gzip")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecordWarning)
        record.load(folder)
    assert any(fault.startswith("trials.parquet: checksum is ") for fault in faults(folder))


def test_a_log_that_was_changed_is_told_by_checksum_and_value(tmp_path):
    folder = shipped("crowd-a-64px", tmp_path)
    path = folder / record.EPOCHS
    line = path.read_text().splitlines(True)[3]
    held = json.loads(line)
    held["row"]["val_mae"] = 77.0
    path.write_text(path.read_text().replace(line, json.dumps(held) + "\n"))
    found = faults(folder)
    assert any(fault.startswith("epochs.jsonl: checksum of its first ") for fault in found)
    assert any("77.0 by the logs" in fault for fault in found)
    with pytest.raises(JournalError, match=r"val_mae is 77\.0 in epochs"):
        record.load(folder)


@pytest.mark.parametrize("key", ["space_keys", "settings", "cells", "rungs", "metrics"])
def test_a_study_without_a_key_is_refused_by_key(tmp_path, key, capsys):
    folder = shipped("crowd-a-64px", tmp_path)
    study = json.loads((folder / record.STUDY).read_text())
    del study[key]
    (folder / record.STUDY).write_text(json.dumps(study))
    for command in ("build", "table", "verify"):
        assert report([command, str(folder)]) == 2
        said = capsys.readouterr().err
        assert f"study.json is damaged: it lacks {key}" in said
        assert said.count("\n") == 1


def test_frames_without_logs_are_refused(crowd, capsys):
    for name in (record.JOURNAL, record.EPOCHS):
        (crowd / name).unlink()
    for command in ("build", "table", "verify"):
        assert report([command, str(crowd)]) == 2
        assert f"{crowd / record.JOURNAL} is " in capsys.readouterr().err


def test_trials_of_a_cell_that_the_study_has_not_are_refused(tmp_path, capsys):
    folder = shipped("crowd-a-64px", tmp_path)
    study = json.loads((folder / record.STUDY).read_text())
    study["cells"] = study["cells"][:1]
    study["spec"]["cells"] = {k: [v] for k, v in study["cells"][0].items()}
    (folder / record.STUDY).write_text(json.dumps(study))
    for command in ("table", "verify"):
        assert report([command, str(folder)]) == 2
        assert "job.cell is 1: the study has 1 cells" in capsys.readouterr().err


# ---- the digest


def test_the_digest_is_the_same_wherever_and_however_the_record_lies(tmp_path):
    name = "crowd-a-64px"
    digest = record.load(SHIPPED / name).digest
    folder = shipped(name, tmp_path)
    assert record.load(folder).digest == digest
    for path in (STAMP, "trials.parquet", "curves.parquet"):
        (folder / path).unlink()
    shutil.rmtree(folder / "csv")
    study = json.loads((folder / record.STUDY).read_text())
    (folder / record.STUDY).write_text(json.dumps(dict(reversed(study.items()))))
    held = pd.read_parquet(folder / "per_image.parquet")
    (folder / "parts").mkdir()
    for trial, rows in held.groupby("trial"):
        rows[["image", "truth", "prediction"]].to_parquet(folder / "parts" / f"{trial}.parquet")
    (folder / "per_image.parquet").unlink()
    with (folder / record.EPOCHS).open("a") as file:
        file.write('{"half a li')
    assert quietly(folder).digest == digest


@pytest.mark.parametrize("name", [record.STUDY, record.JOURNAL, record.EPOCHS, "per_image"])
def test_the_digest_is_another_if_anything_is(tmp_path, name):
    folder = shipped("crowd-a-64px", tmp_path)
    digest = record.load(folder).digest
    if name == "per_image":
        change(folder, name, {"trial": "00-seed1"}, "prediction", 1.0)
    else:
        path = folder / name
        key, other = {
            record.STUDY: ('"processor": "', '"processor": "X'),
            record.JOURNAL: ('"node": "', '"node": "X'),
            record.EPOCHS: ('"time": "2026', '"time": "2025'),
        }[name]
        assert key in path.read_text()
        path.write_text(path.read_text().replace(key, other, 1))
        (folder / STAMP).unlink()
    assert quietly(folder).digest != digest


def test_a_run_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(RecordError, match="is no run folder"):
        record.verify(tmp_path)


# ---- what there is nothing to check by


@pytest.mark.parametrize("file", [STAMP, "trials.parquet", "curves.parquet"])
def test_a_file_that_is_gone_is_told_and_not_all_holds(tmp_path, file, capsys):
    folder = shipped("crowd-a-64px", tmp_path)
    (folder / file).unlink()
    assert report(["verify", str(folder)]) == 1
    said = capsys.readouterr().out
    assert file in said and "all of it holds" not in said


def test_frames_and_stamp_gone_together_are_told(tmp_path, capsys):
    folder = shipped("crowd-a-64px", tmp_path)
    for file in (STAMP, "trials.parquet"):
        (folder / file).unlink()
    assert report(["verify", str(folder)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert "not checked: trials.parquet is not there to be held against the logs" in said
    assert (
        f"not checked: {STAMP} is not there: a log that was cut or changed is not noticed" in said
    )


@pytest.mark.parametrize("key", ["sums", "study", "frames"])
def test_a_stamp_without_checksums_leaves_something_unchecked(tmp_path, key, capsys):
    folder = shipped("crowd-a-64px", tmp_path)
    stamp = json.loads((folder / STAMP).read_text())
    del stamp[key]
    (folder / STAMP).write_text(json.dumps(stamp))
    assert report(["verify", str(folder)]) == 1
    assert "not checked: frames.json has no checksum of" in capsys.readouterr().out


def test_a_study_file_that_was_changed_is_told_everywhere(tmp_path):
    folder = shipped("crowd-a-64px", tmp_path)
    path = folder / record.STUDY
    path.write_text(path.read_text().replace('"processor": "', '"processor": "X'))
    with pytest.warns(RecordWarning, match="study.json has another checksum"):
        held = record.load(folder)
    assert any("study.json has another checksum" in fault for fault in faults(folder))
    with warnings.catch_warnings(action="ignore", category=RecordWarning):
        record.write(folder)  # frames made again do not make it right
        assert record.load(folder).notes == held.notes


def test_what_the_driver_writes_into_the_study_is_no_change(make_study):
    study = make_study()
    drive(study, most=5)
    study.write_views()
    study.run.add_packing([{"depth": 18}])
    assert not faults(study.folder) and not record.load(study.folder).notes
    study.run.close()


def test_a_kill_while_the_driver_replaces_the_study_denies_nothing(make_study, monkeypatch):
    study = make_study()
    drive(study, most=5)
    study.write_views()
    put, times = stored.put_stamp, []

    def killed_at_the_second(folder, stamp):
        times.append(stamp)
        if len(times) == 2:
            raise KeyboardInterrupt
        put(folder, stamp)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stored, "put_stamp", killed_at_the_second)
        study.run.add_packing([{"depth": 18}])
    assert study.run.study["packing"] == [{"depth": 18}]
    assert not record.load(study.folder).notes
    study.run.close()
