from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torchvision.datasets import CIFAR10

from tests.trainables.conftest import LABELS, PIXELS, TEST, TRAIN, images_of, numbers
from trainables.task import DataError, MissingDataError
from trainables.tasks import cifar10

CPU = torch.device("cpu")


@pytest.mark.parametrize("below", [".", "plain_text", "cifar10/plain_text"])
def test_parquet_edition_is_found_and_read_in_order(below, tmp_path, write_parquet, complete):
    for part in ("train", "test"):
        write_parquet(tmp_path / below, part, PIXELS[part], LABELS[part])
    data = cifar10.open_data(tmp_path, complete("cifar10"), 42, CPU)
    assert images_of(data, "test").dtype == torch.uint8
    assert data.labels["test"].dtype == torch.int64
    assert np.array_equal(images_of(data, "test").permute(0, 2, 3, 1).numpy(), PIXELS["test"])
    assert data.labels["test"].tolist() == LABELS["test"].tolist()
    for split in ("train", "val"):
        at = numbers(images_of(data, split))
        read = images_of(data, split).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(read, PIXELS["train"][at])
        assert data.labels[split].tolist() == LABELS["train"][at].tolist()


def test_parquet_edition_with_a_grey_image_has_three_channels(tmp_path, write_parquet, complete):
    both = np.random.default_rng(0).integers(0, 256, (2, 20, 32, 32)).astype(np.uint8)
    for part, grey in zip(("train", "test"), both, strict=True):
        write_parquet(tmp_path, part, grey, LABELS["test"])
    test = images_of(cifar10.open_data(tmp_path, complete("cifar10"), 42, CPU), "test")
    assert test.shape == (20, 3, 32, 32)
    for channel in range(3):
        assert np.array_equal(test[:, channel].numpy(), grey)


