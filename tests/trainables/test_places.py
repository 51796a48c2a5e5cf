"""Where this machine's folders are unfit or missing, that is known, and another is found."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from trainables import places

ROOT = Path(__file__).parents[2]


def named(base: Path, length: int) -> Path:
    """A folder below `base` whose path has so many bytes."""
    path = base / ("x" * (length - len(os.fsencode(base)) - 1))
    path.mkdir()
    return path


def test_a_folder_that_is_missing_a_file_or_too_long_is_unfit(tmp_path):
    (tmp_path / "file").touch()
    assert places.temporary_fault(tmp_path / "none") == "does not exist"
    assert places.temporary_fault(tmp_path / "file") == "is no folder"
    assert "bytes long" in places.temporary_fault(named(tmp_path, 120))
    assert places.temporary_fault(Path("/proc")) == "is not writable" or os.getuid() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is the system's")
def test_the_longest_fit_folder_takes_rays_socket_and_one_byte_more_does_not():
    session = "session_2026-11-27_17-03-57_598866_4194304/sockets/plasma_store"
    for more, fits in ((0, True), (1, False)):
        folder = "/" + "x" * (places.LONGEST - 1 + more)
        path = f"{folder}/{places.OURS}12345678/r/{session}"
        with socket.socket(socket.AF_UNIX) as one:
            try:
                one.bind(path)
                raise AssertionError("there is no such folder")
            except FileNotFoundError:
                assert fits
            except OSError as error:
                assert "too long" in str(error)
                assert not fits


def test_the_first_fit_folder_is_taken_and_the_others_are_told(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    found, faults = places.temporary_folder()
    assert found is not None
    assert faults[0] == f"TMPDIR = {tmp_path / 'none'} does not exist"


def test_the_folder_that_stands_in_is_private_and_never_anothers(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "temporary_folder", lambda: (tmp_path, []))
    found = places.stand_in()
    assert found.stat().st_mode & 0o777 == 0o700
    assert places.stand_in() == found
    found.chmod(0o755)
    with pytest.raises(PermissionError, match="HOME"):
        places.stand_in()
    found.rmdir()
    found.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="HOME"):
        places.stand_in()


@pytest.mark.long
def test_a_user_unknown_to_the_system_imports_tune_and_has_a_cache(tmp_path):
    code = (
        "import search.run.job_searcher; from trainables.engine.cache import cache_dir; "
        "print(cache_dir())"
    )
    keep = {k: v for k, v in os.environ.items() if k not in ("HOME", "RESNET_TUNE_CACHE")}
    env = {**keep, "PYTHONPATH": str(ROOT), "TMPDIR": "/tmp"}
    words = ["unshare", "--user", "--map-user=54321"]
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("user namespaces are not allowed here")
    done = subprocess.run(
        [*words, sys.executable, "-c", code], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to("/tmp/resnet-tune-54321")
