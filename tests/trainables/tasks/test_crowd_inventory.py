"""What of a crowd's files is refused, with every fault at once, and what is told."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from trainables.task import DataError
from trainables.tasks import shanghaitech
from trainables.tasks.crowd_files import fingerprint, read_crowd

CPU = torch.device("cpu")
HEIGHT, WIDTH, HEADS = 60, 90, 24


def crowd(count: int, seed: int) -> dict[int, tuple[np.ndarray, Any]]:
    """Noise, with heads all over it (MATLAB's count, x then y)."""
    draw = np.random.default_rng(seed)
    return {
        n: (
            draw.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8),
            draw.uniform([1, 1], [WIDTH, HEIGHT], (HEADS, 2)),
        )
        for n in range(1, count + 1)
    }


@pytest.fixture
def part(tmp_path, write_crowd) -> Path:
    """Part A: 12 training and 8 test images."""
    for split, count in (("train", 12), ("test", 8)):
        write_crowd(tmp_path, "A", split, crowd(count, len(split)))
    return tmp_path


def folder(part: Path, split: str, kind: str) -> Path:
    return part / "part_A_final" / f"{split}_data" / kind


def refused(part: Path, complete: Any, **changed: Any) -> str:
    with pytest.raises(DataError) as caught:
        fingerprint(part, complete("shanghaitech", part="A", **changed))
    return str(caught.value)


@pytest.mark.parametrize("end", [".JPG", ".jpeg", ".JPEG", ".Jpg"])
def test_images_of_other_ends_are_read_like_the_rest(end, part, complete):
    whole = fingerprint(part, complete("shanghaitech", part="A"))
    for number in (3, 4):
        path = folder(part, "train", "images") / f"IMG_{number}.jpg"
        path.rename(path.with_suffix(end))
    assert fingerprint(part, complete("shanghaitech", part="A", copies="keep")) == whole


@pytest.mark.parametrize("split", ["train", "test"])
def test_what_lacks_its_other_half_is_refused_by_name(split, part, complete):
    (folder(part, split, "images") / "IMG_2.jpg").unlink()
    (folder(part, split, "ground_truth") / "GT_IMG_5.mat").unlink()
    said = refused(part, complete)
    assert "2 faults" in said
    assert f"{split}_data/ground_truth/GT_IMG_2.mat has no" in said
    assert f"{split}_data/images/IMG_5.jpg has no" in said


@pytest.mark.parametrize("name", ["IMG_2.JPG", "IMG_2.jpeg", "IMG_2.png"])
def test_an_image_that_is_there_twice_is_refused(name, part, complete):
    images = folder(part, "train", "images")
    shutil.copy(images / "IMG_2.jpg", images / name)
    assert "holds IMG_2 2 times; keep one of" in refused(part, complete)


@pytest.mark.parametrize("name", ["IMG_2 (1).jpg", "IMG_2 copy.jpg", "panorama.jpg"])
def test_an_image_without_annotation_is_refused(name, part, complete):
    images = folder(part, "train", "images")
    shutil.copy(images / "IMG_2.jpg", images / name)
    assert f"{name} has no" in refused(part, complete)


def test_what_systems_leave_behind_is_no_part_of_the_set(part, complete):
    whole = fingerprint(part, complete("shanghaitech", part="A"))
    for split in ("train", "test"):
        images, truths = (folder(part, split, kind) for kind in ("images", "ground_truth"))
        for path in (images / "._IMG_1.jpg", truths / "._GT_IMG_1.mat", images / ".DS_Store"):
            path.write_bytes(b"\0\5\26\7")
        (images / "Thumbs.db").write_bytes(b"x")
        (truths / "IMG_1.h5").write_bytes(b"a density map made by something else")
    assert fingerprint(part, complete("shanghaitech", part="A", copies="keep")) == whole


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_heads_at_no_place_are_refused(bad, part, write_annotation, complete):
    points = crowd(1, 0)[1][1]
    points[7, 1] = bad
    write_annotation(folder(part, "train", "ground_truth") / "GT_IMG_3.mat", points)
    said = refused(part, complete)
    assert "GT_IMG_3.mat: 1 of 24 heads is at no place (head 7 at" in said


def test_an_annotation_whose_number_is_another_is_refused(part, complete):
    path = folder(part, "train", "ground_truth") / "GT_IMG_3.mat"
    struct = np.empty((1, 1), dtype=[("location", "O"), ("number", "O")])
    struct[0, 0] = (crowd(1, 0)[1][1], np.uint16([[30]]))
    cell = np.empty((1, 1), dtype=object)
    cell[0, 0] = struct
    savemat(path, {"image_info": cell})
    assert "number says 30 heads and location has 24" in refused(part, complete)


