"""Triton kernels compiled in a process of its own, where TRITON_INTERPRET does not hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def sizes_of_binaries(code: str, folder: Path) -> list[int]:
    """Bytes of what a program compiles, which it prints; its cache is put into a folder."""
    kept = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "TRITON_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [int(size) for size in done.stdout.split()]
