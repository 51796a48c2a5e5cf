from __future__ import annotations

import numpy as np
import pytest

from trainables.tasks.crowd_collapse import HEALTH, health, is_collapsed
from trainables.tasks.crowd_files import read_crowd
from trainables.tasks.regression import errors

TRUTH = np.array([10, 20, 30, 40])
TRAIN = np.array([10, 25, 40])


@pytest.mark.parametrize(
    ("predicted", "collapsed"),
    [
        ([0, 0, 0, 0], True),
        ([124, 124, 124, 124], True),
        ([100, 101, 100, 101], True),
        ([10, 20, 30, 40], False),
        ([900, 910, 920, 930], False),  # wrong, but different
    ],
)
def test_is_collapsed_tells_constant_predictions(predicted, collapsed):
    """The truth's standard deviation is 11.2, a twentieth of it 0.56."""
    assert is_collapsed(health(TRUTH, np.asarray(predicted, float), 1.0, TRAIN)) is collapsed


def test_one_density_everywhere_is_collapsed_though_counts_follow_the_areas():
    areas = np.array([1.0, 4, 2, 3]) * 10_000
    found = health(TRUTH, 0.002 * areas, 1.0, TRAIN, areas)
    assert 0.002 * areas.std() / TRUTH.std() > 1
    assert is_collapsed(found)
    assert not is_collapsed(health(TRUTH, TRUTH + 5.0, 1.0, TRAIN, areas))
    told = np.array([3.0, 3, 3, 3])  # one count for all has densities that differ
    assert is_collapsed(health(TRUTH, told, 1.0, TRAIN, areas))


@pytest.mark.parametrize(("held", "train"), [(0, [0, 0]), (25, [25, 25])])
def test_where_a_constant_misses_nothing_there_is_no_skill_and_no_collapse(held, train):
    truth = np.full(4, held)
    for predicted in (truth + 0.0, truth + 1e-6, truth + np.array([0.0, 1, 2, 3])):
        found = health(truth, predicted, 0.0, np.array(train))
        assert found["skill"] == 0 and not is_collapsed(found)


@pytest.mark.timeout(300)
def test_one_density_everywhere_is_collapsed_on_the_real_part_a(real_data):
    """What docs/crowds.md says of it."""
    train, test = (read_crowd(real_data, "files", "A", split) for split in ("train", "test"))
    seen, areas = ([float(i.shape[1] * i.shape[2]) for i in crowd.held] for crowd in (train, test))
    truth, predicted = test.counts(), train.counts().sum() / sum(seen) * np.asarray(areas)
    assert predicted.std() / truth.std() == pytest.approx(0.65, abs=0.005)
    assert errors(truth, predicted)["mae"] == pytest.approx(298, abs=0.5)
    assert is_collapsed(health(truth, predicted, 1.0, train.counts(), np.asarray(areas)))
    assert not is_collapsed(health(truth, predicted, 1.0, train.counts()))


@pytest.mark.parametrize(
    ("live", "predicted", "collapsed"),
    [
        (0.004, [0, 1, 4, 2], True),  # a few outputs live, and a constant is better
        (0.004, [11, 21, 29, 41], False),  # a few live and do the work
        (0.02, [0, 1, 4, 2], False),  # bad, and alive
    ],
)
def test_is_collapsed_tells_dead_outputs_without_skill(live, predicted, collapsed):
    assert is_collapsed(health(TRUTH, np.asarray(predicted, float), live, TRAIN)) is collapsed


def test_health_by_hand():
    """The best constant is 25, the training median: MAE 10. Ranks 1 2 3 4 against 2 1 3 4."""
    found = health(TRUTH, np.array([20.0, 10, 30, 45]), 0.25, TRAIN)
    assert tuple(found) == HEALTH
    assert found["live"] == 0.25
    assert found["skill"] == pytest.approx(1 - (10 + 10 + 0 + 5) / 4 / 10)
    assert found["rank"] == pytest.approx(1 - 6 * (1 + 1) / (4 * 15))  # Spearman's formula
    assert found["spread"] == pytest.approx(np.std([20, 10, 30, 45]) / np.std(TRUTH))


def test_health_of_a_constant_is_finite():
    """One that every metric of an epoch must be: else the trial would count as diverged."""
    found = health(np.array([5, 5]), np.array([3.0, 3.0]), 0.0, np.array([5, 5]))
    assert all(np.isfinite(list(found.values())))
    assert found["rank"] == 0


def test_ranks_are_scipys():
    from scipy.stats import spearmanr

    one = np.random.default_rng(0).integers(0, 9, 40)
    other = one + np.random.default_rng(1).integers(0, 9, 40)
    found = health(one, other.astype(float), 1.0, TRAIN)["rank"]
    assert found == pytest.approx(spearmanr(one, other).statistic)
