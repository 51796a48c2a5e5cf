"""CIFAR-10's public parquet edition: which files make up a part, and what is in their rows."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from trainables.files import contents
from trainables.task import DataError, MissingDataError
from trainables.tasks.cifar10_folders import (
    AGAIN,
    PARTS,
    folder_of,
    looked_in,
    misnamed,
    part_files,
)
from trainables.tasks.inventory import (
    TOLD,
    are,
    digest,
    each,
    gathered,
    is_grey,
    named,
    refuse,
    rgb,
    share_of,
    shortened,
    told,
    why,
)

SIDE = 32  # of an image, px
CLASSES = 10
COLUMNS = "the columns img {bytes, path} and label"
# as public copies are named: train-00000-of-00001.parquet, some with a checksum behind
SHARD = re.compile(r"-(\d+)-of-(\d+)(?:-[0-9a-f]+)?\.parquet")

Pool = dict[str, np.ndarray]


def read_parquet(data_dir: Path) -> Pool:
    """Both parts, with labels, checksums and which images are grey; see cifar10_files.read_pool.

    Raises:
        MissingDataError: no file of either part.
        DataError: files under other names; every fault of the files, or else of their rows.
    """
    folder = folder_of(data_dir)
    if folder is None:
        refuse("cifar10", misnamed(looked_in(data_dir)), f"{AGAIN}, or rename its files")
        raise MissingDataError(
            f"cifar10: no train-*.parquet and test-*.parquet under {data_dir} (looked in it, in "
            "plain_text and in cifar10/plain_text); name the folder with --data-dir"
        )
    pool: Pool = {}
    faults: list[str] = []
    for part in PARTS:
        files, wrong = _shards(folder, part)
        # a set that is not whole is read too: every fault at once
        held, more = _read_part(part, files)
        pool |= held
        faults += [*wrong, *more]
    refuse("cifar10", faults)
    return pool


def _shards(folder: Path, part: str) -> tuple[list[Path], list[str]]:
    """The files that make up a part, in order, and what is wrong with the set of them."""
    files = part_files(folder, part)
    if not files:
        fix = named(misnamed([folder])) or f"{AGAIN}, or name another folder with --data-dir"
        return [], [f"{folder} has no {part}-*.parquet beside the others; {fix}"]
    found = {path: SHARD.fullmatch(path.name.removeprefix(part)) for path in files}
    if len(files) == 1 and found[files[0]] is None:
        return files, []  # the whole part, under a name of one's own
    faults = told(
        f"{folder} holds more than one file of {part}; remove those that are no shard of one set, "
        f"{part}-I-of-N.parquet",
        (path.name for path, match in found.items() if match is None),
    )
    places = defaultdict(list)
    for path, match in found.items():
        if match:
            places[int(match[1]), int(match[2])].append(path.name)
    faults += [
        f"{folder} holds shard {at} of {of} of {part} more than once; keep one of {named(n, TOLD)}"
        for (at, of), n in places.items()
        if len(n) > 1
    ]
    faults += [f"{folder} {text}; {AGAIN}" for text in _gaps(part, set(places))]
    return files, faults or list(_same(files))


def _gaps(part: str, places: set[tuple[int, int]]) -> Iterator[str]:
    """What keeps shards (number, how many) from being one set."""
    totals = sorted({of for _, of in places})
    if len(totals) > 1:
        yield f"holds {part} as a set of {named(totals, TOLD)} shards; keep one set"
    for total in totals[:1] if len(totals) == 1 else ():
        held = {at for at, _ in places}
        for what, numbers in (
            ("lacks", set(range(total)) - held),
            ("has, beyond the last,", held - set(range(total))),
        ):
            if numbers:
                text = f"{what} shard {named(sorted(numbers), TOLD)} of {part}"
                yield f"{text} (they count from 0 to {total - 1})"


def _same(files: list[Path]) -> Iterator[str]:
    """Files that are another's copy, under a number of their own."""
    seen: dict[str, Path] = {}
    for path in files if len(files) > 1 else ():
        if not path.is_file() or not os.access(path, os.R_OK):
            continue  # told where it is read
        with path.open("rb") as file:
            key = hashlib.file_digest(file, "sha256").hexdigest()
        if key in seen:
            yield f"{path} is a copy of {seen[key].name}; {AGAIN}"
        seen.setdefault(key, path)


