"""A run folder that lies on its driver's disk, handed in to a store so that another can go on.

An object cannot be appended to. So a log is handed in as segments, `log/<name>.<first byte>`, of
which the last is put anew as it grows until it is full; study.json and the frames go whole. What
is handed in always ends with a whole line, and never holds less than a decision that has removed
a checkpoint. One driver writes: it keeps an object under `lock/` young, and one that finds it old
takes over. Object stores have no locks: two drivers that are both cut off from the store for a
time can both believe they hold it, until the first of them looks again.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from search.record import EPOCHS, JOURNAL, STUDY, JournalError, RecordError, load_study
from search.record.run_folder import FOLDERS
from search.record.terminal import shell
from search.run import store_lock
from search.run.errors import StoreError
from search.run.objects import Objects
from search.run.store_lock import claimed, keep_young
from trainables.files import whole

SEGMENT = 2**20  # bytes of a log that are put at once; one that is full is never put again
LOGS = (EPOCHS, JOURNAL)  # rows first, so that a trial that is told has them
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
            self._first[log] = max(_firsts(store, log), default=0)
        self._sizes: dict[str, int] = {}
        self._study = b""
        self._fault: JournalError | None = None
        self._late = self._doubtful = False
        self._busy, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def take(self) -> None:
        """What the logs hold now may be handed in; call it between two lines.

        Raises:
            JournalError: another driver has taken the study over.
        """
        if self._fault is not None:
            raise self._fault
        paths = [self._folder / name for name in LOGS]
        self._sizes = {path.name: path.stat().st_size for path in paths if path.is_file()}

    def flush(self, frames: bool = False) -> None:
        """Hand in all that there is, before this returns.

        Args:
            frames: the parquet files too.

        Raises:
            StoreError: it could not be handed in; JournalError: see `take`.
        """
        self.take()
        self._hand_in()
        for name in FRAMES if frames else ():
            if (self._folder / name).is_file():
                self.store.put(name, self._folder / name)

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
        while not self._stop.wait(store_lock.EVERY):
            try:
                self._doubtful = keep_young(self.store, self._owner, self._doubtful)
                self._hand_in()
                if self._late:
                    self._say(f"{self.store.where}: it answers again")
                self._late = False
            except JournalError as fault:
                self._fault = fault
                return
            except (StoreError, OSError) as error:
                if not self._late:
                    self._say(f"{error}; the study goes on, and is handed in when it answers")
                self._late = True

    def _hand_in(self) -> None:
        with self._busy:
            path = self._folder / STUDY  # not there before the study begins
            study = path.read_bytes() if path.is_file() else self._study
            if study != self._study:
                self.store.put(STUDY, study)
                self._study = study
            for name, size in self._sizes.items():
                self._hand_in_log(name, size)

    def _hand_in_log(self, name: str, size: int) -> None:
        with contextlib.ExitStack() as stack:
            file = None
            while self._sent[name] < size:
                first = self._first[name]
                end = min(size, first + SEGMENT)
                if file is None:
                    file = stack.enter_context((self._folder / name).open("rb"))
                file.seek(first)
                self.store.put(f"log/{name}.{first:012d}", file.read(end - first))
                self._sent[name] = end
                if end - first == SEGMENT:
                    self._first[name] = end


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
        if not new:
            align(store, folder)
        mirror = Mirror(store, folder, owner, say)
        try:
            yield mirror
        finally:
            mirror.stop()


def fetch_study(uri: str, folder: Path) -> Objects:
    """Make a folder of a run that a store holds, as far as its study.json; see `align`.

    Args:
        uri: the run.
        folder: where; one that holds this study already stays as it is.

    Raises:
        RecordError: no study is there, or the folder is another study's.
        UserError, StoreError: see Objects.
    """
    store = Objects(uri)
    text = store.read(STUDY)
    if text is None:
        raise RecordError(
            f"{uri} holds no study: it has no {STUDY}. Name what `resnet-search run` was given as "
            "--runs-dir, and behind it the study's name, e.g. s3://bucket/runs/quickstart"
        )
    if (folder / STUDY).exists():
        if load_study(folder).get("run_id") != json.loads(text).get("run_id"):
            raise RecordError(
                f"{folder} holds another study than {uri}; name another folder (`resume`: "
                "--local-dir, `fetch`: --to)"
            )
        return store
    try:
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"{folder}: no folder can be made there ({error})") from error
    _write(folder / STUDY, text)
    return store


def align(store: Objects, folder: Path) -> None:
    """Bring a run folder to where the store is, if it is behind.

    Raises:
        RecordError: the two hold what no one driver has written, or a segment is missing.
        StoreError: a segment is damaged, or the store does not answer.
    """
    for name in LOGS:
        path, held = folder / name, _log(store, name)
        own = path.read_bytes() if path.is_file() else b""
        common = min(len(own), len(held))
        if own[:common] != held[:common]:
            raise RecordError(
                f"{path} and {store.where} have gone apart: another driver went on from the "
                "store. Go on from there too, with a --local-dir that has no folder of this study"
            )
        with path.open("ab") as file:
            file.write(held[common:])
    text = store.read(STUDY) or b"{}"
    if len(json.loads(text).get("sessions", [])) > len(load_study(folder)["sessions"]):
        _write(folder / STUDY, text)


def _log(store: Objects, name: str) -> bytes:
    """A log as the store has it."""
    held = bytearray()
    for first in _firsts(store, name):
        if first != len(held):
            raise RecordError(
                f"{store.where}/log: {name} lacks what stands between byte {len(held)} and "
                f"{first}; restore that object from a copy"
            )
        held += store.read(f"log/{name}.{first:012d}") or b""
    return bytes(held)


def _firsts(store: Objects, log: str) -> list[int]:
    """Where each segment of a log begins."""
    names = [name for name in store.names("log") if name.startswith(f"{log}.")]
    return sorted(int(name.rpartition(".")[2]) for name in names)


def _write(path: Path, text: bytes) -> None:
    with whole(path) as partial:
        partial.write_bytes(text)