def write_binary(root: Path) -> dict[str, Any]:
    """Write the binary edition; returns torchvision's table of checksums for these files."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()

    def dump(name: str, held: dict[str, Any]) -> tuple[str, str]:
        raw = pickle.dumps(held, protocol=2)
        (folder / name).write_bytes(raw)
        return name, hashlib.md5(raw).hexdigest()

    def rows(part: str, at: slice) -> dict[str, Any]:
        planes = PIXELS[part][at].transpose(0, 3, 1, 2).reshape(-1, 3072)
        return {"data": planes, "labels": LABELS[part][at].tolist()}

    share = TRAIN // 5
    train = [
        dump(f"data_batch_{n + 1}", rows("train", slice(n * share, (n + 1) * share)))
        for n in range(5)
    ]
    test = [dump("test_batch", rows("test", slice(None)))]
    name, md5 = dump("batches.meta", {"label_names": list("abcdefghij")})
    meta = {"filename": name, "key": "label_names", "md5": md5}
    return {"train_list": train, "test_list": test, "meta": meta}


def test_binary_edition_holds_the_same_images_as_the_parquet_edition(
    tmp_path, parquet, complete, monkeypatch
):
    """torchvision reads only files it has checksums of, so it is told those of ours."""
    root = tmp_path / "binary"
    root.mkdir()
    for name, table in write_binary(root).items():
        monkeypatch.setattr(CIFAR10, name, table)
    found = cifar10.fingerprint(root, complete("cifar10"))
    assert found["edition"] == "binary"
    assert found == {
        **cifar10.fingerprint(parquet, complete("cifar10", edition="parquet")),
        "edition": "binary",
    }
    binary = cifar10.open_data(root, complete("cifar10"), 42, CPU)
    other = cifar10.open_data(parquet, complete("cifar10"), 42, CPU)
    for split in ("train", "val", "test"):
        assert torch.equal(images_of(binary, split), images_of(other, split))


def test_binary_edition_with_a_wrong_checksum_is_refused(tmp_path, complete):
    write_binary(tmp_path)
    with pytest.raises(DataError) as refused:
        cifar10.fingerprint(tmp_path, complete("cifar10"))
    assert str(tmp_path) in str(refused.value)
    assert "corrupted" in str(refused.value)


@pytest.mark.parametrize("edition", ["auto", "binary", "parquet"])
def test_missing_data_names_folder_and_fix(edition, tmp_path, complete):
    config = complete("cifar10", edition=edition)
    for ask in (
        lambda: cifar10.fingerprint(tmp_path, config),
        lambda: cifar10.open_data(tmp_path, config, 42, CPU),
    ):
        with pytest.raises(MissingDataError) as refused:
            ask()
        assert str(tmp_path) in str(refused.value)
        assert "--data-dir" in str(refused.value)


@pytest.mark.parametrize("edition", ["auto", "parquet"])
@pytest.mark.parametrize("part", ["train", "test"])
def test_parquet_edition_without_a_part_names_it(part, edition, complete, parquet):
    (parquet / "plain_text" / f"{part}-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=rf"plain_text has no {part}-\*\.parquet"):
        cifar10.fingerprint(parquet, complete("cifar10", edition=edition))


def test_half_a_parquet_edition_hides_no_whole_one(complete, parquet, tmp_path):
    half = parquet / "cifar10" / "plain_text"
    half.mkdir(parents=True)
    (half / "train-0.parquet").write_bytes(b"")
    assert cifar10.fingerprint(parquet, complete("cifar10"))["edition"] == "parquet"
    binary = tmp_path / "b"
    (binary / "cifar-10-batches-py").mkdir(parents=True)
    (binary / "train-labels.parquet").write_bytes(b"of something else")
    with pytest.raises(DataError, match=r"cifar-10-batches-py is incomplete"):
        cifar10.fingerprint(binary, complete("cifar10"))


def image_cells(count: int) -> list[dict[str, Any]]:
    return [{"bytes": b"no image", "path": "x.png"}] * count


@pytest.mark.parametrize(
    "columns",
    [
        None,
        {"label": [0] * 20},
        {"img": image_cells(20)},
        {"img": [b"bytes without a struct"] * 20, "label": [0] * 20},
        {"img": [{"path": "x.png"}] * 20, "label": [0] * 20},
        {"img": image_cells(20), "label": ["cat"] * 20},
        {"img": image_cells(20), "label": [None] * 20},
    ],
    ids=["junk", "no img", "no label", "img no struct", "no bytes", "label text", "label null"],
)
def test_corrupt_parquet_names_folder_and_fix(columns, parquet, complete):
    path = parquet / "plain_text" / "train-00000-of-00001.parquet"
    if columns is None:
        path.write_bytes(path.read_bytes()[:1000])
    else:
        pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError) as refused:
        cifar10.fingerprint(parquet, complete("cifar10"))
    assert str(parquet / "plain_text") in str(refused.value)
    assert "again" in str(refused.value)
    assert not isinstance(refused.value, MissingDataError)  # else another edition is downloaded


def test_parquet_with_an_image_that_cannot_be_decoded_is_refused(parquet, complete):
    path = parquet / "plain_text" / "train-00000-of-00001.parquet"
    images = pq.read_table(path).column("img").to_pylist()
    images[7] = image_cells(1)[0]
    pq.write_table(pa.table({"img": images, "label": [0] * len(images)}), path)
    with pytest.raises(DataError, match=r"image 7 of .*/train-00000\S+ .* cannot be decoded"):
        cifar10.open_data(parquet, complete("cifar10"), 42, CPU)


def test_fingerprint_counts_images_and_notices_other_labels(parquet, write_parquet, complete):
    first = cifar10.fingerprint(parquet, complete("cifar10"))
    assert (first["train_images"], first["test_images"]) == (TRAIN, TEST)
    assert (first["edition"], first["synthetic"]) == ("parquet", False)
    swapped = LABELS["train"].copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    write_parquet(parquet / "other", "train", PIXELS["train"], swapped)
    write_parquet(parquet / "other", "test", PIXELS["test"], LABELS["test"])
    other = cifar10.fingerprint(parquet / "other", complete("cifar10"))
    assert other["labels_sha256"] != first["labels_sha256"]
    assert {**other, "labels_sha256": 0} == {**first, "labels_sha256": 0}


def test_fingerprint_says_that_synthetic_data_is_synthetic(tmp_path, complete):
    found = cifar10.fingerprint(tmp_path, complete("cifar10", edition="synthetic"))
    assert found["synthetic"] is True
    assert "synthetic" in found["data"]
