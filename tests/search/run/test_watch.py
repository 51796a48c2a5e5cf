"""A worker that hangs ends by itself and says where it stood."""

import os
import subprocess
import sys
import textwrap

import pytest

from search.run.watch import Watch, beat_file, stall_file

pytestmark = pytest.mark.long


def run(folder, body: str) -> subprocess.CompletedProcess:
    """A process of its own that watches itself for a second."""
    path = stall_file(folder, "t")
    path.parent.mkdir()
    text = f"""
import time
from pathlib import Path
from search.run.watch import Watch

def hang():
    time.sleep(30)

with Watch(Path({str(path)!r}), 1.0) as watch:
{textwrap.indent(textwrap.dedent(body).strip(), "    ")}
print("ended well")
"""
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)


def test_a_hang_ends_the_process_and_leaves_the_stack(tmp_path):
    done = run(tmp_path, "hang()")
    assert done.returncode == 1
    assert "ended well" not in done.stdout
    assert "in hang" in stall_file(tmp_path, "t").read_text()


@pytest.mark.parametrize(
    "body",
    [
        "for _ in range(40): time.sleep(0.1); watch.alive()",
        "with watch.paused(): time.sleep(4)",
        "pass",
    ],
    ids=["steps", "waiting for the driver", "nothing"],
)
def test_who_goes_on_is_left_alone_and_leaves_nothing(tmp_path, body):
    done = run(tmp_path, body)
    assert (done.returncode, done.stdout) == (0, "ended well\n"), done.stderr
    assert not stall_file(tmp_path, "t").exists()


def test_the_watch_goes_on_after_a_pause(tmp_path):
    done = run(tmp_path, "with watch.paused(): time.sleep(4)\nhang()")
    assert done.returncode == 1
    assert "in hang" in stall_file(tmp_path, "t").read_text()


def test_an_exception_passes_and_an_earlier_stack_is_kept(tmp_path):
    path = stall_file(tmp_path, "t")
    path.parent.mkdir()
    path.write_text("the first time\n")
    with pytest.raises(KeyError), Watch(path, 100):
        raise KeyError
    assert path.read_text() == "the first time\n"


def test_what_others_put_into_the_temporary_folder_is_not_written_to(tmp_path, monkeypatch):
    """The process id, and so the name, can be guessed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    precious = tmp_path / "precious"
    precious.write_text("kept")
    for name in (f"resnet-tune-{os.getuid()}-{os.getpid()}.beat", f"{os.getpid()}.beat"):
        (tmp_path / name).symlink_to(precious)
    with Watch(tmp_path / "t.txt", 100):
        assert beat_file(os.getpid()).read_bytes() == b"stepping"
        assert beat_file(os.getpid()).parent.stat().st_mode & 0o077 == 0
    assert precious.read_text() == "kept"
    beat_file(os.getpid()).symlink_to(precious)
    with pytest.raises(OSError, match="beat"), Watch(tmp_path / "t.txt", 100):
        pass
    assert precious.read_text() == "kept"
    beat_file(os.getpid()).unlink()
    (tmp_path / f"resnet-tune-{os.getuid()}").chmod(0o777)
    with pytest.raises(PermissionError, match="not a folder of this user alone"):
        beat_file(os.getpid())
