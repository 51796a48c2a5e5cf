from __future__ import annotations

import math
from dataclasses import replace

import pytest
from make_run import Run, cifar, crowd

from analysis.findings.cells import best, cell_values, require_comparable
from analysis.findings.standing import with_standing
from search.record import load


def held(folder, metric="accuracy"):
    return [v for v in cell_values(load(folder)) if v.metric == metric]


def test_a_cell_is_the_mean_of_its_confirmation_seeds_on_test(tmp_path):
    cifar(tmp_path / "s")
    value = held(tmp_path / "s")[0]
    assert value.status == "complete"
    assert value.values == (0.59, 0.6, 0.61)
    assert value.mean == pytest.approx(0.6)
    assert value.sd == pytest.approx(0.01)
    assert (value.split, value.rule, value.budget, value.epochs) == ("test", "best", 9, 9)
    assert value.seeds == (1, 2, 3)
    assert value.config == {"lr": 0.1}
    assert value.trials == ("00-seed1", "00-seed2", "00-seed3")
    assert value.marks == ()


def test_every_metric_has_its_own_direction(tmp_path):
    cifar(tmp_path / "s")
    assert {v.metric: v.mode for v in cell_values(load(tmp_path / "s"))} == {
        "loss": "min",
        "accuracy": "max",
    }


def test_stopped_trials_are_seen_but_never_averaged(tmp_path):
    run = Run(tmp_path / "s")
    run.trial("00-000", value=0.99, epochs=3, verdict="stop", lr=0.1)
    run.trial("00-001", value=0.5, epochs=3, verdict="stop", lr=0.2)
    value = held(tmp_path / "s")[0]
    assert value.status == "partial"
    assert value.values == ()
    assert math.isnan(value.mean)
    assert (value.seen, value.epochs, value.seen_split) == (0.99, 3, "val")
    assert value.marks == ("unfinished",)


def test_the_longest_unfinished_trial_is_shown_not_the_best(tmp_path):
    run = Run(tmp_path / "s")
    run.trial("00-000", value=0.9, epochs=1, verdict="stop", lr=0.1)
    run.trial("00-001", value=0.5, epochs=3, verdict="stop", lr=0.2)
    assert held(tmp_path / "s")[0].trials == ("00-001",)


def test_lower_is_better_where_the_metric_is_an_error(tmp_path):
    run = Run(tmp_path / "s", "shanghaitech", [{"part": "A"}])
    run.trial("00-000", value=300.0, epochs=3, verdict="stop", lr=0.1)
    run.trial("00-001", value=200.0, epochs=3, verdict="stop", lr=0.2)
    assert held(tmp_path / "s", "mae")[0].seen == 200.0


def test_a_fully_trained_search_trial_is_not_a_result_before_confirmation(tmp_path):
    run = Run(tmp_path / "s")
    run.trial("00-000", value=0.8, lr=0.1)
    value = held(tmp_path / "s")[0]
    assert (value.status, value.marks, value.n) == ("partial", ("unconfirmed",), 0)


@pytest.mark.parametrize(("epochs", "mark"), [(9, "unconfirmed"), (3, "unfinished")])
def test_a_collapsed_trial_that_stands_for_its_cell_is_marked_before_confirmation(
    tmp_path, epochs, mark
):
    run = Run(tmp_path / "s", "shanghaitech", [{"part": "A"}, {"part": "B"}])
    for cell, collapsed in enumerate((True, False)):
        run.trial(f"0{cell}-000", cell, value=300.0, epochs=epochs, collapsed=collapsed, lr=0.1)
    assert [v.marks for v in held(tmp_path / "s", "mae")] == [(mark, "collapsed"), (mark,)]


def test_without_confirmation_the_scored_search_trial_counts(tmp_path):
    run = Run(tmp_path / "s", confirm_seeds=[])
    run.trial("00-000", value=0.8, test={"loss": 0.7, "accuracy": 0.75}, lr=0.1)
    run.trial("00-001", value=0.9, lr=0.2)
    value = held(tmp_path / "s")[0]
    assert (value.status, value.values, value.trials) == ("complete", (0.75,), ("00-000",))


