"""The same image in two splits, or in two classes, of one's own folders."""

from __future__ import annotations

import shutil
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from search.run.lineage import same_data
from tests.trainables.tasks.test_imagefolder import config_of, write
from trainables import find_task
from trainables.task import DataError
from trainables.tasks.imagefolder_layout import scan

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
    """Every image is there twice, in one pool: one of each is left out before anything is cut."""
    scan.cache_clear()
    write(tmp_path, "train", {"ant": 20, "bee": 20})
    for path in list(tmp_path.rglob("*.png")):
        shutil.copy(path, path.with_stem(f"again-{path.stem}"))
    config = config_of(classes=2)
    found = TASK.fingerprint(tmp_path, config)
    assert any(
        "40 train images are copies of others of the split, left out" in n for n in found["notes"]
    )
    held = splits(tmp_path, classes=2)
    assert not set(held["train"]) & {*held["val"], *held["test"]}
    assert found["copies_left_out"] == 40
    assert found["test_images"] + sum(found["train_per_class"]) == 40


@pytest.mark.parametrize("second", ["train/bee/x.png", "val/bee/x.png", "test/bee/x.png"])
def test_an_image_in_two_classes_is_in_no_split(second, folder):
    """Neither label is known to be right, in whatever splits they stand."""
    write(folder, "val", {"ant": 100, "bee": 100, "cat": 100}, 1000)
    pixels = np.asarray(Image.open(folder / "train" / "ant" / "0000.png"))
    shown = pixels.transpose(2, 0, 1).tobytes()
    shutil.copy(folder / "train" / "ant" / "0000.png", folder / second)
    scan.cache_clear()
    found = TASK.fingerprint(folder, config_of())
    assert found["warnings"] == [
        "1 image lies in more than one class, so that its label is not known; left out of every "
        f"split: {second.replace('/', ' ', 1)} is train ant/0000.png"
    ]
    assert not [note for note in found["notes"] if "copy of another" in note]
    held = splits(folder)
    assert not any(shown in images for images in held.values())
    assert [len(held[s]) for s in ("train", "val", "test")] == [59, 300, 120]
    assert found["copies_left_out"] == 1 + second.startswith("train")
    assert (found["val_images"], found["test_images"]) == (300, 120)
    assert found["train_per_class"] == [19, 10, 30]
    kept = TASK.fingerprint(folder, config_of(copies="keep"))
    assert any("; each is kept with the label it has: " in text for text in kept["warnings"])
    assert shown in splits(folder, copies="keep")["train"]


def test_an_image_in_two_classes_of_the_pool_that_test_is_cut_from_is_in_no_split(tmp_path):
    scan.cache_clear()
    write(tmp_path, "train", {"ant": 20, "bee": 20})
    shutil.copy(tmp_path / "train" / "ant" / "0003.png", tmp_path / "train" / "bee" / "x.png")
    shutil.copy(tmp_path / "train" / "ant" / "0003.png", tmp_path / "train" / "ant" / "y.png")
    found = TASK.fingerprint(tmp_path, config_of(classes=2))
    assert found["copies_left_out"] == 3
    assert found["train_images"] + found["test_images"] == 42
    held = splits(tmp_path, classes=2)
    assert sum(map(len, held.values())) == 39


def test_a_class_that_is_another_s_copy_is_refused(folder):
    shutil.rmtree(folder / "train" / "bee")
    shutil.copytree(folder / "train" / "ant", folder / "train" / "bee")
    scan.cache_clear()
    with pytest.raises(DataError) as refused:
        TASK.fingerprint(folder, config_of())
    assert "no train image of class ant is left" in str(refused.value)
    assert "no train image of class bee is left" in str(refused.value)


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


def test_a_class_of_one_image_many_times_keeps_it(folder):
    for path in (folder / "train" / "bee").iterdir():
        shutil.copy(folder / "train" / "bee" / "0020.png", path) if path.stem != "0020" else None
    scan.cache_clear()
    found = TASK.fingerprint(folder, config_of())
    assert found["train_per_class"] == [20, 1, 30]
    data = TASK.open_data(folder, config_of(), 1, CPU)
    assert int((data.labels["train"] == 1).sum()) == 1


