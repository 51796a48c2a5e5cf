"""What moved from one record to another, and which cells of several may stand in one table."""

from __future__ import annotations

import numpy as np
import pytest
from make_run import Run, crowd

from analysis.cli import main as report
from analysis.display.frames import text
from analysis.display.several_tables import diff_table, join_table
from analysis.findings.cells import cell_values
from analysis.findings.contrasts import Contrast, contrasts
from analysis.findings.differences import KINDS, changes
from analysis.findings.several import diff, joined
from search.record import UserError, load

NEAR = [0.701, 0.703, 0.702]


def study(folder, means, cells=({"depth": 18}, {"depth": 34}), lr=0.1, **changed):
    run = Run(folder, "cifar10", cells, **changed)
    for cell, values in enumerate(means):
        run.trial(f"{cell:02d}-000", cell, value=0.5, lr=lr)
        if values:
            run.confirm(cell, [{"loss": 2 - v, "accuracy": v} for v in values], lr=lr)
    return load(run.folder)


def rows(frame, metric="accuracy"):
    return frame[frame["metric"] == metric].reset_index(drop=True)


def test_the_same_study_twice_has_moved_nowhere_and_differs_in_nothing(tmp_path):
    one = study(tmp_path / "a", [NEAR, [0.6, 0.61, 0.62]])
    other = study(tmp_path / "b", [NEAR, [0.6, 0.61, 0.62]])
    assert changes(one, other).empty
    found = diff(one, other)
    assert (found["verdict"] == "same numbers").all() and (found["differs"] == "").all()
    assert "differ in nothing" in diff_table(one, other).caption


def test_a_move_beyond_chance_is_told_from_one_within_it(tmp_path):
    one = study(tmp_path / "a", [NEAR, [0.50, 0.60, 0.70]])
    other = study(tmp_path / "b", [[v + 0.05 for v in NEAR], [0.52, 0.61, 0.66]])
    found = rows(diff(one, other))
    assert found["verdict"].tolist() == ["better", "not told apart"]
    first = found.iloc[0]
    assert first["change"] == pytest.approx(0.05) and first["lo"] < 0.05 < first["hi"]
    assert first["lo"] > 0
    back = rows(diff(other, one))
    assert back["verdict"].tolist() == ["worse", "not told apart"]
    assert back.iloc[0]["hi"] == pytest.approx(-first["lo"])


def test_of_a_metric_that_should_be_low_more_is_worse(tmp_path):
    """The change keeps its sign, the verdict is turned."""
    one = study(tmp_path / "a", [NEAR, None])
    other = study(tmp_path / "b", [[v + 0.05 for v in NEAR], None])
    found = rows(diff(one, other), "loss").iloc[0]
    assert found["change"] == pytest.approx(-0.05) and found["hi"] < 0
    assert found["verdict"] == "better"


def test_a_single_seed_each_decides_nothing(tmp_path):
    pair = [
        study(tmp_path / n, [[v], None], confirm_seeds=[1]) for n, v in (("a", 0.5), ("b", 0.9))
    ]
    assert rows(diff(*pair)).iloc[0]["verdict"] == "not known"


@pytest.mark.parametrize(
    ("changed", "kind", "key"),
    [
        ({"settings": {"pretrained": False, "batch_size": 32}}, "settings", "batch_size"),
        ({"rungs": [1, 9], "spec": {"budget": {"trials_per_cell": 4}}}, "budget", "rungs"),
        ({"spec": {"space": {"lr": {"low": 0.1}}}}, "search", "lr"),
        ({"confirm_seeds": [4, 5, 6]}, "seeds", "confirm.seeds"),
        ({"git": {"commit": "fedcba98", "dirty": False}}, "code", "code"),
        ({"sessions": [{"code": "0a"}, {"code": "0b"}]}, "code", "code"),  # resumed on another
        ({"versions": {"torch": "2.14"}}, "versions", "torch"),
        ({"machine": {"processor": "another"}}, "machine", "processor"),
        ({"task_code": [{"file": "mine.py", "sha256": "0abc"}]}, "code", "mine.py"),
    ],
)
def test_each_kind_of_difference_is_named_by_key_and_both_values(tmp_path, changed, kind, key):
    one = study(tmp_path / "a", [NEAR, None])
    other = study(tmp_path / "b", [NEAR, None], **changed)
    held = changes(one, other).set_index("key")
    assert held.loc[key, "kind"] == kind and held.loc[key, "first"] != held.loc[key, "second"]
    assert kind in rows(diff(one, other)).iloc[0]["differs"].split(", ")
    assert set(held["kind"]) <= set(KINDS)
    assert key in diff_table(one, other).caption