def test_heads_in_the_other_order_are_refused_with_that_guess(part, write_annotation, complete):
    draw = np.random.default_rng(5)
    points = np.stack([draw.uniform(1, 60, 40), draw.uniform(70, 90, 40)], 1)  # (y, x)
    write_annotation(folder(part, "test", "ground_truth") / "GT_IMG_3.mat", points)
    said = refused(part, complete)
    assert "test IMG_3: 40 of 40 heads lie far outside its 90 x 60 px" in said
    assert "they fit as (y, x), and must be (x, y)" in said


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.5, 2, 4])
def test_annotations_of_images_of_another_size_are_refused(scale, tmp_path, write_crowd, complete):
    pictures = {n: (image, points * scale) for n, (image, points) in crowd(12, 0).items()}
    write_crowd(tmp_path, "A", "train", pictures)
    write_crowd(tmp_path, "A", "test", crowd(8, 1))
    said = refused(tmp_path, complete)
    assert ("far outside" if scale > 1 else "reach to") in said


def test_slightly_another_size_is_seen_over_the_split(tmp_path, write_crowd, complete):
    """No image has a quarter of its heads outside; the split has too many."""
    pictures = {n: (image, points * 1.1) for n, (image, points) in crowd(12, 0).items()}
    write_crowd(tmp_path, "A", "train", pictures)
    write_crowd(tmp_path, "A", "test", crowd(8, 1))
    assert "are not of one size" in refused(tmp_path, complete)


def test_a_few_heads_outside_are_told(part, write_annotation, complete):
    points = crowd(1, 0)[1][1]
    points[:4] = -400
    write_annotation(folder(part, "train", "ground_truth") / "GT_IMG_3.mat", points)
    found = fingerprint(part, complete("shanghaitech", part="A"))
    assert found["train_points_outside"] == 4
    said = "4 of 24 heads of train IMG_3 lie far outside it (17%; more than 25% are refused)"
    assert said in found["notes"]


def test_every_damaged_file_is_told_at_once(part, complete):
    images, truths = (folder(part, "train", kind) for kind in ("images", "ground_truth"))
    for number in (1, 2):
        (images / f"IMG_{number}.jpg").write_bytes(b"no image")
    for number in (3, 4):
        (truths / f"GT_IMG_{number}.mat").write_bytes(b"no annotation")
    (truths / "GT_IMG_5.mat").unlink()
    (folder(part, "test", "images") / "IMG_6.jpg").unlink()
    said = refused(part, complete)
    assert "6 faults of the data" in said
    assert "IMG_1.jpg cannot be decoded (it is a text)" in said
    assert all(f"IMG_{number}" in said for number in range(1, 7))


def test_a_split_without_heads_is_refused(tmp_path, write_crowd, complete):
    none = {n: (image, np.zeros((0, 2))) for n, (image, _) in crowd(12, 0).items()}
    write_crowd(tmp_path, "A", "train", none)
    write_crowd(tmp_path, "A", "test", crowd(8, 1))
    assert "no train image has a head" in refused(tmp_path, complete)


def test_one_annotation_for_several_images_is_a_warning(part, complete):
    truths = folder(part, "train", "ground_truth")
    for number in (4, 5):
        shutil.copy(truths / "GT_IMG_3.mat", truths / f"GT_IMG_{number}.mat")
    warnings = fingerprint(part, complete("shanghaitech", part="A"))["warnings"]
    assert (
        "2 images have the very heads of another, as if its annotation were a copy: train IMG_4 "
        "as train IMG_3, train IMG_5 as train IMG_3"
    ) in warnings


def test_a_name_with_odd_digits_is_ordered_like_any(part, complete):
    for folder_, name in (("images", "IMG_1.jpg"), ("ground_truth", "GT_IMG_1.mat")):
        path = folder(part, "train", folder_) / name
        path.rename(path.with_name(name.replace("1", "1²")))
    assert fingerprint(part, complete("shanghaitech", part="A"))["train_images"] == 12


def test_a_split_without_any_annotation_is_refused_by_name(part, complete):
    for path in folder(part, "train", "ground_truth").iterdir():
        path.unlink()
    assert "12 faults of the data" in refused(part, complete)


