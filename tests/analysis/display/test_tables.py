from __future__ import annotations

import io

import pandas as pd
import pytest
from make_run import Run, cifar, crowd

from analysis.display import origins, tables
from analysis.display.cell_sections import cell_sections
from search.record import load


def made(folder, key):
    return tables.make(load(folder), key)


def string(table, row, column):
    """A string of a table, by the first column's label."""
    return table.display.set_index(table.display.columns[0]).loc[row, column]


def published(table):
    """The rows of published values."""
    return [n for n, kind in enumerate(table.kinds) if kind == "published"]


@pytest.fixture
def crowd_run(tmp_path):
    crowd(tmp_path / "t3")
    return tmp_path / "t3"


def test_tables_follow_task_and_cell_parameters(tmp_path):
    cifar(tmp_path / "c")
    crowd(tmp_path / "t3")
    crowd(tmp_path / "t4", key="depth")
    Run(tmp_path / "scratch", cells=[{"depth": 18}])
    Run(tmp_path / "tuned", settings={"pretrained": True})
    found = {p.name: [k for k in tables.keys(load(p)) if k[0] == "T"] for p in tmp_path.iterdir()}
    assert found == {
        "c": ["T1", "T2"],
        "t3": ["T3"],
        "t4": ["T4"],
        "scratch": ["T1"],
        "tuned": ["T2"],
    }


def test_a_table_that_a_study_lacks_is_refused_by_name(crowd_run):
    with pytest.raises(ValueError, match="no cells for T1; it fills T3, cells, search"):
        made(crowd_run, "T1")


def test_no_published_value_stands_beside_one_of_fewer_images(tmp_path):
    cifar(tmp_path / "s", settings={"train_images": 400})
    assert not published(made(tmp_path / "s", "T1"))
    cells = [{"depth": 18, "train_images": n} for n in (400, 4000)]
    run = Run(tmp_path / "c", cells=cells)
    for cell in range(2):
        run.confirm(cell, [{"loss": 1.0, "accuracy": 0.5}] * 3, lr=0.1)
    assert not published(made(tmp_path / "c", "T1"))


def test_no_published_value_stands_beside_one_at_another_resolution(tmp_path):
    settings = {"pretrained": False, "part": "B", "depth": 18, "crop": 64}
    crowd(tmp_path / "s", settings=settings)
    table = tables.make(load(tmp_path / "s"), "T3")
    assert not published(table)
    assert "at 64x64 px" in table.caption


def own_weights(folder):
    weights = {"18": {"source": "mine", "file": "resnet18.pth", "sha256": "0" * 64}}
    weights["18"] |= {"official": False, "origin": {"data": [{"data": "CIFAR-10"}]}}
    run = Run(folder, cells=[{"depth": 18, "pretrained": True}], weights=weights)
    run.confirm(0, [{"loss": 1.0, "accuracy": 0.5}] * 3, lr=0.1)


@pytest.mark.parametrize(
    ("data", "said"),
    [("ImageNet-21k", "mine, trained on ImageNet-21k;"), ([3], "mine; not"), (None, "mine; not")],
)
def test_an_origin_written_by_hand_is_taken_as_far_as_it_goes(data, said):
    study = {"weights": {"18": {"source": "mine", "origin": {"data": data}}}}
    assert said in origins.pretraining(study)


def test_the_caption_says_where_fine_tuned_cells_start(tmp_path):
    """The report's were ImageNet's: none of its numbers stands beside those of other weights."""
    own_weights(tmp_path / "own")
    table = made(tmp_path / "own", "T2")
    assert "weights of its author's own, mine, trained on CIFAR-10" in table.caption
    assert not published(table)
    cifar(tmp_path / "scratch")
    assert "Fine-tuned: from" not in made(tmp_path / "scratch", "T1").caption


def test_a_cell_that_the_report_lacks_has_no_published_value(tmp_path):
    run = Run(tmp_path / "s", cells=[{"depth": 20}, {"depth": 18}])
    run.confirm(0, [{"loss": 1.0, "accuracy": 0.5}], lr=0.1)
    table = made(tmp_path / "s", "T1")
    assert [string(table, "Published val accuracy", d) for d in ("20", "18")] == ["—", "0.6608"]