def _read_part(part: str, files: list[Path]) -> tuple[Pool, list[str]]:
    """Images, labels, checksums and faults of a part."""
    faults: list[str] = []
    tables = [table for path in files if (table := gathered(faults, _table, path))]
    if faults or not files:
        return {}, faults
    labels = np.concatenate([held.data for _, held in tables])
    if not len(labels):
        return {}, [f"{files[0]} has no rows; {AGAIN}"]
    pool = {
        part: np.empty((len(labels), 3, SIDE, SIDE), np.uint8),
        f"{part}_labels": labels,
        f"{part}_digests": np.empty(len(labels), np.uint64),
        f"{part}_grey": np.empty(len(labels), bool),
    }
    start = 0
    for path, (encoded, held) in zip(files, tables, strict=True):
        end = start + len(held)
        faults += _label_faults(path, held)
        bad = _decode(path, encoded, [array[start:end] for array in pool.values()])
        faults += shortened(bad, f"images of {path} cannot be decoded; {AGAIN}")
        start = end
    return pool, faults


def _decode(path: Path, encoded: Any, into: list[np.ndarray]) -> list[str]:
    """Fill images, (labels,) checksums and greyness of the rows of a file; what cannot be."""
    images, _, digests, grey = into

    def fill(row: int) -> str | None:
        try:
            with Image.open(io.BytesIO(encoded[row].as_py())) as image:
                pixels = rgb(image)
            if pixels.shape != (SIDE, SIDE, 3):
                raise ValueError(f"{pixels.shape[1]} x {pixels.shape[0]} px, not {SIDE} x {SIDE}")
        except Exception as error:  # PIL raises many kinds for a damaged file
            held = encoded[row].as_py()
            text = "it is null" if held is None else why(error, held)
            return f"image {row} of {path} (from 0) cannot be decoded ({text}); {AGAIN}"
        images[row] = pixels.transpose(2, 0, 1)
        digests[row], grey[row] = digest(pixels), is_grey(pixels)
        return None

    return each(fill, range(len(encoded)))


def _table(path: Path) -> tuple[Any, np.ma.MaskedArray]:
    """Encoded images, in arrow's memory, and int64 labels; masked where there is none.

    Raises:
        DataError: no parquet file, or one of other columns.
    """
    if not path.is_file():  # a folder, or a link to nothing
        raise DataError(f"{path} is no file; {AGAIN}")
    try:
        columns = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        shown = contents(path, "parquet")
        short = f"it is {shown}" if shown else str(error).splitlines()[0][:200]
        raise DataError(f"{path} is no whole parquet file ({short}); {AGAIN}") from error
    if any(columns.names.count(name) != 1 for name in ("img", "label")):
        like = " (CIFAR-100 has such)" if "fine_label" in columns.names else ""
        raise DataError(
            f"{path} has the columns {named(columns.names)}{like}; CIFAR-10 has {COLUMNS}; {AGAIN}"
        )
    image, label = columns.field("img").type, columns.field("label").type
    if not (pa.types.is_struct(image) and image.get_field_index("bytes") >= 0):
        raise DataError(f"{path}: column img is {image}, and must be {{bytes, path}}; {AGAIN}")
    if not pa.types.is_integer(label):
        raise DataError(f"{path}: column label is {label}, and must be whole numbers; {AGAIN}")
    try:
        # of this file alone: read_table takes label=3 in a folder's name for a column
        table = pq.ParquetFile(path).read(columns=["img", "label"])
    except (OSError, pa.ArrowException) as error:
        short = str(error).splitlines()[0][:200]
        raise DataError(f"{path} cannot be read to its end ({short}); {AGAIN}") from error
    # left in arrow's memory: 60,000 bytes objects are memory that Python keeps
    held = table.column("img").combine_chunks()
    labels = table.column("label").combine_chunks()
    absent = labels.is_null().to_numpy(zero_copy_only=False)
    values = labels.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return held.field("bytes"), np.ma.MaskedArray(values, absent)


def _label_faults(path: Path, labels: np.ma.MaskedArray) -> list[str]:
    """Labels that are no class, by row."""
    absent = np.ma.getmaskarray(labels)
    values = labels.data
    bad = np.flatnonzero(absent | (values < 0) | (values >= CLASSES))
    if not len(bad):
        return []
    rows = named((f"row {r}: {'none' if absent[r] else values[r]}" for r in bad.tolist()), 5)
    count = f"{share_of(len(bad), len(labels), 'label')} {are(len(bad))} not 0 to {CLASSES - 1}"
    fix = _label_hint(values[~absent])
    return [f"{path}: {count} ({rows}, rows from 0); {fix or AGAIN}"]


def _label_hint(known: np.ndarray) -> str:
    """What labels that are no class of CIFAR-10 may be; "" where they show nothing."""
    if not len(known):
        return ""
    low, high = known.min(), known.max()
    if (known == -1).all():
        return "its labels are hidden, so nothing can be scored; fetch the edition that has them"
    if (low, high) == (1, CLASSES):
        return f"they run from 1 to {CLASSES}: counted from 1? Take 1 from each"
    # one wrong label makes no other data set
    beyond = np.unique(known[known >= CLASSES])
    if low >= 0 and high < 100 and len(beyond) > CLASSES:
        return "this may be CIFAR-100; fetch CIFAR-10"
    return ""
