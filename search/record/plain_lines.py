"""The log of epochs as it is mostly: lines just as `journal.Appender` writes them, read at once.

Whether a line is one is held against a pattern, character by character: no escape, no other space,
each key once and in order, numbers that are numbers. What such lines say is then read by
pyarrow, in a twentieth of the time. A line that is otherwise is read for itself, and if it is no
trial's epoch nothing is said here: `epoch_log` reads all lines one by one and says what is wrong.
"""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from search.record.epoch_table import EpochTable, Int, joined, table_of
from search.record.forms import from_json, line_fault
from trainables.files import unfit

BLOCK = 2**24  # bytes of which a few are in memory at once
MOST_THREADS = 4
LAYOUTS = 50  # of more the rest of the lines are read for themselves
TEXT = r'"[ !#-\[\]-~]*"'  # without a quote or a backslash inside
COUNT = r"[1-9][0-9]{0,17}"
NUMBER = r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|null)"


@dataclass(frozen=True)
class Layout:
    """How lines with the same keys in the same order look.

    Attributes:
        pattern: of a line, its end included.
        schema: of it.
        names: of its quantities, in order.
    """

    pattern: str
    schema: pa.Schema
    names: tuple[str, ...]


def plain_table(path: Path, size: int | None = None) -> EpochTable | None:
    """The whole lines of a log of epochs, or of its first bytes, in columns.

    Args:
        path: the log.
        size: read so many bytes of it; None for all.

    Returns:
        None where a line is no trial's epoch, or where there is no such file.
    """
    if unfit(path) or not path.exists():
        return None
    parts, places, first = list[EpochTable](), list[Int](), 0
    for count, found in _read_blocks(_blocks(path, size)):
        if found is None:
            return None
        for at, table in found:
            parts.append(table)
            places.append(at + first)
        first += count
    pa.default_memory_pool().release_unused()  # of a large log hundreds of MB
    return joined(parts, places) if parts else table_of([])


def _read_blocks(
    blocks: Iterator[memoryview],
) -> Iterator[tuple[int, list[tuple[Int, EpochTable]] | None]]:
    """Lines and what they say of each block, in order; a few are read at once, by threads.

    Nearly all of it is pyarrow's work, in which Python waits for nobody.
    """

    def read(block: memoryview, known: list[Layout]) -> tuple[int, Any]:
        lines = _lines(block)
        return len(lines), _parts(lines, known)

    layouts = list[Layout]()
    for block in islice(blocks, 1):  # its layouts are mostly those of all
        yield read(block, layouts)
    threads = min(os.cpu_count() or 1, MOST_THREADS)
    waiting = deque[Future[tuple[int, Any]]]()
    with ThreadPoolExecutor(threads) as pool:
        for block in blocks:
            waiting.append(pool.submit(read, block, [*layouts]))
            if len(waiting) > threads:  # so many blocks are in memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _blocks(path: Path, size: int | None) -> Iterator[memoryview]:
    """Whole lines, in pieces; a last line without its end is left out."""
    left, most = path.stat().st_size if size is None else size, BLOCK
    with path.open("rb", buffering=0) as file:
        while left > 0 and (piece := file.read(min(left, most))):
            end = piece.rfind(b"\n") + 1
            over = file.tell() >= os.fstat(file.fileno()).st_size  # it may have less than it had
            if not end and (over or len(piece) >= left):
                return
            file.seek(end - len(piece), os.SEEK_CUR)  # cheaper than to put what is left together
            left, most = left - end, BLOCK if end else 2 * most  # of a line that is longer
            if end:
                yield memoryview(piece)[:end]


def _lines(block: memoryview) -> pa.LargeBinaryArray:
    """The lines of a block with their ends, without a copy."""
    ends = np.flatnonzero(np.frombuffer(block, dtype="uint8") == ord("\n")) + 1
    offsets = np.concatenate([[0], ends]).astype("int64")
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(ends), buffers)


