"""A run folder that lies on its driver's disk, handed in to a store so that another can go on.

An object cannot be appended to. So a log is handed in as segments, `log/<name>.<first byte>`, of
which the last is put anew as it grows until it is full; study.json and the frames go whole. What
is handed in always ends with a whole line, and never holds less than a decision that has removed
a checkpoint. Rows of epochs go before the journal that tells of them: a driver that is lost in
between leaves rows of jobs that the journal does not ask for, and `align` takes none of those.
One driver writes, and looks whether it still may before it does: see `store_lock`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from search.record import EPOCHS, JOURNAL, LOGS, STUDY, RecordError, sizes_of
from search.record.taken import FOLDERS, left_over
from search.record.terminal import shell
from search.run import store_lock
from search.run.errors import ExecutionError, StoreError, TakenOverError
from search.run.objects import Objects
from search.run.store_lock import claimed, keep_young
from search.run.store_log import align, cut_log, read_log, segments
from search.run.uri_files import in_a_line

SEGMENT = 2**20  # bytes of a log that are put at once; one that is full is never put again
FRAMES = tuple(f"{name}.parquet" for name in ("trials", "curves", "per_image"))
RESULTS = ("parts", "samples", "stalls")  # that workers hand in and the record holds


class Mirror:
    """Hands a run folder in, from a thread of its own; begins at once.

    Args:
        store: where to.
        folder: the run folder; its logs are what the store has, or more.
        owner: this driver's name in the lock.
        say: told when the store does not answer, and when it does again.
    """

    def __init__(
        self, store: Objects, folder: Path, owner: str, say: Callable[[str], None]
    ) -> None:
        self.store, self._folder, self._owner, self._say = store, folder, owner, say
        self._first, self._sent = dict.fromkeys(LOGS, 0), dict.fromkeys(LOGS, 0)
        for log in LOGS:
            self._first[log] = max(segments(store, log), default=0)
        self._study = b""
        self._fault: ExecutionError | None = None
        self._late = self._doubtful = False
        self._looked = _clocks()
        self._busy, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """See that what the study writes is still handed in.

        Raises:
            TakenOverError: another driver has taken the study over.
            ExecutionError: something that no later try would mend.
        """
        if self._fault is not None:
            raise self._fault

    def flush(self, frames: bool = False) -> None:
        """Hand in all that there is, before this returns.

        Args:
            frames: the parquet files too.

        Raises:
            StoreError: it could not be handed in; TakenOverError, ExecutionError: see `check`.
        """
        self.check()
        self._hand_in()
        with self._busy:
            for name in FRAMES if frames else ():
                if (self._folder / name).is_file():
                    self._put(name, self._folder / name)

    def fetch_results(self) -> None:
        """Bring what workers have handed in to the run folder, for the frames.

        Raises:
            StoreError: it could not be read.
        """
        for name in RESULTS:
            self.store.fetch(name, self._folder / name)

    def stop(self) -> None:
        """Hand in nothing more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.wait(store_lock.EVERY):
                self._try_to_hand_in()
        except TakenOverError as fault:
            self._fault = fault
        except Exception as error:  # of whatever kind: nobody hears of a thread that has died
            self._fault = ExecutionError(
                f"{self.store.where}: what the study writes cannot be handed in any more "
                f"({type(error).__name__}: {in_a_line(error)})"
            )
            self._fault.__cause__ = error

    def _try_to_hand_in(self) -> None:
        try:
            self._hand_in(look=True)
            if self._late:
                self._say(f"{self.store.where}: it answers again")
            self._late = False
        except (StoreError, OSError) as error:
            if not self._late:
                self._say(f"{error}; the study goes on, and is handed in when it answers")
            self._late = True

    def _hand_in(self, look: bool = False) -> None:
        with self._busy:
            if look:
                self._look()
            path = self._folder / STUDY  # not there before the study begins
            study = path.read_bytes() if path.is_file() else self._study
            if study != self._study:
                self._put(STUDY, study)
                self._study = study
            sizes = sizes_of(self._folder)  # the journal's is read first: no tell lacks its rows
            for name in (EPOCHS, JOURNAL):
                self._hand_in_log(name, sizes.get(name, 0))

    def _hand_in_log(self, name: str, size: int) -> None:
        if size < max(self._first[name], self._sent[name]):  # its end was cut
            self._first[name] = cut_log(self.store, name, size)
            self._sent[name] = 0
        first = self._first[name]
        if size <= max(first, self._sent[name]):
            return
        with (self._folder / name).open("rb") as file:
            file.seek(first)
            held = file.read(size - first)
        held = held[: held.rfind(b"\n") + 1]  # a line may be about to be written
        while self._sent[name] < first + len(held):
            at = self._first[name]
            part = held[at - first :][:SEGMENT]
            self._put(f"log/{name}.{at:012d}", part)
            self._sent[name] = at + len(part)
            if len(part) == SEGMENT:
                self._first[name] = at + SEGMENT

    def _put(self, name: str, source: Path | bytes) -> None:
        """Put an object, unless this driver was suspended meanwhile and another took over."""
        if any(
            now - then > store_lock.EVERY
            for now, then in zip(_clocks(), self._looked, strict=True)
        ):
            self._look()
        self.store.put(name, source)

    def _look(self) -> None:
        now = _clocks()
        self._doubtful = keep_young(self.store, self._owner, self._doubtful, self._went_on)
        self._looked = now

    def _went_on(self) -> bool:
        """Whether the store holds what this driver has not written."""
        return any(
            not (self._folder / name).read_bytes().startswith(held)
            for name in LOGS
            if (held := read_log(self.store, name))
        )


def _clocks() -> tuple[float, float]:
    """Seconds; the first clock is never set, and stands still while a machine sleeps."""
    return time.monotonic(), time.time()


@contextlib.contextmanager
def mirrored(
    uri: str, folder: Path, say: Callable[[str], None], new: bool
) -> Iterator[Mirror | None]:
    """Hold the store of a run folder against other drivers, and hand the folder in.

    Args:
        uri: the store; "" for none.
        folder: the run folder, held by this process, whose logs are not open.
        say: told what is waited for.
        new: the study is to begin there.

    Raises:
        JournalError: another driver writes there.
        RecordError: it holds a study already, or the folder and it have gone apart.
        UserError, StoreError: see Objects.
    """
    if not uri:
        yield None
        return
    store = Objects(uri)
    if new:
        store.make()
    with claimed(store, say) as owner:
        if new and store.read(STUDY) is not None:
            raise RecordError(
                f"{uri} already holds a study. Go on with it: "
                f"`{shell('resnet-search', 'resume', uri)}`; or keep it and run beside it: "
                "--name ANOTHER"
            )
        left = [f"{name}/" for name in ("log", *FOLDERS) if new and store.names(name)]
        if said := left_over(uri, left):
            raise RecordError(said)
        if not new:
            align(store, folder)
        mirror = Mirror(store, folder, owner, say)
        try:
            yield mirror
        finally:
            mirror.stop()
