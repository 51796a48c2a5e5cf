import json
import subprocess
import sys
from pathlib import Path

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


FILLING = """
import resource, signal, sys
from pathlib import Path
from search.record.journal import Appender
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = Appender(Path(sys.argv[1]))
log.write({"event": "whole"})
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
try:
    log.write({"event": "x" * 200})
except OSError as error:
    print(error.filename)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.write({"event": "after"})
log.close()
"""


@pytest.mark.long
def test_a_line_that_a_full_disk_refuses_leaves_nothing_behind(tmp_path):
    path = tmp_path / "log.jsonl"
    words = [sys.executable, "-c", FILLING, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(path)
    assert [event["event"] for event in read_lines(path)] == ["whole", "after"]


def test_a_log_that_was_removed_takes_no_line(tmp_path):
    log = Appender(tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match="removed while the study ran"):
        log.write({"event": "lost"})
    log.close()
