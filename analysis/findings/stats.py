"""Statistics of a few seeds: arrays in, numbers out.

With 2 to 5 seeds a Student t interval keeps its 95 %, where a bootstrap covers 51 to 82 %; with
two values it is so wide that the range says more, and one value has no spread at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = Sequence[float] | NDArray[np.float64]
Kind = Literal["none", "range", "t"]


def mean_sd(values: Values) -> tuple[float, float]:
    """Mean and sample standard deviation.

    Args:
        values: `(n,)`, one a seed.

    Returns:
        Mean (NaN for n = 0), and standard deviation with n - 1 in the denominator (NaN for n < 2).
    """
    held = np.asarray(values, dtype=float)
    mean = float(held.mean()) if held.size else float("nan")
    return mean, float(held.std(ddof=1)) if held.size > 1 else float("nan")


def interval_kind(n: int) -> Kind:
    """What `interval` gives for n values."""
    return "t" if n >= 3 else "range" if n == 2 else "none"


def interval(values: Values, level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean over seeds.

    Args:
        values: `(n,)`, one a seed.
        level: coverage of the t interval, in (0, 1).

    Returns:
        Low and high end: Student t for n >= 3, the two values for n = 2, NaN below.

    Raises:
        ValueError: the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, not {level}")
    held = np.asarray(values, dtype=float)
    kind = interval_kind(held.size)
    if kind == "none":
        return float("nan"), float("nan")
    if kind == "range":
        return float(held.min()), float(held.max())
    mean, sd = mean_sd(held)
    half = float(stats.t.ppf((1 + level) / 2, held.size - 1)) * sd / float(np.sqrt(held.size))
    return mean - half, mean + half


def difference(first: Values, second: Values, level: float = 0.95) -> tuple[float, float]:
    """Interval of the difference of two means, first minus second, of independent seeds.

    Welch's t (Welch, "The generalization of Student's problem", Biometrika 34, 1947): neither
    equal spread nor equal numbers of seeds are assumed. Only one comparison: of many cells the
    leading one is picked first, and its lead looks surer than it is.

    Args:
        first: `(n,)`, one a seed.
        second: `(m,)`, one a seed.
        level: coverage.

    Returns:
        Low and high end; NaN if one of the two has fewer than two seeds, or none has any spread,
        which a few seeds of coarse values show by chance.
    """
    if min(len(first), len(second)) < 2 or len(set(first)) == len(set(second)) == 1:
        return float("nan"), float("nan")
    found = stats.ttest_ind(first, second, equal_var=False).confidence_interval(level)
    return float(found.low), float(found.high)


def share_interval(count: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share (Wilson 1927).

    Args:
        count: how many of n.
        n: at least 1.
        level: coverage, in (0, 1).
    """
    held = stats.binomtest(count, n).proportion_ci(level, method="wilson")
    return float(held.low), float(held.high)


def skill(error: float, reference: float) -> float:
    """1 - error / reference: 1 is perfect, 0 as good as the constant predictor, below 0 worse.

    Args:
        error: MAE of a network, people an image.
        reference: MAE of the constant predictor on the same images, people an image.

    Returns:
        The skill; NaN where the reference is 0.
    """
    return 1 - error / reference if reference else float("nan")
