"""Whole studies by the command line, as processes that a test can end."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.tiny import tiny_study

STUDY = tiny_study(cells="pretrained = [false, true]", trials=3)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "search", *words]


def start(folder: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(*words),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_lines(path: Path, count: int, process: subprocess.Popen) -> None:
    """Until a log has so many lines; other work on the machine may hold a start up for minutes."""
    ends = time.monotonic() + 300
    while time.monotonic() < ends:
        if path.is_file() and path.read_bytes().count(b"\n") >= count:
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    raise AssertionError(f"{path} never had {count} lines")
