"""Damage inside a record: one error that names file, line or key and what to do, or a note."""

import json
import os
import shutil
import time
import warnings
from pathlib import Path

import pandas as pd
import pytest

from analysis.cli import main as report
from analysis.display import origins
from analysis.display.figure_set import plates
from search import record
from search.cli.main import main
from search.record import JournalError, RecordError, RecordWarning
from search.record.predictions import per_image
from search.record.run_folder import RunFolder
from search.record.stored import IMAGE, PER_IMAGE, STAMP
from tests.search.conftest import drive

REAL = {"data": "CIFAR-10", "edition": "parquet", "synthetic": False}


def change_study(folder, **keys):
    path = folder / record.STUDY
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def change_line(folder, name, number, **keys):
    path = folder / name
    lines = path.read_text().splitlines()
    lines[number - 1] = json.dumps({**json.loads(lines[number - 1]), **keys})
    path.write_text("\n".join(lines) + "\n")


def drop_rows(folder, trial):
    path = folder / record.EPOCHS
    lines = [x for x in path.read_text().splitlines(True) if json.loads(x)["trial"] != trial]
    path.write_text("".join(lines))


@pytest.mark.parametrize(
    "name", [record.STUDY, record.JOURNAL, record.EPOCHS, "per_image.parquet"]
)
@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_what_is_no_file_is_named_and_not_waited_for(finished, name, kind, capsys):
    (finished / name).unlink()
    {"pipe": os.mkfifo, "folder": os.mkdir, "link": lambda p: p.symlink_to("nowhere")}[kind](
        finished / name
    )
    assert report(["table", str(finished)]) == 2
    said = capsys.readouterr().err
    assert str(finished / name) in said
    assert {"pipe": "no ordinary file", "folder": "a folder", "link": "leads nowhere"}[
        kind
    ] in said


def test_a_pipe_as_stamp_or_lock_is_not_waited_for(finished):
    before = record.load(finished).trials
    (finished / STAMP).unlink()
    os.mkfifo(finished / STAMP)
    pd.testing.assert_frame_equal(record.load(finished).trials, before)
    (finished / record.LOCK).unlink()
    os.mkfifo(finished / record.LOCK)
    with pytest.raises(RecordError, match=r"\.lock cannot be locked: it is no ordinary file"):
        RunFolder(finished)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"rungs": [1, 2, None]}, "rungs.2 is None"),
        ({"rungs": [1, 2, 8]}, r"rungs is \[1, 2, 8\], which does not fit its other keys"),
        ({"cells": [{"depth": []}]}, "cells.0.depth is"),
        ({"confirm_seeds": ["1"]}, "confirm_seeds.0 is '1'"),
        ({"mode": "min"}, "mode is 'min', which does not fit"),
        ({"cells": [{"depth": 18}, {"depth": 50}]}, "cells is .* which does not fit"),
        ({"cells": [{"depth": 18}, {"width": 34}]}, "cells is .* which does not fit"),
        ({"space_keys": []}, r"space_keys is \[\], which does not fit"),
        ({"metric": "f1"}, "metric is 'f1', which does not fit"),
        ({"checkpoint_rule": "last"}, "checkpoint_rule is 'last', which does not fit"),
        ({"shown_split": "val"}, "shown_split is 'val', which does not fit"),
        ({"spec": {"budget": {"trials_per_cell": "x"}}}, "spec.budget.trials_per_cell is 'x'"),
        ({"about": {}}, "it lacks about.title"),
        ({"settings": None}, "settings is None"),
        ({"synthetic": False}, "synthetic is False, which does not fit"),
        ({"data": [REAL]}, "synthetic is True, which does not fit"),
        ({"data": [{**REAL, "synthetic": True}]}, "data is .* which does not fit"),
        ({"name": "other"}, "name is 'other', which does not fit"),
    ],
)
def test_a_value_of_the_study_is_refused_by_key(finished, keys, said):
    change_study(finished, **keys)
    with pytest.raises(RecordError, match=rf"study\.json is damaged: {said}.*restore it"):
        record.load(finished)


def test_an_edition_may_be_a_number(finished):
    data = record.load_study(finished)["data"]
    change_study(finished, data=[{**held, "edition": 2024} for held in data])
    assert "2024" in origins.data_words(record.load(finished).study)[0]


@pytest.mark.parametrize(
    ("number", "keys", "said"),
    [
        (1, {"job": {"trial": "a", "stage": "search", "to_epoch": 1}}, "it lacks job.cell"),
        (
            1,
            {"job": {"trial": "a", "stage": "search", "cell": "x", "to_epoch": 1}},
            "job.cell is 'x'",
        ),
        (1, {"config": {"lr": "x"}}, "config.lr is 'x'"),
        (1, {"config": {}}, "config has no key"),
        (1, {"event": []}, r"it has the event \[\], which is none of"),
        (2, {"value": "0.5"}, "value is '0.5'"),
        (2, {"seconds": True}, "seconds is True"),
        (2, {"ending": "x"}, "it has the ending 'x', which is none of"),
    ],
)
def test_a_value_of_the_journal_is_refused_by_line_and_key(finished, number, keys, said):
    change_line(finished, record.JOURNAL, number, **keys)
    with pytest.raises(JournalError, match=rf"decisions\.jsonl, line {number}: {said}"):
        record.load(finished)


def test_a_cell_that_the_study_has_not_is_refused(finished):
    line = json.loads((finished / record.JOURNAL).read_text().splitlines()[0])
    change_line(finished, record.JOURNAL, 1, job={**line["job"], "cell": 2})
    with pytest.raises(JournalError, match=r"job\.cell is 2: the study has 2 cells"):
        record.load(finished)