@pytest.mark.parametrize(
    ("kind", "name"), [("images", "IMG_3.jpg"), ("ground_truth", "GT_IMG_3.mat")]
)
def test_a_pipe_in_a_file_s_place_is_not_waited_for(kind, name, part, complete):
    path = folder(part, "train", kind) / name
    path.unlink()
    os.mkfifo(path)
    assert f"{name} is no file" in refused(part, complete)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_its_folder_of_annotations_is_told_as_just_that(split, part, complete):
    shutil.rmtree(folder(part, split, "ground_truth"))
    said = refused(part, complete)
    data = folder(part, split, "images").parent
    assert f"{data} has images and no ground_truth (or ground-truth) (it holds images)" in said
    assert "1 fault of the data" in said
    assert "CVPR 2016" not in said  # it is there


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("train_data/images", "train_data/imgs", "has ground_truth and no images (it holds gro"),
        ("train_data/ground_truth", "train_data/gt", "has images and no ground_truth (or ground-"),
        ("test_data", "testing", "has no test_data (it holds testing, train_data)"),
    ],
)
def test_a_folder_of_another_name_is_named(old, new, text, part, complete):
    (part / "part_A_final" / old).rename(part / "part_A_final" / new)
    said = refused(part, complete)
    assert text in said
    assert new.split("/")[-1] in said


# ---- copies


def test_a_training_copy_of_a_test_image_is_left_out_and_told(tmp_path, write_crowd, complete):
    train, test = crowd(6, 0), crowd(100, 1)
    test[98] = train[4]
    write_crowd(tmp_path, "A", "train", train)
    write_crowd(tmp_path, "A", "test", test)
    config = complete("shanghaitech", part="A", crop=64)
    found = fingerprint(tmp_path, config)
    assert (found["train_images"], found["copies_left_out"]) == (6, 1)
    assert found["notes"][0] == (
        "1 of 100 test images is a training image, pixel for pixel, left out of training (test "
        "IMG_98 is train IMG_4)"
    )
    data = shanghaitech.open_data(tmp_path, config, 1, CPU)
    names = [*data.train.names, *data.fixed["val"].names]
    assert sorted(names) == [f"IMG_{n}" for n in (1, 2, 3, 5, 6)]
    kept = shanghaitech.open_data(tmp_path, {**config, "copies": "keep"}, 1, CPU)
    assert len(kept.train.names) + len(kept.fixed["val"].names) == 6


def test_the_same_folder_for_both_splits_is_refused(part, complete):
    data = part / "part_A_final"
    shutil.rmtree(data / "test_data")
    shutil.copytree(data / "train_data", data / "test_data")
    assert "12 of 12 test images are training images" in refused(part, complete)


def test_a_part_that_is_there_twice_is_read_once_and_told(part, complete):
    shutil.copytree(part / "part_A_final", part / "part_A")
    shutil.rmtree(part / "part_A_final" / "test_data")  # not whole: the other one is read
    found = fingerprint(part, complete("shanghaitech", part="A"))
    assert "part_A_final is not read" in found["warnings"]
    assert (found["train_images"], found["test_images"]) == (12, 8)


def test_splits_of_two_folders_are_told(part, complete):
    (part / "part_A").mkdir()
    (part / "part_A_final" / "test_data").rename(part / "part_A" / "test_data")
    notes = fingerprint(part, complete("shanghaitech", part="A"))["warnings"]
    assert "train and test are of two folders, part_A, part_A_final" in notes


@pytest.mark.timeout(300)
def test_the_real_parts_pass_with_their_quirks_told(real_data, complete):
    a, b = (fingerprint(real_data, complete("shanghaitech", part=name)) for name in "AB")
    assert a["notes"] == [
        "1 of 182 test images is a training image, pixel for pixel, left out of training (test "
        "IMG_98 is train IMG_121)",
        "96 of 502 heads of train IMG_141 lie far outside it (19%; more than 25% are refused)",
        "64 train heads are at the very place of another, in 38 images (7 in IMG_181)",
        "1 train image has an EXIF orientation, which is not applied: heads count on the pixels "
        "as stored (IMG_23: 8)",
        "23 of 300 train images are grey",
        "62 test heads are at the very place of another, in 17 images (44 in IMG_97)",
        "24 of 182 test images are grey",
    ]
    assert a["copies_left_out"] == 1
    assert a["warnings"] == b["warnings"] == []
    assert all("at the very place of another" in note for note in b["notes"])
    assert "copies_left_out" not in b
    train = read_crowd(real_data, "files", "A", "train")
    assert len(train.names) == 300  # the copy is on record, and left out when splits are opened