def test_what_a_cell_chose_is_a_difference_of_that_cell(tmp_path):
    one, other = (study(tmp_path / n, [NEAR, None], lr=lr) for n, lr in (("a", 0.1), ("b", 0.2)))
    found = rows(diff(one, other)).iloc[0]
    assert (found["differs"], found["chosen"]) == ("chosen", "lr 0.1 -> 0.2")
    assert "chosen (lr 0.1 -> 0.2)" in set(diff_table(one, other).display["may be due to"])


def test_cells_are_matched_by_their_settings_whoever_varies_them(tmp_path):
    """Depth is a cell's in one, fixed in the other; a cell of one alone is told so."""
    one = study(tmp_path / "a", [NEAR, [0.6, 0.61, 0.62]])
    fixed = {"pretrained": False, "depth": 34}
    cells = [{"pretrained": False}, {"pretrained": True}]
    other = study(tmp_path / "b", [[0.6, 0.61, 0.62], NEAR], cells, settings=fixed)
    found = rows(diff(one, other))
    held = {(r.depth, r.pretrained): r.verdict for r in found.itertuples()}
    assert held == {
        (18, False): "only in the first",
        (34, False): "same numbers",
        (34, True): "only in the second",
    }


def test_other_data_or_other_test_images_cannot_be_compared(tmp_path):
    one = study(tmp_path / "a", [NEAR, None])
    data = [{**one.study["data"][0], "test_images": 500}]
    other = study(tmp_path / "b", [NEAR, None], data=data)
    found = rows(diff(one, other)).iloc[0]
    assert found["verdict"] == "cannot be compared" and "test_images" in found["why"]


@pytest.mark.filterwarnings("ignore::search.record.RecordWarning")  # its asks score nothing
def test_results_of_each_image_say_whether_the_test_images_are_the_same(tmp_path):
    """Where they are, chance in the images counts as well: the interval is wider."""
    held = {}
    truth = np.repeat(np.arange(10.0), 100)
    for name, shift in (("a", 0), ("same", 0), ("other", 1)):
        run = Run(tmp_path / name)
        better = 0.0 if name == "a" else 0.05
        tests = [round(v + better, 3) for v in NEAR]
        run.confirm(0, [{"loss": 1.0, "accuracy": v} for v in tests])
        for seed, accuracy in enumerate(tests, 1):
            wrong = np.arange(1000) >= round(accuracy * 1000)
            said = np.where(np.roll(wrong, 7 * seed), (truth + 1) % 10, truth)
            run.images(f"00-seed{seed}", truth, said, names=np.arange(1000) + shift)
        held[name] = load(run.folder)
    same, other = (rows(diff(held["a"], held[n])).iloc[0] for n in ("same", "other"))
    assert other["verdict"] == "cannot be compared" and "different test images" in other["why"]
    loss = rows(diff(held["a"], held["other"]), "loss").iloc[0]  # has no results of each image
    assert loss["verdict"] == "cannot be compared"
    assert {v.standing for _, v, _ in joined([held["a"], held["other"]])} == {"alone"}
    alone = rows(
        diff(
            *(
                study(tmp_path / n, [[v + b for v in NEAR], None])
                for n, b in (("c", 0), ("d", 0.05))
            )
        )
    ).iloc[0]
    assert same["verdict"] == "better"
    assert same["hi"] - same["lo"] > alone["hi"] - alone["lo"]


