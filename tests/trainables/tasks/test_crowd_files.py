from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from trainables.task import DataError
from trainables.tasks import crowd_files
from trainables.tasks.crowd_files import fingerprint, read_crowd

LAYOUTS = [("part_{}_final", "ground_truth"), ("part_{}", "ground-truth")]


def flat(value: int, height: int = 40, width: int = 60) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@pytest.fixture
def part(tmp_path, write_crowd) -> Path:
    """Part A: two training images and one test image."""
    write_crowd(
        tmp_path, "A", "train", {1: (flat(10), [[1, 1]]), 2: (flat(20), [[3.5, 2], [9, 8]])}
    )
    write_crowd(tmp_path, "A", "test", {1: (flat(30), [[5, 5]])})
    return tmp_path


@pytest.mark.parametrize("layout", LAYOUTS, ids=["official", "public"])
@pytest.mark.parametrize("below", [".", "ShanghaiTech", "shanghaitech"])
def test_read_crowd_finds_both_layouts(layout, below, tmp_path, write_crowd):
    write_crowd(tmp_path / below, "B", "train", {7: (flat(50), [[2, 3]])}, layout)
    crowd = read_crowd(tmp_path, "auto", "B", "train")
    assert crowd.names == ["IMG_7"]
    assert crowd.points[0].tolist() == [[1, 2]]
    assert crowd.item(0)[0].shape == (3, 40, 60)


def test_read_crowd_keeps_parts_and_splits_apart(part, write_crowd):
    write_crowd(part, "B", "train", {1: (flat(200), [[1, 1], [2, 2], [3, 3]])})
    assert read_crowd(part, "auto", "A", "train").counts().tolist() == [1, 2]
    assert read_crowd(part, "auto", "A", "test").counts().tolist() == [1]
    assert read_crowd(part, "auto", "B", "train").counts().tolist() == [3]
    with pytest.raises(DataError):
        read_crowd(part, "auto", "B", "test")


def test_read_crowd_counts_pixels_from_zero(part):
    """MATLAB counts from one; x comes first."""
    points = read_crowd(part, "files", "A", "train").points[1]
    assert points.dtype == torch.float32
    assert points.tolist() == [[2.5, 1], [8, 7]]


def test_read_crowd_orders_images_by_number(tmp_path, write_crowd):
    pictures = {n: (flat(n), [[n, 1]] * n) for n in (10, 9, 2, 1, 100)}
    write_crowd(tmp_path, "A", "train", pictures)
    crowd = read_crowd(tmp_path, "auto", "A", "train")
    assert crowd.names == ["IMG_1", "IMG_2", "IMG_9", "IMG_10", "IMG_100"]
    assert crowd.counts().tolist() == [1, 2, 9, 10, 100]
    shades = [int(crowd.item(row)[0].float().mean().round()) for row in range(5)]
    assert shades == pytest.approx([1, 2, 9, 10, 100], abs=2)  # JPEG


def test_images_decoded_once_a_machine_are_those_of_the_files(tmp_path, write_crowd, monkeypatch):
    """Of several sizes; the second time the files themselves are not decoded any more."""
    draw = np.random.default_rng(0)
    shapes = [(70, 90, 3), (64, 80, 3), (100, 66, 3)]
    pictures = {
        n + 1: (draw.integers(0, 256, shape, dtype=np.uint8), [[5, 5]])
        for n, shape in enumerate(shapes)
    }
    folder = write_crowd(tmp_path, "A", "train", pictures)
    first = list(read_crowd(tmp_path, "auto", "A", "train").images())
    for number, (image, shape) in enumerate(zip(first, shapes, strict=True), 1):
        assert image.shape == (3, *shape[:2])
        with Image.open(folder / "images" / f"IMG_{number}.jpg") as file:
            assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(file))
    monkeypatch.setattr(crowd_files, "_decode_all", None)
    again = read_crowd(tmp_path, "auto", "A", "train")
    assert all(torch.equal(a, b) for a, b in zip(again.images(), first, strict=True))