def test_the_report_s_resnets_stand_beside_no_other_network(tmp_path):
    """A study has a depth under [fixed], or by default, whatever its networks."""
    settings = {"pretrained": False, "depth": 18}
    names = ["densenet121", "nets:make", "resnet"]
    run = Run(tmp_path / "s", cells=[{"network": name} for name in names], settings=settings)
    for cell in range(len(names)):
        run.confirm(cell, [{"loss": 1.0, "accuracy": 0.5}], lr=0.1)
    table = made(tmp_path / "s", "T1")
    assert [string(table, "Published val loss", name) for name in names] == ["—", "—", "0.9872"]


def test_a_crowd_network_has_no_published_value_of_a_resnet(tmp_path):
    settings = {"pretrained": False, "part": "B", "depth": 18, "network": "vgg16", "crop": 512}
    run = Run(tmp_path / "s", "shanghaitech", cells=[{"lr": 0.1}], settings=settings)
    run.confirm(0, [{"mae": 50.0, "rmse": 80.0}])
    assert not published(made(tmp_path / "s", "T3"))


def test_no_published_number_stands_beside_synthetic_ones(tmp_path):
    cifar(tmp_path / "c", synthetic=True)
    table = made(tmp_path / "c", "T1")
    assert not published(table)
    assert "course report" not in table.caption


def test_every_config_says_why_it_ended_the_best_first(tmp_path):
    cifar(tmp_path / "c")
    shown = made(tmp_path / "c", "configs").display
    first = shown[shown["trial"].str.startswith("00-")]
    assert list(first["trial"]) == ["00-001", "00-000", "00-003", "00-002"]
    assert list(first["status"]) == ["completed", "completed", "diverged", "stopped"]
    assert "rank 2 of 4 at epoch 1" in list(first["why"])[3]
    assert list(first["lr"]) == ["0.1", "0.01", "0.3", "0.001"]


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [(None, "floor(n / reduction_factor)"), ("cell-stop", "seen so far"), ("ray-asha", "Ray's")],
)
def test_the_table_of_configs_states_the_studys_own_rule(tmp_path, scheduler, said):
    named = {"scheduler": scheduler} if scheduler else {}
    run = Run(tmp_path / "s", spec={"fixed": {}, "budget": {"trials_per_cell": 4}, **named})
    run.trial("00-000", 0, value=0.5, epochs=9, lr=0.1)
    assert said in made(tmp_path / "s", "configs").caption


def test_the_search_finds_its_learning_rate_beside_each_part(tmp_path):
    cells = [{"depth": 18, "part": part} for part in ("A", "B")]
    run = Run(tmp_path / "s", "shanghaitech", cells, confirm_seeds=[1])
    run.confirm(0, [{"mae": 90.0, "rmse": 150.0}], lr=0.0003)
    row = made(tmp_path / "s", "T4").display.iloc[0]
    assert (row["Part A lr"], row["Part B lr"]) == ("0.0003", "—")
    assert row["Part B MAE ↓"] == "—"


def three_seeds(folder):
    """Two learning rates on both parts, 0.01 far better; on part B it collapsed."""
    cells = [{"lr": lr, "part": part} for lr in (0.1, 0.01) for part in ("A", "B")]
    run = Run(folder, "shanghaitech", cells, space_keys=[])
    for cell in range(4):
        tests = [{"mae": 60.0 - 10 * cell + s, "rmse": 70.0 - 10 * cell + s} for s in (-1, 0, 1)]
        run.confirm(cell, tests, collapsed=cell == 3)
    return folder


def test_bold_goes_to_the_best_unmarked_cell_of_each_part(tmp_path):
    bold = made(three_seeds(tmp_path / "s"), "T3").bold
    assert list(bold["Part A MAE ↓"]) == [False, True, *[False] * 5]
    # the collapsed cell of part B stays out even where it would win
    assert not bold["Part B MAE ↓"].any()


