"""The frames of a record, written from its logs while a study runs."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from search.record.beside import unasked
from search.record.columns import trial_columns
from search.record.frame_files import frames_of
from search.record.growth import grown_frames
from search.record.predictions import per_image
from search.record.read import frames_made, read_events
from search.record.stored import (
    FRAMES,
    JOURNAL,
    make_stamp,
    put_stamp,
    sizes_of,
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


def write(folder: Path) -> None:
    """Write the parquet and csv files from the logs, each whole or not at all.

    Frames of a damaged log get no stamp: it is read, and its damage told, whenever it is loaded.
    """
    study = load_study(folder)
    sizes = sizes_of(folder)
    events = read_events(folder, sizes.get(JOURNAL), study)
    if found := grown_frames(folder, study, events, sizes):
        trials, curves, notes = found[0], found[1](), list[str]()
    else:
        before = frames_of(folder, sizes, trial_columns(study))
        trials, curves, _, notes = frames_made(folder, study, events, sizes, before)
    stamp = make_stamp(folder, sizes)
    held = (trials, curves, per_image(folder, study["name"]))
    frames = dict(zip(FRAMES, held, strict=True))
    (folder / "csv").mkdir(exist_ok=True)
    withdraw(folder)  # while they are replaced they are of no one state
    for name, frame in frames.items():
        with whole(folder / f"{name}.parquet") as partial, partial.open("wb") as file:
            frame.to_parquet(file, index=False, write_page_checksum=True)
        with whole(folder / "csv" / f"{name}.csv") as partial, partial.open("wb") as file:
            _write_csv(name, frame, file)
    if notes or unasked(events, curves):
        return
    put_stamp(folder, {**stamp, "frames": sums_of_frames(folder)})
