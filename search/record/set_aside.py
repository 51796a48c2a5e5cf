"""What a run folder holds of jobs that its journal does not ask for, set aside before it goes on.

After a power cut the journal may have lost its last lines while epochs.jsonl has kept its own, and
with them rows of jobs that nobody has asked for. The next draw may give such a trial's name to
another config. So a driver that goes on takes none of them; a worker that finds the checkpoint of
that very trial reports its rows again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from search.record.beside import asked_to
from search.record.completeness import epochs_in_words, named
from search.record.epoch_log import read_new_epochs
from search.record.epoch_table import pairs_in
from search.record.frame_files import read_parquet
from search.record.journal import Event
from search.record.stored import EPOCHS, JOURNAL, PARQUET, PER_IMAGE, STAMP, stamp_of
from trainables.files import whole

CURVES_FILE = PARQUET[1]
ASIDE = "unasked"  # folder of what is set aside
DETAIL = (("parts", "parquet"), ("samples", "npz"))  # that a score on test leaves


class Aside(NamedTuple):
    """What was set aside: rows of epochs, files of predictions and samples; and their trials."""

    rows: int = 0
    files: int = 0
    trials: tuple[str, ...] = ()


def set_aside_unasked(folder: Path, events: Sequence[Event]) -> Aside:
    """Move rows, predictions and samples that no job of the journal is for to `unasked/`.

    Args:
        folder: the run folder, held by this process, whose logs are not open.
        events: of its journal.

    Raises:
        OSError: the folder cannot be written.
    """
    jobs = [event["job"] for event in events if event["event"] == "ask"]
    lines = _rows(folder, asked_to(jobs))
    scored = {job["trial"] for job in jobs if job.get("score_test")}
    files = [
        path
        for name, kind in DETAIL
        for path in sorted((folder / name).glob(f"*.{kind}"))
        if path.stem not in scored
    ]
    if not lines and not files:
        return Aside()
    for path in files:
        to = folder / ASIDE / path.parent.name
        to.mkdir(parents=True, exist_ok=True)
        path.replace(to / path.name)
    rows = pairs_in(lines)
    _out_of_frame(folder / CURVES_FILE, lambda row: (row.trial, row.epoch) in rows)
    trials = {path.stem for path in files}
    _out_of_frame(folder / PER_IMAGE, lambda row: row.trial in trials)
    (folder / STAMP).unlink(missing_ok=True)  # the frames are no longer those that it tells of
    return Aside(len(lines), len(files), tuple(sorted(trials | {trial for trial, _ in rows})))


def _rows(folder: Path, most: dict[str, int]) -> list[dict[str, Any]]:
    """Take the lines that no job is for out of the log of epochs."""
    path = folder / EPOCHS
    if not path.is_file():
        return []
    # frames are known to be of a log in which every row had been asked for
    start = int((stamp_of(folder) or {}).get(EPOCHS, 0))
    lines = read_new_epochs(folder, start, path.stat().st_size)
    if lines is None:  # a damaged line is told by whoever reads them all
        return []
    unasked = [line for line in lines if _is_unasked(line, most)]
    if not unasked:
        return []
    (folder / ASIDE).mkdir(exist_ok=True)
    with (folder / ASIDE / EPOCHS).open("a", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(line)}\n" for line in unasked)
    head = path.read_bytes()[:start]
    number = head.count(b"\n")
    with whole(path) as partial, partial.open("wb") as out:
        out.write(head)
        for line in lines:
            if not _is_unasked(line, most):
                number += 1
                held = {**line, "line": number} if "line" in line else line
                out.write(f"{json.dumps(held)}\n".encode())
    return unasked


def _is_unasked(line: dict[str, Any], most: dict[str, int]) -> bool:
    return bool(line["row"]["epoch"] > most.get(line["trial"], 0))


def _out_of_frame(path: Path, gone: Callable[[Any], bool]) -> None:
    """The same of a frame: of what the log, or a part, lacks the frame's rows would count."""
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