def test_a_stopped_trial_is_never_bold_however_good(tmp_path):
    run = Run(tmp_path / "s", cells=[{"depth": d} for d in (18, 34, 50)])
    for cell, accuracy in ((0, 0.5), (1, 0.6)):
        run.confirm(cell, [{"loss": 1.0, "accuracy": accuracy + s} for s in (-0.01, 0.0, 0.01)],
                    lr=0.1)  # fmt: skip
    run.trial("02-000", 2, value=0.99, epochs=3, verdict="stop", lr=0.1)
    table = made(tmp_path / "s", "cells")
    head = next(name for name in table.display if "accuracy ↑" in name)
    assert table.display[head][2] == "0.9900 val @3/9†"
    assert list(table.bold[head][:3]) == [False, True, False]
    table = made(tmp_path / "s", "T1")
    assert string(table, "Test accuracy ↑", "50") == "0.9900 val @3/9†"
    assert list(table.bold.iloc[1][1:]) == [False, True, False]
    markdown = tables.render(made(tmp_path / "s", "T1"), "md")
    assert "**0.6000 ± 0.0100 (3)**" in markdown
    assert "**0.9900" not in markdown


@pytest.mark.parametrize(
    ("accuracies", "text"),
    [
        ([0.5], "0.5000 (1)§"),
        ([0.58, 0.6], "0.5900 [0.5800, 0.6000] (2)§"),
        ([0.5, 0.6], "0.5500 [0.5000, 0.6000] (2)#§"),  # t of one degree of freedom: -0.09 to 1.19
        ([0.5, 0.6, 0.7], "0.6000 ± 0.1000 (3)"),
    ],
)
def test_what_a_cell_shows_depends_on_its_seeds(tmp_path, accuracies, text):
    run = Run(tmp_path / "s")
    run.confirm(0, [{"loss": 1.0, "accuracy": a} for a in accuracies], lr=0.1)
    assert string(made(tmp_path / "s", "T1"), "Test accuracy ↑", "18") == text


def test_skill_is_over_the_training_median_of_the_same_part(crowd_run):
    shown = made(crowd_run, "cells").display
    assert shown["skill ↑"][0] == f"{1 - 300 / 408:.4f}"
    assert shown["skill ↑"][5] == f"{1 - 95 / 136:.4f}"


def test_the_general_table_says_how_each_number_came_about(tmp_path):
    cifar(tmp_path / "c")
    row = made(tmp_path / "c", "cells").display.iloc[0]
    assert row["lr (chosen)"] == "0.1"
    assert row["val accuracy"] == "0.6000 ± 0.0100 (3)"
    assert list(row[["epochs", "split", "rule", "seeds", "configs", "status"]]) == [
        "9/9",
        "test",
        "best",
        "3/3",
        "4/4",
        "complete",
    ]


def test_the_validation_protocol_heads_its_columns_val(tmp_path):
    run = Run(
        tmp_path / "s",
        shown_split="val",
        confirm_seeds=[42],
        space_keys=[],
        protocol="report",
        checkpoint_rule="last",
    )
    run.confirm(0, [{"loss": 1.0, "accuracy": 0.5}], value=0.8)
    table = made(tmp_path / "s", "T1")
    assert string(table, "Val accuracy ↑", "18") == "0.8000 (1)"
    assert "published as test" in table.caption
    assert "REPORT PROTOCOL" in table.caption


def test_search_counts_rungs_endings_and_epochs(tmp_path):
    cifar(tmp_path / "c")
    row = tables.search_frame(load(tmp_path / "c")).iloc[0]
    assert row["configs"] == 4
    assert [row[f"reached_{e}"] for e in (1, 3, 9)] == [4, 2, 2]
    counts = row[["completed", "stopped", "paused", "running", "diverged", "failed"]]
    assert list(counts) == [2, 1, 0, 0, 1, 0]
    assert (row["best_lr"], row["search_epochs"], row["confirm_epochs"]) == (0.1, 21, 27)


def test_the_epoch_in_which_a_trial_diverged_reaches_no_rung(tmp_path):
    run = Run(tmp_path / "s")
    run.trial("00-000", epochs=3, ending="diverged", lr=0.1)
    assert tables.search_frame(load(tmp_path / "s"))["reached_3"][0] == 0


