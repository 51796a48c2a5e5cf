"""Importance, marginal means and the best so far, against searches whose truth is known."""

from __future__ import annotations

import itertools
import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from make_run import Run

from analysis import frames
from analysis.cli import main as report
from analysis.display import tables
from analysis.display.figure_set import plates, save
from analysis.display.importance_tables import about_importance
from analysis.findings.first_rung import seed_noise
from analysis.findings.importance import A_SETTING, LEAST, SHUFFLES, importance
from analysis.findings.marginals import marginals
from analysis.findings.so_far import best_so_far
from analysis.findings.tried import tried
from search.record import RecordWarning, load
from tests.analysis.random_records import random_run

SHIPPED = Path(__file__).parents[3] / "results"
NAMES = sorted(path.name for path in SHIPPED.iterdir() if path.is_dir())
KEYS = ["lr", "weight_decay"]


def search(folder, cells, configs, value, seed=0, rungs=(1,), epochs=1, keys=KEYS, **study):
    """A search of random configs; `value` gives what one is worth of cell, lr and decay."""
    rng = np.random.default_rng(seed)
    given = [{"depth": n} for n in range(1, cells + 1)]
    run = Run(folder, "cifar10", given, space_keys=keys, rungs=list(rungs), **study)
    for cell, n in itertools.product(range(cells), range(configs)):
        lr, decay = float(10 ** rng.uniform(-3, 0)), float(rng.uniform(0, 0.01))
        drawn = {"lr": lr, "weight_decay": decay} if len(keys) > 1 else {"lr": lr}
        held = value(cell, math.log10(lr), decay, rng)
        name = f"{cell:02d}-{n:03d}"
        if held is None:
            run.trial(name, cell, ending="diverged", epochs=epochs, **drawn)
        else:
            run.trial(name, cell, value=float(held), epochs=epochs, **drawn)
    return run


def by_lr(cell, lr, decay, rng):
    return 0.5 - 0.05 * (lr + 1.5) ** 2 + 0.002 * rng.normal()


@pytest.mark.long
def test_the_setting_that_decides_comes_first_and_the_other_is_chance(tmp_path):
    held = importance(load(search(tmp_path / "s", 2, LEAST, by_lr).folder))
    assert set(held["scope"]) == {"study", "cell"} and (held["why"] == "").all()
    for _, own in held.groupby(["scope", "cell"], dropna=False):
        told = own.set_index("setting")
        assert told["importance"].sum() == pytest.approx(1)
        assert told.loc["lr", "importance"] > 0.5 > told.loc["weight_decay", "importance"]
        assert told.loc["lr", "decided"] and not told.loc["weight_decay", "decided"]
        assert told["evaluator"].str.startswith("PED-ANOVA, optuna ").all()


@pytest.mark.long
def test_where_nothing_matters_hardly_anything_is_beyond_chance(tmp_path):
    """Sixteen cells of values by chance: at 5 %, of none or few of them is anything decided."""
    run = search(tmp_path / "s", 16, LEAST, lambda cell, lr, decay, rng: rng.random())
    held = importance(load(run.folder))
    cells = held[held["scope"] == "cell"]
    assert cells.groupby("cell")["decided"].any().sum() <= 3  # P(4 or more) = 0.7 %
    assert 0.3 < cells["p"].mean() < 0.7


@pytest.mark.long
def test_what_cells_differ_in_is_no_settings_merit(tmp_path):
    """A cell that is better by far changes nothing, since ranks are within cells."""
    apart = search(tmp_path / "a", 2, 16, lambda cell, *at: 0.25 * cell + by_lr(cell, *at))
    alike = search(tmp_path / "b", 2, 16, by_lr)
    found = [importance(load(run.folder)) for run in (apart, alike)]
    pd.testing.assert_frame_equal(*found)


@pytest.mark.long
def test_a_config_that_diverged_ranks_last(tmp_path):
    """High rates diverge and nothing else differs: so the rate it is."""

    def value(cell, lr, decay, rng):
        return None if lr > -1.5 else 0.5 + 1e-9 * rng.normal()

    held = importance(load(search(tmp_path / "s", 1, 30, value).folder)).set_index("setting")
    assert held.loc["lr", "decided"] and not held.loc["weight_decay", "decided"]
    assert (held["n"] == 30).all() and (held["ignored"] == 0).all()


