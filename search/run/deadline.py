"""A deadline at the driver, for a worker that cannot end itself: stopped, or hung with its node.

The watch of a worker (search.run.watch) lives in its process and stops with it. So a job that has
not been heard of for long is looked at from another process of its node. That one must not hang
where the worker does: it imports nothing of this package (see `bootstrap`).
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from pathlib import Path

from search.run.watch import WAITING, beat_file

LOOK_EVERY = 10.0  # seconds
GONE = "its process is gone"
MARGIN = 30.0  # seconds after the worker's own watch would have ended it


def end_if_hung(pid: int, seconds: float) -> str:
    """On a worker's node: end it if it makes no steps; returns what was seen, "" if it is well.

    Args:
        pid: of the worker.
        seconds: without a step, after which it is ended; inf of one between two jobs, which is
            ended only where it is stopped.
    """
    state = _state(pid)
    if not state:
        return GONE
    beat = beat_file(pid)
    how = {"T": "stopped by a signal", "t": "held by a debugger", "D": "waiting for a disk"}
    said = how.get(state, "running without a step")
    try:
        waiting = beat.read_bytes() == WAITING
        silent = time.time() - beat.stat().st_mtime
    except OSError:  # it has not come to its watch yet, and has been silent for so long at least
        waiting, silent = False, seconds
        if seconds != math.inf:
            said += ", before its first: as it imported the package, or opened its files"
    stopped = state in "Tt"
    if not stopped and (waiting or silent < seconds or seconds == math.inf):
        return ""
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
    for_ = "between two jobs" if silent == math.inf else f"for {silent:.0f} s"
    return f"no step {for_} ({said}); its process was ended by the driver"


def _state(pid: int) -> str:
    """Of a process, as /proc has it; "" when it is gone."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
