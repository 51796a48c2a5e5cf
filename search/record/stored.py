"""Files of a record: names, sizes, checksums, and the stamp that tells these of the frames."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainables.errors import UserError
from trainables.files import unfit, whole

JOURNAL, EPOCHS, STUDY = "decisions.jsonl", "epochs.jsonl", "study.json"
LOGS = (JOURNAL, EPOCHS)
STAMP = "frames.json"  # says how much of the logs the parquet files hold
PER_IMAGE = "per_image.parquet"
FRAMES = ("trials", "curves", "per_image")
PARQUET = tuple(f"{name}.parquet" for name in FRAMES)
CSV = tuple(f"csv/{name}.csv" for name in FRAMES)
IMAGE = ["study", "trial", "split", "image", "truth", "prediction"]


class RecordError(UserError):
    """A run folder is missing or damaged; the message names file and fix."""


def sizes_of(folder: Path) -> dict[str, int]:
    """Bytes of the logs, which only grow; the journal first, so that no tell lacks its rows."""
    logs = (folder / JOURNAL, folder / EPOCHS)
    return {path.name: path.stat().st_size for path in logs if path.is_file()}


def stamp_of(folder: Path) -> dict[str, Any] | None:
    """What `write` said of the logs that it made the frames from; None if that is not known.

    Their bytes by name and, of later stamps, `sums`: the checksum of so many bytes; of stamps of
    this version `frames` too: the checksum of each file that was written, and `study`: that of
    study.json. Of one that was withdrawn that is all: see `withdraw` and `tells_of_logs`.
    """
    path = folder / STAMP
    try:
        held = None if unfit(path) else json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(held, dict):
        return None
    sums = [held.get(key, {}) for key in ("sums", "frames")]
    if not all(isinstance(table, dict) for table in sums):
        return None
    numbers = [held.get(name, 0) for name in (*LOGS, "study")]
    numbers += [n for table in sums for n in table.values()]
    return held if all(type(number) is int for number in numbers) else None


def make_stamp(folder: Path, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The stamp of frames made from so many bytes of the logs, which it first forces to disk.

    A stamp that a power cut leaves while it takes the end of a log would call that log damaged.
    """
    for name in sizes:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    sums = {name: checksum(folder / name, n) for name, n in sizes.items()}
    told = (stamp_of(folder) or {}).get("study")  # a change that is known stays known
    return {**sizes, "sums": sums, "study": study_sum(folder) if told is None else told}


def put_stamp(folder: Path, stamp: Mapping[str, Any]) -> None:
    """Write the stamp, whole or not at all."""
    with whole(folder / STAMP) as partial:
        partial.write_text(json.dumps(stamp), encoding="utf-8")


def withdraw(folder: Path) -> None:
    """Before logs or frames change in a way that the stamp denies: it tells of neither any more.

    What it tells of study.json stays, so that a change of that stays known whatever comes between
    this and the next stamp.
    """
    told = (stamp_of(folder) or {}).get("study")
    if told is None:
        (folder / STAMP).unlink(missing_ok=True)
    else:
        put_stamp(folder, {"study": told})


def study_text(folder: Path) -> str:
    """What study.json holds, in one way of writing it."""
    held = json.loads((folder / STUDY).read_bytes())
    return json.dumps(held, sort_keys=True, separators=(",", ":"))


def study_sum(folder: Path) -> int:
    """CRC-32 of what study.json holds, however it is written."""
    return zlib.crc32(study_text(folder).encode())


@contextmanager
def new_study(folder: Path) -> Iterator[None]:
    """A block in which the driver replaces study.json; a stamp that told of it tells of the new.

    Meanwhile it tells of none: a kill in between leaves none that denies what the driver wrote.
    """
    stamp = stamp_of(folder) or {}
    known = stamp.pop("study", None)
    if known is None or known != study_sum(folder):
        yield
        return
    put_stamp(folder, stamp)
    yield
    put_stamp(folder, {**stamp, "study": study_sum(folder)})


def sums_of_frames(folder: Path) -> dict[str, int]:
    """The checksum of each file of a frame that is there, by name."""
    return {n: checksum(folder / n) for n in (*PARQUET, *CSV) if (folder / n).is_file()}


def checksum(path: Path, size: int | None = None) -> int:
    """CRC-32 of a file, or of its first bytes."""
    found, left = 0, path.stat().st_size if size is None else size
    with path.open("rb") as file:
        while left > 0 and (piece := file.read(min(left, PIECE))):
            found, left = zlib.crc32(piece, found), left - len(piece)
    return found


PIECE = 2**22  # bytes in memory at once


def changed_files(folder: Path, stamp: Mapping[str, Any], names: Collection[str]) -> list[str]:
    """Files of frames that are not as they were written by their checksums, or that are gone.

    Args:
        folder: the run folder.
        stamp: as `stamp_of` gives it.
        names: of PARQUET and CSV, those to look at; one that the stamp does not tell of is none.
    """
    held: Mapping[str, int] = stamp.get("frames", {})
    found = []
    for name in (n for n in names if n in held):
        path = folder / name
        if not path.is_file() or checksum(path) != held[name]:
            found.append(name)
    # a running study removes its stamp before it replaces them
    return found if not found or stamp_of(folder) == stamp else []


def shrunk(folder: Path) -> dict[str, tuple[int, int]]:
    """Logs that are shorter than when the frames were made: name -> bytes now, bytes then.

    They only grow, so each has lost lines since. The stamp is read first: a study that runs may
    write both meanwhile.
    """
    stamp = stamp_of(folder) or {}
    sizes = sizes_of(folder)
    pairs = {name: (sizes.get(name, 0), stamp.get(name, 0)) for name in LOGS}
    return {name: pair for name, pair in pairs.items() if pair[0] < pair[1]}


def tells_of_logs(stamp: Mapping[str, Any] | None) -> bool:
    """Whether a stamp says what frames were made of: one that was withdrawn does not."""
    return stamp is not None and ("sums" in stamp or any(name in stamp for name in LOGS))


def sizes_in(stamp: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of the logs that a stamp tells of, by name."""
    return {name: stamp[name] for name in LOGS if name in stamp}


def logs_begin_so(folder: Path, stamp: Mapping[str, Any]) -> bool:
    """Whether the logs begin with the bytes that a stamp tells of, by its checksums if it has any.

    Args:
        folder: the run folder.
        stamp: as `stamp_of` gives it.
    """
    paths = {folder / name: (stamp.get(name, 0), n) for name, n in stamp.get("sums", {}).items()}
    return all(p.is_file() and checksum(p, size) == n for p, (size, n) in paths.items())
