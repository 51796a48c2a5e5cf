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
from analysis.findings.explain import cell_number, explain, seeds_to_decide
from analysis.findings.settled import settled
from search.record import UserError, load

EPOCHS = 40


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
    assert kinds == ["rung", "range", "configs"]  # 0.01 would take more than 50 seeds
    told = explained(load(tmp_path / "s"), 0)
    assert "a later first rung: 1 of 1 audited did better than the winner" in told
    assert "higher values of lr: 0.1 was the end of what was tried" in told
    assert "the configs that are missing: 3 of 4 were begun" in told


def test_seeds_to_decide_agree_with_a_known_table():
    """Cohen's d of 1, two-sided 5 %, power 80 %: 17 a group by the t test's own power."""
    groups = [[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]]
    assert seeds_to_decide(groups, 1.0, 0.95) == 17
    assert seeds_to_decide(groups, 0.1, 0.95) is None
    assert seeds_to_decide([[1.0], [2.0, 3.0]], 1.0, 0.95) is None
    assert seeds_to_decide([[1.0, 1.0], [1.0, 1.0]], 1.0, 0.95) is None


def test_a_cell_is_named_by_number_or_settings(tmp_path, capsys):
    cifar(tmp_path / "s")
    record = load(tmp_path / "s")
    assert cell_number(record, "2") == 2
    assert cell_number(record, "depth=34, pretrained=true") == 3
    with pytest.raises(UserError, match="'depth=18' names 2 cells"):
        cell_number(record, "depth=18")
    assert main(["explain", str(tmp_path / "s"), "depth=7"]) == 2
    assert "names no cell of study s; its cells are depth=18,pretrained=False" in (
        capsys.readouterr().err
    )
    assert main(["explain", str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out.count("What would most likely move it") == 4