def test_csv_keeps_full_precision_and_every_seed(tmp_path):
    run = Run(tmp_path / "s")
    accuracies = [1 / 3, 2 / 3, 0.1]
    run.confirm(0, [{"loss": 1.0, "accuracy": a} for a in accuracies], lr=0.1)
    text = tables.render(made(tmp_path / "s", "T1"), "csv")
    row = pd.read_csv(io.StringIO(text)).query("metric == 'accuracy'").iloc[0]
    assert [float(v) for v in row["values"].split()] == accuracies
    assert row["mean"] == pytest.approx(sum(accuracies) / 3, rel=1e-15)
    assert row["lo"] < row["mean"] < row["hi"]
    assert row["trials"] == "00-seed1 00-seed2 00-seed3"
    assert row["published"] == 0.6608


def test_markdown_round_trips(crowd_run):
    table = made(crowd_run, "T3")
    lines = [x for x in tables.render(table, "md").splitlines() if x.startswith("|")]
    cells = [[c.strip().strip("*") for c in line.strip("|").split("|")] for line in lines]
    assert cells[0] == list(table.display)
    assert cells[2:] == table.display.to_numpy().tolist()


def test_latex_is_booktabs_ascii_and_bold(crowd_run):
    text = tables.render(made(three_seeds(crowd_run.parent / "b"), "T3"), "tex")
    assert text.isascii()
    assert r"\toprule" in text
    assert r"\textbf{40.0 $\pm$ 1.0 (3)}" in text
    assert r"$^\ddagger$" in text
    assert r"$\approx$" in tables.render(made(crowd_run, "T3"), "tex")
    assert r"\multicolumn{2}{c}{Part A}" in text
    assert text.count(r"\midrule") == 3  # ours, published, constants


def test_html_escapes_what_a_person_named(tmp_path):
    run = Run(tmp_path / "s", cells=[{"depth": 18, "stem": "<b>&"}])
    run.confirm(0, [{"loss": 1.0, "accuracy": 0.5}], lr=0.1)
    text = tables.render(made(tmp_path / "s", "cells"), "html")
    assert "<b>&" not in text
    assert "&lt;b&gt;&amp;" in text


def test_an_unknown_format_is_refused(crowd_run):
    with pytest.raises(ValueError, match="csv, md, tex, html"):
        tables.render(made(crowd_run, "T3"), "xls")


@pytest.mark.parametrize("form", ["md", "tex", "html"])
@pytest.mark.parametrize("key", ["T3", "cells", "search"])
def test_synthetic_data_is_said_in_every_table(tmp_path, form, key):
    crowd(tmp_path / "s", synthetic=True)
    crowd(tmp_path / "real")
    assert "SYNTHETIC DATA" in tables.render(made(tmp_path / "s", key), form)
    assert "SYNTHETIC DATA" not in tables.render(made(tmp_path / "real", key), form)


@pytest.mark.parametrize("key", ["T3", "cells", "search"])
def test_synthetic_data_is_a_column_of_every_csv(tmp_path, key):
    crowd(tmp_path / "s", synthetic=True)
    frame = pd.read_csv(io.StringIO(tables.render(made(tmp_path / "s", key), "csv")))
    assert frame["synthetic"].all()


def test_the_caption_states_the_circumstances(crowd_run):
    caption = made(crowd_run, "T3").caption
    for said in ("Split: test", "last epoch", "budget: 9 epochs", "seeds: 42", "files edition",
                  "400 train images", "2026-11-01", "commit 0123456789", "sqrt(mean"):  # fmt: skip
        assert said in caption


def test_a_cell_with_seeds_missing_is_not_called_complete(tmp_path):
    run = Run(tmp_path / "s", confirm_seeds=[1, 2, 3])
    run.confirm(0, [{"accuracy": 0.8, "loss": 1.0}, {"accuracy": 0.7, "loss": 1.0}], lr=0.1)
    record = load(tmp_path / "s")
    assert tables.make(record, "cells").display["status"][0] == "2 of 3 seeds"
    (section,) = cell_sections(record, "s", set())
    assert section["status"] == "2 of 3 seeds"
    run.trial(
        "00-seed3", stage="confirm", seed=3, value=0.7, lr=0.1, test={"accuracy": 0.7, "loss": 1.0}
    )
    assert tables.make(load(tmp_path / "s"), "cells").display["status"][0] == "complete"
