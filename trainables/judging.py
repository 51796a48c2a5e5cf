"""The checkpoint rule: by which of its epochs a trial is judged. Loads nothing.

Rule "best": by the first of the best epochs so far, so a later one that is only as good changes
nothing. Rule "last": by the newest. A value that is not finite ends a trial: from there on it is
judged by none, whatever comes after.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def judged_epochs(values: Iterable[float | None], rule: str, mode: str) -> list[int]:
    """The epoch that a trial is judged by after each of its epochs.

    Args:
        values: the metric after each epoch; None, like NaN, for one that was not finite.
        rule: "best" or "last".
        mode: "max" or "min": which values are better.

    Returns:
        Epochs, counted from 1, as many as values; 0 where the trial is judged by none.
    """
    found: list[int] = []
    at, best, over = 0, math.nan, False
    for epoch, value in enumerate(values, 1):
        over = over or value is None or not math.isfinite(value)
        if over or value is None:
            found.append(0)
            continue
        better = value > best if mode == "max" else value < best
        if rule == "last" or not at or better:
            at, best = epoch, value
        found.append(at)
    return found


def sound_epochs(values: Sequence[float]) -> int:
    """How many epochs come before the first that was not finite.

    Args:
        values: the metric after each epoch.
    """
    if all(map(math.isfinite, values)):
        return len(values)
    return next(at for at, value in enumerate(values) if not math.isfinite(value))


def best_epoch(values: Sequence[float], mode: str) -> int:
    """The last of `judged_epochs` by rule "best", of many curves in a tenth of the time.

    Args:
        values: the metric after each epoch, all of them finite.
        mode: "max" or "min".

    Returns:
        An epoch, counted from 1; 0 where there is none.
    """
    if not values:
        return 0
    return values.index(max(values) if mode == "max" else min(values)) + 1
