"""`resnet-search cache`: what is listed is what is there, and removal spares what is in use."""

import os
import time

import numpy as np
import pytest

from search.cli.main import main
from trainables.engine import cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RESNET_TUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(name, bytes_=1000):
    return cache.cached(name, lambda: {"a": np.zeros(bytes_, dtype=np.uint8)})


def test_it_lists_entries_with_their_sizes(folder, capsys):
    put("cifar10-parquet-1", 2000)
    put("shanghaitech-2", 3000)
    assert main(["cache"]) == 0
    shown = capsys.readouterr().out
    assert "cifar10-parquet-1" in shown
    assert "3.1 kB" in shown  # the array and its header
    assert f"{folder}: 2 entries, 5.3 kB" in shown


def test_an_empty_cache_is_said_to_be_empty(folder, capsys):
    assert main(["cache", "--clear"]) == 0
    assert "0 entries" in capsys.readouterr().out


def test_clear_removes_and_a_mapped_array_stays_readable(folder, capsys):
    held = put("one")["a"]
    assert main(["cache", "--clear"]) == 0
    assert "removed: 1 entry" in capsys.readouterr().out
    assert not (folder / "one").exists()
    assert held.sum() == 0
    assert put("one")["a"].shape == (1000,)  # made again


def test_what_a_killed_process_left_half_made_is_removed_too(folder):
    put("one")
    (folder / "two.partial").mkdir()
    assert main(["cache", "--clear"]) == 0
    assert not list(folder.glob("*/"))


def test_an_entry_that_is_being_made_is_left_and_said(folder, capsys):
    put("one")
    with cache._alone(folder / "one"):
        assert main(["cache", "--clear"]) == 1
    assert "one: it is being made right now" in capsys.readouterr().out
    assert (folder / "one").is_dir()


def test_older_than_spares_what_is_younger(folder):
    put("old")
    put("new")
    then = time.time() - 10 * 24 * 3600
    os.utime(folder / "old", (then, then))
    assert main(["cache", "--clear", "--older-than", "7"]) == 0
    assert [path.name for path in folder.glob("*/")] == ["new"]


@pytest.mark.parametrize("days", ["-1", "nan", "inf", "x"])
def test_days_that_are_none_are_refused(folder, days, capsys):
    put("one")
    with pytest.raises(SystemExit) as ended:
        main(["cache", "--clear", "--older-than", days])
    assert ended.value.code == 2
    assert "--older-than" in capsys.readouterr().err
    assert (folder / "one").is_dir()
