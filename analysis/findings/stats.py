"""Statistics of a few seeds: arrays in, numbers out.

With 2 to 5 seeds a Student t interval keeps its 95 %, where a bootstrap covers 51 to 82 %; one
value has no spread at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit  # scipy.stats takes two seconds to import

Values = Sequence[float] | NDArray[np.float64]
Kind = Literal["none", "range", "t"]
EQUAL = 1e-12  # relative: what sums of the same numbers in another order may differ by
LEVEL = 0.95


class Interval(NamedTuple):
    """Low and high end, and what it is.

    Attributes:
        low: NaN where there is none.
        high: NaN where there is none.
        kind: t, range, welch, paired, wilson, bootstrap, both (seeds and test images), or none.
    """

    low: float = math.nan
    high: float = math.nan
    kind: str = "none"

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return not math.isnan(self.low)

    def within(self, bounds: tuple[float, float]) -> Interval:
        """The same with both ends in the bounds of what it is of."""
        if not self.known:
            return self
        low, high = (min(max(end, bounds[0]), bounds[1]) for end in self[:2])
        return Interval(low, high, self.kind)


NO_INTERVAL = Interval()


def mean_sd(values: Values) -> tuple[float, float]:
    """Mean and sample standard deviation, the same whatever the order of the values.

    Args:
        values: `(n,)`, one a seed.

    Returns:
        Mean (NaN for n = 0), and standard deviation with n - 1 in the denominator (NaN for n < 2).
    """
    held = [float(value) for value in values]
    if not held:
        return math.nan, math.nan
    mean = math.fsum(held) / len(held)
    if len(held) < 2:
        return mean, math.nan
    square = math.fsum((value - mean) ** 2 for value in held) / (len(held) - 1)
    return mean, math.sqrt(square)


def equal(first: float, second: float) -> bool:
    """Whether two means are the same number, but for the order in which it was summed."""
    return math.isclose(first, second, rel_tol=EQUAL, abs_tol=EQUAL)


def interval_kind(n: int) -> Kind:
    """What `interval` gives for n values."""
    return "t" if n >= 3 else "range" if n == 2 else "none"


def interval(values: Values, level: float = LEVEL) -> tuple[float, float]:
    """Interval of the mean over seeds, as it is shown.

    Args:
        values: `(n,)`, one a seed.
        level: coverage of the t interval, in (0, 1).

    Returns:
        Low and high end: Student t for n >= 3, the two values for n = 2, whose t interval is so
        wide that the range says more, NaN below.

    Raises:
        ValueError: the level is not between 0 and 1.
    """
    _check(level)
    kind = interval_kind(len(values))
    if kind == "none":
        return math.nan, math.nan
    if kind == "range":
        return float(min(values)), float(max(values))
    return mean_interval(values, level)


def difference(first: Values, second: Values, level: float = LEVEL) -> tuple[float, float]:
    """Interval of the difference of two means, first minus second, of independent seeds.

    Welch's t (Welch, "The generalization of Student's problem", Biometrika 34, 1947): neither
    equal spread nor equal numbers of seeds are assumed.

    Args:
        first: `(n,)`, one a seed.
        second: `(m,)`, one a seed.
        level: coverage.

    Returns:
        Low and high end; NaN if one of the two has fewer than two seeds, or none has any spread,
        which a few seeds of coarse values show by chance.
    """
    if min(len(first), len(second)) < 2 or not (has_spread(first) or has_spread(second)):
        return math.nan, math.nan
    (mean, sd), (other, spread) = mean_sd(first), mean_sd(second)
    parts, free = (sd**2 / len(first), spread**2 / len(second)), (len(first) - 1, len(second) - 1)
    freedom = sum(parts) ** 2 / sum(p**2 / f for p, f in zip(parts, free, strict=True))
    half = float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(sum(parts))
    return mean - other - half, mean - other + half


def paired_difference(first: Values, second: Values, level: float = LEVEL) -> tuple[float, float]:
    """Interval of the difference of two means, first minus second, of the same seeds.

    Student's t of the differences: narrower than Welch's where a seed moves both alike, and right
    only where it is the same thing in both.

    Args:
        first: `(n,)`, one a seed.
        second: `(n,)`, of the same seeds in the same order.
        level: coverage.

    Returns:
        Low and high end; NaN for fewer than two seeds, or where the differences have no spread.
    """
    apart = [float(a) - float(b) for a, b in zip(first, second, strict=True)]
    if len(apart) < 2 or not has_spread(apart):
        return math.nan, math.nan
    return mean_interval(apart, level)


def mean_interval(values: Values, level: float = LEVEL) -> tuple[float, float]:
    """Student's t interval of the mean over seeds.

    Args:
        values: `(n,)`, one a seed.
        level: coverage, in (0, 1).

    Returns:
        Low and high end; NaN for fewer than two values.
    """
    _check(level)
    if len(values) < 2:
        return math.nan, math.nan
    mean, sd = mean_sd(values)
    half = float(stdtrit(len(values) - 1, (1 + level) / 2)) * sd / math.sqrt(len(values))
    return mean - half, mean + half


def both(middle: float, *intervals: tuple[float, float]) -> tuple[float, float]:
    """One interval out of those of independent uncertainties of the same number.

    The distances of its ends are the roots of the summed squares of theirs: the method of variance
    estimates recovery (Zou and Donner, "Construction of confidence limits about effect measures",
    Statistics in Medicine 27, 2008). It is at least as wide as each of them, so it leaves out what
    either leaves out, and what both leave out only narrowly stays inside: two chances to be wrong
    are not one.

    Args:
        middle: the number.
        intervals: of it; those that are NaN are not there.
    """
    known = [pair for pair in intervals if not math.isnan(pair[0])]
    if not known:
        return math.nan, math.nan
    low, high = (math.hypot(*(pair[end] - middle for pair in known)) for end in (0, 1))
    return middle - low, middle + high


def told_apart(
    decided: Sequence[Callable[[float], bool]], level: float = LEVEL
) -> list[tuple[bool, float]]:
    """Which of several comparisons are decided together (Holm 1979).

    Args:
        decided: of each comparison, whether it is at a level of its own.
        level: at which none of what is called decided is wrong.

    Returns:
        Of each, whether it is decided, and the level at which it is, or is not.
    """
    left = list(range(len(decided)))
    found = [(False, level)] * len(decided)
    while left:
        own = 1 - (1 - level) / len(left)
        now = [number for number in left if decided[number](own)]
        for number in left:
            found[number] = (number in now, own)
        if not now:
            break
        left = [number for number in left if number not in now]
    return found


def share_interval(count: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of a share (Wilson 1927).

    Args:
        count: how many of n; a mean over seeds need not be whole.
        n: at least 1.
        level: coverage, in (0, 1).
    """
    z, share = float(ndtri((1 + level) / 2)), count / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def skill(error: float, reference: float) -> float:
    """1 - error / reference: 1 is perfect, 0 as good as the constant predictor, below 0 worse.

    Args:
        error: MAE of a network, people an image.
        reference: MAE of the constant predictor on the same images, people an image.

    Returns:
        The skill; NaN where the reference is 0.
    """
    return 1 - error / reference if reference else float("nan")


def has_spread(values: Values) -> bool:
    """Whether any two of them differ by more than the order of a sum can make."""
    return not all(equal(float(value), float(values[0])) for value in values)


def _check(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
