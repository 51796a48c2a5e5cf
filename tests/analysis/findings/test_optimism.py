"""The optimism of the choice against simulated studies in which it is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from make_run import Run, cifar

from analysis.display import tables
from analysis.findings.optimism import best_of, mean_over, optimism, overall
from search.record import load

SD = 0.01


def study(folder, cells, configs, seeds, rng, worth, sd=SD, **kept):
    """Cells whose configs are worth `worth` and measured with noise; the best is trained again.

    Returns:
        The record, and what each winner's value in the search is above its worth.
    """
    given = [{"depth": n} for n in range(1, cells + 1)]
    run = Run(folder, "cifar10", given, rungs=[1], confirm_seeds=[*range(1, seeds + 1)], **kept)
    truth = []
    for cell in range(cells):
        at = np.asarray(worth(rng), dtype=float)
        values = at + sd * rng.normal(size=configs)
        for n, value in enumerate(values):
            run.trial(f"{cell:02d}-{n:03d}", cell, value=float(value), epochs=1)
        sign = 1 if run.study["mode"] == "max" else -1
        first = int(np.argmax(sign * values))
        run.decide(f"{cell:02d}-{first:03d}", cell, "select", float(values[first]), epoch=1)
        for seed in range(1, seeds + 1):
            own = float(at[first] + sd * rng.normal())
            run.trial(f"{cell:02d}-seed{seed}", cell, value=own, epochs=1, stage="confirm",
                      seed=seed, test={"loss": 1.0, "accuracy": own})  # fmt: skip
        truth.append(sign * (values[first] - at[first]))
    return load(run.folder), np.array(truth)


@pytest.mark.long
@pytest.mark.parametrize(
    "worth",
    [lambda rng: np.full(8, 0.7), lambda rng: 0.7 + 0.02 * rng.normal(size=8),
     lambda rng: np.linspace(0.1, 0.7, 8)],
    ids=["alike", "apart", "far apart"],
)  # fmt: skip
def test_the_interval_of_a_cell_covers_what_its_winner_was_lucky_by(tmp_path, worth):
    """95 % of 300 cells, whatever the configs are worth; and the mean is right."""
    rng = np.random.default_rng(0)
    record, truth = study(tmp_path / "s", 300, 8, 3, rng, worth)
    held = optimism(record)
    covered = np.mean((held["lo"] <= truth) & (truth <= held["hi"]))
    assert covered == pytest.approx(0.95, abs=0.03)
    error = held["optimism"] - truth
    assert abs(error.mean()) < 3 * SD / math.sqrt(3 * 300)
    assert truth.mean() <= held["by_chance"].iloc[0] + 3 * SD / math.sqrt(300)


@pytest.mark.long
def test_of_equal_configs_chance_gives_what_is_called_so(tmp_path):
    record, truth = study(
        tmp_path / "s", 300, 8, 3, np.random.default_rng(1), lambda rng: np.full(8, 0.7)
    )
    assert truth.mean() == pytest.approx(optimism(record)["by_chance"].iloc[0], rel=0.08)
    assert best_of(8) == pytest.approx(1.4236, abs=1e-3)
    assert [best_of(n) for n in (1, 2)] == pytest.approx([0, 1 / math.sqrt(math.pi)], abs=1e-6)


@pytest.mark.parametrize("sds", [(1, 1, 1), (0.1, 1, 3)])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_mean_over_cells_has_an_interval_that_covers(seeds, sds):
    """Of 4000 studies of three cells of four equal configs, also where cells spread unlike."""
    rng, covered = np.random.default_rng(2), 0
    for _ in range(4000):
        lucky = [sd * rng.normal(size=4).max() for sd in sds]
        again = [sd * rng.normal(size=seeds) for sd in sds]
        told = [a - b.mean() for a, b in zip(lucky, again, strict=True)]
        held = mean_over(told, [own.tolist() for own in again])
        covered += held.low <= np.mean(lucky) <= held.high
    assert 0.94 <= covered / 4000 <= 1  # Satterthwaite's, which is careful of very few seeds


def test_of_an_error_less_is_better(tmp_path):
    kept = {"metric": "loss", "mode": "min", "metrics": ["loss", "accuracy"]}
    rng = np.random.default_rng(0)
    record, truth = study(tmp_path / "s", 40, 8, 3, rng, lambda rng: np.full(8, 0.7), **kept)
    held = optimism(record)
    assert truth.mean() > 0 and held["optimism"].mean() == pytest.approx(truth.mean(), abs=SD / 3)
    assert (held["lo"] <= held["optimism"]).all() and (held["optimism"] <= held["hi"]).all()


def test_no_interval_goes_beyond_what_the_metric_can_be(tmp_path):
    """Of two seeds Student's is 12.7 standard errors: of accuracies of 0.05 to below 0."""
    rng = np.random.default_rng(3)
    record, _ = study(tmp_path / "s", 12, 4, 2, rng, lambda rng: np.full(4, 0.05))
    held, mean = optimism(record), overall(record)
    assert (held["hi"] <= held["value"] + 1e-12).all() and (held["lo"] >= held["value"] - 1).all()
    assert (held["hi"] == held["value"]).any() and mean.high <= held["value"].mean() + 1e-12
    assert mean.low <= mean.optimism <= mean.high


def test_where_it_cannot_be_told_the_reason_is_said(tmp_path):
    plain, rng = lambda rng: np.full(3, 0.7), np.random.default_rng(0)

    def whys(record):
        held = optimism(record)
        assert held["optimism"].isna().all() and math.isnan(overall(record).optimism)
        text = tables.make(record, "cells").caption
        assert f"Optimism of the choice: cannot tell ({overall(record).why})." in text
        return set(held["why"])

    one, _ = study(tmp_path / "one", 1, 3, 1, rng, plain)
    assert whys(one) == {"1 of its seeds is there; 2 would tell"}
    alone, _ = study(tmp_path / "alone", 1, 1, 3, rng, lambda rng: np.full(1, 0.7))
    assert whys(alone) == {"one config: nothing was chosen"}
    same, _ = study(tmp_path / "same", 1, 3, 3, rng, plain, sd=0.0)
    assert whys(same) == {"its seeds do not differ"}
    none, _ = study(tmp_path / "none", 1, 1, 3, rng, lambda rng: np.full(1, 0.7), space_keys=[])
    assert whys(none) == {"nothing was searched"}
    test, _ = study(tmp_path / "test", 1, 3, 3, rng, plain, watched="test")
    assert whys(test) == {"its configs were chosen by test itself"}
    run = cifar(tmp_path / "open")
    assert whys(load(run.folder)) == {"no config is chosen yet"}


def test_a_seed_that_diverged_leaves_it_untold(tmp_path):
    """Those that are left are the lucky ones."""
    run = Run(tmp_path / "s", rungs=[1], confirm_seeds=[1, 2, 3])
    for n in range(2):
        run.trial(f"00-{n:03d}", value=0.5 + n / 10, epochs=1)
    run.decide("00-001", 0, "select", 0.6, epoch=1)
    for seed, value in ((1, 0.61), (2, 0.59)):
        run.trial(f"00-seed{seed}", value=value, epochs=1, stage="confirm", seed=seed,
                  test={"loss": 1.0, "accuracy": value})  # fmt: skip
    run.trial("00-seed3", epochs=1, stage="confirm", seed=3, ending="diverged")
    assert optimism(load(run.folder))["why"].tolist() == [
        "1 of 3 seeds diverged, so the seeds that are left say too much or too little"
    ]