def test_read_crowd_takes_an_image_without_heads(tmp_path, write_crowd):
    write_crowd(tmp_path, "A", "train", {1: (flat(1), np.zeros((0, 2)))})
    crowd = read_crowd(tmp_path, "auto", "A", "train")
    assert crowd.points[0].shape == (0, 2)
    assert crowd.counts().tolist() == [0]


def test_read_crowd_keeps_points_outside_and_duplicates(tmp_path, write_crowd):
    """They count as annotated; the setting `outside` decides what becomes of them."""
    write_crowd(tmp_path, "A", "train", {1: (flat(1), [[-4, 2], [5, 5], [5, 5], [900, 1]])})
    assert read_crowd(tmp_path, "auto", "A", "train").counts().tolist() == [4]


def test_crowd_item_of_a_grey_jpeg_has_three_equal_channels(tmp_path, write_crowd):
    grey = np.linspace(0, 255, 40 * 60).reshape(40, 60).astype(np.uint8)
    write_crowd(tmp_path, "A", "train", {1: (grey, [[1, 1]])})
    image, _ = read_crowd(tmp_path, "auto", "A", "train").item(0)
    assert image.dtype == torch.uint8
    assert image.shape == (3, 40, 60)
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[0], image[2])
    assert np.abs(image[0].numpy().astype(int) - grey).max() <= 4


def test_crowd_item_keeps_channels_and_orientation(tmp_path, write_crowd):
    pixels = flat(0)
    pixels[:20, :, 0] = 200  # the upper half is red
    write_crowd(tmp_path, "A", "train", {1: (pixels, [[1, 1]])})
    image, _ = read_crowd(tmp_path, "auto", "A", "train").item(0)
    assert image[:, 5, 30].tolist() == pytest.approx([200, 0, 0], abs=6)
    assert image[:, 35, 30].tolist() == pytest.approx([0, 0, 0], abs=6)


def test_crowd_take_selects_rows_in_order(tmp_path, write_crowd):
    write_crowd(tmp_path, "A", "train", {n: (flat(n), [[n, 1]] * n) for n in (1, 2, 3)})
    some = read_crowd(tmp_path, "auto", "A", "train").take([2, 0])
    assert some.names == ["IMG_3", "IMG_1"]
    assert some.counts().tolist() == [3, 1]


# ---- fingerprint


def test_fingerprint_counts_images_heads_and_points_outside(tmp_path, write_crowd, complete):
    """60 x 40 px: in MATLAB's count the last pixel is (60, 40), and it reaches to 60.5."""
    inside = [[1, 1], [60, 40], [60.4, 40.4], [0.6, 0.6]]
    outside = [[61, 40], [60, 41], [0.4, 3], [-5, 3]]
    write_crowd(tmp_path, "B", "train", {1: (flat(1), inside), 2: (flat(2), outside)})
    write_crowd(tmp_path, "B", "test", {1: (flat(3), [*inside, [3, 99]])})
    found = fingerprint(tmp_path, complete("shanghaitech", part="B"))
    assert {k: v for k, v in found.items() if k.startswith(("train", "test"))} == {
        "train_images": 2,
        "train_heads": 8,
        "train_points_outside": 4,
        "test_images": 1,
        "test_heads": 5,
        "test_points_outside": 1,
    }
    assert (found["edition"], found["synthetic"]) == ("files", False)
    assert "Part B" in found["data"]


def test_fingerprint_notices_a_moved_point(part, tmp_path, write_annotation, complete):
    copy = tmp_path / "copy"
    shutil.copytree(part / "part_A_final", copy / "part_A_final")
    moved = tmp_path / "moved"
    shutil.copytree(part / "part_A_final", moved / "part_A_final")
    path = moved / "part_A_final" / "train_data" / "ground_truth" / "GT_IMG_1.mat"
    write_annotation(path, [[1, 2]])
    config = complete("shanghaitech", part="A")
    first, same, other = (fingerprint(root, config) for root in (part, copy, moved))
    assert first == same
    assert first["annotations_sha256"] != other["annotations_sha256"]


