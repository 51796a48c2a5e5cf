"""A table of curves is believed only where it says one thing: else file, column, row and fix."""

import json

import numpy as np
import pandas as pd
import pytest

from search.cli.main import main
from search.schedule.curve_table import CurvesError
from search.schedule.curves import read_curves

CELLS = [{"depth": 18, "pretrained": False}, {"depth": 18, "pretrained": True}]
HEAD = "depth,pretrained,config,seed,epoch,accuracy,seconds,diverged"


def lines(cells=("false", "true"), configs=("a", "b"), epochs=4):
    return [
        f"18,{cell},{config},1,{epoch},0.{number}{epoch},5,"
        for cell in cells
        for number, config in enumerate(configs, 1)
        for epoch in range(1, epochs + 1)
    ]


def write(tmp_path, rows, head=HEAD):
    path = tmp_path / "curves.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def read(path, metric="accuracy", named=False, epochs=4):
    return read_curves(path, CELLS, metric, "max", epochs, "last", named)


def refusal(path, **options):
    with pytest.raises(CurvesError) as refused:
        read(path, **options)
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_a_sound_table_is_read_without_a_word(tmp_path):
    held = read(write(tmp_path, lines()))
    assert held.notes == ()
    np.testing.assert_allclose(held.values[1][:, 0], [[0.11, 0.12, 0.13, 0.14],
                                                      [0.21, 0.22, 0.23, 0.24]])  # fmt: skip


def test_rows_in_any_order_are_the_same_curves(tmp_path):
    whole = read(write(tmp_path, lines()))
    mixed = read(write(tmp_path, list(np.random.default_rng(0).permutation(lines()))))
    for one, other in zip(whole.values, mixed.values, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("epochs", "said"),
    [
        ((1, 2, 2, 3), "lines 3, 4: epoch is 2 again in the run of cell 0, config a, seed 1"),
        ((1, 2, 2, 4), "lines 3, 4: epoch is 2 again"),
        (
            (1, 2, 4, 5),
            "line 4: epoch 3 is missing before it, in the run of cell 0, config a, seed 1",
        ),
        ((2, 3, 4, 5), "epoch 1 is missing"),
        ((0, 1, 2, 3), "line 2: epoch is no epoch ('0'); epochs are whole and count from 1"),
        ((1, 2, 3, -4), "line 5: epoch is no epoch ('-4')"),
        ((1, 1.5, 2, 3), "line 3: epoch is no epoch ('1.5')"),
        ((1, 2, "", 4), "line 4: epoch is no epoch ('')"),
        ((1, 2, "three", 4), "line 4: epoch is no number ('three')"),
        ((1, 2, "inf", 4), "line 4: epoch is no epoch ('inf')"),
        ((1, 2, "1_0", 4), "line 4: epoch is no number ('1_0')"),
    ],
)
def test_epochs_that_are_not_one_to_n_are_named_with_run_and_line(tmp_path, epochs, said):
    rows = [f"18,false,a,1,{e},0.1,5," for e in epochs]
    assert said in refusal(write(tmp_path, [*rows, *lines(cells=["true"])]))


def test_whole_numbers_may_be_written_with_a_point(tmp_path):
    rows = [row.replace(",1,1,0", ",1.0,1.0,0") for row in lines()]
    assert read(write(tmp_path, rows)).values[0].shape == (2, 1, 4)


@pytest.mark.parametrize("value", ["", "nan", "inf", "-inf", "NaN", " "])
def test_a_metric_that_is_not_there_is_a_divergence_only_where_the_run_says_so(tmp_path, value):
    rows = lines()
    rows[3] = rows[3].replace("0.14", value)
    said = refusal(write(tmp_path, rows))
    assert "line 5: accuracy is blank or not finite" in said
    assert "column diverged" in said
    rows[3] += "true"
    held = read(write(tmp_path, rows))
    np.testing.assert_array_equal(np.isnan(held.values[0][0, 0]), [False, False, False, True])


def test_a_run_that_diverged_ends_early(tmp_path):
    rows = lines()
    del rows[2:4]
    rows[1] += "yes"
    held = read(write(tmp_path, rows))
    np.testing.assert_array_equal(np.isnan(held.values[0][0, 0]), [False, False, True, True])
    assert held.notes == ()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("18,false,a,1,1,high,5,", "accuracy is no number ('high')"),
        ("18,false,a,1,1,0.1,-5,", "seconds is negative ('-5')"),
        ("18,false,a,1,1,0.1,inf,", "seconds is blank or not finite"),
        ("18,false,a,1,1,0.1,,", "seconds is blank or not finite"),
        ("18,false,a,1,1,0.1,5s,", "seconds is no number ('5s')"),
        ("18,false,a,one,1,0.1,5,", "seed is no number ('one')"),
        ("18,false,a,1.5,1,0.1,5,", "seed is no whole number ('1.5')"),
        ("18,false,,1,1,0.1,5,", "config is blank"),
        (",false,a,1,1,0.1,5,", "depth is blank"),
        ("deep,false,a,1,1,0.1,5,", "depth is no number ('deep')"),
        ("18,perhaps,a,1,1,0.1,5,", "pretrained is not true or false ('perhaps')"),
        ("18,false,a,1,1,0.1,5,perhaps", "diverged is not true or false ('perhaps')"),
    ],
)
def test_a_field_of_another_kind_is_named_with_line_and_fix(tmp_path, row, said):
    rows = lines()
    rows[0] = row
    message = refusal(write(tmp_path, rows))
    assert f"line 2: {said};" in message


