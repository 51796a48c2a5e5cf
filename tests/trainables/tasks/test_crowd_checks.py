"""Heads in the other order, of a turned image, at one place, or absent: what is said of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.trainables.tasks.test_crowd_inventory import HEIGHT, WIDTH, crowd, folder, refused
from trainables.tasks.crowd_files import fingerprint

SPREAD = [(x, y) for x in np.linspace(2, WIDTH - 2, 8) for y in np.linspace(2, HEIGHT - 2, 5)]


@pytest.fixture
def part(tmp_path, write_crowd) -> Path:
    """Part A: 24 training and 8 test images."""
    for split, count in (("train", 24), ("test", 8)):
        write_crowd(tmp_path, "A", split, crowd(count, len(split)))
    return tmp_path


def found_of(part: Path, complete: Any) -> dict[str, Any]:
    return fingerprint(part, complete("shanghaitech", part="A"))


def swapped() -> np.ndarray:
    """(y, x) of heads all over an image, but that five of them alone leave its height."""
    heads = np.array(SPREAD)[:, ::-1]
    far = heads[:, 1] > HEIGHT + 0.05 * WIDTH + 1
    keep = np.flatnonzero(~far).tolist() + np.flatnonzero(far)[:5].tolist()
    return heads[keep]


def test_a_few_heads_outside_that_fit_as_y_x_are_told_with_that_guess(
    part, write_annotation, complete
):
    """Below a quarter of the heads, so the image is not refused."""
    write_annotation(folder(part, "train", "ground_truth") / "GT_IMG_3.mat", swapped())
    (said,) = [text for text in found_of(part, complete)["warnings"] if "IMG_3" in text]
    share = re.search(r"train IMG_3: 5 of (\d+) heads lie far outside its 90 x 60 px", said)
    assert 5 / int(share[1]) < 0.25
    assert "they fit as (y, x), and must be (x, y)" in said


def test_a_split_in_the_other_order_is_refused_with_that_guess(part, write_annotation, complete):
    """No image has a quarter of its heads outside; all together have too many."""
    for number in range(1, 25):
        heads = swapped() + number / 100
        write_annotation(folder(part, "train", "ground_truth") / f"GT_IMG_{number}.mat", heads)
    said = refused(part, complete)
    assert "in 24 images, as in IMG_1, they fit as (y, x)" in said
    assert "not of one size" not in said


@pytest.mark.parametrize("share", ["few", "all"])
def test_heads_of_an_image_that_exif_turns_are_told_as_turned(
    share, part, write_annotation, complete
):
    path = folder(part, "train", "images") / "IMG_3.jpg"
    tags = Image.Exif()
    tags[274] = 6
    with Image.open(path) as image:
        image.save(path, exif=tags, quality=100)
    heads = swapped() if share == "few" else np.array(SPREAD)[20:, ::-1]
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


def test_a_reach_of_nothing_is_0_percent(part, write_annotation, complete):
    for number in range(1, 25):
        heads = np.array(SPREAD[:12]) * 0 + [number / 100 - 0.2, 0.6]  # all but at (-1, 0)
        write_annotation(folder(part, "train", "ground_truth") / f"GT_IMG_{number}.mat", heads)
    said = refused(part, complete)
    assert "reach to 0% of the width and 0% of the height" in said
