"""Any text on any terminal, any end of a command: no traceback, and a status that says it."""

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.display import marks
from search.record import terminal

ROOT = Path(__file__).parents[3]
RECORD = str(ROOT / "results" / "cifar10-plain")
TABLE = [sys.executable, "-m", "analysis", "table", RECORD]
STATUS = [sys.executable, "-m", "search", "status", RECORD]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(words, redirect="", **more):
    """A command in a real shell, which alone can close its streams."""
    line = f"{shlex.join(words)} {redirect}; exit $?"
    env = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(["bash", "-c", line], capture_output=True, env=env, cwd=ROOT)


@pytest.mark.long
@pytest.mark.parametrize("env", [ASCII, {"PYTHONIOENCODING": "latin-1"}])
def test_marks_have_a_stand_in_where_the_terminal_lacks_them(env):
    done = run([*TABLE, "--table", "T1"], **env)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(env.get("PYTHONIOENCODING", "ascii"))
    assert "Test accuracy ^" in shown
    assert "signs that keep no cell out: || \\/ ~ " in shown


def test_every_mark_of_a_table_has_a_stand_in_of_its_own():
    signs = [mark for mark, _ in marks.MARKS.values()]
    terminal.prepare_streams()
    shown = [mark.encode("ascii", "stand-in") for mark in signs]
    assert b"?" not in b"".join(shown)
    assert len(set(shown)) == len(shown) > 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "redirect", "status"),
    [
        (TABLE, ">&-", 0),
        (STATUS, ">&-", 0),
        (STATUS, ">&- 2>&-", 0),
        (TABLE, ">/dev/full", 1),
        (STATUS, ">/dev/full", 1),
        ([*STATUS[:-1], "nowhere"], "2>&-", 2),
        ([*TABLE[:-1], "nowhere"], "2>/dev/full", 2),
    ],
)
def test_closed_and_full_streams_leave_no_traceback(command, redirect, status):
    done = run(command, redirect)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.long
def test_a_file_opened_after_a_closed_stdout_is_not_written_to_by_a_print(tmp_path):
    code = (
        "import sys; from search.record import terminal; terminal.prepare_streams()\n"
        f"file = open({str(tmp_path / 'journal')!r}, 'w'); import os; os.system('echo spoilt')"
    )
    done = run([sys.executable, "-c", code], ">&-")
    assert done.returncode == 0
    assert (tmp_path / "journal").read_text() == ""


def test_what_the_system_refuses_is_one_line_and_a_bug_is_not(capsys):
    def fail(error):
        def command():
            raise error

        return terminal.run("prog", command, {ValueError: 2})

    assert fail(OSError(errno.ENOSPC, "No space left on device", "/a/b")) == 1
    assert fail(OSError(errno.EMFILE, "Too many open files")) == 1
    assert fail(MemoryError()) == 1
    assert fail(KeyboardInterrupt()) == 130
    assert fail(ValueError("said")) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("prog: /a/b: No space left on device (free space")
    assert "ulimit -n" in lines[1]
    for bug in (KeyError("x"), OSError("no number: raised by code, not by the system")):
        with pytest.raises(type(bug)):
            fail(bug)


@pytest.mark.parametrize("name", ["a b", "it's", "new\nline", "-x", "é", "$x", "[bold]", "`x`"])
def test_a_printed_command_can_be_pasted(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    said = terminal.shell("printf", "%s", name)
    done = subprocess.run(["bash", "-c", said], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout).samefile(Path(name))
    assert not done.stdout.startswith("-")


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["search", "run", "x" * 300 + ".toml"], 1),
        (["search", "status", "x" * 300], 1),
        (["search", "run", "."], 2),
        (["search", "run", "latin.toml"], 2),
        (["analysis", "table", "x" * 300], 1),
        (["analysis", "build", RECORD, "--out", "file/report"], 2),
    ],
)
def test_odd_paths_are_one_line(tmp_path, words, status):
    (tmp_path / "file").touch()
    (tmp_path / "latin.toml").write_bytes("name = 'é'".encode("latin-1"))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert len(done.stderr.splitlines()) == 1
