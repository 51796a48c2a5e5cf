"""Why a cell is where it is, and whether it is settled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from make_run import Run, cifar

from analysis.cli import main
from analysis.display import tables
from analysis.display.explained import explained
from analysis.findings.explain import Fit, cell_number, explain
from analysis.findings.settled import settled
from search.record import UserError, load
from search.record.power import power

EPOCHS = 40
RESULTS = Path(__file__).parents[3] / "results"


def long_run(folder: Path, curves: dict[int, Callable[[int], float]], final: dict[int, float]):
    """Cells of three seeds each whose validation accuracy is a function of the epoch."""
    cells = [{"depth": depth} for depth in (18, 34, 50)[: len(curves)]]
    study = {"rungs": [10, EPOCHS], "checkpoint_rule": "last", "space_keys": []}
    run = Run(folder, "cifar10", cells, **study)
    for cell, curve in curves.items():
        tests = [{"loss": 1.0, "accuracy": final[cell] + s / 200} for s in (-1, 0, 1)]
        run.confirm(cell, tests, epochs=EPOCHS, value=curve(EPOCHS))
    lines = []
    for line in (folder / "epochs.jsonl").read_text().splitlines():
        held = json.loads(line)
        cell, seed = int(held["trial"][:2]), int(held["trial"][-1]) - 2
        row = held["row"]
        row["val_accuracy"] = curves[cell](row["epoch"]) + seed / 200
        lines.append(json.dumps(held))
    (folder / "epochs.jsonl").write_text("\n".join(lines) + "\n")
    return load(folder)


@pytest.mark.filterwarnings("ignore::trainables.errors.RecordWarning")
def test_a_cell_that_still_rises_could_pass_the_one_before_it(tmp_path):
    record = long_run(
        tmp_path / "s",
        {0: lambda e: 0.70, 1: lambda e: 0.3 + e / 100, 2: lambda e: 0.2},
        {0: 0.70, 1: 0.68, 2: 0.2},
    )
    frame = settled(record).set_index("cell")
    assert list(frame["stamp"]) == ["flat", "improving", "flat"]
    assert list(frame["rank"]) == [1, 2, 3]
    assert frame.loc[1, "gain"] == pytest.approx(0.1)
    assert list(frame["could_pass"]) == [[], [0], []]
    assert set(frame["common_epoch"]) == {EPOCHS}
    told = explained(record, 1)
    assert "more epochs: better by 0.1000" in told
    assert "behind depth 18 by 0.0200" in told
    assert (
        "improving: at the slope of its last 10 epochs, as many more are better by +0.1000" in told
    )


@pytest.mark.filterwarnings("ignore::trainables.errors.RecordWarning")
def test_a_better_cell_of_which_nothing_is_known_could_be_passed(tmp_path):
    """The second still rises past the first; of the third no whole curve is on record."""
    long_run(
        tmp_path / "s",
        {0: lambda e: 0.70, 1: lambda e: 0.3 + e / 100, 2: lambda e: 0.75},
        {0: 0.70, 1: 0.68, 2: 0.75},
    )
    path = tmp_path / "s" / "epochs.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"02-seed' not in line))
    record = load(tmp_path / "s")
    frame = settled(record).set_index("cell")
    assert list(frame["could_pass"]) == [[2], [0, 2], []]
    assert list(frame["untold"]) == [[2], [2], []]
    shown = tables.make(record, "settled").display["could pass"]
    assert list(shown) == ["not ruled out: depth 50", "depth 18; not ruled out: depth 50", "—"]


@pytest.mark.filterwarnings("ignore::trainables.errors.RecordWarning")
def test_ranks_at_the_last_common_epoch_may_differ(tmp_path):
    record = long_run(
        tmp_path / "s",
        {0: lambda e: 0.7, 1: lambda e: 0.5},
        {0: 0.5, 1: 0.7},  # test says otherwise than validation
    )
    frame = settled(record)
    assert list(frame["rank"]) == [2, 1]
    assert list(frame["rank_there"]) == [1, 2]
    assert list(frame["rank_end"]) == [1, 2]  # test says otherwise, not the epochs
    caption = tables.make(record, "settled").caption
    assert "differ from those at the ends of the same curves in 0 of 2 cells" in caption


def test_an_explanation_gathers_search_seeds_lead_and_moves(tmp_path):
    cifar(tmp_path / "s")
    record = load(tmp_path / "s")
    held = explain(record, 0)
    assert list(held.configs["epochs"]) == [9, 9, 2, 1]
    assert list(held.seeds["accuracy"]) == pytest.approx([0.59, 0.60, 0.61])
    assert held.ahead is not None
    assert held.ahead[0].cell in (2, 3)
    # the other row of equal means is not told apart from the leader; this one is behind both
    assert held.values[0].standing == "behind"
    told = explained(record, 0)
    assert "4 of 4 planned configs were begun" in told
    assert "seed 2 (00-seed2): accuracy 0.6000" in told
    assert "9 epochs are fewer than 10" in told


def test_what_would_move_a_cell_is_said_with_its_figures(tmp_path):
    run = Run(tmp_path / "s", cells=[{"depth": 18}, {"depth": 34}], rungs=[1, 9])
    for cell in (0, 1):
        for number, lr in enumerate((0.01, 0.1)):
            run.trial(f"{cell:02d}-{number:03d}", cell, value=0.5 + 0.1 * number, lr=lr)
    run.decide("00-001", 0, "select", 0.6)
    run.trial("00-002", 0, value=0.3, epochs=1, verdict="stop", lr=0.05)
    run.audit("00-002", 0, 0.3, 0.9)
    for cell, middle in ((0, 0.60), (1, 0.61)):
        run.confirm(cell, [{"accuracy": middle + s / 50, "loss": 1.0} for s in (-1, 0, 1)], lr=0.1)
    kinds = [move.kind for move in explain(load(tmp_path / "s"), 0).moves]
    assert kinds == ["rung", "range", "underfit", "configs"]  # 0.01 would take more than 50 seeds
    told = explained(load(tmp_path / "s"), 0)
    assert "a later first rung: 1 of 1 audited did better than the winner" in told
    assert "higher values of lr: 0.1 was the end of what was tried" in told
    assert "the configs that are missing: 3 of 4 were begun" in told


def test_power_agrees_with_a_known_table():
    """Cohen's d of 1, two-sided 5 %, power 80 %: 17 a group by the t test's own power."""
    assert power((1.0, 1.0), 17, 1.0, 0.95) == pytest.approx(0.807, abs=0.02)
    assert power((1.0, 1.0), 15, 1.0, 0.95) < 0.8 < power((1.0, 1.0), 19, 1.0, 0.95)


def test_a_cell_is_named_by_number_or_settings(tmp_path, capsys):
    cifar(tmp_path / "s")
    record = load(tmp_path / "s")
    assert cell_number(record, "2") == 2
    assert cell_number(record, "depth=34, pretrained=true") == 3
    assert main(["explain", str(tmp_path / "s"), "depth=34", "pretrained=true"]) == 0
    assert capsys.readouterr().out.count("What would most likely move it") == 1
    assert main(["explain", str(tmp_path / "s"), "depth=18", "depth=34"]) == 2
    assert "names a key twice" in capsys.readouterr().err
    assert main(["diff", str(tmp_path / "s"), str(tmp_path / "s")]) == 2
    assert "is named twice" in capsys.readouterr().err
    with pytest.raises(UserError, match="'depth=18' names 2 cells"):
        cell_number(record, "depth=18")
    assert main(["explain", str(tmp_path / "s"), "depth=7"]) == 2
    assert "names no cell of study s; its cells are depth=18,pretrained=False" in (
        capsys.readouterr().err
    )
    assert main(["explain", str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out.count("What would most likely move it") == 4


def test_an_interrupted_study_says_how_to_go_on(tmp_path):
    run = Run(tmp_path / "s", confirm_seeds=[1, 2, 3])
    for number in range(4):
        run.trial(f"00-{number:03d}", value=0.5 + number / 10, lr=0.01 * (number + 1))
    run.decide("00-003", 0, "select", 0.8)
    run.confirm(0, [{"accuracy": 0.8, "loss": 1.0}], lr=0.04)
    run.trial("00-seed2", stage="confirm", seed=2, epochs=3, ending="running", lr=0.04)
    told = explained(load(tmp_path / "s"), 0)
    assert (
        "what is to come (1 trial running or waiting, 1 seed not begun): "
        f"`resnet-search resume {tmp_path / 's'}` goes on with it" in told
    )


def test_a_search_that_was_interrupted_names_its_configs_to_come(tmp_path):
    run = Run(tmp_path / "s")
    run.trial("00-000", value=0.5, epochs=1, lr=0.1)  # waits at its rung
    (move,) = explain(load(tmp_path / "s"), 0).moves
    assert move.kind == "resume"
    assert dict(move.figures) == {"configs": 3, "seeds": 3, "open": 1}


def test_a_cell_without_a_config_left_is_not_to_be_resumed_as_it_is(tmp_path):
    run = Run(tmp_path / "s", spec={"budget": {"trials_per_cell": 1}})
    run.trial("00-000", ending="failed", lr=0.1, epochs=1)
    run._log(
        event="decision", trial=None, cell=0, epoch=1, value=None, rank=None, n=None,
        verdict="empty", rule="cell-promote/2",
    )  # fmt: skip
    assert [move.kind for move in explain(load(tmp_path / "s"), 0).moves] == ["lost"]
    told = explained(load(tmp_path / "s"), 0)
    assert "no config is left): `resnet-search resume" in told
    assert "--retry-failed`" in told


@pytest.mark.parametrize(
    ("test", "kept", "why"),
    [
        ({"accuracy": 0.1, "loss": 2.302585}, {}, "accuracy not shown to beat uniform guess"),
        ({"accuracy": 0.6, "loss": 3e10}, {}, "loss worse than uniform guess"),
        ({"accuracy": 0.6, "loss": 1.0}, {"collapsed": True}, "collapsed"),
    ],
)
def test_an_end_of_what_was_tried_is_no_advice_where_the_choice_is_none(tmp_path, test, kept, why):
    run = Run(tmp_path / "s")
    for number, lr in enumerate((0.01, 0.1)):
        run.trial(f"00-{number:03d}", value=0.5 + 0.1 * number, lr=lr)
    scores = [{m: x * (1 + s / 100) for m, x in test.items()} for s in (-1, 0, 1)]
    run.confirm(0, scores, lr=0.1, **kept)
    told = explained(load(tmp_path / "s"), 0)
    assert "higher values of lr" not in told
    assert "other values of lr, lower or higher: 0.1 was the highest tried, which says" in told
    assert why in told.partition("which says nothing here: ")[2]


def test_of_a_choice_that_has_learned_nothing_something_is_to_be_moved(tmp_path):
    """In the middle of what was tried, so that no end is advised."""
    run = Run(tmp_path / "s")
    for number, lr in enumerate((0.01, 0.1, 1.0)):
        run.trial(f"00-{number:03d}", value=0.1, lr=lr)
    scores = [{"accuracy": 0.1, "loss": 2.3} for _ in range(3)]
    run.confirm(0, scores, lr=0.1, collapsed=True)
    told = explained(load(tmp_path / "s"), 0)
    assert "a config that is shown to learn: the best that was tried is not (" in told
    assert "nothing that the record shows" not in told


def test_an_end_that_only_ties_with_another_value_is_no_advice(tmp_path):
    run = Run(tmp_path / "s")
    for number, lr in enumerate((0.01, 0.1)):
        run.trial(f"00-{number:03d}", value=0.6, lr=lr)
    run.confirm(0, [{"accuracy": 0.6 + s / 100, "loss": 1.0} for s in (-1, 0, 1)], lr=0.1)
    told = explained(load(tmp_path / "s"), 0)
    assert "which says nothing here: lr 0.01 did exactly as well" in told


def test_a_winner_of_the_search_is_not_listed_as_a_seed_of_its_own(tmp_path):
    run = Run(tmp_path / "s", confirm_seeds=[])
    run.trial("00-000", value=0.7, lr=0.1, test={"accuracy": 0.7, "loss": 1.0})
    told = explained(load(tmp_path / "s"), 0)
    assert "seed 0 (00-000, of the search, no seed of its own): accuracy 0.7000" in told


@pytest.mark.parametrize(
    ("train", "watched", "said"),
    [
        (0.60, 0.55, "from the best accuracy can be, and val is worse by less than that, 0.0500"),
        (0.60, 0.65, "from the best accuracy can be, and val is no worse than training"),
        (0.95, 0.60, "from the best accuracy can be, and val is worse by more than that, 0.3500"),
    ],
)
def test_where_the_error_is_is_said_in_words_that_hold(tmp_path, train, watched, said):
    kind = "overfitted" if train > 0.9 else "underfitted"
    run = Run(tmp_path / "s", confirm_seeds=[1])
    run.confirm(0, [{"accuracy": watched, "loss": 1.0}], lr=0.1)
    path = tmp_path / "s" / "epochs.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["row"] |= {"train_accuracy": train, "val_accuracy": watched}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = explained(load(tmp_path / "s"), 0)
    assert f"{kind}: training itself is {1 - train:.4f} {said}" in told
    short = "it underfits, and whether epochs still move it cannot be told ("
    assert (short in told) == (kind == "underfitted")


@pytest.mark.parametrize(("images", "few"), [(8, True), (99, True), (100, False), (None, False)])
def test_of_a_few_training_images_nothing_is_concluded(images, few):
    fit = Fit(train=26.0, watched=20.0, error=26.0, gap=-6.0, sample=images)
    assert fit.few is few
    assert fit.says == ("unknown" if few else "underfitted")


def test_how_many_training_images_were_scored_is_said_of_a_real_record():
    told = explained(load(RESULTS / "crowd-b-stride8"), 0)
    assert "train MAE is of 8 training images, fixed, too few to say whether" in told
    assert "underfit" not in told.replace("over- or underfits", "")