def test_a_rate_that_the_audit_took_was_tried(tmp_path):
    run = Run(tmp_path / "s")
    for number, lr in enumerate((0.01, 0.1, 0.3)):
        run.trial(f"00-00{number}", value=0.8 if lr == 0.1 else 0.5, lr=lr)
    run.audit("00-002", 0, 0.5, 0.6)
    run.confirm(0, [{"loss": 1.0, "accuracy": 0.7}] * 2, lr=0.1)
    assert held(tmp_path / "s")[0].edges == ()


@pytest.mark.parametrize(
    ("tried", "marks"),
    [
        ((0.1, 0.2, 0.3), ("edge",)),
        ((0.01, 0.02, 0.1), ("edge",)),
        ((0.01, 0.1, 0.3), ()),
        ((0.1, 0.3), ("edge",)),
        ((0.1,), ("edge",)),
    ],
)
def test_a_learning_rate_with_none_tried_beyond_is_marked(tmp_path, tried, marks):
    run = Run(tmp_path / "s")
    for number, lr in enumerate(tried):
        run.trial(f"00-00{number}", value=0.8 if lr == 0.1 else 0.5, lr=lr)
    for seed in (1, 2, 3):
        test = {"loss": 0.7, "accuracy": 0.6}
        run.trial(f"00-seed{seed}", value=0.8, stage="confirm", seed=seed, test=test, lr=0.1)
    assert held(tmp_path / "s")[0].marks == marks


def ranked(values, **marks):
    """Values compared anew, some with other marks: cell -> mark."""
    by_cell = {int(name[1:]): (mark,) for name, mark in marks.items()}
    plain = [
        replace(v, marks=by_cell.get(v.cell, ()), standing="out", behind=None) for v in values
    ]
    return with_standing(plain)


@pytest.fixture
def four(tmp_path):
    """Accuracies of four cells, each 0.1 above the one before."""
    run = Run(tmp_path / "s", cells=[{"depth": d} for d in (18, 34, 50, 101)])
    for cell in range(4):
        middle = 0.5 + cell / 10
        run.confirm(cell, [{"loss": 1.0, "accuracy": middle + s / 100} for s in (-1, 0, 1)])
    return held(tmp_path / "s")


def test_a_cell_at_the_edge_of_its_learning_rates_may_still_be_the_best(four):
    assert best(ranked(four, c3="edge")) == best(four) == {3}


def test_a_running_seed_does_not_count_and_is_missed(tmp_path):
    run = Run(tmp_path / "s")
    run.confirm(0, [{"loss": 1.0, "accuracy": 0.6}, {"loss": 1.0, "accuracy": 0.7}], lr=0.1)
    run.trial("00-seed3", value=0.99, epochs=5, ending="running", stage="confirm", seed=3, lr=0.1)
    value = held(tmp_path / "s")[0]
    assert value.values == (0.6, 0.7)
    assert "seeds missing" in value.marks
    assert value.details["seeds missing"] == "1 of 3 seeds on the way"


def test_only_failures_make_a_failed_cell(tmp_path):
    for planned, status in ((2, "failed"), (3, "empty")):  # one of three may yet come to a value
        spec = {"fixed": {}, "budget": {"trials_per_cell": planned}}
        run = Run(tmp_path / f"s{planned}", cells=[{"depth": 18}, {"depth": 34}], spec=spec)
        run.trial("00-000", ending="failed", lr=0.1)
        run.trial("00-001", ending="diverged", epochs=2, lr=0.2)
        assert [v.status for v in held(run.folder)] == [status, "empty"]


def test_a_running_trial_is_shown_at_its_newest_epoch(tmp_path):
    run = Run(tmp_path / "s")
    run.trial("00-000", value=0.5, epochs=3, lr=0.1)
    run.trial("00-000", value=0.6, epochs=5, ending="running", lr=0.1)
    value = held(tmp_path / "s")[0]
    assert (value.seen, value.epochs) == (pytest.approx(0.6), 5)


