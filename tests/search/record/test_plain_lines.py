"""The log of epochs read at once says what it says line by line, or leaves it to be told there."""

import json
import random
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.record import plain_lines
from search.record.epoch_log import misplaced, read_epochs, read_table
from search.record.epoch_table import EpochTable, joined, repeats, table_of
from search.record.frames import curves_frame
from search.record.journal import JournalError, out_of_order
from search.record.plain_lines import plain_table
from search.record.stored import EPOCHS

PIECES = [
    *(b"", b" ", b"\n", b"\r", b"\t", b"\0", b'"', b"\\", b"\\u00e9", b"\\ud800", b"\xff"),
    b"\xc3\xa9",
    *(b"{", b"}", b"}{", b"[", b",", b":", b"null", b"true", b"NaN", b"Infinity", b"-", b"+1"),
    *(b"0", b"00", b"-0", b"1.", b".5", b"1e5", b"1E+2", b"1e400", b"9" * 19, b"9" * 400),
    *(b'"epoch": 2, ', b'"line": 3, ', b'"more": [1], ', b'"more": "x", ', b', "val_loss": 1'),
    *(b"\xef\xbb\xbf", b"/**/", b"'"),
]  # fmt: skip


def log(draw, count=12):
    """Lines of a few trials: of two layouts, some with null, some on an epoch that was before."""
    lines = []
    for number in range(1, count + 1):
        row = {
            "epoch": draw.choice([number, draw.randint(1, 4)]),
            "lr": draw.choice([0.1, 1, -2e-7]),
        }
        row["val_loss"] = draw.choice([draw.random(), draw.randint(0, 9), None])
        if draw.random() < 0.3:
            row = {**row, "seconds": draw.random(), "lr": row.pop("lr")}
        line = {"time": "2026-01-01T00:00:00.000+00:00", "line": number}
        line |= {"trial": draw.choice(["00-000", "01-seed2", "a b"]), "row": row}
        if draw.random() < 0.1:
            del line["line"]
        lines.append(line)
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def damaged(draw, text):
    """Characters put in, taken out or changed, lines lost, doubled or swapped, the end cut off."""
    for _ in range(draw.randrange(3)):
        at, how = draw.randrange(len(text) + 1), draw.randrange(5)
        if how < 2:
            text = text[:at] + draw.choice(PIECES) + text[at + draw.choice([0, 0, 1, 5]) :]
        elif how == 2:
            text = text[:at] + bytes([draw.randrange(256)]) + text[at + 1 :]
        elif how == 3:
            lines = text.splitlines(True)
            draw.shuffle(lines)
            text = b"".join(lines[draw.randrange(2) :])
        else:
            text = text[:at]
        text = text or b"\n"
    return text


def same(one: EpochTable, other: EpochTable) -> None:
    pd.testing.assert_frame_equal(
        curves_frame("x", one), curves_frame("x", other), check_exact=True
    )
    assert one.epochs == other.epochs
    assert repeats(one) == repeats(other)
    assert one.line.tolist() == other.line.tolist()
    for trial in other.trials:
        held, rows = one.rows_of(trial), other.rows_of(trial)
        assert held[0].tolist() == rows[0].tolist()
        places = [list(one.names).index(name) for name in other.names]
        np.testing.assert_array_equal(held[1][:, places], rows[1])
    pairs = [(trial, epoch) for trial, epochs in other.epochs.items() for epoch in epochs]
    assert str(one.said_of(pairs)) == str(other.said_of(pairs))


def test_both_readers_say_the_same_of_lines_that_are_damaged_at_random(tmp_path):
    """And most that are sound are read at once."""
    ends: Counter[str] = Counter()

    @settings(max_examples=300, derandomize=True, deadline=None, database=None)
    @given(seed=st.integers(0, 2**32 - 1))
    def check(seed):
        draw, path = random.Random(seed), tmp_path / EPOCHS
        path.write_bytes(damaged(draw, log(draw)))
        size = draw.choice([None, None, draw.randrange(path.stat().st_size + 1)])
        found = plain_table(path, size)
        try:
            lines = read_epochs(tmp_path, size)
        except JournalError as error:
            ends["refused"] += 1
            assert found is None
            with pytest.raises(JournalError) as told:
                read_table(tmp_path, size)
            assert str(told.value) == str(error)
            return
        ends["at once" if found is not None else "line by line"] += 1
        whole = read_table(tmp_path, size)
        same(whole, table_of(lines))
        assert misplaced(whole) == out_of_order(lines)

    check()
    print(dict(ends))
    assert min(ends["at once"], ends["refused"]) > 60
    assert ends["line by line"] < 5


def test_a_log_of_many_blocks_and_layouts_is_one_table(tmp_path, monkeypatch):
    """A trial, a quantity and an epoch that come back in another block are still the same."""
    monkeypatch.setattr(plain_lines, "BLOCK", 300)
    path = tmp_path / EPOCHS
    path.write_bytes(log(random.Random(5), count=400))
    found = plain_table(path)
    assert len(found) == 400
    assert len(found.layouts) == 2
    same(found, table_of(read_epochs(tmp_path)))


def test_a_line_that_looks_otherwise_stands_where_it_stood(tmp_path):
    path = tmp_path / EPOCHS
    lines = log(random.Random(1)).splitlines(True)
    lines[4] = json.dumps(json.loads(lines[4]), separators=(",", ":")).encode() + b"\n"
    lines[7] = lines[7].replace(b"00-000", b"00-\\u0030").replace(b"val_loss", b"val_l\\u006fss")
    path.write_bytes(b"".join(lines))
    found = plain_table(path)
    assert found is not None
    same(found, table_of(read_epochs(tmp_path)))


def test_an_empty_log_and_none_have_no_lines(tmp_path):
    assert len(read_table(tmp_path)) == 0
    (tmp_path / EPOCHS).write_bytes(b'{"half')
    assert len(read_table(tmp_path)) == 0
    assert curves_frame("x", read_table(tmp_path)).empty


def test_parts_with_other_quantities_are_put_in_order():
    lines = [
        {"trial": "b", "row": {"epoch": 1, "x": 1.0}},
        {"trial": "a", "row": {"epoch": 1, "y": 2.0, "x": None}},
        {"trial": "b", "row": {"epoch": 2, "x": 3.0}},
    ]
    parts = [table_of(lines[1:2]), table_of([lines[0], lines[2]])]
    same(joined(parts, [np.array([1]), np.array([0, 2])]), table_of(lines))


def test_a_log_that_is_shorter_than_it_was_ends(tmp_path):
    """As while a folder is copied: the last line has no end, and no more will come."""
    path = tmp_path / "epochs.jsonl"
    path.write_bytes(b'{"a":1}\n{"b"')
    assert [bytes(block) for block in plain_lines._blocks(path, 30)] == [b'{"a":1}\n']
