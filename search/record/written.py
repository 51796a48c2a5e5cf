"""The frames of a record, written from its logs while a study runs."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from search.record.beside import unasked
from search.record.curves_file import TEXTS
from search.record.growth import Inserted, grown_frames
from search.record.predictions import per_image
from search.record.read import earlier_frames, frames_made, read_events
from search.record.splice import line_ends, spliced
from search.record.stored import (
    FRAMES,
    JOURNAL,
    make_stamp,
    put_stamp,
    sizes_of,
    stamp_of,
    sums_of_frames,
    withdraw,
)
from search.record.study_file import load_study
from trainables.files import whole

ROWS = 2**19  # of a csv file in memory at once


def _write_csv(name: str, frame: pd.DataFrame, file: IO[bytes]) -> None:
    """A frame as csv; one of many rows by pyarrow, in a tenth of the time."""
    if name == "trials":
        frame.to_csv(file, index=False)
        return
    whole = pa.Table.from_pandas(frame, preserve_index=False)
    texts = [pa.string() if pa.types.is_dictionary(kind) else kind for kind in whole.schema.types]
    schema = pa.schema(list(zip(whole.schema.names, texts, strict=True)))
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    with pyarrow.csv.CSVWriter(file, schema, write_options=options) as writer:
        for piece in whole.to_batches(ROWS):  # texts are long: not all at once
            writer.write_table(pa.Table.from_batches([piece]).cast(schema))


def _write_curves(
    path: Path, frame: pd.DataFrame, new: Inserted | None, known: int | None, partial: Path
) -> None:
    """The curves as csv: of a file that is as it was written only what is new is put in words.

    Args:
        path: the file.
        frame: the curves.
        new: what of them the file has not.
        known: its checksum as it was written.
        partial: what is written to, and takes its place.
    """
    if new is not None and known is not None and _in_lines(frame):
        with partial.open("wb") as file:
            if spliced(path, known, _lines_of(new), file):
                return
    with partial.open("wb") as file:
        _write_csv("curves", frame, file)


def _in_lines(rows: pd.DataFrame) -> bool:
    """Whether no text of a frame is more than a line: a row is a line of the csv then."""
    texts = [text for name in TEXTS for text in rows[name].cat.categories]
    return not any("\n" in text or "\r" in text for text in texts)


def _lines_of(new: Inserted) -> list[tuple[int, bytes]]:
    """New rows as lines, those of one place together, and behind how many lines they stand."""
    held = BytesIO()
    _write_csv("curves", new.rows, held)
    text = held.getvalue()
    ends = line_ends(text)  # the first is the head's
    firsts = np.flatnonzero(np.diff(new.places, prepend=-1))
    bounds = [*ends[firsts].tolist(), len(text)]
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    return [(int(at) + 1, piece) for at, piece in zip(new.places[firsts], pieces, strict=True)]


def write(folder: Path) -> None:
    """Write the parquet and csv files from the logs, each whole or not at all.

    Frames of a damaged log get no stamp: it is read, and its damage told, whenever it is loaded.
    """
    study = load_study(folder)
    sizes = sizes_of(folder)
    events = read_events(folder, sizes.get(JOURNAL), study)
    known, new = (stamp_of(folder) or {}).get("frames", {}).get("csv/curves.csv"), None
    if found := grown_frames(folder, study, events, sizes):
        trials, rows, notes = found[0], found[2], list[str]()
        curves, new = found[1].made()
    else:
        before = earlier_frames(folder, study, sizes)
        trials, curves, rows, notes = frames_made(folder, study, events, sizes, before)
    stamp = make_stamp(folder, sizes)
    held = (trials, curves, per_image(folder, study["name"]))
    frames = dict(zip(FRAMES, held, strict=True))
    (folder / "csv").mkdir(exist_ok=True)
    withdraw(folder)  # while they are replaced they are of no one state
    for name, frame in frames.items():
        with whole(folder / f"{name}.parquet") as partial, partial.open("wb") as file:
            frame.to_parquet(file, index=False, write_page_checksum=True)
        path = folder / "csv" / f"{name}.csv"
        with whole(path) as partial:
            if name == "curves":
                _write_curves(path, frame, new, known, partial)
                continue
            with partial.open("wb") as file:
                _write_csv(name, frame, file)
    if notes or unasked(events, rows):
        return
    put_stamp(folder, {**stamp, "frames": sums_of_frames(folder)})