@pytest.mark.long
def test_the_figure_has_a_bar_for_each_row_that_is_told_and_its_csv_the_same_rows(tmp_path):
    record = load(search(tmp_path / "s", 2, LEAST, by_lr, rungs=(1, 3), epochs=1).folder)
    plate = {held.key: held for held in plates(record)}["importance"]
    data = pd.read_csv(save(plate, tmp_path, "s")[-1], keep_default_na=False)
    told = importance(record).query("why == ''")
    assert len(told) == 6 and set(told["epoch"]) == {1}  # none came to epoch 3
    assert data["importance"].tolist() == pytest.approx(told["importance"].tolist())
    assert data["label"].tolist() == ["", "", "depth 1", "depth 1", "depth 2", "depth 2"]
    bars = [bar for ax in plate.figure.axes for bar in ax.patches]
    assert [bar.get_width() for bar in bars] == pytest.approx(told["importance"].tolist())
    filled = [bar.get_facecolor()[:3] != (1, 1, 1) for bar in bars]
    assert filled == told["decided"].tolist() and {*filled} == {True, False}
    texts = [text.get_text() for ax in plate.figure.axes for text in ax.texts]
    assert texts == [f"p = {p:.3f}" for p in told["p"]]
    caption = tables.make(record, "importance").caption
    assert about_importance(importance(record)) in caption
    assert about_importance(told) in plate.caption


def test_where_no_importance_is_told_there_is_no_figure(tmp_path):
    few = load(search(tmp_path / "few", 1, LEAST - 1, by_lr).folder)
    assert "importance" not in {plate.key for plate in plates(few)}


def test_of_too_few_and_of_one_setting_it_says_so(tmp_path, capsys):
    few = search(tmp_path / "few", 1, LEAST - 1, by_lr, rungs=(1, 3))
    held = importance(load(few.folder))
    assert held["importance"].isna().all() and not held["decided"].any()
    assert held["why"].tolist() == [
        *[f"not enough data: 15 configs, {LEAST} are asked for"] * 2,
        *[f"not enough data: 0 configs, {LEAST} are asked for"] * 2,
    ]
    assert held["ignored"].tolist() == [0, 0, 15, 15]
    assert report(["table", str(few.folder), "--table", "importance"]) == 0
    assert "cannot tell: not enough data" in capsys.readouterr().out
    one = search(tmp_path / "one", 1, 3, by_lr, keys=["lr"])
    assert "importance" not in tables.keys(load(one.folder))
    assert set(frames.importance(one.folder)["why"]) == {
        "one setting is searched, so there is none to weigh it against"
    }
    assert frames.importance(Run(tmp_path / "none", space_keys=[]).folder).empty


RATES, DECAYS = (0.01, 0.1, 0.3), (0.0, 1e-4, 1e-3, 1e-2)


def grid(folder, cells, value, seed=0, rungs=(1,), decays=DECAYS, **study):
    """A grid of rates and decays in each cell; `value` of cell and the places of its levels."""
    rng = np.random.default_rng(seed)
    given = [{"depth": n} for n in range(1, cells + 1)]
    keys = KEYS if len(decays) > 1 else ["lr"]
    spec = {"sampler": "grid", "fixed": {}, "budget": {}}
    run = Run(folder, "cifar10", given, space_keys=keys, rungs=list(rungs), spec=spec, **study)
    for cell in range(cells):
        for n, (a, b) in enumerate(itertools.product(range(len(RATES)), range(len(decays)))):
            drawn = {"lr": RATES[a]} | ({"weight_decay": decays[b]} if len(decays) > 1 else {})
            held = value(cell, a, b, rng)
            ending = "value" if held is not None else "diverged"
            name = f"{cell:02d}-{n:03d}"
            run.trial(name, cell, value=held, epochs=rungs[-1], ending=ending, **drawn)
    return run


