"""What a run folder holds of jobs that its journal does not ask for, set aside before it goes on.

After a power cut the journal may have lost its last lines while epochs.jsonl has kept its own, and
with them rows of jobs that nobody has asked for. The next draw may give such a trial's name to
another config. So a driver that goes on takes none of them; a worker that finds the checkpoint of
that very trial reports its rows again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from search.record.beside import asked_to
from search.record.completeness import epochs_in_words, named
from search.record.epoch_log import read_new_epochs
from search.record.epoch_table import pairs_in
from search.record.frame_files import read_parquet
from search.record.journal import Event
from search.record.stored import (
    EPOCHS,
    JOURNAL,
    PARQUET,
    PER_IMAGE,
    RecordError,
    stamp_of,
    withdraw,
)
from search.record.taken import ASIDE
from trainables.files import whole

CURVES_FILE = PARQUET[1]
PLAN = f"{ASIDE}/under-way.json"
TOLD = "set aside"  # event of the journal
DETAIL = (("parts", "parquet"), ("samples", "npz"))  # that a score on test leaves


class Aside(NamedTuple):
    """What was set aside: rows of epochs, files of predictions and samples; and their trials."""

    rows: int = 0
    files: int = 0
    trials: tuple[str, ...] = ()


class _Plan(NamedTuple):
    """All that is to be set aside, as it was found before anything was.

    Attributes:
        told: `set aside` events of the journal by then.
        start: bytes of the log of epochs before which there is nothing to take out.
        rows: trials and epochs.
        files: of predictions and samples, relative to the run folder.
    """

    told: int
    start: int
    rows: Sequence[tuple[str, int]]
    files: Sequence[str]


def set_aside_unasked(folder: Path, events: Sequence[Event]) -> Aside:
    """Move rows, predictions and samples that no job of the journal is for to `unasked/`.

    A driver may be killed in here, too: what is to be done is written down first, each step leaves
    what the next needs, and the next driver does all of them again. `forget` ends it, once the
    journal tells of it.

    Args:
        folder: the run folder, held by this process, whose logs are not open.
        events: of its journal.

    Returns:
        What was, by this driver or by one that was killed before the journal had told of it.

    Raises:
        OSError: the folder cannot be written.
    """
    told = sum(event["event"] == TOLD for event in events)
    jobs = [event["job"] for event in events if event["event"] == "ask"]
    most, scored = asked_to(jobs), {job["trial"] for job in jobs if job.get("score_test")}
    begun = _begun(folder, most, scored)
    if begun is not None and begun.told < told:  # killed between the two
        forget(folder)
        begun = None
    start = begun.start if begun else int((stamp_of(folder) or {}).get(EPOCHS, 0))
    lines = _lines(folder, start)
    unasked = [line for line in lines if _is_unasked(line, most)]
    found, files = pairs_in(unasked), _files(folder, scored)
    if begun is not None:  # of which this is what is left to do
        found, files = found | set(begun.rows), [*files, *begun.files]
    plan = _Plan(told, start, sorted(found), sorted(set(files)))
    if not plan.rows and not plan.files:
        forget(folder)
        return Aside()
    (folder / ASIDE).mkdir(exist_ok=True)
    _write(folder / PLAN, json.dumps(plan._asdict()))
    _keep(folder / ASIDE / EPOCHS, unasked)
    withdraw(folder)  # the frames are no longer those that it tells of
    # before what they were made of: of what the log, or a part, lacks a frame's rows would count
    rows, trials = set(plan.rows), {Path(name).stem for name in plan.files}
    _out_of_frame(folder / CURVES_FILE, lambda row: (row.trial, row.epoch) in rows)
    _out_of_frame(folder / PER_IMAGE, lambda row: row.trial in trials)
    for path in [folder / name for name in plan.files if (folder / name).is_file()]:
        to = folder / ASIDE / path.parent.name
        to.mkdir(exist_ok=True)
        path.replace(to / path.name)
    if unasked:
        _take_out(folder / EPOCHS, start, lines, most)
    names = trials | {trial for trial, _ in plan.rows}
    return Aside(len(plan.rows), len(plan.files), tuple(sorted(names)))


def forget(folder: Path) -> None:
    """Nothing is under way any more: the journal, on disk, tells of what was set aside.

    Raises:
        OSError: the folder cannot be written.
    """
    (folder / PLAN).unlink(missing_ok=True)


def _begun(folder: Path, most: dict[str, int], scored: set[str]) -> _Plan | None:
    """What a driver that was killed in the middle was about to do; None if none was.

    Args:
        folder: the run folder.
        most: trial -> the last epoch asked for: a journal may have been put back since.
        scored: trials whose score on test is asked for.

    Raises:
        RecordError: it cannot be read.
    """
    path = folder / PLAN
    try:
        held = _Plan(**json.loads(path.read_bytes()))
        rows = [(trial, epoch) for trial, epoch in held.rows if epoch > most.get(trial, 0)]
        files = [name for name in held.files if Path(name).stem not in scored]
        return held._replace(rows=rows, files=files)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise RecordError(
            f"{path} is damaged ({error}); delete it: what no job is for is looked for again"
        ) from error


def _files(folder: Path, scored: set[str]) -> list[str]:
    """Predictions and samples of trials that no job scores."""
    return [
        f"{name}/{path.name}"
        for name, kind in DETAIL
        for path in sorted((folder / name).glob(f"*.{kind}"))
        if path.stem not in scored
    ]


def _lines(folder: Path, start: int) -> list[dict[str, Any]]:
    """Of the log of epochs, but for its first bytes.

    Frames are known to be of those bytes, and of a log in which every row had been asked for.
    """
    path = folder / EPOCHS
    if not path.is_file():
        return []
    # a damaged line is told by whoever reads them all
    return read_new_epochs(folder, start, path.stat().st_size) or []


def _keep(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Add lines to those that are kept there; one that is there already stays one."""
    held = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    new = [text for text in map(json.dumps, lines) if text not in held]
    if new:
        _write(path, "".join(f"{text}\n" for text in [*held, *new]))