def test_fingerprint_says_that_synthetic_data_is_synthetic(tmp_path, complete):
    found = fingerprint(tmp_path, complete("shanghaitech", edition="synthetic"))
    assert found["synthetic"] is True
    assert "synthetic" in found["data"]


# ---- faults


def test_missing_folder_names_where_it_was_looked_for_and_the_fix(tmp_path, complete):
    with pytest.raises(DataError) as refused:
        fingerprint(tmp_path, complete("shanghaitech", part="A"))
    assert str(tmp_path) in str(refused.value)
    assert "part_A_final/train_data" in str(refused.value)
    assert "--data-dir" in str(refused.value)


def test_folder_without_images_is_named(part):
    folder = part / "part_A_final" / "train_data" / "images"
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"no \*\.jpg") as refused:
        read_crowd(part, "auto", "A", "train")
    assert str(folder) in str(refused.value)


def test_missing_annotation_names_image_and_annotation(part):
    path = part / "part_A_final" / "train_data" / "ground_truth" / "GT_IMG_2.mat"
    path.unlink()
    with pytest.raises(DataError) as refused:
        read_crowd(part, "auto", "A", "train")
    assert str(path) in str(refused.value)
    assert "IMG_2.jpg" in str(refused.value)


def _broken(path: Path, how: str, write_annotation) -> None:
    official = path.read_bytes()
    if how == "cut":
        path.write_bytes(official[: len(official) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("<html>not found</html>" * 20)
    elif how == "bit":
        squeezed = bytearray(zlib.compress(official[128:]))
        squeezed[len(squeezed) // 2] ^= 255
        element = np.uint32([15, len(squeezed)]).tobytes()  # 15: a compressed element
        path.write_bytes(official[:128] + element + bytes(squeezed))
    elif how == "other name":
        savemat(path, {"annPoints": np.ones((3, 2))})
    elif how == "no struct":
        savemat(path, {"image_info": np.ones((3, 2))})
    elif how == "struct without the cell":
        savemat(path, {"image_info": {"location": np.ones((3, 2))}})
    elif how == "three columns":
        write_annotation(path, np.ones((3, 3)))
    elif how == "transposed":
        write_annotation(path, np.ones((2, 3)))


@pytest.mark.parametrize(
    "how",
    [
        "cut",
        "empty",
        "text",
        "bit",
        "other name",
        "no struct",
        "struct without the cell",
        "three columns",
        "transposed",
    ],
)
def test_annotation_of_another_form_is_named(how, part, write_annotation):
    path = part / "part_A_final" / "train_data" / "ground_truth" / "GT_IMG_2.mat"
    _broken(path, how, write_annotation)
    with pytest.raises(DataError) as refused:
        read_crowd(part, "auto", "A", "train")
    assert str(path) in str(refused.value)
    assert "location" in str(refused.value)


def test_image_that_cannot_be_decoded_is_named(part, complete):
    path = part / "part_A_final" / "train_data" / "images" / "IMG_2.jpg"
    path.write_bytes(b"no image")
    with pytest.raises(DataError) as refused:
        read_crowd(part, "auto", "A", "train").item(1)
    assert str(path) in str(refused.value)
    with pytest.raises(DataError) as refused:
        fingerprint(part, complete("shanghaitech", part="A"))
    assert str(path) in str(refused.value)


# ---- the real data


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("A", (300, 162_707, 294, 182, 78_970, 109)),
        ("B", (400, 49_280, 171, 316, 39_208, 110)),
    ],
)
def test_real_shanghaitech_has_the_known_images_and_heads(name, counts, real_data, complete):
    found = fingerprint(real_data, complete("shanghaitech", part=name))
    keys = [f"{s}_{k}" for s in ("train", "test") for k in ("images", "heads", "points_outside")]
    assert tuple(found[key] for key in keys) == counts