def test_marginal_means_are_the_means_over_all_others(tmp_path):
    run = grid(tmp_path / "s", 2, lambda cell, a, b, rng: float(rng.random()))
    record = load(run.folder)
    held, rows = marginals(record), record.trials.astype({"value": float})
    for row in held.itertuples():
        own = rows[rows[row.setting] == row.level]
        own = own if row.scope == "study" else own[own["cell"] == row.cell]
        assert row.mean == pytest.approx(own["value"].mean()) and row.n == len(own)
        assert row.lo < row.mean < row.hi and row.interval == "residual"
    assert len(held) == 3 * (3 + 4)
    assert set(held.loc[held["scope"] == "cell", "freedom"]) == {6}
    assert set(held.loc[held["scope"] == "study", "freedom"]) == {24 - 1 - 2 - 3 - 1}


@pytest.mark.long
@pytest.mark.parametrize(("mixed", "least", "most"), [(0.0, 0.93, 0.97), (0.05, 0.97, 1.0)])
def test_intervals_of_marginal_means_cover_the_truth(tmp_path, mixed, least, most):
    """Of 150 cells, 95 % where settings add up; more where they interact, never less."""
    truth = 0.3 + 0.1 * np.arange(3)[:, None] + 0.02 * np.arange(4) ** 2
    truth = truth + mixed * np.outer([-1, 0, 1], [1, -1, -1, 1])

    def value(cell, a, b, rng):
        return float(truth[a, b] + 0.01 * rng.normal())

    held = marginals(load(grid(tmp_path / "s", 150, value).folder))
    held = held[held["scope"] == "cell"]
    means = {("lr", r): truth[n].mean() for n, r in enumerate(RATES)}
    means |= {("weight_decay", d): truth[:, n].mean() for n, d in enumerate(DECAYS)}
    true = np.array([means[pair] for pair in zip(held["setting"], held["level"], strict=True)])
    covered = ((held["lo"] <= true) & (true <= held["hi"])).mean()
    assert least <= covered <= most


def test_values_that_add_up_by_chance_have_no_interval_and_no_interval_leaves_the_metric(tmp_path):
    coarse = grid(tmp_path / "coarse", 1, lambda cell, a, b, rng: 0.1 * a + 0.05 * b)
    held = marginals(load(coarse.folder))
    assert set(held["interval"]) == {"none"} and held["lo"].isna().all()
    wild = grid(tmp_path / "wild", 1, lambda cell, a, b, rng: 0.9 * ((a + b) % 2))
    held = marginals(load(wild.folder))
    assert held["lo"].min() == 0 and held["hi"].max() <= 1


def test_of_a_grid_of_one_setting_seeds_say_how_far_it_is_known(tmp_path):
    run = grid(tmp_path / "s", 1, lambda cell, a, b, rng: 0.1 * a, decays=(0.0,))
    assert set(marginals(load(run.folder))["interval"]) == {"none"}
    run.confirm(0, [{"loss": 1.0, "accuracy": v} for v in (0.1, 0.11, 0.12)], epochs=1)
    record = load(run.folder)
    held = marginals(record)
    assert set(held["interval"]) == {"seeds"} and set(held["freedom"]) == {2}
    half = 4.30265 * seed_noise(record)
    np.testing.assert_allclose(held["hi"] - held["mean"], half, rtol=1e-5)


def test_a_grid_that_is_not_whole_has_no_means(tmp_path):
    def holed(cell, a, b, rng):
        return None if (a, b) == (2, 0) else 0.5

    held = marginals(load(grid(tmp_path / "s", 1, holed).folder))
    assert held["mean"].isna().all()
    assert set(held["why"]) == {"1 of 12 configs of its grid have no value at the first rung"}
    draws = search(tmp_path / "draws", 1, 9, by_lr)
    assert set(marginals(load(draws.folder))["why"]) == {"its configs are no full grid"}
    assert "marginals" not in tables.keys(load(draws.folder))
    short = grid(tmp_path / "rungs", 1, lambda cell, a, b, rng: 0.1 * a + 0.01 * b, rungs=(1, 3))
    short.trial("00-012", 0, value=0.2, epochs=1, lr=0.5, weight_decay=0.0)  # one off the grid
    assert set(marginals(load(short.folder))["why"]) == {"its configs are no full grid"}


