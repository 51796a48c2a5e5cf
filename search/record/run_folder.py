"""A run folder and its one writer: lock, study.json and its sessions, the two logs, the frames."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from search.record.journal import Appender, Event, JournalError
from search.record.read import LOCK, load, read_events
from search.record.set_aside import TOLD, Aside, forget, set_aside_unasked
from search.record.stored import (
    EPOCHS,
    JOURNAL,
    STUDY,
    RecordError,
    new_study,
    shrunk,
    withdraw,
)
from search.record.study_file import load_study
from search.record.taken import FOLDERS, held_already
from search.record.written import write
from trainables.errors import RecordWarning, reason
from trainables.files import naming, unfit

WEIGHTS = "weights"  # generated source weights of synthetic studies


class RunFolder:
    """Holds a run folder against every other writer until it is closed; a context manager.

    Args:
        path: of a folder that holds a study; see `make` for a new one.

    Raises:
        RecordError: it is no run folder, or cannot be locked.
        JournalError: another process writes it.
    """

    def __init__(self, path: Path) -> None:
        load_study(path)
        self.path = path
        self._lock = _lock(path)
        self._journal: Appender | None = None
        self._epochs: Appender | None = None
        self._weights_before = True

    @classmethod
    def make(cls, path: Path) -> RunFolder:
        """Claim a folder for a new study, which `create` then begins.

        Nothing of it stays if it is closed before that.

        Raises:
            RecordError: it holds a study already, or what is left of one, or no folder can be made
                there.
            JournalError: another process is about to begin one there.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(
                f"{path}: no folder can be made there ({reason(error)}); name another with "
                "--runs-dir"
            ) from error
        held = cls.__new__(cls)
        held.path, held._journal, held._epochs = path, None, None
        held._weights_before = (path / WEIGHTS).exists()  # somebody's, as in a project's folder
        held._lock = _lock(path)
        if taken := held_already(path):
            held._lock.close()
            raise RecordError(taken)
        return held

    def __enter__(self) -> RunFolder:
        """Held already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; what ended the block is told, not what closing says after it."""
        with contextlib.suppress(OSError) if error else contextlib.nullcontext():
            self.close()

    # -- study.json ---------------------------------------------------------------------------

    @property
    def study(self) -> dict[str, Any]:
        """study.json as it is now."""
        return load_study(self.path)

    def create(self, study: Mapping[str, Any]) -> None:
        """Begin a study: write its study.json, and the folders that workers write to.

        Raises:
            FileExistsError: a study.json is there, against every lock.
        """
        with self._partial(study) as partial:
            os.link(partial, self.path / STUDY)  # unlike a rename, never over another
        for name in FOLDERS:
            (self.path / name).mkdir(exist_ok=True)

    def add_session(
        self, kind: str, facts: Mapping[str, Any], now: Mapping[str, Any] | None = None
    ) -> int:
        """Note that a driver starts to work on the study.

        Args:
            kind: run or resume.
            facts: of the session.
            now: keys of study.json that hold from here on as given here.

        Returns:
            The session's index in `sessions`.
        """
        session = {"kind": kind, "started": _now(), "ended": None, **facts}
        study = self.study
        self._replace({**study, **(now or {}), "sessions": [*study["sessions"], session]})
        return len(study["sessions"])

    def end_session(self) -> None:
        """Note that it has ended; a killed one never does."""
        study = self.study
        study["sessions"][-1]["ended"] = _now()
        self._replace(study)

    def set_store(self, uri: str) -> None:
        """Note at which URI the study is handed in."""
        self._replace({**self.study, "store": uri})

    def add_packing(self, rows: list[dict[str, Any]] | None) -> None:
        """Keep what a trial was measured to take on a GPU; the first one stays first."""
        study = self.study
        held = study.get("packing", [])
        new = [row for row in rows or [] if row not in held]
        if new:
            self._replace({**study, "packing": held + new})

    def _replace(self, study: Mapping[str, Any]) -> None:
        with self._partial(study) as partial, new_study(self.path):
            partial.replace(self.path / STUDY)

    @contextlib.contextmanager
    def _partial(self, study: Mapping[str, Any]) -> Iterator[Path]:
        """A file beside study.json that holds the study, on disk; gone after the block."""
        partial = self.path / f"{STUDY}.partial"
        try:
            with naming(partial):
                with partial.open("w", encoding="utf-8") as file:
                    json.dump(study, file, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                yield partial
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    # -- the logs -----------------------------------------------------------------------------

    def events(self) -> list[Event]:
        """Every event of the journal so far, checked."""
        return read_events(self.path)

    def open_logs(self) -> int:
        """Make ready to append; returns the bytes of a last line that was not whole and is cut.

        Once it is ready a second call does nothing.

        Raises:
            RecordError, JournalError: what is left of the logs cannot be read.
        """
        if self._journal is not None:
            return 0
        lost = bool(shrunk(self.path))
        if lost:  # held against the frames while they are known to be of these logs
            with warnings.catch_warnings(action="ignore", category=RecordWarning):
                load(self.path)
        for name in FOLDERS:  # a record may have been moved without them
            (self.path / name).mkdir(exist_ok=True)
        self._journal = Appender(self.path / JOURNAL)
        self._epochs = Appender(self.path / EPOCHS)
        if lost or self._journal.cut or self._epochs.cut:
            # what is lost is written again, and other to the last digit than in earlier frames
            withdraw(self.path)
        return self._journal.cut

    def set_aside_unasked(self, events: Sequence[Event]) -> Aside:
        """Set aside what no job of the journal is for, before the logs are open; see there."""
        return Aside() if self._journal is not None else set_aside_unasked(self.path, events)

    def tell_aside(self, aside: Aside) -> None:
        """Put on record what was set aside; only then is that over."""
        self.append({"event": TOLD, **aside._asdict()})
        self.to_disk()
        forget(self.path)

    def append(self, event: Event) -> None:
        """An event to the journal."""
        assert self._journal is not None
        self._journal.write(event)

    def append_epoch(self, trial: str, row: Mapping[str, Any]) -> None:
        """The row of an epoch to its log."""
        assert self._epochs is not None
        self._epochs.write({"trial": trial, "row": dict(row)})

    def to_disk(self) -> None:
        """Force the logs to disk; rows first, so that a trial that is told has them."""
        for log in (self._epochs, self._journal):
            if log is not None:
                log.to_disk()

    # -- everything else ----------------------------------------------------------------------

    def write_frames(self) -> None:
        """Write the parquet and csv files anew from the logs."""
        write(self.path)

    def close(self) -> None:
        """Let go of the folder; of a study that was never begun nothing stays.

        Raises:
            OSError: a log could not be closed; everything else is, and the lock is released.
        """
        with contextlib.ExitStack() as stack:  # goes on to the end whatever one of them raises
            stack.callback(self._lock.close)
            stack.callback(self._remove_unbegun)
            for log in (self._journal, self._epochs):
                if log is not None:
                    stack.callback(log.close)

    def _remove_unbegun(self) -> None:
        if (self.path / STUDY).exists():
            return
        if not self._weights_before:
            shutil.rmtree(self.path / WEIGHTS, ignore_errors=True)
        with contextlib.suppress(OSError):  # something else is in it, or it is gone
            (self.path / LOCK).unlink(missing_ok=True)
            self.path.rmdir()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _lock(folder: Path) -> IO[str]:
    """Hold the folder against a second writer, until this process ends.

    Raises:
        JournalError: another process holds it.
        RecordError: the system refuses a lock, or something else is in its file's place.
    """
    if fault := unfit(folder / LOCK):
        raise RecordError(f"{folder / LOCK} cannot be locked: it {fault}; remove it")
    try:
        file = (folder / LOCK).open("w")
        for _ in range(10):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # a run that was refused takes its lock file away with it
                if os.path.samestat(os.fstat(file.fileno()), (folder / LOCK).stat()):
                    return file
                file.close()
                file = (folder / LOCK).open("w")
            except BlockingIOError:
                time.sleep(0.1)  # `resnet-search status` holds it for an instant
    except OSError as error:
        raise RecordError(
            f"{folder / LOCK} cannot be locked ({error}); the folder must be writable, on storage "
            "that has locks"
        ) from error
    file.close()
    raise JournalError(
        f"{folder} is being written by another process; wait for it, or stop it first"
    )
