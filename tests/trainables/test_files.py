"""What a file really is, by its bytes; and that every reader of files says so."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import CIFAR10

from tests.trainables.tasks.test_cifar10_files import write_binary
from trainables import find_task
from trainables.errors import WeightsError
from trainables.files import contents
from trainables.resnet import check_weights
from trainables.task import DataError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGES = (b"<!DOCTYPE html><html>not found</html>", b"\n<html><body>sign in</body>")
SAID = [
    (POINTER, "is a git-lfs pointer, not the file itself: run `git lfs pull`"),
    *((page, "is an HTML page under its name") for page in PAGES),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "is an XML text under its name"),
    (b"", "it is empty"),
    (bytes(5000), "is nothing but zeros at its start"),
    ("größer\n".encode() * 100, "it is a text"),
    (b"Rar!\x1a\x07" + bytes(range(256)), "is a RAR archive"),
]


def encoded(kind: str, **how: object) -> bytes:
    held = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(held, kind, **how)
    return held.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_a_whole_image_is_not_called_damaged_and_a_cut_one_is(kind, tmp_path):
    raw = encoded(kind)
    path = tmp_path / "x"
    path.write_bytes(raw)
    assert contents(path, "image") == contents(raw, "image") == ""
    if kind != "GIF":  # whose end is any semicolon
        assert contents(raw[: len(raw) // 2], "image") == f"cut off: a {kind} without its end"
    assert contents(raw, "parquet") == f"a {kind}"


def test_a_cut_annotation_is_told_by_the_length_it_states(tmp_path):
    path = tmp_path / "x.mat"
    for squeezed in (False, True):
        savemat(path, {"a": np.random.default_rng(0).random((99, 2))}, do_compression=squeezed)
        raw = path.read_bytes()
        assert contents(raw, "annotation") == ""
        for share in (0.3, 0.9):
            said = contents(raw[: int(len(raw) * share)], "annotation")
            assert said == "cut off: a MATLAB file without its end"


def test_a_file_that_cannot_be_opened_shows_nothing(tmp_path):
    assert contents(tmp_path / "absent", "image") == ""
    assert contents(tmp_path, "image") == ""


def test_text_cut_in_the_middle_of_a_letter_is_text():
    assert contents(("x" + "ü" * 600).encode(), "image") == "a text"


# ---- every reader


def refusal(task: str, folder: Path, config: dict[str, object]) -> str:
    with pytest.raises(DataError) as caught:
        find_task(task).fingerprint(folder, config)
    return str(caught.value)


@pytest.mark.parametrize(("raw", "said"), SAID)
def test_parquet_files_and_their_images_say_what_they_are(raw, said, parquet, complete):
    train, test = (
        parquet / "plain_text" / f"{p}-00000-of-00001.parquet" for p in ("train", "test")
    )
    rows = pq.read_table(test).to_pydict()
    rows["img"][3]["bytes"] = raw
    pq.write_table(pa.table(rows), test)
    train.write_bytes(raw)
    text = refusal("cifar10", parquet, complete("cifar10"))
    for name in (train.name, f"image 3 of {test}"):
        (line,) = [line for line in text.splitlines() if name in line]
        assert said in line


@pytest.mark.parametrize(("raw", "said"), SAID)
def test_images_and_annotations_of_crowds_say_it(raw, said, tmp_path, write_crowd, complete):
    grey = np.zeros((40, 60, 3), np.uint8)
    for split in ("train", "test"):
        write_crowd(tmp_path, "A", split, {n: (grey, [[5, n]]) for n in (1, 2)})
    data = tmp_path / "part_A_final" / "train_data"
    (data / "images" / "IMG_1.jpg").write_bytes(raw)
    (data / "ground_truth" / "GT_IMG_2.mat").write_bytes(raw)
    text = refusal("shanghaitech", tmp_path, complete("shanghaitech", part="A"))
    lines = [line for line in text.splitlines() if said in line]
    assert ["/IMG_1.jpg" in line for line in lines] == [False, True]
    assert "GT_IMG_2.mat" in lines[0]


@pytest.mark.parametrize(("raw", "said"), [*SAID, (encoded("JPEG")[:900], "is cut off: a JPEG")])
def test_own_images_say_what_they_are(raw, said, tmp_path, complete):
    for name in ("ant", "bee"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "train" / name / f"{number}.jpg").write_bytes(encoded("JPEG"))
    (tmp_path / "train" / "ant" / "1.jpg").write_bytes(raw)
    text = refusal("imagefolder", tmp_path, complete("imagefolder", image_size=32))
    assert said in text
    assert "1.jpg" in text


@pytest.mark.parametrize(("raw", "said"), [*SAID, (encoded("PNG"), "is a PNG")])
def test_weights_say_what_they_are(raw, said, tmp_path):
    path = tmp_path / "resnet18.pth"
    path.write_bytes(raw)
    with pytest.raises(WeightsError) as caught:
        check_weights(18, path)
    assert said in str(caught.value)


def test_the_binary_edition_names_each_damaged_file(tmp_path, complete, monkeypatch):
    for name, table in write_binary(tmp_path).items():
        monkeypatch.setattr(CIFAR10, name, table)
    folder = tmp_path / "cifar-10-batches-py"
    (folder / "data_batch_2").write_bytes(POINTER)
    (folder / "data_batch_3").unlink()
    (folder / "test_batch").write_bytes(pickle.dumps({}))
    said = refusal("cifar10", tmp_path, complete("cifar10"))
    assert "data_batch_2 is a git-lfs pointer" in said
    assert "data_batch_3 is absent" in said
    assert "test_batch has another checksum than the official one" in said
    assert "data_batch_1" not in said