def _parts(
    lines: pa.LargeBinaryArray, layouts: list[Layout]
) -> list[tuple[Int, EpochTable]] | None:
    """Lines by their looks: places and tables; None where a line is no trial's epoch.

    Args:
        lines: of a block.
        layouts: known so far; those that are new are added.
    """
    found = list[tuple[Int, EpochTable]]()
    left, odd = np.arange(len(lines)), dict[int, dict[str, Any]]()
    number = 0
    while len(left):
        if number == len(layouts):  # what is left begins with a line of no known looks
            line = _one(lines[int(left[0])].as_py())
            if line is None:
                return None
            layout = layout_of(line) if len(layouts) < LAYOUTS else None
            if layout is None or not re.fullmatch(
                layout.pattern.encode(), lines[int(left[0])].as_py()
            ):
                odd[int(left[0])], left = line, left[1:]
                continue
            layouts.append(layout)
        rest = lines if len(left) == len(lines) else lines.take(pa.array(left))
        fits = pc.match_substring_regex(rest, f"^{layouts[number].pattern}$")
        mask = fits.to_numpy(zero_copy_only=False)
        if mask.any():
            table = _read(rest if mask.all() else rest.filter(fits), layouts[number])
            if table is None:
                return None
            found.append((left[mask], table))
        left, number = left[~mask], number + 1
    if odd:
        found.append((np.array(list(odd)), table_of(odd.values())))
    return found


def _one(text: bytes) -> dict[str, Any] | None:
    """A line that is read for itself; None if it is no trial's epoch."""
    try:
        line: dict[str, Any] = from_json(text.removesuffix(b"\n"))
    except ValueError:
        return None
    return None if line_fault(line) else line


def layout_of(line: Mapping[str, Any]) -> Layout | None:
    """The looks of a sound line; None for one that `journal.Appender` would not write so."""
    types = {"line": (COUNT, pa.int64()), "trial": (TEXT, pa.string())}
    parts, fields = list[str](), list[pa.Field]()
    for key, value in line.items():
        if key == "row":
            numbers = {name: (NUMBER, pa.float64()) for name in value}
            numbers["epoch"] = (COUNT, pa.int64())
            inner = [_field(name, numbers[name][0]) for name in value]
            pattern = r"\{" + ", ".join(inner) + r"\}"
            kind: Any = pa.struct([pa.field(name, numbers[name][1]) for name in value])
        elif key in types or isinstance(value, str):
            pattern, kind = types.get(key, (TEXT, pa.string()))
        else:
            return None
        parts.append(_field(key, pattern))
        fields.append(pa.field(key, kind))
    names = tuple(name for name in line["row"] if name != "epoch")
    return Layout(r"\{" + ", ".join(parts) + r"\}\n", pa.schema(fields), names)


def _field(name: str, pattern: str) -> str:
    return f"{re.escape(json.dumps(name))}: {pattern}"


def _read(lines: pa.LargeBinaryArray, layout: Layout) -> EpochTable | None:
    """Lines that have a layout, in columns; None where a number is too large for its type."""
    offsets = np.frombuffer(lines.buffers()[1], dtype="int64")[lines.offset :][: len(lines) + 1]
    text = lines.buffers()[2].slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    try:
        held = pyarrow.json.read_json(
            pa.BufferReader(text),
            pyarrow.json.ReadOptions(block_size=2**22),
            pyarrow.json.ParseOptions(
                explicit_schema=layout.schema, unexpected_field_behavior="error"
            ),
        )
    except pa.ArrowInvalid:
        return None
    row = held["row"].combine_chunks()
    columns = [row.field(name).to_numpy(zero_copy_only=False) for name in layout.names]
    values = np.column_stack(columns) if columns else np.empty((len(held), 0))
    if len(held) != len(lines) or np.isinf(values).any():
        return None
    trials = held["trial"].combine_chunks().dictionary_encode()
    count, zeros = len(held), np.zeros(len(held), dtype="int64")
    return EpochTable(
        trials.dictionary.to_pylist(),
        trials.indices.to_numpy().astype("int64"),
        row.field("epoch").to_numpy(zero_copy_only=False).astype("int64"),
        held["line"].to_numpy() if "line" in held.column_names else zeros,
        layout.names,
        [list(range(len(layout.names)))],
        np.zeros(count, dtype="int64"),
        values.astype("float64", copy=False),
    )