def _take_out(
    path: Path, start: int, lines: Sequence[dict[str, Any]], most: dict[str, int]
) -> None:
    """Write the log of epochs anew without lines that no job is for."""
    head = path.read_bytes()[:start].decode()
    number, texts = head.count("\n"), [head]
    for line in lines:
        if not _is_unasked(line, most):
            number += 1
            held = {**line, "line": number} if "line" in line else line
            texts.append(f"{json.dumps(held)}\n")
    _write(path, "".join(texts))


def _write(path: Path, text: str) -> None:
    """Write a file whole, and force it to disk before it takes the place of another."""
    with whole(path) as partial, partial.open("wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _is_unasked(line: dict[str, Any], most: dict[str, int]) -> bool:
    return bool(line["row"]["epoch"] > most.get(line["trial"], 0))


def _out_of_frame(path: Path, gone: Callable[[Any], bool]) -> None:
    """Write a frame anew without some of its rows."""
    if not path.is_file():
        return
    frame = read_parquet(path)
    left = [not gone(row) for row in frame.itertuples(index=False)]
    if not all(left):
        with whole(path) as partial, partial.open("wb") as file:
            frame[left].to_parquet(file, index=False, write_page_checksum=True)


def said_of(aside: Aside) -> str:
    """What was set aside, in a line."""
    what = [epochs_in_words(aside.rows)] if aside.rows else []
    what += [f"{aside.files} file(s) of predictions and samples"] if aside.files else []
    return (
        f"{JOURNAL} has lost lines, as by a power cut: {' and '.join(what)} of "
        f"{named(aside.trials)}, which it does not ask for, are set aside "
        f"in {ASIDE}/; those jobs are asked for anew"
    )
