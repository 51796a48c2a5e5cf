import json

import pytest

from search.record.journal import Appender, JournalError, cut_truncated_line, read_lines


def test_lines_come_back_in_order(tmp_path):
    journal = Appender(tmp_path / "j.jsonl")
    for number in range(3):
        journal.write({"event": "note", "number": number})
    assert [e["number"] for e in read_lines(tmp_path / "j.jsonl")] == [0, 1, 2]


def test_a_line_is_on_file_before_write_returns(tmp_path):
    journal = Appender(tmp_path / "j.jsonl")
    journal.write({"event": "note"})
    assert json.loads((tmp_path / "j.jsonl").read_text())["event"] == "note"


def test_a_truncated_last_line_is_left_out_and_cut_before_the_next_write(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"event": "a"}\n{"event": "b", "val')
    assert [e["event"] for e in read_lines(path)] == ["a"]
    Appender(path).write({"event": "c"})
    assert [e["event"] for e in read_lines(path)] == ["a", "c"]


def test_cutting_a_whole_file_changes_nothing(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"event": "a"}\n')
    assert not cut_truncated_line(path)
    assert path.read_bytes() == b'{"event": "a"}\n'


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"event": "a"}\n{"eve\n{"event": "c"}\n')
    with pytest.raises(JournalError, match=r"j\.jsonl, line 2 is not JSON"):
        read_lines(path)


def test_a_number_that_is_none_never_reaches_the_file(tmp_path):
    journal = Appender(tmp_path / "j.jsonl")
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.write({"value": float("nan")})


def test_no_file_is_an_empty_journal(tmp_path):
    assert read_lines(tmp_path / "none.jsonl") == []