def test_a_class_whose_every_image_is_held_out_is_refused(folder):
    shutil.rmtree(folder / "train" / "bee")
    (folder / "train" / "bee").mkdir()
    shutil.copy(folder / "test" / "cat" / "0130.png", folder / "train" / "bee" / "x.png")
    scan.cache_clear()
    with pytest.raises(
        DataError, match=r"no train image of class bee is left: each is a held-out one"
    ):
        TASK.fingerprint(folder, config_of())


def test_images_that_share_their_middle_alone_are_no_copies(tmp_path):
    """What is compared is the whole image, whatever size the network is given."""
    scan.cache_clear()
    first = write(tmp_path, "train", {"ant": 6, "bee": 6}, height=32, width=96)
    write(tmp_path, "test", {"ant": 6, "bee": 6}, first, height=32, width=96)
    pixels = np.asarray(Image.open(tmp_path / "train" / "ant" / "0000.png"))
    other = np.asarray(Image.open(tmp_path / "test" / "ant" / "0012.png")).copy()
    other[:, 32:64] = pixels[:, 32:64]
    Image.fromarray(other).save(tmp_path / "test" / "ant" / "0012.png")
    prints = [TASK.fingerprint(tmp_path, config_of(classes=2, image_size=n)) for n in (16, 32)]
    assert prints[0] == prints[1]
    assert prints[0]["notes"] == []


def test_other_pixels_of_the_same_names_and_sizes_are_other_data(folder):
    for path in folder.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    scan.cache_clear()
    old = TASK.fingerprint(folder, config_of())
    path = folder / "train" / "ant" / "0003.bmp"
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    new = TASK.fingerprint(folder, config_of())
    assert new["files_sha256"] == old["files_sha256"]
    assert not same_data([new], [old])


def test_colours_of_16_bits_and_several_pictures_in_a_file_are_refused(folder):
    path = folder / "train" / "ant" / "0003.png"
    row = b"\0" + b"\1\44" * 3 * 32  # 0x0124 in each channel: PIL would read 1

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(row * 32)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    pages = [Image.new("RGB", (32, 32), (n, 0, 0)) for n in range(3)]
    pages[0].save(folder / "train" / "ant" / "x.tiff", save_all=True, append_images=pages[1:])
    scan.cache_clear()
    with pytest.raises(DataError) as refused:
        TASK.fingerprint(folder, config_of())
    assert "0003.png: ValueError: more than 8 bits" in str(refused.value)
    assert "x.tiff: ValueError: 3 pictures in one file" in str(refused.value)


@pytest.mark.parametrize(
    "what", ["link to nothing", "link to a folder", "folder", "file as split"]
)
def test_what_stands_in_an_image_s_place_is_no_silent_loss(what, folder):
    path = folder / "train" / "ant" / "0003.png"
    path.unlink()
    if what == "link to nothing":
        path.symlink_to("nowhere")
    elif what == "link to a folder":
        (folder / "train" / "ant" / "more").symlink_to(folder / "test" / "ant")
    elif what == "folder":
        path.mkdir()
    else:
        (folder / "val").write_text("of something else")
    scan.cache_clear()
    with pytest.raises(DataError, match=r"holds a file that is no image|is no folder"):
        TASK.fingerprint(folder, config_of())


def test_a_validation_image_in_the_pool_that_test_is_cut_from_is_told(tmp_path):
    scan.cache_clear()
    first = write(tmp_path, "train", {"ant": 40, "bee": 40})
    write(tmp_path, "val", {"ant": 100, "bee": 100}, first)
    for number in range(2):
        source = tmp_path / "val" / "ant" / f"{first + number:04d}.png"
        shutil.copy(source, tmp_path / "train" / "ant" / f"copy{number}.png")
    found = TASK.fingerprint(tmp_path, config_of(classes=2))
    assert "2 of 200 val images are training images" in found["notes"][0]
    assert found["train_images"] + found["test_images"] == 82
    assert found["copies_left_out"] == 2
    held = splits(tmp_path, classes=2)
    assert not set(held["val"]) & {*held["train"], *held["test"]}
