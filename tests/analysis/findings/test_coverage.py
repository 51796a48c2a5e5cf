"""How often each interval holds the truth, and how often a verdict is wrong: by simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from make_run import Run
from scipy import stats as scipy_stats

from analysis.findings import images
from analysis.findings.cells import CellValue, cell_values
from analysis.findings.images import images_of, mean_of
from analysis.findings.standing import with_standing
from analysis.findings.stats import (
    both,
    difference,
    interval,
    mean_interval,
    share_interval,
    told_apart,
)
from search.record import load

ROUNDS = 2000
ROOT = Path(__file__).parents[3]


def share(hits):
    """Of the rounds, with the two standard errors within which it is known."""
    return np.mean(hits), 2 * np.std(hits) / np.sqrt(len(hits))


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_t_intervals_of_a_mean_cover_95_percent(n):
    rng = np.random.default_rng(n)
    rounds = [mean_interval(rng.normal(size=n)) for _ in range(ROUNDS)]
    covered, error = share([low <= 0 <= high for low, high in rounds])
    assert abs(covered - 0.95) <= error


@pytest.mark.parametrize("spread", [1.0, 5.0])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_welch_intervals_cover_at_least_94_percent(n, spread):
    rng = np.random.default_rng(n)
    rounds = [difference(rng.normal(size=n), spread * rng.normal(size=n)) for _ in range(ROUNDS)]
    covered, error = share([low <= 0 <= high for low, high in rounds])
    assert covered >= 0.94 - error


@pytest.mark.parametrize("p", [0.05, 0.5, 0.93])
@pytest.mark.parametrize("n", [50, 316])
def test_wilson_intervals_cover_about_95_percent(n, p):
    counts = np.arange(n + 1)
    ends = np.array([share_interval(int(k), n) for k in counts])
    weights = scipy_stats.binom.pmf(counts, n, p)
    covered = weights[(ends[:, 0] <= p) & (p <= ends[:, 1])].sum()  # exactly, no rounds needed
    assert 0.92 <= covered <= 0.98


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (10, 10), (37, 50)])
def test_wilson_is_scipys(k, n):
    found = scipy_stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert share_interval(k, n) == pytest.approx((found.low, found.high), abs=1e-12)


class Held(SimpleNamespace):
    """What a record has of it is read; unlike a namespace it can be referred to weakly."""


def crowd_images(rng, n, trials):
    """True heads and predictions `(trials, n)` of crowd-like errors: skewed, larger in crowds."""
    truth = rng.lognormal(5, 0.8, size=n)
    shared = rng.normal(size=n)  # what is hard is hard for every network
    own = rng.normal(size=(trials, n))
    return truth, truth + truth * (0.25 * shared + 0.15 * own)


def samples(truth, predictions, metrics=("mae", "rmse")):
    """Each metric of each trial under other draws of the images."""
    rows = [
        pd.DataFrame({"trial": str(t), "split": "test", "truth": truth, "prediction": held,
                      "image": [str(i) for i in range(len(truth))]})
        for t, held in enumerate(predictions)
    ]  # fmt: skip
    errors = [held - truth for held in predictions]
    trials = pd.DataFrame({"trial": [str(t) for t in range(len(predictions))]})
    trials["test_mae"] = [np.abs(e).mean() for e in errors]
    trials["test_rmse"] = [np.sqrt((e**2).mean()) for e in errors]
    study = {"metrics": list(metrics), "task": "shanghaitech"}
    record = Held(per_image=pd.concat(rows), trials=trials, study=study)
    return images_of(record, trials["trial"]).samples


def test_bca_intervals_are_scipys():
    rng = np.random.default_rng(0)
    truth, predictions = crowd_images(rng, 182, 2)
    held = samples(truth, predictions)
    first, second = predictions - truth

    def gap(at):
        return np.sqrt((first[at] ** 2).mean(axis=-1)) - np.sqrt((second[at] ** 2).mean(axis=-1))

    found = scipy_stats.bootstrap(
        (np.arange(182),), gap, vectorized=False, n_resamples=4000, method="BCa",
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    ours = (held["0", "rmse"] - held["1", "rmse"]).interval()
    width = found.high - found.low
    assert ours == pytest.approx((found.low, found.high), abs=0.07 * width)


def recorded_errors():
    """Truth and predictions `(6, 182)` of a shipped study: two cells of three seeds."""
    frame = pd.read_parquet(ROOT / "results" / "crowd-a-64px" / "per_image.parquet")
    table = frame.pivot_table(index="image", columns="trial", values="prediction")
    truth = frame.groupby("image")["truth"].first().reindex(table.index)
    return truth.to_numpy(), table.sort_index(axis=1).to_numpy().T


def test_intervals_over_images_cover_with_the_errors_of_real_crowds(monkeypatch):
    """Draws of 182 out of the 182 images of a real study, whose own scores are the truth."""
    monkeypatch.setattr(images, "DRAWS", 500)
    rng = np.random.default_rng(3)
    truth, predictions = recorded_errors()
    true = samples(truth, predictions)
    hits: dict[str, list[bool]] = {}
    for _ in range(200):
        at = rng.integers(len(truth), size=len(truth))
        held = samples(truth[at], predictions[:, at])
        for metric in ("mae", "rmse"):
            (one, two), (first, second) = (
                [mean_of([of[str(3 * c + s), metric] for s in range(3)]) for c in (0, 1)]
                for of in (held, true)
            )
            pairs = {
                metric: (one, first.point),
                f"{metric} gap": (one - two, (first - second).point),
            }
            for name, (sample, point) in pairs.items():
                low, high = sample.interval()
                hits.setdefault(name, []).append(low <= point <= high)
    found = {name: np.mean(h) for name, h in hits.items()}
    assert found["mae gap"] >= 0.91, found  # what decides
    assert found["rmse gap"] >= 0.91, found
    assert found["mae"] >= 0.89, found
    assert found["rmse"] >= 0.86, found  # squares of 182 skewed errors: short of 95 % by a few


def test_both_uncertainties_together_cover_at_least_95_percent():
    """Seeds of either spread; the images add a normal error of a known size."""
    rng = np.random.default_rng(4)
    for ratio in (0.3, 1.0, 3.0):
        hits = []
        for _ in range(ROUNDS):
            first, second = rng.normal(size=3), rng.normal(size=3)
            shift = ratio * rng.normal()
            point = first.mean() - second.mean() + shift
            low, high = (end + shift for end in difference(first, second))
            drawn = (point - 1.96 * ratio, point + 1.96 * ratio)
            low, high = both(point, (low, high), drawn)
            hits.append(low <= 0 <= high)
        covered, error = share(hits)
        assert covered >= 0.95 - error, ratio


@pytest.fixture(scope="module")
def blank(tmp_path_factory) -> CellValue:
    """A value of a record, whose seeds the simulations set."""
    run = Run(tmp_path_factory.mktemp("blank") / "s", space_keys=[])
    run.confirm(0, [{"loss": 1.0, "accuracy": 0.5 + s / 100} for s in range(3)])
    value = next(v for v in cell_values(load(run.folder)) if v.metric == "accuracy")
    return replace(value, bounds=(-np.inf, np.inf), constants=())


def verdicts(blank, means, n, rng):
    """The standings of cells of these true means, with n seeds each of spread 1."""
    cells = [
        replace(blank, cell=c, values=tuple(mean + rng.normal(size=n)), seeds=(), marks=())
        for c, mean in enumerate(means)
    ]
    return [value.standing for value in with_standing(cells)]


@pytest.mark.parametrize("k", [2, 3, 5, 10])
@pytest.mark.parametrize("n", [3, 5])
def test_of_equal_cells_at_most_5_percent_of_studies_name_a_best(blank, k, n):
    rng = np.random.default_rng(k + n)
    rounds = [verdicts(blank, [0.0] * k, n, rng) for _ in range(400)]
    named, error = share(["best" in held for held in rounds])
    assert named <= 0.05 + error


@pytest.mark.parametrize("k", [3, 6])
def test_a_cell_as_good_as_the_best_is_seldom_told_apart_from_it(blank, k):
    """All but the last are equally good; any of them that is called behind is a false alarm."""
    rng = np.random.default_rng(k)
    rounds = [verdicts(blank, [5.0] * (k - 1) + [0.0], 3, rng) for _ in range(400)]
    wrong, error = share(["behind" in held[:-1] for held in rounds])
    assert wrong <= 0.08 + error


def test_a_cell_far_ahead_is_named_nearly_always(blank):
    rng = np.random.default_rng(9)
    rounds = [verdicts(blank, [0.0, 0.0, 12.0], 3, rng)[2] == "best" for _ in range(200)]
    assert np.mean(rounds) >= 0.9


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_constant_predictor_has_skill_in_at_most_2_5_percent_of_studies(n):
    """Its seeds are around the constant; only an interval wholly above it is skill."""
    rng = np.random.default_rng(n)
    hits = [mean_interval(rng.normal(size=n))[0] > 0 for _ in range(ROUNDS)]
    alarms, error = share(hits)
    assert alarms <= 0.025 + error


def test_holm_decides_by_steps_and_says_at_which_level():
    """p = 0.01, 0.02 and 0.3: 0.01 < 0.05 / 3, 0.02 < 0.05 / 2, 0.3 > 0.05."""
    tests = [lambda level, p=p: p < 1 - level for p in (0.3, 0.01, 0.02)]
    found = told_apart(tests)
    assert [decided for decided, _ in found] == [False, True, True]
    assert [level for _, level in found] == pytest.approx([0.95, 1 - 0.05 / 3, 0.975])


def test_shown_intervals_are_t_from_three_seeds_on():
    assert interval([1.0, 2.0, 3.0]) == mean_interval([1.0, 2.0, 3.0])
    assert interval([1.0, 2.0]) == (1.0, 2.0)


def test_the_mean_over_seeds_is_drawn_seed_by_seed_on_the_same_images():
    rng = np.random.default_rng(5)
    truth, predictions = crowd_images(rng, 50, 2)
    held = samples(truth, predictions)
    mean = mean_of([held["0", "mae"], held["1", "mae"]])
    assert mean.point == pytest.approx((held["0", "mae"].point + held["1", "mae"].point) / 2)
    assert np.allclose(mean.draws, (held["0", "mae"].draws + held["1", "mae"].draws) / 2)
    same = held["0", "mae"] - held["0", "mae"]
    assert same.interval() == (0.0, 0.0)
