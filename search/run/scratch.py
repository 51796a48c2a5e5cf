"""A temporary folder of this process, which goes even after a kill: the next one removes it."""

from __future__ import annotations

import contextlib
import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path

from search.run.ray_folder import HELD, remove_if_left
from trainables.places import OURS

SCRATCH = f"{OURS}scratch-"  # a folder of ours in a temporary one


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder of this process; what killed ones have left goes first."""
    base = Path(tempfile.gettempdir())
    for left in base.glob(f"{SCRATCH}*"):
        remove_if_left(left)
    made = tempfile.TemporaryDirectory(prefix=SCRATCH, ignore_cleanup_errors=True)
    with made as folder, (Path(folder) / HELD).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield Path(folder)
