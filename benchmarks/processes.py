"""What processes of this machine take, as /proc has it."""

from __future__ import annotations

import os
from pathlib import Path

SERVERS = ("gcs_server", "raylet")


def _stat(pid: int | str) -> list[str]:
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:  # it has ended
        return ["", "", "0"]
    return [name.partition("(")[2], *rest.split()]


def servers() -> dict[str, int]:
    """Name -> process of Ray's servers, which are this one's children."""
    found = {pid.name: _stat(pid.name) for pid in Path("/proc").glob("[0-9]*")}
    own = {stat[0]: int(pid) for pid, stat in found.items() if stat[2] == str(os.getpid())}
    return {name: own[name] for name in SERVERS}


def ray_workers() -> list[int]:
    """Processes of Ray's workers here."""
    raylet = str(servers()["raylet"])
    pids = [pid.name for pid in Path("/proc").glob("[0-9]*")]
    return [int(pid) for pid in pids if _stat(pid)[2] == raylet and "ImplicitF" in _stat(pid)[0]]


def cpu_of(pid: int) -> float:
    """Seconds of CPU time that a process has taken."""
    return sum(map(int, _stat(pid)[12:14])) / os.sysconf("SC_CLK_TCK")


def own_mb() -> float:
    """Memory of this process that it shares with no file, MiB."""
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20


def private_mb(pid: int) -> float:
    """Memory of a process that is its own, MiB; NaN of one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return float("nan")
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
