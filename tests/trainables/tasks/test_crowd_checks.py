"""Heads in the other order, of a turned image, at one place, or absent: what is said of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainables.tasks.test_crowd_inventory import HEIGHT, WIDTH, crowd, folder, refused
from trainables.tasks.copies import across
from trainables.tasks.crowd_checks import counts_in_words
from trainables.tasks.crowd_files import fingerprint
from trainables.tasks.inventory import grey_note
from trainables.tasks.label_checks import unlearned

SPREAD = [(x, y) for x in np.linspace(2, WIDTH - 2, 8) for y in np.linspace(2, HEIGHT - 2, 5)]


@pytest.fixture
def part(tmp_path, write_crowd) -> Path:
    """Part A: 24 training and 8 test images."""
    for split, count in (("train", 24), ("test", 8)):
        write_crowd(tmp_path, "A", split, crowd(count, len(split)))
    return tmp_path


def found_of(part: Path, complete: Any) -> dict[str, Any]:
    return fingerprint(part, complete("shanghaitech", part="A"))


def swapped(count: int = 5) -> np.ndarray:
    """(y, x) of heads all over an image, but that so many of them alone leave its height."""
    heads = np.array(SPREAD)[:, ::-1]
    far = heads[:, 1] > HEIGHT + 0.05 * WIDTH + 1
    keep = np.flatnonzero(~far).tolist() + np.flatnonzero(far)[:count].tolist()
    return heads[keep]


def test_a_few_heads_outside_that_fit_as_y_x_are_told_with_that_guess(
    part, write_annotation, complete
):
    """Below a tenth of the heads, so the image is not refused."""
    write_annotation(folder(part, "train", "ground_truth") / "GT_IMG_3.mat", swapped(3))
    (said,) = [text for text in found_of(part, complete)["warnings"] if "IMG_3" in text]
    share = re.search(r"train IMG_3: 3 of (\d+) heads lie far outside its 90 x 60 px", said)
    assert 3 / int(share[1]) < 0.1
    assert "they fit as (y, x), and must be (x, y)" in said
    assert "more than 25% are refused, and more than 10% where all heads fit as (y, x)" in said


def test_heads_that_all_fit_as_y_x_are_refused_from_a_tenth_outside_on(
    part, write_annotation, complete
):
    """A seventh is outside, which would be told alone if exchanging did not bring all inside."""
    path = folder(part, "train", "ground_truth") / "GT_IMG_3.mat"
    write_annotation(path, swapped())
    said = refused(part, complete)
    assert "1 fault of the data" in said
    assert "heads fit only with x and y exchanged: train IMG_3: 5 of 35 heads lie far" in said
    assert "exchange the two columns of location" in said
    # one that is outside either way: they are no heads of this image in the other order
    write_annotation(path, [*swapped(), (-400, -400)])
    (told,) = [text for text in found_of(part, complete)["warnings"] if "IMG_3" in text]
    assert "6 of 36 heads lie far outside" in told


def test_a_split_in_the_other_order_is_refused_with_that_guess(part, write_annotation, complete):
    """No image has a quarter of its heads outside; all together have too many."""
    for number in range(1, 25):
        heads = swapped() + number / 100
        write_annotation(folder(part, "train", "ground_truth") / f"GT_IMG_{number}.mat", heads)
    said = refused(part, complete)
    assert "1 fault of the data" in said
    assert "all 24 of 24 train annotations fit only as (y, x), and must be (x, y)" in said
    assert "120 of 840 heads lie far outside their images as they stand, and 0 with" in said
    assert "exchange the two columns of location in every annotation of this split" in said
    assert "not of one size" not in said


def test_a_split_that_is_in_the_other_order_in_part_is_refused_image_by_image(
    part, write_annotation, complete
):
    for number in range(1, 16):
        heads = swapped() + number / 100
        write_annotation(folder(part, "train", "ground_truth") / f"GT_IMG_{number}.mat", heads)
    said = refused(part, complete)
    assert "all 24 of 24" not in said
    assert "heads fit only with x and y exchanged: train IMG_12: 5 of 35" in said
    assert "heads fit only with x and y exchanged: 3 more" in said


@pytest.mark.parametrize(("by", "fits"), [(1, "IMG_3"), (-1, "IMG_1")])
def test_annotations_that_are_all_of_the_next_image_are_refused_as_shifted(
    by, fits, tmp_path, write_crowd, complete
):
    """Seen by images of several sizes alone."""
    draw = np.random.default_rng(4)
    pictures = {}
    for number in range(1, 25):
        height, width = draw.integers(40, 120, 2).tolist()
        heads = draw.uniform([1, 1], [width, height], (30, 2))
        pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        pictures[number] = pixels, heads
    moved = {n: (pictures[n][0], pictures[(n - 1 + by) % 24 + 1][1]) for n in pictures}
    write_crowd(tmp_path, "A", "train", moved)
    write_crowd(tmp_path, "A", "test", crowd(8, 1))
    said = refused(tmp_path, complete)
    assert "1 fault of the data" in said
    assert f"(GT_IMG_2 fits {fits}): the annotations are shifted by one" in said


def test_every_image_of_a_split_that_exif_turns_is_told_as_turned(
    part, write_annotation, complete
):
    tags = Image.Exif()
    tags[274] = 8
    for number in range(1, 25):
        path = folder(part, "train", "images") / f"IMG_{number}.jpg"
        with Image.open(path) as image:
            image.save(path, exif=tags, quality=100)
        heads = swapped() + number / 100
        write_annotation(folder(part, "train", "ground_truth") / f"GT_IMG_{number}.mat", heads)
    assert "their EXIF orientation, which is not applied, turns them" in refused(part, complete)


@pytest.mark.parametrize("share", ["few", "all"])
def test_heads_of_an_image_that_exif_turns_are_told_as_turned(
    share, part, write_annotation, complete
):
    path = folder(part, "train", "images") / "IMG_3.jpg"
    tags = Image.Exif()
    tags[274] = 6
    with Image.open(path) as image:
        image.save(path, exif=tags, quality=100)
    heads = swapped(3) if share == "few" else np.array(SPREAD)[20:, ::-1]
    write_annotation(folder(part, "train", "ground_truth") / "GT_IMG_3.mat", heads)
    if share == "all":
        said = refused(part, complete)
    else:
        found = found_of(part, complete)
        (said,) = [text for text in found["warnings"] if "IMG_3" in text]
        assert any(
            "1 train image has an EXIF orientation, which is not" in n for n in found["notes"]
        )
    assert "its EXIF orientation (6) turns it by 90 degrees" in said


def test_images_without_a_head_are_counted_and_many_are_a_warning(
    part, write_annotation, complete
):
    truths = folder(part, "train", "ground_truth")
    write_annotation(truths / "GT_IMG_2.mat", np.zeros((0, 2)))
    assert "1 of 24 train images has no head (IMG_2)" in found_of(part, complete)["notes"]
    for number in range(1, 14):
        write_annotation(truths / f"GT_IMG_{number}.mat", np.zeros((0, 2)))
    found = found_of(part, complete)
    said = "13 of 24 train images have no head (IMG_1, IMG_2, IMG_3 and 10 more)"
    assert (said in found["warnings"], said in found["notes"]) == (True, False)


def test_heads_at_one_place_are_counted_and_many_are_a_warning(part, write_annotation, complete):
    truths = folder(part, "train", "ground_truth")
    heads = np.array(SPREAD)
    write_annotation(truths / "GT_IMG_2.mat", [*heads, heads[3]])
    found = found_of(part, complete)
    said = "1 train head is at the very place of another, in 1 image (1 in IMG_2)"
    assert said in found["notes"]
    assert found["train_heads"] == 23 * 24 + 41  # they count as annotated
    write_annotation(truths / "GT_IMG_2.mat", [*heads, *heads])
    said = "40 train heads are at the very place of another, in 1 image (40 in IMG_2)"
    assert said in found_of(part, complete)["warnings"]


def test_one_of_anything_is_told_in_the_singular(part, complete):
    path = folder(part, "train", "images") / "IMG_3.jpg"
    with Image.open(path) as image:
        image.convert("L").save(path)
    assert "1 of 24 train images is grey" in found_of(part, complete)["notes"]


def test_one_of_one_is_told_in_the_singular():
    assert grey_note(np.array([True]), "train") == ["1 of 1 train image is grey"]
    assert counts_in_words("train", ["IMG_1"], [torch.zeros(0, 2)], [1])[0] == [
        "1 of 1 train image has no head (IMG_1)"
    ]
    labels = {"train": np.array([0, 1]), "test": np.array([2])}
    assert unlearned(labels)[0].startswith("1 of 1 test label is of class 2")
    (note,) = across("keep", (np.array([7]), ["a"]), (np.array([7]), ["b"]))[1]
    assert note.startswith("1 of 1 test image is a training image, pixel for pixel")


def test_a_reach_of_nothing_is_0_percent(part, write_annotation, complete):
    for number in range(1, 25):
        heads = np.array(SPREAD[:12]) * 0 + [number / 100 - 0.2, 0.6]  # all but at (-1, 0)
        write_annotation(folder(part, "train", "ground_truth") / f"GT_IMG_{number}.mat", heads)
    said = refused(part, complete)
    assert "reach to 0% of the width and 0% of the height" in said
