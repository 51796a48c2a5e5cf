"""How far another machine's clock is from this one's, as NTP measures it. Loads nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

SECONDS = 5.0  # that clocks may surely differ by before it is said
TRIES = 3  # the first may wait for a process to start


class Offset(NamedTuple):
    """Of another clock to this one's.

    Attributes:
        seconds: by which it is ahead.
        bound: seconds by which that may be wrong; None where it was not to be measured.
    """

    seconds: float = 0.0
    bound: float | None = 0.0

    @property
    def differs(self) -> bool:
        """Whether it is surely more than SECONDS off."""
        return self.bound is not None and abs(self.seconds) > SECONDS + self.bound


SAME = Offset()  # the clock of the driver's own node


def offset(ask: Callable[[], float]) -> Offset:
    """Measure it, by the quickest of a few answers.

    The other clock was read at some moment between question and answer: the middle of the two is
    wrong by half the round trip at most.

    Args:
        ask: reads the other clock, a time of day in seconds; raises where it does not answer.
    """
    found = list[Offset]()
    for _ in range(TRIES):
        before, sent = time.time(), time.monotonic()
        try:
            there = ask()
        # it has just answered other questions; what a clock says decides nothing
        except Exception:
            break
        half = (time.monotonic() - sent) / 2
        found.append(Offset(there - (before + half), half))
    return min(found, key=lambda one: one.bound or 0.0, default=Offset(0.0, None))
