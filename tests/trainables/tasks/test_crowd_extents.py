"""Images unlike the others of their split, and another image's heads: what is said of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.trainables.tasks.test_crowd_inventory import HEIGHT, WIDTH, crowd, folder, refused
from trainables.tasks.crowd_files import fingerprint


@pytest.fixture
def part(tmp_path, write_crowd) -> Path:
    """Part A: 24 training and 12 test images."""
    for split, count in (("train", 24), ("test", 12)):
        write_crowd(tmp_path, "A", split, crowd(count, len(split)))
    return tmp_path


def warnings_of(part: Path, complete: Any) -> list[str]:
    return list(fingerprint(part, complete("shanghaitech", part="A"))["warnings"])


def resize(part: Path, number: int, by: float, split: str = "train") -> None:
    path = folder(part, split, "images") / f"IMG_{number}.jpg"
    with Image.open(path) as image:
        image.resize((round(WIDTH * by), round(HEIGHT * by))).save(path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_enlarged_image_is_told_by_its_heads_and_by_its_size(split, part, complete):
    assert not [said for said in warnings_of(part, complete) if "IMG_" in said]
    resize(part, 3, 2, split)
    reach, size = (said for said in warnings_of(part, complete) if "IMG_3" in said)
    assert f"{split} IMG_3: its 24 heads reach to " in reach
    assert "the image may have been enlarged, and its annotation not" in reach
    count = 24 if split == "train" else 12
    assert size.startswith(
        f"1 of {count} {split} images is not of the size of all others, 90 x 60 px (IMG_3: 180 x"
    )


def test_an_annotation_for_a_smaller_image_is_told_though_the_image_is_of_the_usual_size(
    part, write_annotation, complete
):
    heads = crowd(1, 7)[1][1] / 2
    write_annotation(folder(part, "train", "ground_truth") / "GT_IMG_5.mat", heads)
    (said,) = [said for said in warnings_of(part, complete) if "IMG_" in said]
    assert "train IMG_5: its 24 heads reach to" in said


def test_heads_in_one_half_of_an_image_are_no_sign_of_another_size(
    part, write_annotation, complete
):
    """As of a street along the left: they reach to its foot."""
    heads = crowd(1, 7)[1][1] * (0.4, 1)
    write_annotation(folder(part, "train", "ground_truth") / "GT_IMG_5.mat", heads)
    assert not [said for said in warnings_of(part, complete) if "IMG_" in said]


def test_sizes_that_differ_throughout_are_not_told(tmp_path, write_crowd, complete):
    draw = np.random.default_rng(3)
    for split, count in (("train", 24), ("test", 12)):
        pictures = {
            n: (image[: HEIGHT - n % 7], np.minimum(points, (WIDTH, HEIGHT - 7)))
            for n, (image, points) in crowd(count, int(draw.integers(99))).items()
        }
        write_crowd(tmp_path, "A", split, pictures)
    assert not [said for said in warnings_of(tmp_path, complete) if "not of the size" in said]


@pytest.mark.parametrize("order", [1, -1])
def test_heads_of_a_training_image_on_a_test_image_are_told(
    order, part, write_annotation, complete
):
    """In whatever order they stand."""
    heads = crowd(24, len("train"))[4][1]
    write_annotation(folder(part, "test", "ground_truth") / "GT_IMG_2.mat", heads[::order])
    said = "1 image has the very heads of another, as if its annotation were a copy: test IMG_2 as"
    assert f"{said} train IMG_4" in warnings_of(part, complete)


def test_the_same_heads_on_images_of_two_sizes_are_refused(part, complete):
    truths = folder(part, "train", "ground_truth")
    shutil.copy(truths / "GT_IMG_3.mat", truths / "GT_IMG_9.mat")
    resize(part, 9, 1.2)
    said = refused(part, complete)
    assert "train IMG_9 has the very heads of train IMG_3, an image of another size" in said


def test_a_copied_image_with_its_annotation_is_no_doubt_of_these(part, complete):
    for kind, name in (("images", "IMG_{}.jpg"), ("ground_truth", "GT_IMG_{}.mat")):
        place = folder(part, "train", kind)
        shutil.copy(place / name.format(3), place / name.format(9))
    assert not [said for said in warnings_of(part, complete) if "very heads" in said]
