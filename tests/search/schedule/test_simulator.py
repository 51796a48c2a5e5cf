"""A rule in virtual time: costs, walls and outcomes that can be worked out by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from search.cli.main import main
from search.schedule.curve_table import CurvesError
from search.schedule.curves import FAMILIES, Curves, read_curves, synthetic_curves
from search.schedule.simulator import mean_outcome, simulate
from search.spec.plan import Plan
from tests.search.conftest import TEXT, drive, outcome, score

PLAN = Plan(4, (1, 2, 4), 2, 1, "max", ())


def ordered(cells=2, configs=4, epochs=4, seconds=None):
    """Config i is worth i at every epoch."""
    values = np.broadcast_to(np.arange(configs, dtype=float)[:, None, None], (configs, 1, epochs))
    times = np.ones_like(values) if seconds is None else np.full_like(values, seconds)
    return Curves([values] * cells, [times] * cells, "max", seconds is not None)


def test_the_full_grid_costs_everything_and_finds_the_best():
    held = simulate("full", PLAN, ordered(), 1, 0)
    assert (held.cost, held.regret, held.best_full, held.filled) == (1, 0, 2, 2)
    assert held.wall == 2 * 4 * 4
    assert held.idle == 0


def test_one_worker_takes_exactly_the_epochs_of_the_plan():
    """4 configs to epoch 1, 2 to epoch 2, 1 to epoch 4, in each of two cells."""
    held = simulate("cell-promote", PLAN, ordered(seconds=3.0), 1, 0)
    assert held.wall == 2 * (4 + 2 + 2) * 3.0
    assert held.cost == (4 + 2 + 2) / 16
    assert (held.filled, held.best_full, held.regret) == (2, 2, 0)
    assert held.decisions == 2 * (4 + 2)  # a verdict for each of four, then of two


def test_enough_workers_take_as_long_as_the_longest_trial():
    held = simulate("full", PLAN, ordered(), 8, 0)
    assert held.wall == 4


def test_idle_is_the_share_of_worker_time_without_a_job():
    held = simulate("full", PLAN, ordered(cells=1, configs=4), 3, 0)
    assert held.wall == 8  # three trials, then one
    assert held.idle == pytest.approx(1 - 16 / 24)


def test_the_same_seed_gives_the_same_search_and_another_another():
    curves = synthetic_curves("crossing", 4, 9, 27, np.random.default_rng(0))
    plan = Plan(4, (3, 9, 27), 3, 1, "max", ())
    first, second = (simulate("cell-promote", plan, curves, 4, 7) for _ in range(2))
    assert replace(first, seconds=0) == replace(second, seconds=0)
    others = {simulate("cell-promote", plan, curves, 4, seed).full_configs for seed in range(9)}
    assert len(others) > 1


def test_a_diverged_curve_leaves_the_search():
    curves = ordered(cells=1)
    values = curves.values[0].copy()
    values[:, :, 1:] = np.where(values[:, :, 1:] == 3, np.nan, values[:, :, 1:])
    held = simulate("cell-promote", PLAN, replace(curves, values=[values]), 1, 0)
    assert held.filled == 1
    assert held.best_full == 1  # of those that reached the end


@pytest.mark.parametrize("family", FAMILIES)
def test_every_cell_is_filled_on_every_family_for_less_than_a_third(family):
    plan = Plan(10, (9, 27, 81), 3, 1, "max", ())
    drawn = [synthetic_curves(family, 10, 10, 81, np.random.default_rng(i)) for i in range(5)]
    held = mean_outcome([simulate("cell-promote", plan, c, 8, i) for i, c in enumerate(drawn)])
    assert held["filled"] == 10
    assert held["cost"] < 0.26


def test_rays_rule_leaves_slow_cells_empty_where_ours_fills_them():
    plan = Plan(10, (9, 27, 81), 3, 1, "max", ())
    drawn = [
        synthetic_curves("slow-start", 10, 10, 81, np.random.default_rng(i)) for i in range(9)
    ]
    theirs = mean_outcome([simulate("ray-asha", plan, c, 8, i) for i, c in enumerate(drawn)])
    assert theirs["filled"] < 8


def test_an_unknown_family_names_the_known_ones():
    with pytest.raises(CurvesError, match="slow-start"):
        synthetic_curves("nice", 1, 1, 4, np.random.default_rng(0))


# -- curves from files ----------------------------------------------------------------------------


def table(tmp_path, text):
    path = tmp_path / "curves.csv"
    path.write_text(text)
    return path


TABLE = """depth,config,seed,epoch,accuracy,seconds,diverged
18,a,1,1,0.1,5,
18,a,1,2,0.3,5,
18,a,2,1,0.2,6,
18,a,2,2,0.1,6,
18,b,1,1,0.4,7,
18,b,1,2,,7,true
18,c,1,1,0.9,7,
34,a,1,1,0.5,9,
34,a,1,2,0.6,9,
"""
CELLS = [{"depth": 18}, {"depth": 34}]


def test_a_table_of_curves_is_read_by_cell_config_and_seed(tmp_path):
    held = read_curves(table(tmp_path, TABLE), CELLS, "accuracy", "max", 2, "last")
    np.testing.assert_array_equal(
        held.values[0], [[[0.1, 0.3], [0.2, 0.1]], [[0.4, np.nan], [0.4, np.nan]]]
    )  # c is too short; b's one seed stands for both
    np.testing.assert_array_equal(held.seconds[0][0], [[5, 5], [6, 6]])
    assert held.values[1].shape == (1, 1, 2)
    assert held.timed


def test_the_best_rule_keeps_the_best_so_far_and_nothing_after_divergence(tmp_path):
    held = read_curves(table(tmp_path, TABLE), CELLS, "accuracy", "max", 2, "best")
    np.testing.assert_array_equal(held.values[0][0], [[0.1, 0.3], [0.2, 0.2]])
    assert np.isnan(held.values[0][1][:, 1]).all()


def test_a_recorded_run_is_a_table_of_curves(make_study):
    """Every config trained in full, by the study that simulate is told of."""
    study = make_study(text=TEXT.replace("[cells]", 'scheduler = "none"\n[cells]', 1))
    drive(study)
    study.close()
    held = read_curves(study.folder, CELLS, "val_accuracy", "max", 4, "last")
    assert held.timed
    for cell, values in enumerate(held.values):
        assert values.shape == (5, 1, 4)
        expected = sorted(score(f"{cell:02d}-{n:03d}", 4) for n in range(5))
        assert sorted(values[:, 0, -1]) == expected


DECAY = TEXT.replace(
    "[space.lr]\nlow = 0.01\nhigh = 0.1", "[space.weight_decay]\nlow = 1e-5\nhigh = 1e-3"
)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("lr", [0.1, 0.01]),
        ("batch_size", [8, 16]),
        ("augment", [True, False]),
        ("depth", [18, 34]),
    ],
)
def test_a_run_whose_curves_have_the_name_of_a_cell_parameter_is_read(
    make_study, key, values, tmp_path, capsys
):
    """Every epoch reports its lr; a task may report others, such as its batch size or stage."""
    given = json.dumps(values)
    text = DECAY.replace("depth = [18, 34]", f"{key} = {given}")
    text = text.replace("[cells]", 'scheduler = "none"\n[cells]', 1)
    study = make_study(text=text)
    while (job := study.ask()) is not None:
        for epoch in range(1, job.train["to_epoch"] + 1):
            row = {"epoch": epoch, "val_accuracy": score(job.trial, epoch), "seconds": 7.0}
            study.epoch(job.trial, row | {key: 3.0, "stage": 1.0, "seed": 2.0, "trial": 0.5})
        study.tell(job.trial, outcome(job))
    study.close()
    held = read_curves(
        study.folder, [{key: value} for value in values], "val_accuracy", "max", 4, "last"
    )
    for cell, found in enumerate(held.values):
        known = {score(f"{cell:02d}-{n:03d}", 4) for n in range(5)}
        assert {value for value in found[:, 0, -1] if not math.isnan(value)} <= known
    assert all((seconds == 7).all() for seconds in held.seconds)
    path = tmp_path / "tiny.toml"
    path.write_text(text)
    words = ["simulate", str(path), "--curves", str(study.folder), "--repeats", "2", "--json"]
    fewest = min(map(len, held.values))
    assert main([*words, "--set", f"budget.trials_per_cell={fewest}"]) == 0
    assert json.loads(capsys.readouterr().out)["rules"]["full"]["cost"] == 1


def test_a_run_without_the_metric_names_what_it_has(make_study):
    study = make_study(text=TEXT.replace("[cells]", 'scheduler = "none"\n[cells]', 1))
    drive(study, most=1)
    study.close()
    with pytest.raises(CurvesError, match="no curve val_mae; it has lr, seconds, train_loss"):
        read_curves(study.folder, CELLS, "val_mae", "min", 4, "last")


def test_two_trials_of_equal_settings_and_one_that_diverged_are_curves_too(make_study):
    """Three choices for five trials; the record of a diverged one ends early."""
    text = TEXT.replace("[cells]", 'scheduler = "none"\nsampler = "random"\n[cells]', 1)
    text = text.replace("low = 0.01\nhigh = 0.1\nlog = true", "values = [0.1, 0.2, 0.3]")
    study = make_study(text=text)
    number = 0
    while (job := study.ask()) is not None:
        last = 2 if number == 1 else job.train["to_epoch"]
        for epoch in range(job.train["from_epoch"] + 1, last + 1):
            value = score(job.trial, epoch)
            study.epoch(job.trial, {"epoch": epoch, "val_accuracy": value, "seconds": 7.0})
        told = {"epoch": last, "value_epoch": last, "value": value, "seconds": 1.0}
        study.tell(job.trial, {"ending": "diverged" if number == 1 else "value", **told})
        number += 1
    study.close()
    held = read_curves(study.folder, CELLS, "val_accuracy", "max", 4, "last")
    assert [values.shape for values in held.values] == [(5, 1, 4)] * 2
    ends = np.concatenate(held.values)[:, 0, -1]
    assert np.isnan(ends).sum() == 1
    assert (np.concatenate(held.seconds) == 7).all()


def test_a_cell_whose_every_config_diverges_is_not_filled_and_has_no_regret():
    lost = Curves([np.full((4, 1, 4), np.nan)], [np.ones((4, 1, 4))], "max", False)
    held = simulate("cell-promote", PLAN, lost, 2, 0)
    assert (held.filled, held.best_full) == (0, 0)
    assert math.isnan(held.regret)


@pytest.mark.parametrize("scheduler", ["none", "ray-asha", "cell-stop"])
def test_simulate_compares_rules_with_rungs_whatever_the_study_goes_by(
    scheduler, tmp_path, capsys
):
    path = tmp_path / "s.toml"
    path.write_text(TEXT.replace("[cells]", f'scheduler = "{scheduler}"\n[cells]', 1))
    words = ["simulate", str(path), "--curves", "synthetic:plain", "--repeats", "2", "--json"]
    assert main([*words, "--workers", "2"]) == 0
    rules = json.loads(capsys.readouterr().out)["rules"]
    assert rules["full"]["cost"] == 1
    assert rules["cell-promote"]["cost"] < 0.7


@pytest.mark.parametrize(
    ("column", "replaced"), [("config", "konfig"), ("epoch", "step"), ("accuracy", "acc")]
)
def test_a_missing_column_is_named(tmp_path, column, replaced):
    path = table(tmp_path, TABLE.replace(column, replaced))
    with pytest.raises(CurvesError, match=f"no column {column}"):
        read_curves(path, CELLS, "accuracy", "max", 2, "last")


def test_a_table_without_a_column_of_the_cells_is_refused(tmp_path):
    path = table(tmp_path, TABLE.replace("depth", "Depth"))
    with pytest.raises(CurvesError, match="no column depth"):
        read_curves(path, CELLS, "accuracy", "max", 2, "last")


def test_a_metric_is_better_the_way_its_name_says(tmp_path, capsys):
    path = tmp_path / "s.toml"
    path.write_text(TEXT)
    rows = [
        f"{depth},{n},{epoch},{n}" for depth in (18, 34) for n in range(5) for epoch in range(1, 5)
    ]
    regrets = {}
    for metric in ("val_loss", "top1_accuracy", "height"):
        curves = tmp_path / f"{metric}.csv"
        curves.write_text("\n".join([f"depth,config,epoch,{metric}", *rows]))
        words = ["simulate", str(path), "--curves", str(curves), "--metric", metric]
        status = main([*words, "--workers", "1", "--repeats", "2", "--rule", "cell-promote"])
        shown = capsys.readouterr()
        regrets[metric] = (status, "smaller is better" in shown.out, "does not say" in shown.err)
    assert regrets == {
        "val_loss": (0, True, False),
        "top1_accuracy": (0, False, False),
        "height": (2, False, True),
    }


def test_a_diverged_config_leaves_no_cell_of_the_full_grid_unfilled():
    held = ordered()
    held.values[0] = held.values[0].copy()
    held.values[0][0] = np.nan
    assert simulate("full", PLAN, held, 2, 0).filled == 2


def test_a_cell_without_whole_curves_is_named_with_the_fix(tmp_path):
    with pytest.raises(
        CurvesError, match=r"no curve of 3 epochs.*'depth': 34.*scheduler = 'none'"
    ):
        read_curves(table(tmp_path, TABLE), CELLS, "accuracy", "max", 3, "last")


def test_a_file_that_is_no_table_is_named(tmp_path):
    path = tmp_path / "curves.parquet"
    path.write_text("no parquet")
    with pytest.raises(CurvesError, match=r"curves\.parquet cannot be read"):
        read_curves(path, CELLS, "accuracy", "max", 2, "last")