def test_studies_of_two_tasks_share_no_table(tmp_path):
    one = study(tmp_path / "a", [NEAR, None])
    other = load(crowd(tmp_path / "b").folder)
    for work in (diff, lambda *pair: joined(pair)):
        with pytest.raises(UserError, match="study a is of cifar10, study b of shanghaitech"):
            work(one, other)


def test_joined_cells_are_ranked_over_all_studies(tmp_path):
    one = study(tmp_path / "a", [NEAR, [0.60, 0.61, 0.62]])
    other = study(tmp_path / "b", [[0.80, 0.81, 0.82]], [{"depth": 50}])
    held = {
        (r.study["name"], v.cell): v for r, v, _ in joined([one, other]) if v.metric == "accuracy"
    }
    assert {key: v.standing for key, v in held.items()} == {
        ("a", 0): "behind",
        ("a", 1): "behind",
        ("b", 2): "best",
    }
    table = join_table([one, other])
    assert table.display["depth"].tolist() == ["18", "34", "50"]
    assert table.bold[
        "test accuracy ↑" if "test accuracy ↑" in table.bold else "test accuracy"
    ].tolist() == [False, False, True]
    assert table.data["run"].nunique() == 2


def test_studies_of_other_budgets_are_ranked_apart_and_told_why(tmp_path):
    one = study(tmp_path / "a", [NEAR, None])
    run = Run(tmp_path / "b", "cifar10", [{"depth": 18}], rungs=[1, 3, 6])
    run.confirm(0, [{"loss": 1.0, "accuracy": v} for v in (0.9, 0.91, 0.92)], lr=0.1, epochs=6)
    other = load(run.folder)
    assert {v.standing for _, v, _ in joined([one, other]) if v.status == "complete"} == {"alone"}
    assert "Cells of a and b are not compared where they differ in epochs 9 against 6." in (
        join_table([one, other]).caption
    )


def test_the_standing_in_a_joined_table_is_of_the_main_metric_and_its_words_are_told(tmp_path):
    runs = []
    for name, loss, accuracy in (("a", 0.5, 0.7), ("b", 0.9, 0.9)):  # the two metrics disagree
        run = Run(tmp_path / name, "cifar10", [{"depth": 18}, {"depth": 34}])
        rows = [{"loss": loss + d, "accuracy": accuracy + d} for d in (0, 0.001, 0.002)]
        run.confirm(0, rows, lr=0.1)
        runs.append(load(run.folder))
    table = join_table(runs)
    assert table.display["standing"].tolist() == ["behind", "out", "best", "out"]
    assert "Standing, out: kept out of the ranking, by its marks." in table.caption


def test_the_same_record_twice_is_refused(tmp_path, capsys):
    one = study(tmp_path / "a", [NEAR, None])
    assert report(["join", str(one.run), str(one.run)]) == 2
    assert "given twice" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["md", "csv", "tex", "html"])
@pytest.mark.parametrize("command", ["diff", "join"])
def test_both_are_printed_in_every_form(tmp_path, command, form, capsys):
    runs = [
        study(tmp_path / n, [[v + s for v in NEAR], NEAR]).run for n, s in (("a", 0), ("b", 0.05))
    ]
    assert report([command, *map(str, runs), "--format", form]) == 0
    assert capsys.readouterr().out.strip()


def test_runs_of_one_study_name_are_told_apart_by_their_folders(tmp_path):
    runs = [study(tmp_path / n / "s", [NEAR, None]) for n in ("x", "y")]
    with pytest.raises(UserError, match="given twice"):
        joined(runs)  # the same numbers: the same record, wherever it lies
    other = study(tmp_path / "z" / "s", [[0.8, 0.81, 0.82], None])
    shown = join_table([runs[0], other]).display["study"].tolist()
    assert shown == [str(runs[0].run)] * 2 + [str(other.run)] * 2


