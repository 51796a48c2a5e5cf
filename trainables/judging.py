"""The checkpoint rule: by which of its epochs a trial is judged. Loads nothing.

Rule "best": by the first of the best epochs so far, so a later one that is only as good changes
nothing. Rule "last": by the newest. A value that is not finite ends a trial: from there on it is
judged by none, whatever comes after.
"""

from __future__ import annotations

import math
from collections.abc import Iterable


def judged_epochs(values: Iterable[float | None], rule: str, mode: str) -> list[int]:
    """The epoch that a trial is judged by after each of its epochs.

    Args:
        values: the metric after each epoch; None, like NaN, for one that was not finite.
        rule: "best" or "last".
        mode: "max" or "min": which values are better.

    Returns:
        Epochs, counted from 1, as many as values; 0 where the trial is judged by none.
    """
    held: list[float] = []
    count = 0
    for count, value in enumerate(values, 1):
        if len(held) == count - 1 and value is not None and math.isfinite(value):
            held.append(value)
    over = [0] * (count - len(held))
    if rule == "last":
        return [*range(1, len(held) + 1), *over]
    found: list[int] = []
    at, best = 0, math.nan
    for epoch, value in enumerate(held, 1):
        if not at or (value > best if mode == "max" else value < best):
            at, best = epoch, value
        found.append(at)
    return found + over
