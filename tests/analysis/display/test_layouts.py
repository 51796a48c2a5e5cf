"""T1 to T4 against the arrangement that the course report gave them."""

from __future__ import annotations

from make_run import Run, cifar, crowd

from analysis.display import tables
from analysis.findings.published import published_frame
from search.record import load


def made(folder, key):
    return tables.make(load(folder), key)


def labels(table):
    return list(table.display[table.display.columns[0]])


def test_t1_and_t2_have_depth_across_and_the_metrics_down(tmp_path):
    cifar(tmp_path / "c")
    for key, losses in (("T1", ["0.9872", "0.9670"]), ("T2", ["1.0972", "1.1825"])):
        table = made(tmp_path / "c", key)
        assert list(table.display) == ["Depth", "18", "34"]
        assert table.heads == ()
        assert labels(table) == [
            "Test loss ↓",
            "Test accuracy ↑",
            "lr (chosen)",
            "Published val loss",
            "Published val accuracy",
            "Uniform guess: loss",
            "Uniform guess: accuracy",
        ]
        assert list(table.display.iloc[1][1:]) == ["0.6000 ± 0.0100 (3)", "0.7000 ± 0.0100 (3)≈"]
        assert list(table.display.iloc[3][1:]) == losses
        assert list(table.display.iloc[6][1:]) == ["0.1000", "0.1000"]


def test_published_values_and_constants_are_rows_of_their_own_kinds(tmp_path):
    cifar(tmp_path / "c")
    table = made(tmp_path / "c", "T1")
    kinds = ["ours", "ours", "setting", *["published"] * 2, *["constant"] * 2]
    assert list(table.kinds) == kinds
    assert table.new_kinds() == [3, 5]


def test_a_published_value_stands_beside_the_cells_that_have_what_it_had(tmp_path):
    Run(
        tmp_path / "c",
        cells=[{"depth": 18, "optimizer": how, "pretrained": False} for how in ("adamw", "sgd")],
    )
    shown = made(tmp_path / "c", "T1").display.set_index("Depth").loc["Published val loss"]
    assert list(shown) == ["—", "0.9872"]


def test_every_published_value_of_the_report_stands_in_its_table(tmp_path):
    """The whole of report_values.csv, at the place where the report has it."""
    depths, old = (18, 34, 50, 101, 152), published_frame()
    Run(
        tmp_path / "c",
        cells=[{"depth": d, "pretrained": p} for d in depths for p in (False, True)],
    )
    for key in ("T1", "T2"):
        table, rows = made(tmp_path / "c", key), old[old["table"] == key]
        for metric in ("loss", "accuracy"):
            shown = table.display.set_index("Depth").loc[f"Published val {metric}"]
            wanted = rows[rows["metric"] == metric].set_index("depth")["value"]
            assert list(shown) == [f"{wanted[d]:.4f}" for d in depths]
    for key, by in (("T3", "lr"), ("T4", "depth")):
        crowd(tmp_path / key, key=by)
        table, rows = made(tmp_path / key, key), old[old["table"] == key]
        shown = table.display[[kind == "published" for kind in table.kinds]]
        for part, metric, head in [
            (p, m, f"Part {p} {h} ↓")
            for p in "AB"
            for m, h in (("mae", "MAE"), ("rmse", "MSE (root)"))
        ]:
            wanted = rows[(rows["part"] == part) & (rows["metric"] == metric)]["value"]
            assert list(shown[head]) == [f"{value:.4f}" for value in wanted]


def test_t3_and_t4_have_part_a_and_part_b_over_mae_and_mse(tmp_path):
    for key, by, first in (("T3", "lr", "lr"), ("T4", "depth", "Depth")):
        crowd(tmp_path / key, key=by)
        table = made(tmp_path / key, key)
        assert table.heads == (
            ("", first),
            ("Part A", "MAE ↓"),
            ("Part A", "MSE (root) ↓"),
            ("Part B", "MAE ↓"),
            ("Part B", "MSE (root) ↓"),
        )
        levels = ["0.1", "0.01", "0.001"] if by == "lr" else ["18", "34", "50"]
        assert labels(table) == [
            *levels,
            *[f"{level} published" for level in levels],
            "predict zero",
            "predict training mean",
            "predict training median",
        ]
        assert list(table.display.iloc[8][1:]) == ["408.0", "588.0", "136.0", "196.0"]


def test_the_row_of_the_report_that_was_copied_wrongly_stands_as_published(tmp_path):
    crowd(tmp_path / "t")
    table = made(tmp_path / "t", "T3")
    assert list(table.display.iloc[5]) == [
        *("0.001 published", "324.5824", "503.7461", "277.9780", "433.7102")
    ]
    assert "B at lr 0.001 (logged: MAE 56.6" in table.caption


def test_what_varies_beside_depth_heads_its_columns(tmp_path):
    cells = [{"depth": d, "batch_size": b} for d in (18, 34) for b in (64, 128)]
    Run(tmp_path / "s", cells=cells)
    table = made(tmp_path / "s", "T1")
    assert table.heads[1:] == (
        ("batch_size 64", "18"),
        ("batch_size 64", "34"),
        ("batch_size 128", "18"),
        ("batch_size 128", "34"),
    )


def test_every_string_of_a_cell_knows_its_cell(tmp_path):
    cifar(tmp_path / "c")
    table = made(tmp_path / "c", "T2")  # cells 1 and 3
    places = {(row, column + 1): cell for row in range(5) for column, cell in enumerate((1, 3))}
    assert table.cells == places


def test_cells_alike_to_three_digits_keep_columns_of_their_own(tmp_path):
    Run(tmp_path / "s", cells=[{"weight_decay": w} for w in (0.00050001, 0.00050002)])
    assert len(set(made(tmp_path / "s", "T1").display.columns)) == 3


def test_latex_has_the_head_of_two_levels_and_a_rule_between_kinds(tmp_path):
    crowd(tmp_path / "t")
    text = tables.render(made(tmp_path / "t", "T3"), "tex")
    assert r"\multicolumn{2}{c}{Part A} & \multicolumn{2}{c}{Part B}" in text
    assert text.count(r"\midrule") == 3
