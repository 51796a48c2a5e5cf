"""Clusters of several machines, for the tests of what happens when one of them differs or dies."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.lab import Lab, lab, why_not
from tests.tiny import tiny_study


@contextlib.contextmanager
def empty_lab() -> Iterator[Lab]:
    """A lab without machines yet; its work folder holds tiny.toml, and no run."""
    if held := why_not():
        pytest.skip(held)
    folder = Path(tempfile.mkdtemp(prefix="lab", dir="/tmp"))
    try:
        with lab(folder) as made:
            (made.work / "tiny.toml").write_text(tiny_study(), encoding="utf-8")
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def machines() -> Iterator[Lab]:
    """A test's own, so that no run of another is in its way; see `empty_lab`."""
    with empty_lab() as made:
        yield made