def test_a_line_that_is_a_list_is_refused(finished):
    path = finished / record.JOURNAL
    path.write_text("[1]\n" + path.read_text())
    with pytest.raises(JournalError, match=r"line 1: .* is no table, but \[1\]"):
        record.load(finished)


@pytest.mark.parametrize("numbered", [True, False])
def test_a_decision_that_is_there_twice_is_refused(finished, numbered):
    path = finished / record.JOURNAL
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    if not numbered:
        lines = [{k: v for k, v in line.items() if k != "line"} for line in lines]
    lines.append(next(line for line in lines if line.get("verdict") == "audit"))
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(JournalError, match=r"missing, doubled or moved; restore"):
        record.load(finished)


def test_rows_that_the_log_has_lost_are_read_from_the_frame_and_told(finished):
    before = record.load(finished)
    drop_rows(finished, "00-seed1")
    for _ in range(2):  # also once the frames have been written anew
        with pytest.warns(RecordWarning, match="lacks 4 epochs .* of trials 00-seed1; restore"):
            held = record.load(finished)
        pd.testing.assert_frame_equal(held.trials, before.trials)
        assert len(held.curves) == len(before.curves)
        record.write(finished)


@pytest.mark.parametrize("gone", ["rows", "file"])
def test_epochs_that_are_nowhere_are_told_by_every_output(finished, gone, capsys):
    whole = record.load(finished)
    (finished / "curves.parquet").unlink()
    if gone == "rows":
        drop_rows(finished, "00-seed1")
    else:
        (finished / record.EPOCHS).unlink()
    for command, name in ((report, "table"), (main, "status")):
        command([name, str(finished)])
        out, err = capsys.readouterr()
        assert err.count("note: ") == 1
        assert "epochs.jsonl lacks" in err
    report(["table", str(finished)])
    out = capsys.readouterr().out
    assert "DAMAGED RECORD: epochs.jsonl lacks" in out
    with pytest.warns(RecordWarning, match="test scores are the journal's"):
        held = record.load(finished)
    scores = [f"test_{name}" for name in held.study["metrics"]]
    pd.testing.assert_frame_equal(held.trials[scores], whole.trials[scores])
    for plate in plates(held):
        if plate.key.startswith("F1"):
            assert "DAMAGED RECORD" in plate.caption


def test_no_sound_record_is_said_to_lack_epochs(make_study):
    """Neither at any moment of a run, nor after jobs that were put back, failed or asked again."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecordWarning)
        study = make_study()
        while drive(study, most=4):
            job = study.ask()
            if job is not None:
                study.epoch(job.trial, {"epoch": job.train["from_epoch"] + 1, "seconds": 1.0})
                study.put_back(job.trial)
            study.write_views()
            record.load(study.folder)
        study.close()


def part_of(folder, trial):
    (folder / "parts").mkdir(exist_ok=True)
    path = folder / "parts" / f"{trial}.parquet"
    pd.DataFrame({"image": ["a"], "truth": [1.0], "prediction": [2.0]}).to_parquet(path)
    return path


def test_the_advice_on_a_damaged_part_keeps_what_the_frame_holds(finished):
    path = part_of(finished, "00-seed1")
    record.write(finished)
    before = record.load(finished).per_image
    assert len(before) == 1
    path.write_bytes(b"PAR1")
    with pytest.raises(RecordError, match=r"seed1\.parquet is damaged .*delete it: per_image"):
        record.load(finished)
    path.unlink()  # as told
    record.write(finished)
    pd.testing.assert_frame_equal(record.load(finished).per_image, before)


def test_parts_are_read_in_a_time_that_grows_with_their_number_alone(tmp_path):
    """Each was looked for among all rows of all trials: 20 took 4 s and more."""
    trials = [f"00-seed{n}" for n in range(20)]
    images = [str(n) for n in range(10_000)]
    one = pd.DataFrame({"image": images, "truth": 1.0, "prediction": 2.0})
    (tmp_path / "parts").mkdir()
    for trial in trials:
        one.to_parquet(tmp_path / "parts" / f"{trial}.parquet")
    whole = pd.concat([one.assign(study="s", trial=trial, split="test") for trial in trials])
    whole[IMAGE].to_parquet(tmp_path / PER_IMAGE)
    began = time.process_time()
    assert len(per_image(tmp_path, "s")) == len(whole)
    assert time.process_time() - began < 2


def test_a_damaged_part_that_nothing_else_holds_is_not_to_be_deleted(finished):
    part_of(finished, "00-seed1").write_bytes(b"PAR1")
    with pytest.raises(RecordError, match=r"restore it from a copy\. No other file holds"):
        record.load(finished)


def test_a_bit_that_flipped_in_a_frame_is_found(finished):
    path = finished / "curves.parquet"
    held = bytearray(path.read_bytes())
    held[len(held) // 4] ^= 4
    path.write_bytes(bytes(held))
    with pytest.raises(
        RecordError, match=r"curves\.parquet is damaged .*made again from the logs"
    ):
        record.load(finished)


def test_frames_of_something_else_are_made_again(finished):
    before = record.load(finished).trials
    (finished / "trials.parquet").write_bytes((finished / "curves.parquet").read_bytes())
    pd.testing.assert_frame_equal(record.load(finished).trials, before)


def test_results_of_each_image_that_are_gone_are_told(tmp_path):
    """A record without parts/, as one that is given away: intervals would narrow in silence."""
    folder = tmp_path / "run"
    shutil.copytree(Path(__file__).parents[3] / "results" / "crowd-a-64px", folder)
    (folder / "per_image.parquet").unlink()
    with pytest.warns(record.RecordWarning, match=r"per_image\.parquet, whose .* is gone"):
        held = record.load(folder)
    assert any("know nothing of the test images" in note for note in held.notes)