def test_validation_shown_as_the_report_did(tmp_path):
    run = Run(
        tmp_path / "s", shown_split="val", protocol="report", confirm_seeds=[42], space_keys=[]
    )
    run.confirm(0, [{"loss": 1.0, "accuracy": 0.5}], value=0.8)
    value = held(tmp_path / "s")[0]
    assert (value.split, value.values, value.beside) == ("val", (0.8,), (0.5,))


def test_collapsed_and_synthetic_are_marked(tmp_path):
    crowd(tmp_path / "s", synthetic=True)
    values = held(tmp_path / "s", "mae")
    assert values[1].marks == ("collapsed", "synthetic")
    assert values[0].marks == ("synthetic", "not told apart")


@pytest.mark.parametrize(("accuracy", "marks"), [(0.1, ("no skill",)), (0.11, ())])
def test_a_cell_that_does_not_beat_guessing_is_marked_and_never_best(tmp_path, accuracy, marks):
    run = Run(tmp_path / "s", cells=[{"depth": 18}, {"depth": 34}], confirm_seeds=[1])
    for cell in range(2):
        run.confirm(cell, [{"loss": 2.3, "accuracy": accuracy - cell / 100}], lr=0.1)
    first = held(tmp_path / "s", "accuracy")[0]
    assert first.marks == marks
    assert best(held(tmp_path / "s", "accuracy")) == frozenset()  # the other is worse still


def test_a_crowd_cell_is_measured_against_the_best_constant(tmp_path):
    cells = [{"depth": 18, "part": "B"}, {"depth": 34, "part": "B"}]
    run = Run(tmp_path / "s", "shanghaitech", cells, confirm_seeds=[1])
    for cell, mae in enumerate((67.0, 69.0)):  # the training median scores 68
        run.confirm(cell, [{"mae": mae, "rmse": 90.0}], lr=0.1)
    assert [v.marks for v in held(tmp_path / "s", "mae")] == [(), ("no skill",)]


def test_seeds_of_different_configs_are_refused(tmp_path):
    run = Run(tmp_path / "s")
    for seed, lr in enumerate((0.1, 0.2), 1):
        run.trial(
            f"00-seed{seed}",
            value=0.5,
            stage="confirm",
            seed=seed,
            test={"loss": 1.0, "accuracy": 0.5},
            lr=lr,
        )
    with pytest.raises(ValueError, match=r"differ in lr \(0\.1, 0\.2\)"):
        cell_values(load(tmp_path / "s"))


@pytest.mark.parametrize(
    ("name", "other"),
    [("split", "val"), ("rule", "last"), ("budget", 50), ("metric", "loss"), ("data", "B")],
)
def test_mixing_is_refused_by_name(tmp_path, name, other):
    cifar(tmp_path / "s")
    one, two, *_ = held(tmp_path / "s")
    require_comparable([one, two])
    with pytest.raises(ValueError, match=f"differ in {name}"):
        require_comparable([one, replace(two, **{name: other})])


def test_the_best_carries_no_mark_that_keeps_it_out(four):
    for mark in ("collapsed", "seeds missing", "no skill", "mixed", "not finite"):
        assert best(ranked(four, c3=mark)) == {2}
    assert best(ranked(four, c3="synthetic")) == frozenset()


def test_cells_of_the_same_mean_are_a_tie_and_none_is_the_best(tmp_path):
    cifar(tmp_path / "s")
    values = held(tmp_path / "s")
    assert best(values) == frozenset()
    assert [v.standing for v in values] == ["behind", "behind", *["among the best"] * 2]
    assert values[3].behind.tie


def test_one_cell_alone_is_not_the_best_of_anything(tmp_path):
    cifar(tmp_path / "s")
    assert best(held(tmp_path / "s")[:1]) == frozenset()


def test_a_completed_trial_short_of_its_budget_is_not_believed(tmp_path):
    run = Run(tmp_path / "s")
    run.confirm(0, [{"loss": 1.0, "accuracy": 0.6}], epochs=3, lr=0.1)
    record = load(tmp_path / "s")
    record.trials["status"] = "completed"
    assert cell_values(record)[0].status == "partial"
