"""Ends a worker that has stopped making steps: nothing else would, and its GPU would be idle.

A trial can hang where no exception is raised, in a driver or in kernels that wait for one another.
The process then ends by itself, after it has written where it stood, and its job is run again from
the last checkpoint.
"""

from __future__ import annotations

import faulthandler
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from search.record.uris import is_uri
from trainables.files import naming, own_name
from trainables.places import private_folder, stand_in

# of one length: written in place, it asks a full disk for nothing
STEPPING, WAITING = b"stepping", b"waiting "
_BEAT = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
ARM_EVERY = 1.0  # seconds; arming starts a thread, steps take a millisecond


def stall_file(run: Path | str, trial: str) -> Path:
    """Where this process writes its stack if it stalls in a trial; of a URI, on this node."""
    # a worker outlives a killed driver by seconds: two must not share a file
    return _stalls(run) / f"{trial}.{own_name()}.txt"


def stalls_here(run: str) -> Path:
    """A folder of this node for the stacks of a run whose own cannot be written; made if missing.

    Raises:
        OSError: no temporary folder is fit.
    """
    folder = stand_in() / "stalls" / hashlib.sha256(run.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _stalls(run: Path | str) -> Path:
    return stalls_here(str(run)) if is_uri(run) else Path(run) / "stalls"


def stacks(run: Path | str, trial: str, since: float) -> list[Path]:
    """What stalled workers of a trial have written since a time of day, in seconds.

    Of a run at a URI that is what is left on this node.
    """
    found = [(path.stat(), path) for path in _stalls(run).glob(f"{trial}.*.txt")]
    return [path for held, path in found if held.st_size and held.st_mtime >= since]


def beat_file(pid: int) -> Path:
    """Where a process of this machine leaves the time of its last step, for the driver's deadline.

    Not in the run folder: a worker that hangs in a network's file system must be told by another.
    In a folder of this user alone: the name can be guessed.

    Raises:
        PermissionError: that folder is somebody else's, or open to others.
    """
    # the same for every process of the user here; `stand_in` goes elsewhere when a disk is full
    return private_folder(Path(tempfile.gettempdir())) / f"{pid}.beat"


class Watch:
    """Ends this process, exit status 1, when `alive` has not been called for so long.

    The clock is faulthandler's own thread, which runs while Python itself is held up.

    Args:
        path: the stack of every thread is appended to it then; removed where it stays empty. Its
            folder is not made: where it cannot be written, a temporary one of this node holds it.
        seconds: without a call.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds, self._armed = path, seconds, 0.0

    def __enter__(self) -> Watch:
        """Start to watch.

        Raises:
            OSError: neither can be written.
        """
        # first: the file below may be on a file system that hangs
        beat = beat_file(os.getpid())
        with naming(beat):
            self._beat = os.open(beat, _BEAT, 0o600)
        try:
            with naming(beat):
                self._mark(STEPPING)
            self._file = self._opened()
        except OSError:
            self._end_beat()
            raise
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
        self._end_beat()
        empty = not os.fstat(self._file.fileno()).st_size
        self._file.close()
        if empty:
            self._path.unlink(missing_ok=True)

    def alive(self) -> None:
        """A step was made."""
        if time.monotonic() - self._armed > ARM_EVERY:
            self._arm()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While somebody else is waited for, such as a driver that was suspended."""
        faulthandler.cancel_dump_traceback_later()
        self._mark(WAITING)
        try:
            yield
        finally:
            self._arm()

    def _opened(self) -> IO[str]:
        try:
            return self._path.open("a", encoding="utf-8")
        except OSError:  # the job itself says what is wrong with its run folder
            self._path = stalls_here(str(self._path.parent.parent)) / self._path.name
            return self._path.open("a", encoding="utf-8")

    def _end_beat(self) -> None:
        os.close(self._beat)
        beat_file(os.getpid()).unlink(missing_ok=True)

    def _arm(self) -> None:
        self._armed = time.monotonic()
        self._mark(STEPPING)
        faulthandler.dump_traceback_later(self._seconds + ARM_EVERY, exit=True, file=self._file)

    def _mark(self, how: bytes) -> None:
        os.pwrite(self._beat, how, 0)
