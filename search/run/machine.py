"""The code and the machine that a session runs on, for the record."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from search.run.digest import code_digest

NO_CUDA = "none"
PACKAGES = (
    "resnet-tune",
    "torch",
    "torchvision",
    "ray",
    "optuna",
    "numpy",
    "scipy",
    "pandas",
    "triton",
)


def here() -> dict[str, Any]:
    """Versions, code, commit and machine: keys of study.json, and of its sessions."""
    return {"versions": versions(), "code": code_digest(), "git": git(), "machine": _machine()}


def versions() -> dict[str, str]:
    """Of Python and our packages, and `cuda`: what torch is built for, "none" for nothing."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from its source folder
            found[name] = "not installed"
    return {**found, "cuda": torch.version.cuda or NO_CUDA}


def cores() -> int:
    """CPU cores that this process may use: of its affinity, and of a container's quota."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = Path("/sys/fs/cgroup/cpu.max")  # "max 100000", or microseconds of each period
    try:
        most, period = quota.read_text(encoding="ascii").split()
        limit = math.ceil(int(most) / int(period))
    except (OSError, ValueError):
        limit = 0
    return min(usable or 1, limit) if limit else usable or 1


def memory_mb() -> float | None:
    """MiB that a new process may take, of a container's limit too; None where not known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        held = next(line.split()[1] for line in lines if line.startswith("MemAvailable"))
        free = int(held) / 1024
    except (OSError, ValueError, StopIteration):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        most, taken = (int((group / f"memory.{k}").read_text()) for k in ("max", "current"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        taken -= int(stat.get("inactive_file", 0))  # of files, let go at need
        free = min(free, max(0, most - taken) / 2**20)
    except (OSError, ValueError):  # no limit ("max"), or no control groups
        pass
    return free


def git(here: Path = Path(__file__).parent) -> dict[str, Any] | None:
    """Commit of the code that runs, and whether it is changed; None where it is no checkout.

    It is by a change of a file that git knows, or a new module: not by a study file, or a run
    folder, that lies beside it.

    Args:
        here: folder of this module.
    """

    def run(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *words],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        # installed into an environment inside another project's checkout, that commit is not ours
        ours = run("ls-files", "--error-unmatch", Path(__file__).name)
        commit = run("rev-parse", "HEAD") if ours else ""
    except OSError:
        return None
    if not commit:
        return None
    changed = run("status", "--porcelain", "--untracked-files=no")
    modules = [f":(top){package}/*.py" for package in ("search", "trainables", "analysis")]
    new = run("ls-files", "--others", "--exclude-standard", "--", *modules)
    return {"commit": commit, "dirty": bool(changed or new)}


def _machine() -> dict[str, Any]:
    """The driver's machine; a trial's own device is in its row."""
    processor = platform.processor() or platform.machine()
    try:
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "processor": f"{processor} ({torch.backends.cpu.get_cpu_capability()})",
        "cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
