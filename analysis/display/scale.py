"""Where on a page's own drawings a value stands."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

FAR = 25.0  # times the middle value: from there on the scale has to be logarithmic


class Scale:
    """Values to percent of the width, with a margin; logarithmic where one is far off."""

    def __init__(self, levels: Sequence[float]) -> None:
        held = sorted(levels) or [0.0, 1.0]
        middle = held[len(held) // 2]
        self.log = held[0] > 0 and held[-1] > FAR * middle
        self.low, self.high = (self._form(end) for end in (held[0], held[-1]))
        margin = 0.04 * (self.high - self.low) or 0.5 * abs(self.high) or 0.5
        self.low, self.high = self.low - margin, self.high + margin

    def _form(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def at(self, value: float) -> float | None:
        """Percent of the width; None for what has no place."""
        if not math.isfinite(value) or (self.log and value <= 0):
            return None
        share = (self._form(value) - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values on it."""
        if self.log:
            ends = range(math.ceil(self.low), math.floor(self.high) + 1)
            return [10.0**power for power in ends]
        held = MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        return [float(tick) for tick in held if self.low <= tick <= self.high]
