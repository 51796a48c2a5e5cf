"""The test ledger: each score of test is a line, and those of the same images are counted once."""

from __future__ import annotations

import json
import shutil
import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from make_run import Run, cifar, crowd

from analysis import frames
from analysis.cli import main as report
from analysis.display import tables
from analysis.display.ledger import ledger_words
from analysis.findings.images import images_of
from analysis.findings.reveals import ledgers, reveal_frame
from search.record import RecordWarning, load
from search.record.reveals import ASIDE_WHY, IMPORTED, TOLD, UNTOLD, WATCHED
from tests.analysis.random_records import random_run

pytestmark = pytest.mark.filterwarnings("ignore::search.record.RecordWarning")


def scored(folder, seeds=3, images=20, name="s", **study):
    """A study of two cells of one config each, scored with predictions of the same images."""
    cells = [{"depth": 18}, {"depth": 34}]
    run = Run(folder, "cifar10", cells, name=name, confirm_seeds=[*range(1, seeds + 1)], **study)
    truth = np.arange(images) % 10
    for cell in range(2):
        run.trial(f"{cell:02d}-000", cell, value=0.5)
        run.confirm(cell, [{"loss": 1.0, "accuracy": 1.0}] * seeds)
        for seed in range(1, seeds + 1):
            run.images(f"{cell:02d}-seed{seed}", truth, truth)
    return run


def test_by_the_honest_protocol_each_seed_is_one_reveal_in_utc(tmp_path):
    held = reveal_frame(load(cifar(tmp_path / "s").folder))
    assert len(held) == 12 and set(held["why"]) == {TOLD} and set(held["stage"]) == {"confirm"}
    assert held["trial"].is_unique and held["time"].is_monotonic_increasing
    assert str(held["time"].dt.tz) == "UTC" and held["time"].notna().all()
    assert set(held["epoch"]) == {9} and set(held["test_images"]) == {10000}
    assert set(held["test_set"]) == {""}  # without results of each image


