from __future__ import annotations

import math

import pytest

from analysis.findings.stats import interval, interval_kind, mean_sd, skill


def test_sd_divides_by_n_minus_one():
    assert mean_sd([1.0, 2.0, 3.0, 4.0]) == (2.5, pytest.approx(math.sqrt(5 / 3)))


def test_one_value_has_no_sd_and_no_interval():
    mean, sd = mean_sd([0.7])
    assert mean == 0.7
    assert math.isnan(sd)
    assert all(math.isnan(end) for end in interval([0.7]))
    assert interval_kind(1) == "none"


def test_nothing_has_no_mean():
    assert math.isnan(mean_sd([])[0])


def test_two_values_give_their_range():
    assert interval([0.9, 0.7]) == (0.7, 0.9)
    assert interval_kind(2) == "range"


def test_t_interval_by_hand():
    # n = 3: mean 10, sd 1, t(0.975, 2) = 4.302653, half width 4.302653 / sqrt(3)
    low, high = interval([9.0, 10.0, 11.0])
    assert low == pytest.approx(10 - 2.484138, abs=1e-5)
    assert high == pytest.approx(10 + 2.484138, abs=1e-5)
    assert interval_kind(3) == "t"


def test_higher_level_is_wider():
    wide, narrow = (interval([1.0, 2.0, 3.0, 4.0], level) for level in (0.99, 0.9))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_level_out_of_range_is_refused(level):
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval([1.0, 2.0, 3.0], level)


def test_skill_is_zero_at_the_constant_and_negative_below_it():
    assert skill(68.0, 68.0) == 0
    assert skill(136.0, 68.0) == -1
    assert skill(0.0, 68.0) == 1
    assert math.isnan(skill(1.0, 0.0))
