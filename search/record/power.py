"""How large a difference between two cells so many seeds would decide, before and after a study.

`resnet-search preview` asks it of planned seeds, tables and `explain` of those there are.
"""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtr, stdtrit  # scipy.stats takes two seconds to import

POWER = 0.8  # of the seeds that are advised: the share of studies in which they would decide
LEAST_SEEDS = 3  # of which the t interval of a cell can be given
STUDIES = 4000  # that are simulated: a share of 0.8 is right to 0.006
MOST_SEEDS = 50  # above which more seeds are no advice


def power(sds: tuple[float, float], n: int, difference: float, level: float) -> float:
    """In what share of studies Welch's interval of two means leaves out 0, by simulation.

    The formulas at hand (normal, or noncentral t with Welch's degrees of freedom at the true
    spreads) say 0.8 of three seeds where the interval that tables use decides 0.6 to 0.7.

    Args:
        sds: true standard deviations of the two, over seeds.
        n: seeds of each, at least 2.
        difference: true difference of the means.
        level: of the interval, in (0, 1).
    """
    means, variances = _draws(n)
    squares = variances * np.square(sds) / n
    both = squares.sum(1)
    df = both**2 * (n - 1) / np.square(squares).sum(1)
    off = means @ np.array([sds[0], -sds[1]]) + difference
    limit = stdtrit(df, 1 - (1 - level) / 2) * np.sqrt(both)
    return float((np.abs(off) > limit).mean())


def paired_power(sd: float, n: int, difference: float, level: float) -> float:
    """The same of Student's interval of differences seed by seed, by their own distribution.

    The mean over the spread that so many seeds may show, at STUDIES equally likely ones, of the
    normal probability that the interval leaves out 0 (scipy's noncentral t is not a number in some
    far tails: nctdtr(1, 11.3, -12.7)).

    Args:
        sd: true standard deviation of the differences.
        n: seeds, at least 2.
        difference: true mean of the differences.
        level: of the interval, in (0, 1).
    """
    shares = (np.arange(STUDIES) + 0.5) / STUDIES
    shown = np.sqrt(chdtri(n - 1, shares) / (n - 1))
    limit = float(stdtrit(n - 1, 1 - (1 - level) / 2)) * shown
    at = math.sqrt(n) * difference / sd
    return float((ndtr(at - limit) + ndtr(-at - limit)).mean())


@cache
def _draws(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and variances of n values of a standard normal distribution, two groups a study."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(STUDIES, 2)) / math.sqrt(n)
    return means, rng.chisquare(n - 1, size=(STUDIES, 2)) / (n - 1)


Sds = tuple[float, float] | float  # of two cells; of differences seed by seed


def _power(sds: Sds, n: int, difference: float, level: float) -> float:
    if isinstance(sds, tuple):
        return power(sds, n, difference, level)
    return paired_power(sds, n, difference, level)


def detectable_difference(sds: Sds, n: int, level: float) -> float:
    """The difference that n seeds of each would decide in POWER of studies.

    Args:
        sds: true standard deviations over seeds of two cells that are compared by Welch's
            interval, one above 0; or that of the differences of paired seeds.
        n: seeds, at least 2.
        level: of the interval, in (0, 1).
    """
    found = partial(_power, sds, n)
    low, high = 0.0, math.hypot(*sds) if isinstance(sds, tuple) else sds
    while found(high, level) < POWER:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if found(middle, level) < POWER else (low, middle)
    return high


def seeds_for(sds: Sds, difference: float, level: float) -> int | None:
    """The fewest seeds of each, LEAST_SEEDS at least, that would decide a difference in POWER.

    Args:
        sds: see `detectable_difference`.
        difference: true difference, above 0.
        level: of the interval, in (0, 1).

    Returns:
        None above MOST_SEEDS.
    """
    counts = range(LEAST_SEEDS, MOST_SEEDS + 1)
    return next((n for n in counts if _power(sds, n, difference, level) >= POWER), None)
