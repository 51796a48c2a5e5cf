"""What of CIFAR-10's parquet edition is refused, with every fault at once, and what is told."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.trainables.conftest import LABELS, PIXELS, TRAIN, images_of
from trainables.task import DataError, MissingDataError
from trainables.tasks import cifar10

CPU = torch.device("cpu")
TRAIN_FILE = "train-00000-of-00001.parquet"


def png(pixels: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return held.getvalue()


def rows(at: slice) -> pa.Table:
    cells = [{"bytes": png(pixels), "path": "x.png"} for pixels in PIXELS["train"][at]]
    return pa.table({"img": cells, "label": pa.array(LABELS["train"][at], pa.int64())})


def refused(folder: Path, complete: Any, **changed: Any) -> str:
    with pytest.raises(DataError) as caught:
        cifar10.fingerprint(folder, complete("cifar10", **changed))
    return str(caught.value)


def in_shards(folder: Path, names: list[str]) -> None:
    (folder / TRAIN_FILE).unlink()
    share = TRAIN // len(names)
    for number, name in enumerate(names):
        pq.write_table(rows(slice(number * share, (number + 1) * share)), folder / name)


@pytest.mark.parametrize(
    "name",
    [
        "train-00000-of-00001 (1).parquet",
        "train-00000-of-00001 copy.parquet",
        "train-00000-of-00001-0123456789abcdef.parquet",
        "train.parquet",
        "train (1).parquet",
        "train-old.parquet",
        "train-00000-of-00002.parquet",
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_that_is_there_twice_is_refused_by_file(name, part, parquet, complete):
    """Read twice, every validation image would be trained on."""
    folder, name = parquet / "plain_text", name.replace("train", part)
    first = TRAIN_FILE.replace("train", part)
    shutil.copy(folder / first, folder / name)
    said = refused(parquet, complete)
    assert name in said or "a set of 1, 2 shards" in said
    assert str(folder) in said
    (folder / first).unlink()
    if "of-00002" not in name:  # alone it is the part
        assert cifar10.fingerprint(parquet, complete("cifar10"))[f"{part}_images"] > 0


def test_shards_are_read_in_order_and_whole(parquet, complete):
    whole = cifar10.fingerprint(parquet, complete("cifar10"))
    in_shards(parquet / "plain_text", [f"train-0000{n}-of-00003.parquet" for n in range(3)])
    assert cifar10.fingerprint(parquet, complete("cifar10")) == whole


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["00000-of-00003", "00002-of-00003"], "lacks shard 1 of train"),
        (["00000-of-00003"], "lacks shard 1, 2 of train"),
        (["00001-of-00003", "00002-of-00003"], "lacks shard 0 of train"),
        (["00000-of-00002", "00001-of-00002", "00002-of-00002"], "beyond the last, shard 2"),
        (["00000-of-00002", "00001-of-00003"], "a set of 2, 3 shards"),
        (["00000-of-00001", "0-of-1"], "shard 0 of 1 of train more than once"),
    ],
)
def test_a_set_of_shards_with_a_gap_is_refused(names, said, parquet, complete):
    in_shards(parquet / "plain_text", [f"train-{name}.parquet" for name in names])
    assert said in refused(parquet, complete)


def test_a_shard_that_is_another_s_copy_is_refused(parquet, complete):
    folder = parquet / "plain_text"
    in_shards(folder, [f"train-0000{n}-of-00002.parquet" for n in range(2)])
    shutil.copy(folder / "train-00000-of-00002.parquet", folder / "train-00001-of-00002.parquet")
    assert "00001-of-00002.parquet is a copy of train-00000-of-00002" in refused(parquet, complete)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({3: 10}, "1 of 60 labels is not 0 to 9 (row 3: 10, rows from 0); fetch the parquet"),
        ({3: -1, 9: 300}, "2 of 60 labels are not 0 to 9 (row 3: -1, row 9: 300"),
        ({7: None}, "1 of 60 labels is not 0 to 9 (row 7: none"),
        (dict.fromkeys(range(TRAIN), -1), "its labels are hidden, so nothing can be scored"),
        (dict.fromkeys(range(TRAIN), None), "60 of 60 labels"),
        ({3: 2**40}, "row 3: 1099511627776"),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_labels_that_are_no_class_are_refused_by_row(change, said, part, parquet, complete):
    path = parquet / "plain_text" / TRAIN_FILE
    labels = [change.get(row, int(label)) for row, label in enumerate(LABELS["train"])]
    images = pq.read_table(path).column("img")
    target = path.with_name(path.name.replace("train", part))
    pq.write_table(pa.table({"img": images, "label": pa.array(labels, pa.int64())}), target)
    text = refused(parquet, complete)
    assert said in text
    assert target.name in text


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"img": [1], "fine_label": [2], "coarse_label": [1]}, "CIFAR-100 has such"),
        ({"image": [1], "label": [2]}, "has the columns image, label; CIFAR-10 has the columns"),
        ({"img": [{"bytes": b"", "path": ""}], "label": ["cat"]}, "column label is string"),
        ({"img": [{"bytes": b"", "path": ""}], "label": [0.5]}, "column label is double"),
        ({"img": ["x"], "label": [1]}, "column img is string"),
    ],
)
def test_other_columns_are_told_in_a_line(columns, said, parquet, complete):
    pq.write_table(pa.table(columns), parquet / "plain_text" / TRAIN_FILE)
    text = refused(parquet, complete)
    assert said in text
    assert len(text.splitlines()) == 2  # not arrow's own account


def test_every_fault_of_both_parts_is_told_at_once(parquet, complete):
    """A wrong label, a wrong size, an image of nothing, 16 bits; and a file cut off."""
    folder = parquet / "plain_text"
    table = rows(slice(0, TRAIN)).to_pydict()
    table["label"][5] = 11
    wide = np.zeros((16, 48, 3), np.uint8)
    deep = io.BytesIO()
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(deep, "PNG")
    for row, held in ((1, png(wide)), (2, None), (3, b"junk"), (4, deep.getvalue())):
        table["img"][row]["bytes"] = held
    pq.write_table(pa.table(table), folder / TRAIN_FILE)
    other = folder / "test-00000-of-00001.parquet"
    other.write_bytes(other.read_bytes()[:-100])
    said = refused(parquet, complete)
    for part in (
        "6 faults of the data",
        "row 5: 11",
        "image 1 of",
        "48 x 16 px, not 32 x 32",
        "image 2 of",
        "it is null",
        "image 3 of",
        "it is a text",
        "image 4 of",
        "more than 8 bits",
        "test-00000-of-00001.parquet is no whole parquet file",
    ):
        assert part in said, said


def test_many_faults_of_a_kind_are_counted_not_listed(parquet, complete):
    table = rows(slice(0, TRAIN)).to_pydict()
    for cell in table["img"]:
        cell["bytes"] = b"junk"
    pq.write_table(pa.table(table), parquet / "plain_text" / TRAIN_FILE)
    said = refused(parquet, complete)
    assert "48 more images of" in said
    assert len(said.splitlines()) == 14


# ---- copies


def with_copies(folder: Path, write_parquet: Any, train: int, test: int, copies: int) -> None:
    """Random images, of which the first `copies` of test are the first of train."""
    draw = np.random.default_rng(3)
    first = draw.integers(0, 256, (train, 32, 32, 3), dtype=np.uint8)
    second = draw.integers(0, 256, (test, 32, 32, 3), dtype=np.uint8)
    second[:copies] = first[:copies]
    write_parquet(folder, "train", first, np.arange(train) % 10)
    write_parquet(folder, "test", second, np.arange(test) % 10)


def test_a_training_copy_of_a_test_image_is_left_out_and_told(tmp_path, write_parquet, complete):
    with_copies(tmp_path, write_parquet, 100, 200, 2)
    config = complete("cifar10")
    found = cifar10.fingerprint(tmp_path, config)
    assert found["copies_left_out"] == 2
    assert found["notes"][0] == (
        "2 of 200 test images are training images, pixel for pixel, left out of training (test "
        "image 0 is train image 0, test image 1 is train image 1)"
    )
    data = cifar10.open_data(tmp_path, config, 42, CPU)
    test = {image.numpy().tobytes() for image in images_of(data, "test")}
    seen = [images_of(data, split) for split in ("train", "val")]
    assert sum(map(len, seen)) == 98
    assert not test & {image.numpy().tobytes() for held in seen for image in held}


def test_under_the_report_s_protocol_copies_stay_and_it_says_so(tmp_path, write_parquet, complete):
    with_copies(tmp_path, write_parquet, 100, 200, 2)
    assert cifar10.TASK.report_settings["copies"] == "keep"
    config = complete("cifar10", copies="keep")
    found = cifar10.fingerprint(tmp_path, config)
    assert "copies_left_out" not in found
    assert "kept in training" in found["warnings"][0]
    data = cifar10.open_data(tmp_path, config, 42, CPU)
    assert sum(len(data.labels[split]) for split in ("train", "val")) == 100


def test_more_copies_than_a_hundredth_are_refused(tmp_path, write_parquet, complete):
    with_copies(tmp_path, write_parquet, 100, 200, 3)
    said = refused(tmp_path, complete)
    assert "3 of 200 test images are training images, pixel for pixel (1.5%" in said
    assert 'fixed.copies = "keep"' in said
    assert cifar10.fingerprint(tmp_path, complete("cifar10", copies="keep"))["train_images"] == 100


def test_a_test_file_in_place_of_the_training_file_is_refused(parquet, complete):
    folder = parquet / "plain_text"
    shutil.copy(folder / "test-00000-of-00001.parquet", folder / TRAIN_FILE)
    assert "20 of 20 test images are training images" in refused(parquet, complete)


def test_no_copy_of_a_validation_image_is_trained_on(tmp_path, write_parquet, complete):
    """Every training image is there twice; each is trained on, or validated on, once."""
    draw = np.random.default_rng(4)
    once = draw.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    write_parquet(tmp_path, "train", np.concatenate([once, once]), np.arange(80) % 10)
    write_parquet(tmp_path, "test", *(PIXELS["test"], LABELS["test"]))
    found = cifar10.fingerprint(tmp_path, complete("cifar10"))
    assert "40 train images are copies of others of the split, left out" in found["notes"][0]
    assert found["copies_left_out"] == 40
    for seed in range(5):
        data = cifar10.open_data(tmp_path, complete("cifar10"), seed, CPU)
        train, val = (
            {image.numpy().tobytes() for image in images_of(data, split)}
            for split in ("train", "val")
        )
        assert val
        assert not train & val
        assert len(data.labels["train"]) + len(data.labels["val"]) == len(train | val) == 40


def test_quirks_are_told_and_not_refused(tmp_path, write_parquet, complete):
    pixels = PIXELS["train"].copy()
    pixels[:4] = pixels[:4, :, :, :1]
    labels = {part: np.where(held == 3, 4, held) for part, held in LABELS.items()}
    write_parquet(tmp_path, "train", pixels, labels["train"])
    write_parquet(tmp_path, "test", PIXELS["test"], labels["test"])
    write_parquet(tmp_path / "plain_text", "train", pixels, labels["train"])
    found = cifar10.fingerprint(tmp_path, complete("cifar10"))
    assert found["notes"] == ["4 of 60 train images are grey"]
    assert found["warnings"] == [
        "no train image is of class 3",
        "no test image is of class 3",
        "60 train images, where the published set has 50,000",
        "20 test images, where the published set has 10,000",
        "plain_text is not read",
    ]


@pytest.mark.timeout(300)
def test_the_real_set_has_no_fault_and_no_copies(real_data, complete):
    found = cifar10.fingerprint(real_data, complete("cifar10"))
    assert (found["train_images"], found["test_images"]) == (50_000, 10_000)
    assert "copies_left_out" not in found
    assert all(note.endswith("are grey") for note in found["notes"])
    assert found["warnings"] == []


@pytest.mark.parametrize("second", ["train", "test"])
def test_an_image_of_two_classes_is_refused_unless_copies_are_kept(
    second, tmp_path, write_parquet, complete
):
    pixels = {part: held.copy() for part, held in PIXELS.items()}
    pixels[second][1] = pixels["train"][0]
    for part in ("train", "test"):
        write_parquet(tmp_path, part, pixels[part], LABELS[part])
    text = "1 image lies in more than one class, so that its label is not known"
    with pytest.raises(DataError) as refused:
        cifar10.fingerprint(tmp_path, complete("cifar10"))
    assert f"{text}: {second} image 1 is train image 0; fetch the" in str(refused.value)
    kept = cifar10.fingerprint(tmp_path, complete("cifar10", copies="keep"))
    assert any(said.startswith(f"{text}; each is kept") for said in kept["warnings"])


@pytest.mark.parametrize("edition", ["auto", "parquet"])
@pytest.mark.parametrize("place", ["cifar10/plain_text", "plain_text", "."])
def test_files_of_other_names_are_named_with_the_right_ones(place, edition, parquet, complete):
    """No download covers them up."""
    (parquet / place).mkdir(parents=True, exist_ok=True)
    for part, name in (("train", "training"), ("test", "mytest")):
        path = parquet / "plain_text" / f"{part}-00000-of-00001.parquet"
        path.rename(parquet / place / f"{name}.parquet")
    with pytest.raises(DataError) as refused:
        cifar10.fingerprint(parquet, complete("cifar10", edition=edition))
    said = str(refused.value)
    assert not isinstance(refused.value, MissingDataError)
    for name, right in (("training", "train"), ("mytest", "test")):
        path = parquet / place / f"{name}.parquet"
        text = f"{path} has CIFAR-10's columns and must be called {right}-00000-of-00001.parquet"
        assert text in said


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_file_of_another_name_beside_the_other_part_is_named(part, parquet, complete):
    path = parquet / "plain_text" / f"{part}-00000-of-00001.parquet"
    path.rename(path.with_name("x.parquet"))
    with pytest.raises(DataError) as refused:
        cifar10.fingerprint(parquet, complete("cifar10"))
    assert f"has no {part}-*.parquet beside the others; " in str(refused.value)
    assert "x.parquet has CIFAR-10's columns and must be called" in str(refused.value)


def test_parquet_files_of_something_else_are_not_taken_for_the_set(tmp_path, complete):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "training.parquet")
    with pytest.raises(MissingDataError):
        cifar10.fingerprint(tmp_path, complete("cifar10"))