def test_where_test_is_watched_each_epoch_is_one_and_an_epoch_again_another(tmp_path):
    run = crowd(tmp_path / "s")
    before = len(reveal_frame(load(run.folder)))
    assert before == 6 * 9  # the scoring at the end is that of the last epoch
    line = {
        "trial": "00-seed42",
        "row": {"epoch": 3, "lr": 0.1, "seconds": 2.0, "test_mae": 299.0},
    }
    with (run.folder / "epochs.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.write(json.dumps(line) + "\n")  # reported once more: the same score
    held = reveal_frame(load(run.folder))
    assert len(held) == before + 1 and set(held["why"]) == {WATCHED}


def test_predictions_that_no_job_told_of_count_and_so_do_those_set_aside(tmp_path):
    run = Run(tmp_path / "s", confirm_seeds=[1])
    run.trial("00-seed1", stage="confirm", seed=1, ending="running")
    run.images("00-seed1", [0, 1], [0, 1])
    (run.folder / "unasked" / "parts").mkdir(parents=True)
    aside = run.folder / "unasked" / "parts" / "00-seed2.parquet"
    shutil.copy(run.folder / "parts" / "00-seed1.parquet", aside)
    held = reveal_frame(load(run.folder)).set_index("trial")
    assert held.loc["00-seed1", "why"] == UNTOLD and held.loc["00-seed1", "test_images"] == 2
    assert held.loc["00-seed2", "why"] == ASIDE_WHY and pd.isna(held.loc["00-seed2", "cell"])
    (one,) = ledgers(load(run.folder))
    assert one.reveals == 2  # whose images are lost it is of the study's one set


def test_the_same_images_are_counted_over_studies_whatever_their_order(tmp_path):
    one, two = scored(tmp_path / "a", name="a"), scored(tmp_path / "b", seeds=2, name="b")
    path = two.folder / "parts" / "00-seed1.parquet"
    pd.read_parquet(path).iloc[::-1].to_parquet(path)
    other = scored(tmp_path / "c", images=10, name="c")
    records = [load(run.folder) for run in (one, two, other)]
    (held,) = ledgers(records[0], records)
    assert (held.images, held.reveals, held.candidates) == (20, 6, 2)
    assert held.studies == ("a", "b") and (held.all_reveals, held.all_candidates) == (10, 4)
    (alone,) = ledgers(records[2], records)
    assert (alone.images, alone.studies, alone.all_reveals) == (10, ("c",), 6)
    text = ledger_words(records[0], records)[0]
    assert text == (
        "Test ledger: 2 candidates, 6 reveals of 20 test images, over the 2 studies shown here 4 "
        "candidates and 10 reveals of the same images."
    )


def test_without_results_of_images_the_data_say_which_they_are(tmp_path):
    """One study has predictions, the other none; both say the same of their data."""
    one = scored(tmp_path / "a", name="a")
    two = Run(tmp_path / "b", cells=[{"depth": 18}], name="b", confirm_seeds=[1])
    two.trial("00-000", value=0.5)
    two.confirm(0, [{"loss": 1.0, "accuracy": 0.5}])
    three = Run(tmp_path / "c", cells=[{"depth": 18}], name="c", confirm_seeds=[1],
                data=[{"data": "CIFAR-10", "edition": "other", "test_images": 10000}])  # fmt: skip
    three.confirm(0, [{"loss": 1.0, "accuracy": 0.5}])
    records = [load(run.folder) for run in (one, two, three)]
    assert [held.all_reveals for held in ledgers(records[0], records)] == [7]
    assert [held.all_reveals for held in ledgers(records[1], records)] == [7]
    assert [held.all_reveals for held in ledgers(records[2], records)] == [1]


def test_parts_of_a_study_are_images_of_their_own(tmp_path):
    held = ledgers(load(crowd(tmp_path / "s", watched="val", protocol="honest").folder))
    assert [one.reveals for one in held] == [3, 3]


def test_an_imported_score_is_at_least_one(tmp_path):
    run = Run(tmp_path / "s", confirm_seeds=[1],
              imported={"file": "a.csv", "sha256": "0", "unknown": [], "faults": []})  # fmt: skip
    run.confirm(0, [{"loss": 1.0, "accuracy": 0.5}])
    record = load(run.folder)
    held = reveal_frame(record)
    assert set(held["why"]) == {IMPORTED} and held["time"].isna().all()
    said = ledger_words(record)
    assert "at least: imported" in said[0] and "cannot tell (imported" in said[1]


def test_captions_of_test_tables_say_it_and_those_of_validation_do_not(tmp_path, capsys):
    folder = scored(tmp_path / "s").folder
    record = load(folder)
    for key in tables.keys(record):
        said = "Test ledger:" in tables.make(record, key).caption
        assert said == (key in ("T1", "T2", "cells", "contrasts", "reveals")), key
    assert report(["table", str(folder), "--table", "reveals", "--format", "csv"]) == 0
    assert capsys.readouterr().out.count(TOLD) == 6
    assert frames.reveals(folder)["label"].value_counts().to_dict() == {
        "depth 18": 3,
        "depth 34": 3,
    }
    shown = cifar(tmp_path / "v", shown_split="val", protocol="report").folder
    assert "Test ledger" not in tables.make(load(shown), "cells").caption
    assert "tables of this study show validation" in tables.make(load(shown), "reveals").caption


def test_a_page_counts_over_its_studies(tmp_path):
    held = [load(scored(tmp_path / n, name=n).folder) for n in "ab"]
    said = "over the 2 studies shown here 4 candidates and 12 reveals of the same images"
    for key in ("T1", "cells", "reveals"):
        if key in tables.keys(held[0]):
            assert said in tables.make(held[0], key, held).caption
            assert said not in tables.make(held[0], key).caption


@pytest.mark.parametrize("seed", range(40))
def test_no_score_is_left_out_and_none_is_counted_twice(tmp_path, seed):
    """Of random records, by the logs' own lines: whatever failed, was lost or is missing."""
    run = random_run(tmp_path / "s", seed)
    journal = run.folder / "decisions.jsonl"
    lines = [json.loads(x) for x in journal.read_text().splitlines()] if journal.exists() else []
    told = Counter(e["trial"] for e in lines if e["event"] == "tell" and e.get("test"))
    parts = {path.stem for path in (run.folder / "parts").glob("*.parquet")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordWarning)
        record = load(run.folder)
    held = reveal_frame(record)
    assert Counter(held["trial"]) == told + Counter(dict.fromkeys(parts - {*told}, 1))
    sets = ledgers(record, [record])
    assert sum(one.reveals for one in sets) == len(held)
    assert all(one.all_reveals == one.reveals and len(one.studies) == 1 for one in sets)


def test_tables_and_the_ledger_name_a_set_of_images_by_one_digest(tmp_path):
    record = load(scored(tmp_path / "s").folder)
    shown = images_of(record, record.trials["trial"])
    told = reveal_frame(record).set_index("trial")["test_set"]
    assert dict(shown.sets) == told.to_dict() and set(shown.sizes) == set(told)