def test_where_only_some_came_further_the_last_whole_rung_counts(tmp_path):
    run = Run(tmp_path / "s", space_keys=KEYS, rungs=[1, 3],
              spec={"sampler": "grid", "fixed": {}, "budget": {}})  # fmt: skip
    for n, (lr, decay) in enumerate(itertools.product(RATES[:2], DECAYS[:2])):
        run.trial(f"00-{n:03d}", value=0.1 * n, epochs=3 if n == 3 else 1, lr=lr,
                  weight_decay=decay)  # fmt: skip
    held = marginals(load(run.folder))
    assert set(held["epoch"]) == {1} and set(held["n"]) == {2}


@pytest.mark.parametrize("name", NAMES)
def test_values_at_rungs_are_those_that_were_decided_on(name):
    record = load(SHIPPED / name)
    held = tried(record).set_index(["trial", "epoch"])["value"]
    assert held.index.is_unique
    for row in record.decisions.dropna(subset=["rank", "value"]).itertuples():
        assert held[row.trial, row.epoch] == pytest.approx(row.value), row


@pytest.mark.parametrize("name", NAMES)
def test_the_best_so_far_only_gets_better_and_costs_what_the_trials_did(name):
    record = load(SHIPPED / name)
    held, sign = best_so_far(record), 1 if record.study["mode"] == "max" else -1
    plain = record.trials[record.trials["stage"] == "search"]
    for cell, rows in held.groupby("cell"):
        assert (sign * rows["best"].ffill()).dropna().is_monotonic_increasing
        assert rows["seconds"].is_monotonic_increasing and rows["time"].is_monotonic_increasing
        best = (sign * rows["value"]).max() * sign
        assert rows["best"].iloc[-1] == best
        own = plain[plain["cell"] == cell]
        audits = (record.trials["stage"] == "audit") & (record.trials["cell"] == cell)
        if not audits.any():
            assert rows["seconds"].iloc[-1] == pytest.approx(own["seconds"].sum())
            assert rows["gpu_seconds"].iloc[-1] == pytest.approx(own["gpu_seconds"].sum())


def test_failed_jobs_cost_and_give_nothing(tmp_path):
    run = Run(tmp_path / "s")
    run.trial("00-000", value=0.5, epochs=1)
    run.trial("00-001", ending="failed", epochs=1)
    run.trial("00-002", value=0.4, epochs=3)
    run.trial("00-003", ending="diverged", epochs=2)
    run.trial("00-seed1", value=0.9, stage="confirm", seed=1)
    held = best_so_far(load(run.folder))
    assert held["best"].tolist() == [0.5] * 4 and held["best_epoch"].tolist() == [1] * 4
    assert held["seconds"].tolist() == [3600.0 * n for n in (1, 2, 3, 4)]
    assert held["value"].isna().tolist() == [False, True, False, True]


@pytest.mark.parametrize("seed", range(20))
def test_of_random_records_every_table_can_be_made(tmp_path, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordWarning)
        record = load(random_run(tmp_path / "s", seed).folder)
    for make in (frames.importance, frames.marginals, frames.best_so_far, frames.configs):
        held = make(record)
        assert {"study", "cell", "label"} <= {*held.columns}
    for key in {"importance", "marginals"} & {*tables.keys(record)}:
        for form in ("md", "csv", "json", "html", "tex"):
            assert tables.render(tables.make(record, key), form)
    held = tried(record)
    counts = held.groupby("trial")["epoch"].nunique()
    assert (counts == held["trial"].value_counts()[counts.index]).all()


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"sampler": "tpe"}, "sampler = 'tpe' draws all settings by earlier results"),
        ({"points": [{"lr": 0.1, "weight_decay": 0.0}]}, "the configs are [[points]]"),
    ],
)
def test_of_settings_that_were_not_drawn_by_themselves_nothing_is_said(tmp_path, spec, why):
    held = load(search(tmp_path / "s", 1, LEAST, by_lr).folder)
    held.study["spec"] |= spec
    told = importance(held)
    assert told["why"].str.startswith(why).all() and not told["decided"].any()


def test_with_many_settings_the_first_level_of_holm_can_be_reached():
    for count in (2, 11, 20):
        assert 1 / (max(SHUFFLES, A_SETTING * count - 1) + 1) <= 0.05 / count
