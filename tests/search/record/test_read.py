"""The record is a function of two logs, and says of every trial what became of it."""

import json

import pandas as pd
import pytest

from search import record
from search.record import RecordError, RecordWarning, frame_files, read
from tests.search.conftest import TEXT, drive, score


def test_every_trial_asked_for_has_a_row_with_a_final_status(finished):
    events = [json.loads(line) for line in (finished / record.JOURNAL).read_text().splitlines()]
    asked = {e["job"]["trial"] for e in events if e["event"] == "ask"}
    trials = record.load(finished).trials
    assert set(trials["trial"]) == asked
    assert set(trials["status"]) <= {"completed", "stopped", "diverged", "failed"}
    assert trials["reason"].notna().all()
    assert trials["trial"].is_unique


def test_a_stopped_trial_never_looks_complete(finished):
    trials = record.load(finished).trials
    stopped = trials[trials["status"] == "stopped"]
    assert len(stopped)
    assert (stopped["epochs"] < stopped["budget"]).all()
    assert stopped["reason"].str.contains(r"rank \d+ of \d+ at epoch \d").all()
    assert stopped["test_accuracy"].isna().all()
    complete = trials[trials["status"] == "completed"]
    assert (complete["epochs"] == complete["budget"]).all()


def test_a_row_holds_the_value_of_its_epoch(finished):
    trials = record.load(finished).trials
    for row in trials[trials["value"].notna()].itertuples():
        assert row.value == score(row.trial, row.value_epoch) == row.value_val_accuracy
        assert row.last == score(row.trial, row.epochs)
        assert row.best == max(score(row.trial, e) for e in range(1, row.epochs + 1))


def test_lost_trials_carry_their_reason(finished):
    trials = record.load(finished).trials
    failed = trials[trials["status"] == "failed"]
    diverged = trials[trials["status"] == "diverged"]
    assert len(failed) + len(diverged)
    assert (failed["error"] == "made to fail").all()
    assert (failed["attempts"] == 2).all()  # one retry
    assert diverged["reason"].str.startswith("not finite in epoch").all()


def test_types_survive_the_round_trip(finished):
    trials = record.load(finished).trials
    kinds = {
        "cell": "Int64",
        "depth": "Int64",
        "lr": "Float64",
        "status": "string",
        "value": "Float64",
    }
    assert {name: str(trials[name].dtype) for name in kinds} == kinds


def test_logs_that_grew_since_the_frames_are_read_instead(finished):
    before = record.load(finished)
    with (finished / record.EPOCHS).open("a") as file:
        row = {"trial": before.trials["trial"][0], "row": {"epoch": 77, "val_accuracy": 0.5}}
        file.write(json.dumps(row) + "\n")
    with pytest.warns(RecordWarning, match="holds 1 epoch .* never asked for"):
        assert 77 in set(record.load(finished).curves["epoch"])


def test_of_a_repeated_epoch_the_later_row_counts(finished):
    with (finished / record.EPOCHS).open("a") as file:
        for value in (0.25, 0.75):
            row = {"trial": "00-000", "row": {"epoch": 1, "val_accuracy": value}}
            file.write(json.dumps(row) + "\n")
    record.write(finished)
    curves = record.load(finished).curves
    rows = curves[(curves["trial"] == "00-000") & (curves["epoch"] == 1)]
    assert rows.set_index("name")["value"].to_dict() == {"val_accuracy": 0.75}


def test_csv_holds_what_parquet_holds(finished):
    held = record.load(finished)
    for name in ("trials", "curves"):
        csv = pd.read_csv(finished / "csv" / f"{name}.csv")
        assert len(csv) == len(getattr(held, name))
        assert list(csv.columns) == list(getattr(held, name).columns)


def test_predictions_that_came_without_their_part_stay(finished):
    """A record is often moved without `parts`, and then gone on with."""
    rows = pd.DataFrame({"split": "test", "image": [0, 1], "truth": [1, 2], "prediction": [1, 1]})
    (finished / "parts").mkdir(exist_ok=True)
    for trial in ("00-seed1", "00-seed2"):
        rows.to_parquet(finished / "parts" / f"{trial}.parquet", index=False)
    record.write(finished)
    whole = record.load(finished).per_image
    (finished / "parts" / "00-seed1.parquet").unlink()
    record.write(finished)
    pd.testing.assert_frame_equal(record.load(finished).per_image, whole)
    (finished / "parts" / "00-seed2.parquet").unlink()
    record.write(finished)
    pd.testing.assert_frame_equal(record.load(finished).per_image, whole)


def test_every_documented_column_is_there_and_every_column_documented(finished):
    trials = record.load(finished).trials
    text = read.__doc__
    for column in trials.columns:
        generic = column.startswith(("last_", "value_", "test_")) or column in ("depth", "lr")
        assert generic or column in text


def test_a_running_study_can_be_read(make_study):
    study = make_study()
    drive(study, most=4)
    study.ask()
    record.write(study.folder)
    trials = record.load(study.folder).trials
    assert "running" in set(trials["status"])
    assert trials["reason"].notna().all()
    assert "paused" in set(trials["status"])


