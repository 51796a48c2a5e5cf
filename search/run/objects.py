"""Whole objects under a URI, verified when they are read.

`name` is kept as the object `name/<time>-<sha256>-<size>`: a new version is put and looked at
before older ones go, and the newest that is what its name says is taken. So an object that was
torn or truncated is never taken, and the one before it is. A URI is anything that pyarrow.fs opens
(s3://, gs://, file://); endpoint and credentials are those of the environment (AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, ...).
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import platform
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from search.record import STUDY
from search.run.bytes_of import CHUNK, digest_of, opened, version_of
from search.run.errors import NotSharedError, StoreError
from search.run.scratch import scratch
from search.run.uri_files import in_a_line, open_uri
from trainables.files import own_partial

WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds before another try: a store that restarts is waited for
READS = 3  # of a version that is not what its name says, before an older one is taken
_VERSION = re.compile(r"[0-9]{19}-[0-9a-f]{64}-[0-9]+")  # when, of its writer's clock; what
T = TypeVar("T")


class Objects:
    """Whole objects under a URI.

    Args:
        uri: what stands before every name.

    Raises:
        UserError: it is no URI that can be opened.
    """

    def __init__(self, uri: str) -> None:
        self.where = uri
        self._files, self._base = open_uri(uri)
        self._seen: set[str] = set()
        self._put: dict[str, str] = {}  # name -> the version that was put from here

    def make(self) -> None:
        """Make the folder of a file:// URI; an object store needs none.

        Raises:
            StoreError: it cannot be made.
        """
        if self._files.type_name == "local":
            self._tried("", lambda: self._files.create_dir(self._base, recursive=True))

    def check(self, run_id: str) -> None:
        """See that the study is there.

        Raises:
            NotSharedError: it is not; StoreError: the store does not answer.
        """
        if run_id in self._seen:
            return
        node, text = platform.node(), self.read(STUDY)
        if text is None or (run_id and json.loads(text).get("run_id") != run_id):
            why = f"no {STUDY}" if text is None else "another study is there"
            raise NotSharedError(f"node {node} does not find the study at {self.where}: {why}")
        self._seen.add(run_id)

    @contextlib.contextmanager
    def checkpoint(self, trial: str) -> Iterator[tuple[Path, Callable[[Path], None] | None]]:
        """A scratch file, as it was handed in last, and what hands it in when it is whole.

        A store that does not answer for a while does not end the training; the last one counts.

        Raises:
            StoreError: the last one could not be handed in, or none of those there is whole.
        """
        name, late = checkpoint_name(trial), list[StoreError]()

        def hand_in(path: Path) -> None:
            late.clear()
            try:
                self.put(name, path)
            except StoreError as error:
                late.append(error)

        with scratch() as folder:
            path = folder / Path(name).name
            # one that was cut off as it was handed in, by a kill or a full disk, never was
            self.get(name, path, cut_is_none=True)
            yield path, hand_in
            if late:
                self.put(name, path)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A path to write to; what is there when the block ends is handed in."""
        with scratch() as folder:
            path = folder / Path(name).name
            yield path
            self.put(name, path)

    def names(self, folder: str) -> list[str]:
        """Names of what lies in a folder, e.g. `00-001.pt` in `checkpoints`."""
        return sorted(self.ages(folder))

    def remove(self, name: str) -> None:
        """Remove every version of an object."""

        def gone() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._files.delete_dir(f"{self._base}/{name}")

        self._tried(name, gone)

    def make_folder(self, name: str) -> None:
        """Nothing: what is put needs none."""

    def remove_folder(self, name: str) -> None:
        """Remove all that lies in a folder, as far as that can be."""
        with contextlib.suppress(StoreError):
            self.remove(name)

    def put(self, name: str, source: Path | bytes) -> None:
        """Hand in a file, or bytes; older versions go when it is there as a whole.

        Raises:
            StoreError: refused, more than a few times.
        """
        with opened(source) as file:
            digest, size = digest_of(file)
            target = f"{self._base}/{name}/{time.time_ns():019d}-{digest}-{size}"
            self._tried(name, lambda: self._write(file, target, size))
        versions = self._listed(name)
        ours, before = next((i for i in versions if i.path == target), None), self._put.get(name)
        self._put[name] = target
        for info in versions:
            # another's that is as new stays, by the store's clock: each would remove the other's
            if ours is not None and (info.mtime < ours.mtime or info.path == before):
                self._tried(name, lambda path=info.path: self._delete(path))  # type: ignore[misc]

    def get(self, name: str, path: Path, cut_is_none: bool = False) -> bool:
        """Fetch the newest whole version to a path; False, and no file, where there is none.

        Args:
            name: of the object.
            path: where to.
            cut_is_none: whether versions that lack bytes are none, where there are no others.

        Raises:
            StoreError: refused, or no version is what its name says.
        """
        with path.open("w+b") as file:
            found = self._newest(name, file, cut_is_none)
        if not found:
            path.unlink()
        return found

    def read(self, name: str) -> bytes | None:
        """The same in memory, None where there is none."""
        file = io.BytesIO()
        return file.getvalue() if self._newest(name, file) else None

    def _newest(self, name: str, file: IO[bytes], cut_is_none: bool = False) -> bool:
        """Whether there is a version; then the newest that is whole is in the file."""
        for _ in range(READS):  # a version may be replaced between the look and the read
            versions = sorted(self._listed(name), key=_age)
            if not versions:
                return False
            if any(self._fetched(name, info, file) for info in versions):
                return True
        if cut_is_none and all(info.size < _size(info) for info in versions):
            return False
        raise StoreError(
            f"{self.where}/{name}: no version there is what was handed in (cut off, or changed); "
            "remove it, and what it held is made again"
        )

    def ages(self, folder: str) -> dict[str, float]:
        """When each object in a folder was last put, seconds by the store's clock."""
        found = sorted(self._listed(folder, recursive=True), key=_age, reverse=True)
        return {Path(info.path).parent.name: info.mtime.timestamp() for info in found}

    def fetch(self, folder: str, to: Path) -> None:
        """Fetch all that lies in a folder to another, but what is there already.

        What goes meanwhile, as a checkpoint of a study that runs, is left out.

        Raises:
            StoreError: see `get`.
        """
        to.mkdir(exist_ok=True)
        found = sorted(self._listed(folder, recursive=True), key=_age)
        newest = {Path(info.path).parent.name: info.base_name for info in reversed(found)}
        for name, version in newest.items():
            path = to / name
            if path.is_file() and version.endswith(version_of(path)):
                continue
            partial = own_partial(path)
            try:
                if self.get(f"{folder}/{name}", partial):
                    partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)

    def _listed(self, name: str, recursive: bool = False) -> list[Any]:
        """Files of that name's versions, those of its parts too if `recursive`."""
        from pyarrow import fs

        at = fs.FileSelector(f"{self._base}/{name}", allow_not_found=True, recursive=recursive)
        found = self._tried(name, lambda: self._files.get_file_info(at))
        return [
            info
            for info in found
            if info.type == fs.FileType.File and _VERSION.fullmatch(info.base_name)
        ]

    def _write(self, file: IO[bytes], target: str, size: int) -> None:
        if self._files.type_name == "local":
            if not Path(self._base).is_dir():  # not mounted here: nobody would look there
                raise FileNotFoundError(errno.ENOENT, "is not there, or not mounted", self._base)
            self._files.create_dir(target.rpartition("/")[0], recursive=True)
        file.seek(0)
        try:
            with self._files.open_output_stream(target) as out:
                shutil.copyfileobj(file, out, CHUNK)
            held = self._files.get_file_info(target).size
            if held != size:
                raise OSError(f"it holds {held} of {size} bytes that were handed in")
        except OSError:  # what is cut off takes room, and is no version
            with contextlib.suppress(OSError):
                self._delete(target)
            raise

    def _fetched(self, name: str, info: Any, file: IO[bytes]) -> bool:
        """Whether a version is what its name says; then it is all that the file holds."""
        _, digest, _ = info.base_name.split("-")

        def copy() -> None:
            file.seek(0)
            file.truncate()
            with self._files.open_input_stream(info.path) as held:
                shutil.copyfileobj(held, file, CHUNK)
            file.seek(0)

        for _ in range(READS if info.size == _size(info) else 0):
            try:
                self._tried(name, copy)
            except StoreError as error:
                if isinstance(error.__cause__, FileNotFoundError):  # replaced meanwhile
                    return False
                raise
            if digest_of(file) == (digest, _size(info)):
                return True
        return False

    def _delete(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.delete_file(path)

    def _tried(self, name: str, call: Callable[[], T]) -> T:
        """What a call returns, after a few more tries where the store refuses.

        Raises:
            StoreError: with its words.
        """
        for wait in (*WAITS, None):
            try:
                return call()
            except OSError as error:
                if wait is None or isinstance(error, FileNotFoundError):
                    raise StoreError(f"{self.where}/{name}: {in_a_line(error)}") from error
            time.sleep(wait * random.uniform(1.0, 1.5))  # workers must not come back all at once
        raise AssertionError


def _age(info: Any) -> tuple[float, int]:
    """Sorts the newest first: by the store's clock, in one tick of it by the writer's."""
    return -info.mtime.timestamp(), -int(info.base_name.partition("-")[0])


def checkpoint_name(trial: str) -> str:
    """What a trial's checkpoint is called in a store."""
    return f"checkpoints/{trial}.pt"


def _size(info: Any) -> int:
    """Bytes that a version was to have."""
    return int(info.base_name.rpartition("-")[2])
