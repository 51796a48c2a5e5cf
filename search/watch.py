"""Ends a worker that has stopped making steps: nothing else would, and its GPU would be idle.

A trial can hang where no exception is raised: in a driver, in kernels that wait for one another,
on a file system that is gone. The process then ends by itself, after it has written where it
stood, and its job is run again from the last checkpoint.
"""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

ARM_EVERY = 5.0  # seconds; arming starts a thread, steps take a millisecond


def stall_file(run: Path, trial: str) -> Path:
    """Where a stalled worker of a trial writes its stack."""
    return run / "stalls" / f"{trial}.txt"


class Watch:
    """Ends this process, exit status 1, when `alive` has not been called for so long.

    The clock is faulthandler's own thread, which runs while Python itself is held up.

    Args:
        path: the stack of every thread is appended to it then; removed where it stays empty.
        seconds: without a call.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds, self._armed = path, seconds, 0.0

    def __enter__(self) -> Watch:
        """Start to watch."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a")
        self._arm()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop watching."""
        faulthandler.cancel_dump_traceback_later()
        self._file.close()
        if not self._path.stat().st_size:
            self._path.unlink()

    def alive(self) -> None:
        """A step was made."""
        if time.monotonic() - self._armed > min(ARM_EVERY, self._seconds / 4):
            self._arm()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While somebody else is waited for, such as a driver that was suspended."""
        faulthandler.cancel_dump_traceback_later()
        try:
            yield
        finally:
            self._arm()

    def _arm(self) -> None:
        self._armed = time.monotonic()
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._file)
