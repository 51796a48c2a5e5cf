"""Processes of this machine below another, such as the Ray workers of a driver or a node."""

from __future__ import annotations

import contextlib
from pathlib import Path


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    kids: dict[int, list[int]] = {}
    for held in Path("/proc").iterdir():
        if held.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((held / "stat").read_text().rpartition(")")[2].split()[1])
                kids.setdefault(parent, []).append(int(held.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += kids.get(found[-1], [])
    return found


def ray_workers(pid: int) -> list[int]:
    """Processes of Ray that run a trial, below a process."""
    held = [(below, _command(below)) for below in tree(pid)]
    return [below for below, text in held if text.startswith("ray::") and "train" in text]


def _command(pid: int) -> str:
    """The command line of a process; "" when it is gone."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (OSError, UnicodeDecodeError):
        return ""
