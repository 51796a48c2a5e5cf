"""What is kept of jobs and trials of a run that is followed."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RECENT = 5  # epochs of a job of which its pace is taken


@dataclass
class Out:
    """A job that is out, as far as the logs tell.

    Attributes:
        trial, cell, stage, from_epoch, to_epoch: see search.spec.plan.Job.
        config: its searched settings.
        since: when it was asked for, ISO 8601 with its zone.
        beside: trial that it was asked for beside, to be trained with it; "" for none.
        epoch: the last that it has reported; 0 before the first.
        value: of the watched metric there; None where it is not finite.
        told: when that was, as `since`; "" before the first.
        seconds: of its last few epochs.
    """

    trial: str
    cell: int
    stage: str
    from_epoch: int
    to_epoch: int
    config: Mapping[str, Any]
    since: str
    beside: str = ""
    epoch: int = 0
    value: float | None = None
    told: str = ""
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    @property
    def array(self) -> str:
        """What all that are trained with it have alike."""
        return self.beside or self.trial


@dataclass
class Curve:
    """The watched metric of a trial and the seconds of its epochs, in order of these."""

    epochs: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))

    def put(self, epoch: int, value: float, seconds: float) -> float:
        """A row; that of an epoch that was trained again takes the place of the earlier.

        Returns:
            The seconds of the earlier; NaN where there is none.
        """
        at, before = bisect_left(self.epochs, epoch), math.nan
        if at < len(self.epochs) and self.epochs[at] == epoch:
            before = self.seconds[at]
            self.values[at], self.seconds[at] = value, seconds
        else:
            self.epochs.insert(at, epoch)
            self.values.insert(at, value)
            self.seconds.insert(at, seconds)
        return before
