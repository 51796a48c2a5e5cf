"""The cache of decoded data: once a machine, whole or absent, and never in the way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from trainables.engine.cache import cache_dir, cached, key_of

MADE = {"images": np.arange(12, dtype=np.uint8).reshape(3, 4), "labels": np.arange(3)}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RESNET_TUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def refuse():
    raise AssertionError("made again")


def test_arrays_are_made_once_and_mapped_from_then_on():
    first = cached("a", lambda: MADE)
    again = cached("a", refuse)
    for held in (first, again):
        assert set(held) == set(MADE)
        for name, array in MADE.items():
            np.testing.assert_array_equal(held[name], array)
            assert isinstance(held[name], np.memmap)


def test_writing_to_a_mapped_array_changes_no_one_else_s():
    cached("a", lambda: MADE)["labels"][:] = 7
    np.testing.assert_array_equal(cached("a", refuse)["labels"], MADE["labels"])


def test_the_key_follows_files_and_settings(tmp_path):
    file = tmp_path / "data.bin"
    file.write_bytes(b"1234")
    key = key_of("what", [file], part="A")
    assert key.startswith("what-")
    assert key == key_of("what", [file], part="A")
    assert key != key_of("what", [file], part="B")
    file.write_bytes(b"12345")
    assert key != key_of("what", [file], part="A")


def test_what_a_failed_maker_raises_is_raised_and_nothing_is_kept(folder):
    def fail():
        raise ValueError("an image cannot be decoded")

    with pytest.raises(ValueError, match="cannot be decoded"):
        cached("a", fail)
    assert not (folder / "a").exists()
    assert set(cached("a", lambda: MADE)) == set(MADE)


def _hang_half_way(folder: str) -> None:
    os.environ["RESNET_TUNE_CACHE"] = folder

    def stuck(file, array, allow_pickle):
        file.write(b"half")
        file.flush()
        time.sleep(600)

    np.save = stuck
    cached("a", lambda: MADE)


def test_a_process_killed_half_way_leaves_nothing_that_counts(folder):
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_hang_half_way, args=(str(folder),))
    process.start()
    while not list(folder.glob("a.partial/*")):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (folder / "a").exists()
    held = cached("a", lambda: MADE)
    np.testing.assert_array_equal(held["images"], MADE["images"])
    assert not list(folder.glob("*.partial"))


def _ask(folder: str, out) -> None:
    os.environ["RESNET_TUNE_CACHE"] = folder

    def make():
        out.put(1)
        time.sleep(1)
        return MADE

    cached("a", make)


@pytest.mark.long
def test_of_several_processes_one_makes_and_the_others_wait(folder):
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    workers = [context.Process(target=_ask, args=(str(folder), out)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert out.get(timeout=5) == 1
    assert out.empty()


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESNET_TUNE_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="RESNET_TUNE_CACHE"):
        held = cached("a", lambda: MADE)
    np.testing.assert_array_equal(held["images"], MADE["images"])


def test_the_cache_lies_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.delenv("RESNET_TUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "resnet-tune"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "resnet-tune"


def test_what_is_there_is_read_without_a_lock(folder):
    """Trials open it at once, and a cache that was filled before may be read-only."""
    cached("a", lambda: MADE)
    lock = folder / "a.lock"
    lock.unlink()
    lock.mkdir()  # nobody can take it
    assert set(cached("a", refuse)) == set(MADE)


def test_an_error_of_the_data_s_own_files_is_no_fault_of_the_cache(recwarn):
    tried = []

    def make():
        tried.append(1)
        raise OSError(5, "Input/output error", "a.jpg")

    with pytest.raises(OSError, match=r"a\.jpg"):
        cached("a", make)
    assert len(tried) == 1
    assert not recwarn