def test_studies_of_other_metrics_keep_their_cells_apart(tmp_path):
    one = Run(tmp_path / "a", "cifar10", [{"depth": 18}, {"depth": 34}], metrics=["accuracy"])
    for cell, mean in enumerate((0.5, 0.6)):
        one.confirm(cell, [{"accuracy": mean + s / 100} for s in (-1, 0, 1)])
    other = study(tmp_path / "b", [NEAR, [0.8, 0.81, 0.82]])
    found = joined([load(one.folder), other])
    assert [v.cell for _, v, _ in found] == [0, 1, 2, 2, 3, 3]
    assert [v.standing for _, v, _ in found if v.metric == "accuracy"][-1] == "best"


def test_what_keeps_a_cell_out_of_its_own_tables_keeps_it_out_of_a_diff(tmp_path):
    """As `contrast` says of the same cells: seeds missing, and collapsed."""
    one = study(tmp_path / "a", [NEAR, NEAR])
    other = study(tmp_path / "b", [[0.8, 0.81], NEAR])
    run = Run(tmp_path / "c", "cifar10", [{"depth": 18}, {"depth": 34}])
    run.confirm(0, [{"loss": 1.0, "accuracy": v + 0.05} for v in NEAR], lr=0.1, collapsed=True)
    third = load(run.folder)
    for record, mark in ((other, "seeds missing"), (third, "collapsed")):
        found = rows(diff(one, record)).iloc[0]
        assert (found["verdict"], found["why"]) == ("cannot be compared", f"the second: {mark}")
        assert mark in found["marks_second"].split(" | ")
        within = contrasts(record, [Contrast("depth", 34)]).iloc[0]
        assert within["verdict"] == "cannot be compared"
        assert within["why"].startswith(f"depth 18: {mark}")
    assert rows(diff(other, other)).iloc[0]["verdict"] == "same numbers"


def test_a_diff_shows_values_as_the_tables_of_each_record_do(tmp_path):
    one = study(tmp_path / "a", [NEAR, [0.699, 0.701, 0.703]])  # not told apart: marked
    other = study(tmp_path / "b", [[0.8, 0.81], None])
    table = diff_table(one, other)
    for record, which in ((one, "first"), (other, "second")):
        for metric in ("loss", "accuracy"):
            shown = table.display[table.display["metric"] == f"test {metric}"][which].tolist()
            values = [v for v in cell_values(record) if v.metric == metric]
            assert shown == [text(v) for v in values]
    assert "≈" in table.display["first"].iloc[1] and "§" in table.display["second"].iloc[1]
    first, second = table.caption.split(" First: ")[1].split(" Second: ")[:2]
    assert "≈ the best is among the cells so marked" in first and "§" not in first
    assert "§ fewer seeds than planned are complete" in second and "≈" not in second


def test_a_setting_that_one_record_lacks_is_listed_as_not_on_record(tmp_path):
    settings = {"pretrained": False, "batch_size": 32}
    more = {**settings, "norm_batches": 8, "ema": 0.9}
    old = study(tmp_path / "a", [NEAR, None], settings=settings)
    new = study(tmp_path / "b", [NEAR[::-1], None], settings=more | {"batch_size": 64})
    last = study(tmp_path / "c", [[0.8, 0.81, 0.82], None], settings=more | {"ema": 0.99})
    table = join_table([old, new, last])
    ema = table.display.groupby("study")["ema"].agg(set).to_dict()
    assert ema == {"a": {"not on record"}, "b": {"0.9"}, "c": {"0.99"}}
    assert table.display["batch_size"].tolist() == ["32"] * 2 + ["64"] * 2 + ["32"] * 2
    assert (
        "Not on record in a, so not known of it; the others have norm_batches (8)."
        in table.caption
    )


def test_a_cell_parameter_that_one_record_lacks_is_not_called_none(tmp_path):
    one = study(tmp_path / "a", [NEAR], [{"depth": 18}])
    other = study(tmp_path / "b", [NEAR, NEAR], [{"stem": "cifar"}, {"stem": "imagenet"}])
    assert join_table([one, other]).display["stem"].tolist()[0] == "not on record"
    assert "not on record" in diff_table(one, other).display["stem"].tolist()
