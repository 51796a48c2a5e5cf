"""Clusters of several machines, for the tests of what happens when one of them differs or dies."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.lab import Lab, lab, why_not
from tests.tiny import tiny_study


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    """A lab without machines yet; its work folder holds tiny.toml."""
    if held := why_not():
        pytest.skip(held)
    folder = Path(tempfile.mkdtemp(prefix="lab", dir="/tmp"))
    try:
        with lab(folder) as made:
            (made.work / "tiny.toml").write_text(tiny_study(), encoding="utf-8")
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)