def test_a_run_that_took_no_time_at_all_is_refused(tmp_path):
    rows = [row.replace(",5,", ",0,") for row in lines()]
    assert "seconds is 0 in the whole run" in refusal(write(tmp_path, rows))


@pytest.mark.parametrize("answers", [("0", "1"), ("no", "YES"), ("FALSE", "TRUE"), ("0.0", "1.0")])
def test_cells_are_compared_as_values_however_they_are_written(tmp_path, answers):
    rows = [row.replace("18,", "18.0,", 1) for row in lines(cells=answers)]
    held = read(write(tmp_path, rows))
    assert [len(values) for values in held.values] == [2, 2]
    assert held.notes == ()


def test_numbers_that_went_through_another_program_are_the_same_cell(tmp_path):
    path = write(tmp_path, [f"{lr},a,1,0.5" for lr in ("0.30000000000000004", "1e-1")],
                 "lr,config,epoch,accuracy")  # fmt: skip
    held = read_curves(path, [{"lr": 0.3}, {"lr": 0.1}], "accuracy", "max", 1, "last")
    assert [len(values) for values in held.values] == [1, 1]


def test_rows_of_no_cell_are_counted_and_told(tmp_path):
    rows = [*lines(), *(row.replace("18,", "50,", 1) for row in lines(cells=["true"]))]
    (note,) = read(write(tmp_path, rows)).notes
    assert "8 of 24 rows are of no cell of the study (depth = 50, pretrained = true: 8)" in note
    said = refusal(write(tmp_path, [row.replace("18,", "50,", 1) for row in lines()]))
    assert "16 of 16 rows are of no cell" in said
    assert "the study's are {'depth': 18, 'pretrained': False}" in said


def test_shorter_and_longer_runs_and_uneven_seeds_are_counted_and_told(tmp_path):
    longer = [f"18,true,c,1,{e},0.5,5," for e in range(1, 7)]
    shorter = [f"18,true,d,1,{e},0.5,5," for e in range(1, 3)]
    again = [f"18,true,a,2,{e},0.5,5," for e in range(1, 5)]
    held = read(write(tmp_path, [*lines(), *longer, *shorter, *again]))
    assert [values.shape for values in held.values] == [(2, 1, 4), (3, 2, 4)]
    short, long, seeds = held.notes
    assert "1 of 7 runs are shorter than 4 epochs and did not diverge; they are left out" in short
    assert "1 of 7 runs are longer than 4 epochs" in long
    assert "configs have 1 to 2 seeds" in seeds


def test_a_metric_may_be_called_as_the_record_calls_it(tmp_path):
    for name in ("val_accuracy", "test_accuracy"):
        held = read(write(tmp_path, lines(), HEAD.replace("accuracy", name)))
        assert held.values[0].shape == (2, 1, 4)
        assert f"accuracy is read from the column {name}" in held.notes[0]
    held = read(write(tmp_path, lines()), metric="val_accuracy")
    assert "val_accuracy is read from the column accuracy" in held.notes[0]


