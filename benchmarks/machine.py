"""What a benchmark ran on: without it no figure means anything."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def describe() -> str:
    """Processor, its widest vector instructions, cores, and versions, in a line."""
    processor, flags = platform.processor() or platform.machine(), ""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []:
        name, _, value = line.partition(":")
        processor = value.strip() if name.strip() == "model name" else processor
        flags = value if name.strip() == "flags" else flags
    widest = next((f for f in ("avx512_bf16", "avx512f", "avx2") if f in flags.split()), "no AVX2")
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "optuna", "numpy"))
    python = platform.python_version()
    return f"{processor} ({widest}), {os.cpu_count()} cores, Python {python}, {versions}"
