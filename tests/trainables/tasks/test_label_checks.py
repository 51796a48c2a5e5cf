"""Labels and counts that no study can mean: refused in words of their own, or told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from tests.trainables.conftest import LABELS, PIXELS
from tests.trainables.tasks import test_cifar10_files as binary
from tests.trainables.tasks.test_arrays import classes_of, config_of, numbers_of, task_of
from trainables.task import DataError
from trainables.tasks import cifar10, cifar10_files
from trainables.tasks.label_checks import exchanged, unbalanced


@pytest.fixture(params=["parquet", "binary"])
def fingerprint(request, tmp_path, write_parquet, complete, monkeypatch):
    """A function (labels by part) -> the fingerprint of an edition with these."""

    def of(**labels: Any) -> dict[str, Any]:
        held = {part: np.asarray(labels.get(part, LABELS[part])) for part in LABELS}
        if request.param == "binary":
            monkeypatch.setattr(binary, "LABELS", held)
            for name, table in binary.write_binary(tmp_path).items():
                monkeypatch.setattr(CIFAR10, name, table)
        else:
            for part in held:
                write_parquet(tmp_path, part, PIXELS[part], held[part])
        return cifar10.fingerprint(tmp_path, complete("cifar10"))

    return of


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_split_of_one_class_is_refused(part, fingerprint):
    with pytest.raises(DataError) as caught:
        fingerprint(**{part: np.full_like(LABELS[part], 3)})
    assert f"every one of {len(LABELS[part])} {part} labels is 3" in str(caught.value)


def test_a_class_of_test_that_training_lacks_is_refused(fingerprint):
    with pytest.raises(DataError) as caught:
        fingerprint(train=np.where(LABELS["train"] == 3, 4, LABELS["train"]))
    assert "2 of 20 test labels are of class 3, which no train label is of" in str(caught.value)


def test_a_class_that_test_lacks_is_told(fingerprint):
    found = fingerprint(test=np.where(LABELS["test"] == 3, 4, LABELS["test"]))
    assert "no test image is of class 3" in found["warnings"]


def test_shares_far_from_even_are_told_with_figures_the_worst_first(fingerprint):
    labels = np.concatenate([np.arange(10), np.full(38, 7), np.full(12, 2)])
    found = fingerprint(train=labels)
    assert found["warnings"][0] == "train labels are far from 10% a class: class 7 65.0% (39)"


def test_random_parts_of_an_even_set_are_not_called_uneven():
    draw = np.random.default_rng(0)
    for size in (20, 200, 5000):
        labels = draw.integers(0, 10, (200, size))
        assert not any(unbalanced({"train": held}, 10) for held in labels)
    few = np.repeat(np.arange(10), [900, 100] + [500] * 8)
    (said,) = unbalanced({"test": few}, 10)
    assert said.endswith("class 0 18.0% (900), class 1 2.0% (100)")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (LABELS["train"] + 1, "they run from 1 to 10: counted from 1? Take 1 from each"),
        (np.arange(60), "this may be CIFAR-100"),
        (np.where(np.arange(60) == 5, 57, LABELS["train"]), "fetch the parquet edition again"),
    ],
)
def test_labels_that_are_no_class_say_what_they_may_be(
    labels, said, tmp_path, write_parquet, complete
):
    write_parquet(tmp_path, "train", PIXELS["train"], labels)
    write_parquet(tmp_path, "test", PIXELS["test"], LABELS["test"])
    with pytest.raises(DataError) as caught:
        cifar10.fingerprint(tmp_path, complete("cifar10"))
    assert said in str(caught.value)
    assert ("CIFAR-100" in said) == ("CIFAR-100" in str(caught.value))


def test_train_and_test_that_are_swapped_are_refused_by_that_name(
    tmp_path, write_parquet, complete, monkeypatch
):
    """As 10,000 and 50,000 images are; a set as large as ours stands for the published one."""
    write_parquet(tmp_path, "train", PIXELS["test"], LABELS["test"])
    write_parquet(tmp_path, "test", PIXELS["train"], LABELS["train"])
    found = cifar10.fingerprint(tmp_path, complete("cifar10"))
    assert "test holds more images than train (60 and 20)" in found["warnings"][0]
    monkeypatch.setattr(cifar10_files, "PUBLISHED", {"train": 60, "test": 20})
    with pytest.raises(DataError, match=r"more images than train \(60 and 20\): are the two swap"):
        cifar10.fingerprint(tmp_path, complete("cifar10"))


def test_only_the_published_counts_are_a_fault():
    published = (50_000, 10_000)
    assert exchanged(50_000, 10_000, published) == ([], [])
    assert len(exchanged(10_000, 50_000, published)[0]) == 1
    assert [len(held) for held in exchanged(10_000, 49_999, published)] == [0, 1]


# ---- own arrays


def test_arrays_of_one_class_and_with_a_class_that_training_lacks_are_refused():
    x, y = classes_of(90, 0)
    lacking = np.where(y == 1, 2, y)
    for train, said in ((y * 0, "every one of 90 train labels"), (lacking, "of class 1, which")):
        task = task_of(classes_of, train=(x, train))
        with pytest.raises(DataError, match=said):
            task.fingerprint(None, config_of(task))


def test_arrays_of_classes_from_1_are_told():
    (x, y), (u, v) = classes_of(90, 0), classes_of(30, 1)
    task = task_of(classes_of, outputs=4, train=(x, y + 1), test=(u, v + 1))
    assert task.fingerprint(None, config_of(task))["warnings"] == [
        "no row is of class 0, and the network answers it too; are they counted from 1?"
    ]


def test_numbers_that_are_all_alike_are_refused():
    x, _ = classes_of(90, 0)
    task = task_of(numbers_of, "regression", 1, train=(x, np.full(90, 2.5)))
    with pytest.raises(DataError, match=r"every y is 2\.5"):
        task.fingerprint(None, config_of(task))
