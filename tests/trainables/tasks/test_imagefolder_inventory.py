"""The same image in two splits, or in two classes, of one's own folders."""

from __future__ import annotations

import shutil

import pytest
import torch

from tests.trainables.tasks.test_imagefolder import config_of, write
from trainables import find_task
from trainables.task import DataError
from trainables.tasks.imagefolder_files import scan

CPU = torch.device("cpu")
TASK = find_task("imagefolder")


@pytest.fixture
def folder(tmp_path):
    scan.cache_clear()
    first = write(tmp_path, "train", {"ant": 20, "bee": 10, "cat": 30})
    write(tmp_path, "test", {"ant": 40, "bee": 20, "cat": 60}, first)
    return tmp_path


def splits(folder, **changed):
    data = TASK.open_data(folder, config_of(**changed), 1, CPU)
    return {
        split: [data.take(split, torch.tensor([row])).numpy().tobytes() for row in range(len(y))]
        for split, y in data.labels.items()
    }


def test_a_training_copy_of_a_test_image_is_left_out_and_told(folder):
    whole = splits(folder)
    shutil.copy(folder / "test" / "cat" / "0130.png", folder / "train" / "cat" / "renamed.png")
    scan.cache_clear()
    found = TASK.fingerprint(folder, config_of())
    assert (found["train_images"], found["copies_left_out"]) == (61, 1)
    assert found["notes"] == [
        "1 of 120 test images is a training image, pixel for pixel, left out of training (test "
        "0130.png is train renamed.png)"
    ]
    assert splits(folder) == whole
    kept = TASK.fingerprint(folder, config_of(copies="keep"))
    assert "kept in training" in kept["warnings"][0]
    assert len(splits(folder, copies="keep")["train"]) == len(whole["train"]) + 1


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_split_folder_that_is_a_copy_of_training_is_refused(split, folder):
    shutil.rmtree(folder / split, ignore_errors=True)
    shutil.copytree(folder / "train", folder / split)
    scan.cache_clear()
    with pytest.raises(DataError, match=rf"60 of 60 {split} images are training images"):
        TASK.fingerprint(folder, config_of())


def test_what_is_cut_off_for_test_and_validation_has_no_copy_in_training(tmp_path):
    """Every image is there twice, in one pool: the cut parts copies by chance."""
    scan.cache_clear()
    write(tmp_path, "train", {"ant": 20, "bee": 20})
    for path in list(tmp_path.rglob("*.png")):
        shutil.copy(path, path.with_stem(f"again-{path.stem}"))
    config = config_of(classes=2)
    found = TASK.fingerprint(tmp_path, config)
    assert any("left out of training" in note for note in found["notes"])
    assert any("40 train images are copies of others" in note for note in found["notes"])
    held = splits(tmp_path, classes=2)
    assert not set(held["train"]) & {*held["val"], *held["test"]}
    assert found["copies_left_out"] == 80 - found["test_images"] - sum(found["train_per_class"])


def test_an_image_in_two_classes_is_told(folder):
    shutil.copy(folder / "train" / "ant" / "0000.png", folder / "train" / "bee" / "x.png")
    scan.cache_clear()
    found = TASK.fingerprint(folder, config_of())
    said = "1 train images are copies of others of the split: bee/x.png is ant/0000.png"
    assert said in found["notes"]
    assert "1 train images lie in more than one class" in found["warnings"]


def test_a_validation_folder_that_is_the_test_folder_is_refused(folder):
    shutil.copytree(folder / "test", folder / "val")
    scan.cache_clear()
    with pytest.raises(DataError, match=r"120 of 120 test images are validation images"):
        TASK.fingerprint(folder, config_of())


def test_no_test_image_is_validated_on(folder):
    scan.cache_clear()
    write(folder, "val", {"ant": 8, "bee": 8, "cat": 8}, 1000)
    shutil.copy(folder / "test" / "cat" / "0130.png", folder / "val" / "cat" / "renamed.png")
    found = TASK.fingerprint(folder, config_of())
    assert found["val_images"] == 24
    assert "1 of 120 test images is a validation image" in found["notes"][0]
    held = splits(folder)
    assert len(held["val"]) == 24
    assert not set(held["val"]) & set(held["test"])
