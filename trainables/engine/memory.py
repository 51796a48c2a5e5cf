"""Memory of a process that trains on a CPU: what a step has freed is there for the next one."""

from __future__ import annotations

import ctypes
import os

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of glibc's malloc.h
NEVER = -1
OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed() -> None:
    """Let the C library keep what is freed, where it would give it back and ask for it again.

    glibc maps every block above 32 MiB anew, and gives the end of its heap back: large maps and
    gradients are new pages at each step, which the system clears one by one. This is of the main
    arena, the only one that a worker of a Ray started here has; see `search.run.cluster`. Nothing
    happens where the environment chooses (OWN), or where the C library is another. See mallopt(3).
    """
    if not any(name in os.environ for name in OWN):
        set_malloc(MMAP_MAX, 0)
        set_malloc(TRIM_THRESHOLD, NEVER)


def give_back() -> None:
    """Let the system have what is free: a trial is over, and the next may need less."""
    _call("malloc_trim", 0)


def set_malloc(parameter: int, value: int) -> None:
    """Call glibc's mallopt, where there is one.

    Args:
        parameter: M_... of malloc.h.
        value: see mallopt(3).
    """
    _call("mallopt", parameter, value)


def _call(name: str, *values: int) -> None:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):  # another C library
        return
    function(*values)