def test_two_columns_that_may_be_the_metric_want_a_name(tmp_path):
    path = write(tmp_path, lines(), HEAD.replace("seconds", "val_accuracy"))
    said = refusal(path)
    assert "columns accuracy and val_accuracy may each be meant; name one with --metric" in said
    assert read(path, metric="val_accuracy", named=True).values[0][0, 0, 0] == 5
    assert read(path, named=True).values[0][0, 0, 0] == 0.11
    neither = write(tmp_path, lines(), HEAD.replace("accuracy", "top1"))
    said = refusal(neither)
    assert "no column accuracy (or val_accuracy, test_accuracy); it has depth" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty, or its first line names no columns"),
        (b"\n\n", "is empty, or its first line names no columns"),
        (HEAD.encode(), "has no rows"),
        (HEAD.replace(",", ";").encode() + b"\n18;false;a;1;1;0,1;5;", "separated by ';'"),
        (HEAD.replace(",", "\t").encode(), r"separated by '\t'"),
        (HEAD.encode("utf-16"), "no UTF-8 text"),
        ((HEAD + ",n\xf6te").encode("latin-1"), "no UTF-8 text"),
        (HEAD.replace("seed", "epoch").encode() + b"\n", "column epoch is there twice"),
        (HEAD.replace("seed", " epoch ").encode() + b"\n", "column epoch is there twice"),
        ((HEAD + "\n" + lines()[0] + ",9").encode(), "line 2 has 9 fields and the first"),
        ((HEAD + "\n18,false,a").encode(), "line 2 has 3 fields"),
        (b"PAR1 and no more", "cannot be read"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_such_table_is_told_what_it_is(tmp_path, content, said):
    path = tmp_path / "curves.csv"
    path.write_bytes(content)
    assert said in refusal(path)


def test_a_byte_order_mark_and_an_index_column_without_a_name_do_not_matter(tmp_path):
    path = tmp_path / "curves.csv"
    rows = "\n".join([f",{HEAD}", *(f"{n},{row}" for n, row in enumerate(lines()))])
    path.write_text(f"\ufeff{rows}\n", encoding="utf-8")
    assert read(path).notes == ()


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.csv")


def frame():
    rows = [
        (18, cell, config, epoch, 0.1 * epoch)
        for cell in (False, True)
        for config in range(2)
        for epoch in range(1, 5)
    ]
    return pd.DataFrame(rows, columns=["depth", "pretrained", "config", "epoch", "accuracy"])


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f,
        lambda f: f.assign(depth="18", pretrained=f["pretrained"].map({True: "yes", False: "no"})),
        lambda f: f.assign(pretrained=f["pretrained"].astype(int), epoch=f["epoch"].astype(float)),
        lambda f: f.astype({"config": "category", "accuracy": "float32"}),
        lambda f: f.set_index(["depth", "pretrained"]),
    ],
)
def test_parquet_is_read_whatever_the_types_of_its_columns(tmp_path, change):
    path = tmp_path / "curves.parquet"
    change(frame()).to_parquet(path)
    held = read(path)
    assert [values.shape for values in held.values] == [(2, 1, 4)] * 2
    assert held.notes == ()


def test_a_blank_in_parquet_is_named_by_its_row(tmp_path):
    path = tmp_path / "curves.parquet"
    held = frame()
    held.loc[5, "accuracy"] = None
    held.to_parquet(path)
    assert "row 6: accuracy is blank or not finite" in refusal(path)


def test_configs_that_are_numbers_are_in_the_order_of_numbers(tmp_path):
    rows = [f"18,{cell},{n},1,1,0.{n:02d},5," for cell in ("false", "true") for n in range(1, 12)]
    held = read(write(tmp_path, rows), epochs=1)
    np.testing.assert_allclose(held.values[0][:, 0, 0], [n / 100 for n in range(1, 12)])


@pytest.mark.parametrize(
    ("metric", "value", "said"),
    [("accuracy", "93.1", "is 0.11 to 93.1"), ("mae", "-3", "mae is down to -3")],
)
def test_a_metric_outside_its_range_is_told(tmp_path, metric, value, said):
    rows = lines()
    rows[3] = rows[3].replace("0.14", value)
    (note,) = read(write(tmp_path, rows, HEAD.replace("accuracy", metric)), metric).notes
    assert said in note


@pytest.mark.parametrize("value", ["-0.5", "100.1", "1e30"])
def test_an_accuracy_that_is_none_is_refused(tmp_path, value):
    rows = lines()
    rows[3] = rows[3].replace("0.14", value)
    with pytest.raises(CurvesError, match=r"line 5: accuracy is none .*0 to 100"):
        read(write(tmp_path, rows))


def test_a_cell_parameter_called_as_a_column_of_curves_is_refused(tmp_path):
    path = write(tmp_path, lines())
    with pytest.raises(CurvesError, match="a cell parameter is named seed"):
        read_curves(path, [{"seed": 1}], "accuracy", "max", 4, "last")


STUDY = """
name = "s"
task = "cifar10"
[cells]
depth = [18]
pretrained = [false, true]
[space]
lr = [0.1, 0.2]
[budget]
trials_per_cell = 2
max_epochs = 4
reduction_factor = 2
"""


def test_simulate_prints_what_is_left_out_and_has_it_in_its_json(tmp_path, capsys):
    study = tmp_path / "s.toml"
    study.write_text(STUDY)
    shorter = [f"18,true,d,1,{e},0.5,5," for e in range(1, 3)]
    path = write(tmp_path, [*lines(), *shorter])
    words = ["simulate", str(study), "--curves", str(path), "--repeats", "2"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert shown.count("note: ") == 1
    assert "1 of 5 runs are shorter than 4 epochs" in shown
    assert main([*words, "--json"]) == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert "1 of 5 runs are shorter than 4 epochs" in note
    assert main([*words, "--set", "budget.trials_per_cell=3"]) == 2
    error = capsys.readouterr().err
    assert "a cell has 2 whole curves and the study draws 3" in error
    assert "1 of 5 runs are shorter than 4 epochs" in error
