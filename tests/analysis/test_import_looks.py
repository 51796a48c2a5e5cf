"""What an import keeps beside results: looks at test, the rate of each epoch, and whose rows."""

from __future__ import annotations

import shutil

import pytest

from analysis.cli import main
from analysis.findings.cells import cell_values
from analysis.findings.reveals import ledgers, reveal_frame
from analysis.findings.settled import settled
from search.record import load

RATED = [
    "run,depth,epoch,lr,val_accuracy",
    *(
        f"{run},{depth},{epoch},{0.1 if epoch < 13 else 0.01},{0.5 + epoch / 100}"
        for run, depth in (("a", 18), ("b", 34))
        for epoch in range(1, 25 if run == "a" else 23)
    ),
]


@pytest.fixture
def imported(tmp_path, capsys):
    def imported(lines, code=0):
        (tmp_path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        words = ["import", "csv", str(tmp_path / "a.csv"), "--out", str(tmp_path / "run")]
        assert main(words) == code
        held = capsys.readouterr()
        return (load(tmp_path / "run"), held.out) if not code else (None, held.err)

    return imported


def test_a_look_at_test_counts_whichever_config_it_is_of_and_at_each_epoch(imported):
    head = "run,depth,lr,epoch,val_accuracy,test_accuracy"
    rows = ["a,18,0.1,1,0.5,0.4", "a,18,0.1,2,0.7,0.6", "b,18,0.2,1,0.3,0.2", "b,18,0.2,2,0.4,"]
    record, _ = imported([head, *rows])
    (value,) = (v for v in cell_values(record) if v.metric == "accuracy")
    assert value.values == (0.6,)  # of the chosen one alone
    held = reveal_frame(record)
    assert sorted(zip(held["trial"], held["epoch"], strict=True)) == [
        ("00-a", 1), ("00-a", 2), ("00-b", 1),
    ]  # fmt: skip
    assert [(one.reveals, one.imported) for one in ledgers(record)] == [(3, 3)]
    assert "test_accuracy" not in set(record.curves["name"])


def test_rates_by_epoch_are_a_curve_and_the_trend_is_told_by_them(imported):
    record, said = imported(RATED)
    assert "guessed: learning rate of each epoch = 'lr'" in said and "left out: lr" not in said
    rates = record.curves[record.curves["name"] == "lr"].set_index(["trial", "epoch"])["value"]
    assert rates["00-a", 1] == 0.1 and rates["00-a", 24] == 0.01
    held = settled(record).iloc[0]
    assert held["window"] == 10 and held["stamp"] == "improving"


@pytest.mark.parametrize("seeds", [(1, 2, 1, 2), (1, 2, 3, 4), None])
def test_runs_of_other_rates_by_epoch_are_other_configs_not_seeds(imported, seeds):
    """The greatest rate of a schedule is its run's setting, beside the curve that it stays."""
    rows = [
        f"r{run},a,{seeds[run] if seeds else ''},{epoch},{peak / epoch},{0.5 + peak + run / 100}"
        for run, peak in enumerate((0.1, 0.1, 0.01, 0.01) if seeds else (0.1, 0.01))
        for epoch in (1, 2, 3)
    ]
    record, said = imported(["run,model,seed,epoch,lr,val_accuracy", *rows])
    assert "'lr' of a run = the greatest of its epochs" in said
    assert sorted(set(record.trials["lr"])) == [0.01, 0.1]
    (value,) = (v for v in cell_values(record) if v.metric == "accuracy")
    assert value.values == (pytest.approx((0.6, 0.61)) if seeds else ())
    rates = record.curves[record.curves["name"] == "lr"]["value"]
    assert rates.min() == pytest.approx(0.01 / 3)


def test_an_import_differs_from_a_copy_of_it_in_nothing(imported, tmp_path):
    imported(RATED)
    copied = shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert main(["diff", str(tmp_path / "run"), str(copied)]) == 0


def test_a_curve_without_rates_is_a_curve_all_the_same(imported):
    """Nothing can be told of its end; its value at a common epoch can."""
    lines = [",".join(line.split(",")[:3] + line.split(",")[4:]) for line in RATED]
    record, _ = imported(lines)
    held = settled(record)
    assert set(held["why"][:1]) == {"the learning rate of each epoch is not on record"}
    assert held["common_epoch"].tolist() == [22, 22]
    assert held["value_there"].tolist() == pytest.approx([0.72, 0.72])


def test_without_a_column_of_runs_a_row_is_one_or_the_first_that_denies_it_is_named(imported):
    rows = ["18,0.1,0.5", "18,0.2,0.6", "34,0.1,0.7"]
    record, said = imported(["depth,lr,val_accuracy", *rows])
    assert "guessed: each row is a run: no column names runs or counts epochs" in said
    assert record.trials["trial"].tolist() == ["00-row1", "00-row2", "01-row3"]


def test_rows_of_several_runs_that_nothing_tells_apart_are_refused_in_a_line(imported, tmp_path):
    rows = ["18,1,0.5", "18,2,0.6", "34,1,0.7"]
    _, error = imported(["depth,epoch,val_accuracy", *rows], 2)
    assert "a.csv, row 4, column epoch: 1 stands there before" in error
    assert "add a column run" in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_of_one_run_no_column_is_named_that_is_not_there(imported):
    _, error = imported(["epoch,val_accuracy", "1,0.5", "2,0.6"], 2)
    assert 'cells = ["model"] and fixed.model = "mine"' in error and "depth are" not in error


def test_verify_says_what_of_an_import_can_be_checked(imported, capsys):
    record, _ = imported(["depth,lr,val_accuracy", "18,0.1,0.5"])
    assert main(["verify", str(record.run)]) == 1
    told = capsys.readouterr().out
    assert "held against what the import wrote; there are no logs of its runs" in told
    assert "held against the logs" not in told and "computed again" not in told
