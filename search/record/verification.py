"""Whether a record is what it says: frames made again, scores computed again, checksums compared.

What `load` passes over for the sake of speed is done in full here. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from search.record.compare import Difference, differences
from search.record.completeness import named
from search.record.curves_file import holds
from search.record.frame_files import read_parquet
from search.record.imported import imported_note
from search.record.read import Record, read_from_logs
from search.record.scores import misscored, recomputable, told_scores, without_predictions
from search.record.stored import (
    CSV,
    FRAMES,
    PARQUET,
    PER_IMAGE,
    STAMP,
    STUDY,
    changed_files,
    checksum,
    sizes_in,
    sizes_of,
    stamp_of,
    tells_of_logs,
)


@dataclass(frozen=True)
class Verification:
    """What was found of a record.

    Attributes:
        record: as its logs give it, whatever its frames say.
        faults: what does not hold, a line each: file, trial, both values.
        unchecked: what there is nothing to check by, a line each.
        scores: trials whose scores on test were computed again.
        frames: files of frames that were held against the logs.
    """

    record: Record
    faults: tuple[str, ...]
    unchecked: tuple[str, ...]
    scores: int
    frames: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether everything was checked and holds."""
        return not self.faults and not self.unchecked


def verify(run: Path | str) -> Verification:
    """Check a run folder in full.

    Raises:
        RecordError, JournalError: it cannot even be read; see `load`.
    """
    folder = Path(run)
    stamp, sizes = stamp_of(folder) or {}, sizes_of(folder)
    held, events = read_from_logs(folder, sizes)
    changed = _logs(folder, stamp)
    then = sizes_in(stamp) or sizes
    # frames of a study that runs are of what the logs held then
    made = held if then == sizes or changed else read_from_logs(folder, then)[0]
    frames = [name for name in FRAMES if (folder / f"{name}.parquet").is_file()]
    found = list[Difference]()
    for name in frames:
        found += _frame(folder, made, name)
    found += _csv(folder, stamp, made)
    found += misscored(held.study, events, held.per_image)
    found += [*changed, *_sums(folder, stamp)]  # last: values say more than sums
    told = told_scores(events)
    alone = without_predictions(events, set(held.per_image["trial"].unique()))
    return Verification(
        record=held,
        faults=(*held.notes, *(difference.text for difference in found)),
        unchecked=(*_unstamped(folder, stamp, events), *_unchecked(held.study, alone)),
        scores=len(told) - len(alone) if recomputable(held.study) else 0,
        frames=tuple(f"{name}.parquet" for name in frames),
    )


def _logs(folder: Path, stamp: Mapping[str, Any]) -> list[Difference]:
    """Logs that are not those that the frames were made of, by their checksums."""
    found = []
    for name, then in stamp.get("sums", {}).items():
        path, size = folder / name, stamp.get(name, 0)
        now = checksum(path, size) if path.is_file() else None
        if now != then:
            what = f"checksum of its first {size} bytes"
            found.append(Difference(name, "", what, _hex(now), f"{_hex(then)} by {STAMP}"))
    return found


def _sums(folder: Path, stamp: Mapping[str, Any]) -> list[Difference]:
    """Files of frames that are not as they were written, by their checksums."""
    found = []
    for name in changed_files(folder, stamp, (*PARQUET, *CSV)):
        now = checksum(folder / name) if (folder / name).is_file() else None
        then = f"{_hex(stamp['frames'][name])} by {STAMP}"
        found.append(Difference(name, "", "checksum", _hex(now), then))
    return found


def _hex(number: int | None) -> str:
    return "none (no such file)" if number is None else f"{number:08x}"


def _frame(folder: Path, made: Record, name: str) -> list[Difference]:
    """What a file of a frame says otherwise than the logs or the parts."""
    file, by_logs = f"{name}.parquet", getattr(made, name)
    if name == "curves" and holds(folder / file, by_logs):  # mostly: in half the memory
        return []
    held = read_parquet(folder / file)
    if file == PER_IMAGE:  # a running study writes parts before it writes the frame again
        by_logs = by_logs[by_logs["trial"].isin(_scored(made, held))]
    return differences(by_logs, held, name, file)


def _scored(made: Record, held: pd.DataFrame) -> set[str]:
    tests = [f"test_{metric}" for metric in made.study["metrics"]]
    rows = made.trials[made.trials[tests].notna().any(axis=1)]
    return {*rows["trial"], *held["trial"]}


def _csv(folder: Path, stamp: Mapping[str, Any], made: Record) -> list[Difference]:
    """What csv files say otherwise, of which no checksum is known."""
    found = []
    for name, file in zip(FRAMES, CSV, strict=True):
        if file not in stamp.get("frames", {}) and (folder / file).is_file():
            frame = getattr(made, name)
            kinds = {c: frame[c].dtype for c in frame if frame[c].dtype in ("string", "category")}
            kinds = {c: str(kind) for c, kind in kinds.items()} | {"image": "string"}
            held = pd.read_csv(folder / file, dtype=kinds)
            found += differences(frame, held, name, file)
    return found


def _unstamped(
    folder: Path, stamp: Mapping[str, Any], events: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Files that nothing tells how they were, once there is something to lose."""
    if not events:
        return []
    told = stamp.get("frames", {})  # one that it tells of, and is gone, is a fault
    gone = [file for file in PARQUET if file not in told and not (folder / file).is_file()]
    found = [f"{file} is not there to be held against the logs" for file in gone]
    files = {"sums": "the logs", "study": STUDY, "frames": "the frames"}
    if not tells_of_logs(stamp):
        nothing = f"says nothing of logs and frames{' any more' * ('study' in stamp)}"
        what = nothing if (folder / STAMP).is_file() else "is not there"
        found.append(f"{STAMP} {what}: a log that was cut or changed is not noticed")
    elif lacks := [what for key, what in files.items() if key not in stamp]:
        found.append(
            f"{STAMP} has no checksum of {', '.join(lacks)}: a change of them is not noticed"
        )
    return found


def _unchecked(study: Mapping[str, Any], alone: list[str]) -> list[str]:
    note = imported_note(study)
    said = f"{STUDY}: {note}; nothing says whether its numbers are those of a run"
    found = [said] if note else []
    if not alone or not recomputable(study):
        return found
    return [
        *found,
        f"{PER_IMAGE}: no predictions of {named(alone)}, so their scores on test cannot be "
        "computed again",
    ]
