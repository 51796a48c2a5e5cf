"""Decoded data on disk, once a machine, mapped into every trial's memory instead of read into it.

The pages of a mapped file are shared, so ten trials hold one copy between them. The cache lies in
$RESNET_TUNE_CACHE, else in $XDG_CACHE_HOME/resnet-tune or ~/.cache/resnet-tune, or, of a user who
has no such folder, in a private one below the temporary folder; it may be deleted at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from trainables.errors import reason
from trainables.places import can_make, home, stand_in

FORMAT = 1  # of what is in an entry; another number makes all entries anew
Arrays = Mapping[str, np.ndarray]


def cache_dir() -> Path:
    """The folder of the cache; it need not exist.

    Raises:
        OSError: the user has none, and none can be made; see trainables.places.stand_in.
    """
    named = _named_dir()
    if named is not None:
        return named
    usual = _usual_dir()
    return usual if usual is not None and can_make(usual) else stand_in() / "cache"


def cache_note() -> str:
    """What is to be said of where the cache lies; "" where it is the usual place.

    Raises:
        OSError: see `cache_dir`.
    """
    if _named_dir() is not None or cache_dir() == _usual_dir():
        return ""
    return f"decoded data is cached in {cache_dir()}; RESNET_TUNE_CACHE names another folder"


def _named_dir() -> Path | None:
    own, shared = os.environ.get("RESNET_TUNE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if not own:
        return Path(shared) / "resnet-tune" if shared else None
    try:
        return Path(own).expanduser()
    except RuntimeError:  # ~ of a user without a home: as it stands
        return Path(own)


def _usual_dir() -> Path | None:
    at = home()
    return None if at is None else at / ".cache" / "resnet-tune"


def key_of(what: str, files: Iterable[Path], **more: Any) -> str:
    """Name of an entry: of what it is, made of which files, as they are now.

    Args:
        what: for a person who looks into the folder.
        files: by path, size and times of change; a file that changes makes another entry, and so
            does a link to nothing or a folder in a file's place, which a reader may refuse.
        more: anything else that the arrays hang on, as JSON.
    """
    held = [(str(path), *_state(path)) for path in files]
    text = json.dumps([FORMAT, held, more], sort_keys=True, default=str)
    return f"{what}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _state(path: Path) -> tuple[int, ...]:
    """What changes with a file: what it holds, where a link leads, who may read it.

    The time of the last change of its entry is there because that of its contents can be set, as
    by `cp -p` and `touch -r`; this one cannot.
    """
    try:
        held = path.stat()
    except OSError as error:  # nothing behind a link, or a ring of links
        return (error.errno or 0,)
    return held.st_mode, held.st_size, held.st_mtime_ns, held.st_ctime_ns


def cached(key: str, make: Callable[[], Arrays]) -> dict[str, np.ndarray]:
    """Arrays by name, out of the cache; made and put there by the first who asks.

    Others on the same machine wait for that one meanwhile. An entry is whole or absent: a process
    killed half-way leaves a folder that the next one clears.

    Args:
        key: of `key_of`.
        make: makes the arrays.

    Returns:
        Mapped arrays; writing to one changes this process's copy only. Where the cache cannot be
        written, what `make` returns, after a warning.
    """
    try:
        entry = cache_dir() / key
    except OSError as error:
        _warn(str(error))
        return dict(make())
    # what is there is read without a lock: trials open it at once, and it may be read-only
    made = None if entry.is_dir() else _made(entry, make)
    if made is not None:
        return dict(made)
    return {path.stem: np.load(path, mmap_mode="c") for path in sorted(entry.glob("*.npy"))}


def _made(entry: Path, make: Callable[[], Arrays]) -> Arrays | None:
    """Put an entry there, unless another process does meanwhile; its arrays if it cannot be."""
    with ExitStack() as held:
        try:
            held.enter_context(_alone(entry))
        except OSError as error:
            _warn(f"{entry} cannot be written ({reason(error)})")
            return make()
        if entry.is_dir():
            return None
        made = make()  # what fails here is no fault of the cache
        try:
            _put(entry, made)
        except OSError as error:
            _warn(f"{entry} cannot be written ({reason(error)})")
            return made
        return None


def entries() -> list[tuple[Path, int, float]]:
    """What lies in the cache, oldest first: its folder, bytes, and when it was made (time of day).

    What a killed process left half-made is in it too.

    Raises:
        OSError: see `cache_dir`, or it cannot be read.
    """
    folder = cache_dir()
    held = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and not path.is_symlink():
            size = sum(at.stat().st_size for at in path.rglob("*") if at.is_file())
            held.append((path, size, path.stat().st_mtime))
    return sorted(held, key=lambda entry: entry[2])


def remove(entry: Path) -> bool:
    """Take an entry out of the cache, unless it is being made right now; whether it is gone.

    Trials that have it open keep what they mapped; the next that asks makes it again.

    Raises:
        OSError: it may not be removed.
    """
    try:
        with _alone(entry.with_name(entry.name.removesuffix(".partial")), wait=False):
            shutil.rmtree(entry)
    except BlockingIOError:
        return False
    return True


def _warn(why: str) -> None:
    warnings.warn(
        f"the data cache: {why}; each trial decodes for itself. Name another folder with "
        "RESNET_TUNE_CACHE",
        stacklevel=4,
    )


@contextmanager
def _alone(entry: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of an entry; the system lets go of it when a process dies.

    Raises:
        BlockingIOError: another process holds it, and nobody is to wait for that.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    with entry.with_name(f"{entry.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _put(entry: Path, arrays: Arrays) -> None:
    """Write an entry beside its place, force it to disk, and rename it."""
    partial = entry.with_name(f"{entry.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed in here
    partial.mkdir()
    try:
        for name, array in arrays.items():
            with (partial / f"{name}.npy").open("wb") as file:
                np.save(file, array, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        partial.rename(entry)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