def test_no_run_folder_is_said_with_the_fix(tmp_path):
    with pytest.raises(RecordError, match=r"is no run folder: it has no study\.json"):
        record.load(tmp_path)


def test_the_run_that_was_meant_is_named(finished):
    runs, name = finished.parent, finished.name
    with pytest.raises(RecordError, match=rf"no study\.json; did you mean {runs / name}\?$"):
        record.load(runs / f"{name[0]}x{name[1:]}")
    with pytest.raises(RecordError, match=rf"no study\.json; runs in it: {finished}$"):
        record.load(runs)
    with pytest.raises(RecordError, match=r"no study\.json\. Name the folder that"):
        record.load(runs / "something else")


def test_a_damaged_frame_is_named(finished):
    (finished / "trials.parquet").write_bytes(b"PAR1")
    with pytest.raises(RecordError, match=r"trials\.parquet is damaged"):
        record.load(finished)


def test_a_trial_promoted_early_reads_running(make_study):
    study = make_study(text=TEXT.replace("depth = [18, 34]", "depth = [18]"))
    jobs = [study.ask() for _ in range(5)]
    for job in jobs[:4]:
        told = {"ending": "value", "value": score(job.trial, 1), "epoch": 1, "value_epoch": 1}
        study.tell(job.trial, told)
    early = study.ask()
    assert early.train["from_epoch"] == 1
    record.write(study.folder)
    trials = record.load(study.folder).trials.set_index("trial")
    assert trials.loc[early.trial, "status"] == "running"
    assert "promote early" in trials.loc[early.trial, "reason"]


def test_epochs_trained_again_are_counted_and_rows_only_reported_again_are_not(finished):
    def line(epoch, seconds):
        row = {"epoch": epoch, "val_accuracy": 0.5, "seconds": seconds}
        return json.dumps({"trial": "00-seed1", "row": row}) + "\n"

    with (finished / record.EPOCHS).open("a") as file:
        file.write(line(1, 1.0) + line(2, 7.5) + line(2, 9.0))
    trials = record.load(finished).trials.set_index("trial")
    # 1.0 s was the first report of both epochs: epoch 1 is the same row, epoch 2 ran twice more
    assert trials.loc["00-seed1", "repeated_epochs"] == 2
    assert trials.loc["00-seed1", "lost_seconds"] == 1.0 + 7.5
    assert trials.drop("00-seed1")["repeated_epochs"].sum() == 0


def test_an_interrupted_job_reads_paused_until_it_goes_on(make_study):
    study = make_study()
    first = study.ask().trial
    study.put_back(first)
    record.write(study.folder)
    row = record.load(study.folder).trials.set_index("trial").loc[first]
    assert (row["status"], row["reason"]) == ("paused", "its job was interrupted")
    study.ask()
    record.write(study.folder)
    assert record.load(study.folder).trials.set_index("trial").loc[first, "status"] == "running"


def test_a_record_that_grows_while_it_is_read_is_of_one_moment(make_study, monkeypatch):
    """Older events beside newer frames: a trial told of in one was unknown in the other."""
    study = make_study()
    drive(study, most=6)
    study.write_views()
    before = record.load(study.folder)
    look = read.sizes_of

    def slow_look(folder):
        """The study goes on, and writes its frames, right after the first look."""
        seen = look(folder)
        monkeypatch.setattr(read, "sizes_of", look)
        drive(study, most=6)
        study.write_views()
        return seen

    monkeypatch.setattr(read, "sizes_of", slow_look)
    held = record.load(study.folder)
    assert held.trials.equals(before.trials)
    assert held.curves.equals(before.curves)
    assert held.decisions.equals(before.decisions)
    after = record.load(study.folder)
    assert len(after.trials) > len(held.trials)
    study.close()


def test_frames_that_are_replaced_while_they_are_read_are_not_mixed(make_study, monkeypatch):
    study = make_study()
    drive(study, most=6)
    study.write_views()
    before = record.load(study.folder)
    fetch = frame_files.read_parquet

    def slow_fetch(path):
        frame = fetch(path)
        if path.name == "trials.parquet":
            monkeypatch.setattr(frame_files, "read_parquet", fetch)
            drive(study, most=6)
            study.write_views()
        return frame

    monkeypatch.setattr(frame_files, "read_parquet", slow_fetch)
    held = record.load(study.folder)
    assert held.trials.equals(before.trials)
    assert held.curves.equals(before.curves)
    study.close()


def test_what_is_missing_is_the_same_wherever_it_is_told(make_study, capsys):
    """Status, the end of a run and the page."""
    from analysis.display.page import state_of
    from search.cli.main import main

    study = make_study()
    seen = set()
    for most in (3, 12, 10**9):
        drive(study, most=most)
        study.write_views()
        held = record.load(study.folder)
        lacking = record.missing(held)
        assert main(["status", str(study.folder)]) == int(bool(lacking.cells))
        text, unfinished = state_of(held)
        assert text.startswith(f"{2 - len(lacking.cells)} of 2 cells")
        assert unfinished == lacking.anything
        statuses = set(lacking.lost["status"])
        assert statuses <= {"failed", "diverged"}
        seen.add(len(lacking.cells))
    assert 2 in seen
    study.close()
