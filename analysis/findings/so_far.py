"""The best value that each cell's search had shown, against what it had cost by then."""

from __future__ import annotations

import math

import pandas as pd

from search.record import Record
from search.record.once import once
from search.record.spent import spent

COLUMNS = [
    *("cell", "trial", "time", "seconds", "gpu_seconds", "epoch", "value", "best", "best_trial"),
    "best_epoch",
]


@once
def best_so_far(record: Record) -> pd.DataFrame:
    """One row a job of the search that ended, in the order of their ends.

    Returns:
        cell; trial; time (UTC); seconds and gpu_seconds (on a worker, of all jobs of the cell that
        had ended by then, this one included: whatever they came to); epoch and value (of this job,
        by the checkpoint rule; NaN where it failed or diverged); best, best_trial and best_epoch
        (the best of the cell by then, at whatever rung; empty before there is any).
    """
    better = max if record.study["mode"] == "max" else min
    sums: dict[int, tuple[float, float]] = {}
    best: dict[int, tuple[float, str, int]] = {}
    rows = []
    for job in spent(record):
        seconds, gpu = sums.get(job.cell, (0.0, 0.0))
        sums[job.cell] = seconds + job.seconds, gpu + job.gpu_seconds
        before = best.get(job.cell)
        if job.value is not None and (before is None or better(job.value, before[0]) != before[0]):
            best[job.cell] = job.value, job.trial, job.epoch
        value, trial, epoch = best.get(job.cell, (math.nan, None, None))
        row = (job.cell, job.trial, job.time, *sums[job.cell], job.epoch or None)
        now = math.nan if job.value is None else job.value
        rows.append((*row, now, value, trial, epoch))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame["time"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
    whole = dict.fromkeys(("epoch", "best_epoch"), "Int64")
    numbers = dict.fromkeys(("seconds", "gpu_seconds", "value", "best"), float)
    text = dict.fromkeys(("trial", "best_trial"), "string")
    return frame.astype({"cell": int, **whole, **text}).astype(numbers)
