"""`resnet-report import-curves`: curves of elsewhere as records; faults of published tables."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from analysis.cli import main
from analysis.display.dots import dot_plots
from analysis.display.words import banners
from analysis.findings.cells import cell_values, kept_out
from analysis.findings.published_faults import CLOSE, constants_of
from search.cli.main import main as search
from search.record import load

HEAD = "task,part,mode,depth,lr,run,epoch,name,value"
PUBLISHED = "table,task,part,mode,depth,lr,epochs,metric,value"


def lines_of(fields: str, epochs: int = 2, **ends: float) -> list[str]:
    """Rows of a run that ends at these values."""
    return [
        f"{fields},{epoch},{name},{end + (epochs - epoch) / 100}"
        for epoch in range(1, epochs + 1)
        for name, end in ends.items()
    ]


def crowd_line(lr: str, run: int, mae: float, epochs: int = 2, part: str = "B") -> list[str]:
    return lines_of(
        f"shanghaitech,{part},scratch,18,{lr},{run}", epochs, test_mae=mae, test_rmse=mae + 30
    )


CLASSES = lines_of("cifar10,,scratch,18,0.1,0", val_loss=0.9, val_accuracy=0.66)
CROWDS = [
    *crowd_line("0.01", 0, 122.5),
    *crowd_line("0.01", 1, 130.0),
    *crowd_line("0.001", 0, 56.6),
]
CELLS = [
    "T1,cifar10,,scratch,18,0.1,2,accuracy,0.66",
    "T3,shanghaitech,B,scratch,18,0.01,2,mae,122.5",
    "T3,shanghaitech,B,scratch,18,0.001,2,mae,278.0",
    "T4,shanghaitech,B,scratch,18,0.01,2,mae,122.5",
]


def csv_of(path: Path, head: str, lines: list[str]) -> Path:
    path.write_text("\n".join([head, *lines, ""]), encoding="utf-8")
    return path


@pytest.fixture
def taken(tmp_path, capsys):
    curves = csv_of(tmp_path / "old.csv", HEAD, [*CLASSES, *CROWDS])
    published = csv_of(tmp_path / "cells.csv", PUBLISHED, CELLS)
    out = tmp_path / "runs"
    words = ["import-curves", str(curves), "--out", str(out), "--published", str(published)]
    assert main(words) == 0
    return out, capsys.readouterr().out.splitlines()


def test_its_faults_are_found_with_their_figures(taken):
    faults = [line for line in taken[1] if line.startswith("fault: ")]
    assert faults == [
        "fault: validation shown as test: T1: 1 of its 1 values are those of validation at the "
        "last epoch, and no test value is on file (e.g. depth 18, lr 0.1: accuracy 0.66 is "
        "val_accuracy at epoch 2)",
        "fault: not its curve: T3 B, scratch, depth 18, lr 0.001: published mae 278.0; its curve "
        "ends at mae 56.6",
        "fault: best of 2 runs: T3 B, scratch, depth 18, lr 0.01: published mae 122.5, the best "
        "by the test value that is shown; left out: mae 130.0",
        "fault: best of 2 runs: T4 B, scratch, depth 18, lr 0.01: published mae 122.5, the best "
        "by the test value that is shown; left out: mae 130.0",
        "fault: choice of lr: T3 B, depth 18: published best lr 0.01 (mae 122.5), by the curves "
        "of 2 epochs lr 0.001 (mae 56.6); T4 B was run at lr 0.01",
        "fault: no better than a constant: shanghaitech B, scratch, depth 18, lr 0.01, run 0 "
        "(published in T3, T4): mae 122.5 against zero (all but the same) 124.1, training median "
        "68.3",
        "fault: no better than a constant: shanghaitech B, scratch, depth 18, lr 0.01, run 1: mae "
        "130 against zero 124.1, training median 68.3",
        "fault: no better than a constant: T3 B, scratch, depth 18, lr 0.001, published: mae 278 "
        "against zero 124.1, training median 68.3",
    ]


def test_a_record_keeps_the_faults_of_its_own_task(taken):
    held = {n: load(taken[0] / n) for n in ("old-cifar10", "old-shanghaitech")}
    told = [line.removeprefix("fault: ") for line in taken[1] if line.startswith("fault: ")]
    kept = {name: record.study["imported"]["faults"] for name, record in held.items()}
    assert kept == {"old-cifar10": told[:1], "old-shanghaitech": told[1:]}
    assert banners(held["old-cifar10"])[0].endswith("1 fault found at import.")
    assert banners(held["old-shanghaitech"])[0].endswith("7 faults found at import.")


@pytest.mark.parametrize(("split", "count"), [("test", 1), ("val", 0)])
def test_a_table_that_says_val_shows_no_other_split(tmp_path, capsys, split, count):
    curves = csv_of(tmp_path / "old.csv", HEAD, CLASSES)
    published = csv_of(tmp_path / "cells.csv", f"{PUBLISHED},split", [f"{CELLS[0]},{split}"])
    out = str(tmp_path / "runs")
    words = ["import-curves", str(curves), "--out", out, "--published", str(published)]
    assert main(words) == 0
    assert capsys.readouterr().out.count("validation shown as test") == count
    published.write_text(published.read_text().replace(f",{split}\n", ",train\n"))
    assert main([*words[:-3], f"{out}-2", *words[-2:]]) == 2
    assert "column split: 'train' must be one of test, val" in capsys.readouterr().err


def test_sound_tables_have_no_fault(tmp_path, capsys):
    curves = csv_of(tmp_path / "old.csv", HEAD, crowd_line("0.001", 0, 56.6))
    cells = ["T3,shanghaitech,B,scratch,18,0.001,2,mae,56.6"]
    published = csv_of(tmp_path / "cells.csv", PUBLISHED, cells)
    out = str(tmp_path / "runs")
    arguments = ["import-curves", str(curves), "--out", out, "--published", str(published)]
    assert main(arguments) == 0
    assert "fault:" not in capsys.readouterr().out


def test_it_is_read_as_a_record_that_is_never_confirmed(taken):
    records = [load(Path(line)) for line in taken[1] if not line.startswith("fault: ")]
    assert [r.study["name"] for r in records] == ["old-cifar10", "old-shanghaitech"]
    for record in records:
        assert record.trials["seed"].isna().all()
        assert (record.trials["status"] == "completed").all()
        assert not record.trials.filter(regex="^test_").notna().any(axis=None)
        assert banners(record)[0].startswith("IMPORTED: ")
        for value in cell_values(record):
            assert (value.status, value.marks, value.bold) == ("partial", ("imported",), False)
            assert kept_out(value) == ("imported",)
    values = [v for v in cell_values(records[1]) if v.metric == "mae"]
    assert [(v.given["lr"], v.given["run"], v.seen) for v in values] == [
        (0.01, 0, 122.5),
        (0.01, 1, 130.0),
        (0.001, 0, 56.6),
    ]


def test_verify_says_what_cannot_be_checked(taken, capsys):
    assert main(["verify", str(taken[0] / "old-cifar10")]) == 1
    out = capsys.readouterr().out
    assert "not checked: study.json: imported from old.csv" in out
    assert "not known: seeds, logs of a run, results of each image" in out
    assert "does not hold" not in out


def test_page_and_tables_say_that_it_is_imported(taken, tmp_path, capsys):
    run = str(taken[0] / "old-shanghaitech")
    assert main(["build", run, "--out", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "IMPORTED: imported from old.csv" in page
    assert "choice of lr: T3 B, depth 18" in page
    for table in ("cells", "T3"):
        assert main(["table", run, "--table", table]) == 0
        out = capsys.readouterr().out
        assert "56.6 @2/2⇣" in out
        assert "seeds: not known" in out


def test_status_counts_its_epochs_and_resume_refuses_it(taken, capsys):
    run = str(taken[0] / "old-shanghaitech")
    assert search(["status", run]) == 1  # nothing of it is confirmed
    out = " ".join(capsys.readouterr().out.split())
    assert "IMPORTED" in out
    assert "6 epochs" in out
    assert search(["resume", run]) == 2
    assert "imported from old.csv, so there is no study to run" in capsys.readouterr().err


def test_other_lengths_are_other_studies(tmp_path, capsys):
    lines = [*crowd_line("0.01", 0, 120.0), *crowd_line("0.1", 0, 121.0, epochs=3)]
    curves = csv_of(tmp_path / "old.csv", HEAD, lines)
    assert main(["import-curves", str(curves), "--out", str(tmp_path)]) == 0
    names = [Path(n).name for n in capsys.readouterr().out.splitlines() if "fault" not in n]
    assert names == ["old-shanghaitech-2", "old-shanghaitech-3"]


GOOD = "cifar10,,scratch,18,0.1,0,1,val_accuracy,0.5"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "has a heading and no rows"),
        ([GOOD.replace("cifar10", "mnist")], "row 2, column task: 'mnist' must be one of"),
        ([GOOD.replace("scratch", "tuned")], "row 2, column mode: 'tuned' must be one of scratch"),
        ([GOOD.replace(",,", ",A,")], "row 2, column part: 'A' must be empty"),
        ([GOOD.replace("18", "x")], "row 2, column depth: 'x' must be a whole number from 1"),
        ([GOOD.replace("0.1", "-1")], "row 2, column lr: '-1' must be above 0"),
        ([GOOD.replace(",1,val", ",0,val")], "row 2, column epoch: '0' must be a whole number"),
        ([GOOD.replace("val_", "")], "row 2, column name: 'accuracy' must be train_, val_ or"),
        ([GOOD.replace("0.5", "")], "row 2, column value: '' must be a finite number"),
        ([GOOD.replace("0.5", "nan")], "column value: 'nan' must be a finite number; of a run"),
        ([GOOD.replace("0.5", "1.5")], "column value: '1.5' accuracy is 1.5, and can only be"),
        ([GOOD, GOOD], "row 3, column epoch: '1' stands twice"),
        ([GOOD, GOOD.replace(",1,val", ",3,val")], "has no epoch 2 of 1 to 3"),
        ([GOOD + ",x"], "row 2: has 10 fields, the heading 9"),
        ([GOOD.replace("val", "train")], "has neither val_accuracy nor test_accuracy"),
    ],
)
def test_a_bad_csv_is_refused_with_row_and_column(tmp_path, capsys, lines, words):
    curves = csv_of(tmp_path / "old.csv", HEAD, lines)
    assert main(["import-curves", str(curves), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert str(curves) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_missing_file_column_and_taken_folder_are_refused(tmp_path, capsys):
    arguments = ["import-curves", str(tmp_path / "old.csv"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "cannot be read" in capsys.readouterr().err
    csv_of(tmp_path / "old.csv", HEAD.replace(",run", ""), [])
    assert main(arguments) == 2
    assert "row 1: has no column run" in capsys.readouterr().err
    csv_of(tmp_path / "old.csv", HEAD, CLASSES)
    assert main(arguments) == 0
    assert main(arguments) == 2
    assert "already holds a study; name another folder by --out" in capsys.readouterr().err


def test_a_study_json_that_says_too_little_of_its_import_is_refused(taken, capsys):
    path = taken[0] / "old-cifar10" / "study.json"
    study = json.loads(path.read_text())
    del study["imported"]["unknown"]
    path.write_text(json.dumps(study))
    assert main(["table", str(path.parent)]) == 2
    assert "imported.unknown" in capsys.readouterr().err


def test_the_course_reports_own_curves(tmp_path, capsys):
    """Its faults, by the csv that `RESNET_TUNE_CURVES` names."""
    named = os.environ.get("RESNET_TUNE_CURVES", "")
    if not Path(named).is_file():
        pytest.skip("RESNET_TUNE_CURVES names no csv of the course report's curves")
    assert main(["import-curves", named, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for words in (
        "validation shown as test: T1: 10 of its 10 values",
        "validation shown as test: T2: 10 of its 10 values",
        "T3 B, scratch, depth 18, lr 0.001: published mae 277.9780, rmse 433.7102; its curve ends "
        "at mae 56.6171, rmse 83.5163",
        "is the end of the curve at lr 0.001 over 100 epochs",
        "published best lr 0.01 (mae 122.4778), by the curves of 50 epochs lr 0.001",
    ):
        assert words in out
    against = [line for line in out.splitlines() if "no better than a constant" in line]
    assert sum("shanghaitech A" in line for line in against) == 6  # every one of them
    assert sum("all but the same" in line for line in against) == 4


def test_the_constants_on_file_are_those_of_the_real_annotations(real_data):
    for part in ("A", "B"):
        heads = {}
        for split in ("train", "test"):
            truths = f"ShanghaiTech/part_{part}*/{split}_data/ground*truth/*.mat"
            held = sorted(real_data.glob(truths))
            read = [loadmat(path)["image_info"][0, 0][0, 0][0] for path in held]
            heads[split] = np.array([len(points) for points in read])
        test, known = heads["test"], constants_of("shanghaitech", part, "mae")
        assert known["zero"] == pytest.approx(test.mean(), abs=0.05)
        off = np.abs(test - np.median(heads["train"])).mean()
        assert known["training median"] == pytest.approx(off, abs=0.05)
        drawn = np.random.default_rng(0).choice(heads["train"], (2000, len(heads["train"])))
        moved = np.abs(test - np.median(drawn, axis=1)[:, None]).mean(axis=1) / off
        assert moved.std() == pytest.approx({"A": 0.016, "B": 0.005}[part], abs=0.002)
        assert moved.std() < CLOSE


def test_an_imported_value_has_a_mark_of_its_own_in_the_answers_figure(taken):
    (plot,) = dot_plots(load(taken[0] / "old-cifar10"))
    (row,) = plot["rows"]
    assert row["mean"] is not None
    assert row["marked"]
    assert plot["seen"]
