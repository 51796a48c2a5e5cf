"""Seeds pair cells only where the study says so."""

from __future__ import annotations

import numpy as np
import pytest
from make_run import Run
from scipy import stats as scipy_stats

from analysis.display.marks import deciding
from analysis.findings.cells import cell_values
from analysis.findings.stats import paired_difference
from search.record import RecordError, load

ONE, TWO = (0.60, 0.70, 0.80), (0.61, 0.712, 0.811)  # a seed moves both cells alike


def accuracies(folder, spec, seeds=(1, 2, 3)):
    cells = [{"depth": 18}, {"depth": 34}]
    run = Run(folder, cells=cells, spec={"fixed": {}, "budget": {"trials_per_cell": 4}, **spec})
    for cell, values in enumerate((ONE, TWO)):
        held = zip(seeds if cell else (1, 2, 3), values, strict=True)
        for seed, value in held:
            test = {"loss": 1.0, "accuracy": value}
            run.trial(f"{cell}-{seed}", cell, value=value, stage="confirm", seed=seed, test=test)
    return [v for v in cell_values(load(folder)) if v.metric == "accuracy"]


def test_of_the_same_seeds_a_paired_study_decides_what_welch_leaves_open(tmp_path):
    unsaid = accuracies(tmp_path / "unsaid", {})
    assert unsaid[0].behind.seeds.kind == "welch"
    assert [v.standing for v in unsaid] == ["among the best", "among the best"]
    said = accuracies(tmp_path / "said", {"confirm": {"seeds": [1, 2, 3], "paired": True}})
    assert [v.standing for v in said] == ["behind", "best"]
    interval = said[0].behind.seeds
    assert interval.kind == "paired"
    by_scipy = scipy_stats.ttest_rel(TWO, ONE).confidence_interval(0.95)
    assert interval[:2] == pytest.approx((by_scipy.low, by_scipy.high))
    assert "accuracy over seeds alone (seed by seed, as the study pairs them)" in deciding(said)
    assert "Welch" not in deciding(said)


def test_other_seeds_are_not_paired_whatever_the_study_says(tmp_path):
    values = accuracies(tmp_path / "s", {"confirm": {"paired": True}}, seeds=(1, 2, 4))
    assert values[0].behind.seeds.kind == "welch"
    assert "Welch" in deciding(values)


def test_pairing_that_is_no_truth_value_is_refused(tmp_path):
    Run(tmp_path / "s", spec={"confirm": {"paired": "yes"}})
    with pytest.raises(RecordError, match=r"spec\.confirm\.paired"):
        load(tmp_path / "s")


@pytest.mark.parametrize("n", [2, 3, 5])
def test_paired_intervals_cover_95_percent_where_seeds_are_shared(n):
    rng, hits = np.random.default_rng(n), []
    for _ in range(2000):
        shared = rng.normal(size=n)
        low, high = paired_difference(shared + rng.normal(size=n), shared + rng.normal(size=n))
        hits.append(low <= 0 <= high)
    assert abs(np.mean(hits) - 0.95) <= 2 * np.std(hits) / np.sqrt(len(hits))


def test_differences_without_spread_decide_nothing():
    assert np.isnan(paired_difference([0.2, 0.3], [0.1, 0.2])).all()
    assert np.isnan(paired_difference([0.2], [0.1])).all()
