"""Whatever the inventory would refuse is refused with a warm cache too."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainables.tasks import test_crowd_inventory, test_imagefolder
from trainables import find_task
from trainables.engine.cache import key_of
from trainables.task import DataError


def replaced(path: Path) -> None:
    """Junk of the same size, and the old time of change put back."""
    held = path.stat()
    path.write_bytes(b"?" * held.st_size)
    os.utime(path, ns=(held.st_atime_ns, held.st_mtime_ns))


def re_pointed(path: Path) -> None:
    """The link that the file is leads to another of the same size and time."""
    other = path.resolve().with_name("other")
    other.write_bytes(b"?" * path.stat().st_size)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    path.unlink()
    path.symlink_to(other)


CHANGES = {"replaced": replaced, "re-pointed": re_pointed}


@pytest.fixture
def cifar(parquet: Path) -> tuple[str, Path, Path, dict[str, Any]]:
    return "cifar10", parquet, parquet / "plain_text" / "train-00000-of-00001.parquet", {}


@pytest.fixture
def crowd(tmp_path, write_crowd) -> tuple[str, Path, Path, dict[str, Any]]:
    for split, count in (("train", 4), ("test", 3)):
        write_crowd(tmp_path, "A", split, test_crowd_inventory.crowd(count, len(split)))
    path = tmp_path / "part_A_final" / "train_data" / "images" / "IMG_2.jpg"
    return "shanghaitech", tmp_path, path, {"part": "A"}


@pytest.fixture
def folders(tmp_path) -> tuple[str, Path, Path, dict[str, Any]]:
    test_imagefolder.write(tmp_path, "train", {"ant": 6, "bee": 6})
    return "imagefolder", tmp_path, tmp_path / "train" / "ant" / "0003.png", {"image_size": 32}


def refused(name: str, data_dir: Path, config: dict[str, Any]) -> str:
    with pytest.raises(DataError) as caught:
        find_task(name).fingerprint(data_dir, config)
    return str(caught.value)


@pytest.mark.parametrize("set_", ["cifar", "crowd", "folders"])
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_file_of_the_same_size_and_time_is_looked_at_again(
    set_, change, request, tmp_path, complete
):
    name, data_dir, path, changed = request.getfixturevalue(set_)
    config = complete(name, **changed)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if change == "re-pointed":
        shutil.move(path, elsewhere / path.name)
        path.symlink_to(elsewhere / path.name)
    find_task(name).fingerprint(data_dir, config)
    CHANGES[change](path)
    assert path.name in refused(name, data_dir, config)


def beside_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


def beside_itself(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [beside_nothing, beside_itself, Path.mkdir, os.mkfifo])
@pytest.mark.parametrize(
    ("set_", "extra"),
    [
        ("cifar", "train-00001-of-00002.parquet"),
        ("cifar", "test-extra.parquet"),
        ("crowd", "IMG_9.jpg"),
        ("folders", "0100.png"),
    ],
)
def test_what_is_no_file_beside_sound_ones_is_refused(
    make: Callable[[Path], None], set_, extra, request, complete
):
    name, data_dir, path, changed = request.getfixturevalue(set_)
    config = complete(name, **changed)
    find_task(name).fingerprint(data_dir, config)
    make(path.with_name(extra))
    warm = refused(name, data_dir, config)
    os.environ["RESNET_TUNE_CACHE"], held = str(path.parent), os.environ["RESNET_TUNE_CACHE"]
    try:
        assert refused(name, data_dir, config) == warm  # as a cold cache has it
    finally:
        os.environ["RESNET_TUNE_CACHE"] = held
    assert extra.split(".")[0] in warm or "a set of 1, 2 shards" in warm


def test_a_file_added_or_renamed_in_the_same_process_is_seen(folders, complete):
    """A scan of the folder is kept for trials, and the inventory looks anew."""
    name, data_dir, path, changed = folders
    config = complete(name, **changed)
    first = find_task(name).fingerprint(data_dir, config)
    path.with_name("more.png").write_bytes(path.read_bytes())
    assert find_task(name).fingerprint(data_dir, config) != first
    path.rename(path.with_suffix(".txt"))
    assert "0003.txt" in refused(name, data_dir, config)


def test_a_link_to_nothing_and_other_rights_make_another_key(tmp_path):
    path, link = tmp_path / "x", tmp_path / "y"
    path.write_bytes(b"1")
    keys = [key_of("a", [path])]
    path.chmod(0)  # root, as whom tests may run, reads it all the same
    keys.append(key_of("a", [path]))
    link.symlink_to("nowhere")
    keys.append(key_of("a", [path, link]))
    assert len(set(keys)) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("above", [0, 1, "all"])
@pytest.mark.parametrize("set_", ["cifar", "crowd", "folders"])
def test_a_folder_that_may_not_be_listed_is_refused_not_taken_for_empty(
    above, set_, request, complete
):
    name, data_dir, path, changed = request.getfixturevalue(set_)
    config = complete(name, **changed)
    find_task(name).fingerprint(data_dir, config)
    closed = data_dir if above == "all" else path.parents[above]
    closed.chmod(0)
    try:
        said = refused(name, data_dir, config)
    finally:
        closed.chmod(0o700)
    assert "(Permission denied); let yourself read it" in said
    assert str(closed) in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("set_", ["cifar", "crowd", "folders"])
def test_a_file_that_may_not_be_read_any_more_is_refused(set_, request, complete):
    name, data_dir, path, changed = request.getfixturevalue(set_)
    config = complete(name, **changed)
    find_task(name).fingerprint(data_dir, config)
    path.chmod(0)
    assert path.name in refused(name, data_dir, config)
