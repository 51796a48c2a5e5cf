"""The user's own images: layout, splits, decoding, and the same batches as CIFAR-10 makes."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from search.run.lineage import _may_have_seen
from search.run.preflight import told_by_data
from search.spec.study_spec import parse_spec
from trainables import find_task
from trainables.engine.train import TrainJob, train
from trainables.task import DataError, MissingDataError
from trainables.tasks import imagefolder_files
from trainables.tasks.imagefolder_files import decoded
from trainables.tasks.imagefolder_layout import scan
from trainables.tasks.images import batches

CPU = torch.device("cpu")
TASK = find_task("imagefolder")


def config_of(**changed):
    defaults = {key: held.default for key, held in TASK.settings.items()}
    return {**defaults, "image_size": 32, "classes": 3, **changed}


def picture(seed, height=32, width=32):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def write(root, split, counts, first=0, **size):
    """Images of each class; returns how many have been written."""
    for name, count in counts.items():
        (root / split / name).mkdir(parents=True)
        for _ in range(count):
            picture(first, **size).save(root / split / name / f"{first:04d}.png")
            first += 1
    return first


@pytest.fixture
def folder(tmp_path):
    scan.cache_clear()
    first = write(tmp_path, "train", {"ant": 20, "bee": 10, "cat": 30})
    write(tmp_path, "test", {"ant": 4, "bee": 2, "cat": 6}, first)
    return tmp_path


def test_what_the_data_is_says_classes_and_counts(folder):
    found = TASK.fingerprint(folder, config_of(classes=None))
    assert found["classes"] == ["ant", "bee", "cat"]
    assert found["settings"] == {"classes": 3}
    assert (found["train_images"], found["test_images"]) == (60, 12)
    assert found["train_per_class"] == [20, 10, 30]
    assert TASK.fingerprint(folder, config_of()) == found


def test_the_number_of_classes_comes_from_the_data(folder):
    raw = {
        "name": "a",
        "task": "imagefolder",
        "cells": {"depth": [18]},
        "budget": {"max_epochs": 1},
    }
    spec = parse_spec(raw, "a.toml")
    data = [TASK.fingerprint(folder, config_of(classes=None))]
    told = told_by_data(spec, data)
    assert told.fixed == {"classes": 3}
    assert TASK.network(told.config({"depth": 18}, {}), None).fc.out_features == 3
    with pytest.raises(DataError, match=r"says classes = 5.*has 3 class folders"):
        TASK.fingerprint(folder, config_of(classes=5))
    with pytest.raises(DataError, match="classes is not known"):
        TASK.open_data(folder, config_of(classes=None), 0, CPU)


def test_without_a_test_folder_test_is_cut_off_class_by_class_by_its_own_seed(tmp_path):
    scan.cache_clear()
    write(tmp_path, "train", {"ant": 20, "bee": 10, "cat": 30})
    first, other = (TASK.open_data(tmp_path, config_of(), seed, CPU) for seed in (0, 1))
    assert torch.bincount(first.labels["test"]).tolist() == [4, 2, 6]
    assert first.names["test"] == other.names["test"]  # whatever the study's seed
    assert first.names["val"] != other.names["val"]
    split = [set(first.names[s]) for s in ("train", "val", "test")]
    assert sum(map(len, split)) == 60 == len(set.union(*split))
    moved = TASK.open_data(tmp_path, config_of(test_seed=7), 0, CPU)
    assert moved.names["test"] != first.names["test"]


def test_folders_val_and_test_are_taken_as_they_are(folder):
    scan.cache_clear()
    write(folder, "val", {"ant": 1, "bee": 1, "cat": 1}, 900)
    data = TASK.open_data(folder, config_of(), 0, CPU)
    assert [len(data.labels[s]) for s in ("train", "val", "test")] == [60, 3, 12]
    assert data.names["val"][0] == "val/ant/0900.png"


def test_batches_are_those_of_cifar10_for_the_same_images_in_the_same_order(folder):
    """So that speed and accuracy are the same too: the same pixels, moves and scale."""
    data = TASK.open_data(folder, config_of(), 0, CPU)
    config = config_of(normalise="half", batch_size=16)
    cifar = find_task("cifar10")
    theirs = {key: held.default for key, held in cifar.settings.items()} | {"batch_size": 16}
    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    mine = list(TASK.batches(data, config, generators[0]))
    again = list(cifar.batches(data, theirs, generators[1]))
    assert cifar.batches is TASK.batches is batches
    assert len(mine) == len(again) == 4
    for (x, y), (u, v) in zip(mine, again, strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)


def test_images_of_any_size_are_resized_and_their_middle_is_used(tmp_path):
    scan.cache_clear()
    write(tmp_path, "train", {"tall": 2, "wide": 2}, height=90, width=40)
    grey = Image.new("L", (64, 128), 200)
    grey.paste(0, (0, 0, 64, 32))  # a black edge that is cut off
    grey.save(tmp_path / "train" / "tall" / "9.jpg")
    pools = decoded(scan(tmp_path), 32)
    assert pools["train"].shape == (5, 3, 32, 32)
    assert pools["train"].dtype == np.uint8
    assert pools["train"][2].mean() == pytest.approx(200, abs=2)


@pytest.mark.parametrize("crop_by", ["shift", "resize"])
def test_a_crop_smaller_than_the_image_is_what_the_network_gets(folder, crop_by):
    config = config_of(crop=24, crop_by=crop_by, batch_size=16)
    data = TASK.open_data(folder, config, 0, CPU)
    x, _ = next(TASK.batches(data, config, torch.Generator().manual_seed(0)))
    assert x.shape == (16, 3, 24, 24)
    assert data.take("test", torch.arange(2)).shape == (2, 3, 24, 24)
    assert set(TASK.conflicts(config_of(crop=48))) == {"crop"}


@pytest.mark.long
def test_a_trial_trains_and_is_scored_with_names_and_balanced_accuracy(folder, tmp_path):
    config = config_of(depth=18, batch_size=16, lr=0.01)
    job = TrainJob(config, 1, 0, 1, 1, True, folder, None, "cpu", tmp_path / "c.pt")
    outcome = train(TASK, job, lambda row: None)
    held = outcome.test
    assert set(held.metrics) == {*TASK.metrics, *TASK.also}
    truth, found = (np.array(held.per_image[key]) for key in ("truth", "prediction"))
    recalls = [(found[truth == label] == label).mean() for label in range(3)]
    assert held.metrics["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert held.per_image["image"][0] == "test/ant/0060.png"
    assert outcome.baselines["majority class"] == {"accuracy": 0.5, "balanced_accuracy": 1 / 3}
    assert outcome.baselines["uniform guess"]["loss"] == math.log(3)


def test_every_fault_of_the_layout_is_told_at_once(folder):
    scan.cache_clear()
    (folder / "train" / "loose.jpg").touch()
    (folder / "train" / "bee" / "notes.txt").touch()
    (folder / "train" / "empty").mkdir()
    (folder / "test" / "dog").mkdir()
    with pytest.raises(DataError) as caught:
        scan(folder)
    said = str(caught.value)
    for part in (
        "file outside its class folders: loose.jpg",
        "holds a file that is no image; remove it: notes.txt",
        "train/empty holds no image",
        "test/dog is a class that train lacks",
        "test lacks the class empty",
    ):
        assert part in said


def test_what_a_mac_or_a_file_manager_leaves_behind_is_no_image(folder):
    scan.cache_clear()
    before = TASK.fingerprint(folder, config_of())
    for name in ("._0001.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / "train" / "ant" / name).write_bytes(b"\0")
    (folder / "train" / ".cache").mkdir()
    scan.cache_clear()
    assert TASK.fingerprint(folder, config_of()) == before


def test_no_train_folder_and_a_single_class_are_told(tmp_path):
    scan.cache_clear()
    with pytest.raises(MissingDataError, match=r"no folder .*train; expected images"):
        scan(tmp_path)
    write(tmp_path, "train", {"ant": 2})
    with pytest.raises(DataError, match="has 1 class folder, and needs two"):
        scan(tmp_path)


def test_files_that_cannot_be_decoded_are_all_told_by_name(folder, monkeypatch):
    scan.cache_clear()
    held = scan(folder)
    whole = held.files["train"][3].read_bytes()
    held.files["train"][3].write_bytes(whole[: len(whole) // 2])
    held.files["test"][1].write_bytes(b"no image")
    with pytest.raises(DataError, match="2 files cannot be decoded") as caught:
        decoded(held, 32)
    assert held.files["train"][3].name in str(caught.value)
    assert held.files["test"][1].name in str(caught.value)


def test_images_are_decoded_once(folder, monkeypatch):
    scan.cache_clear()
    held = scan(folder)
    decoded(held, 32)
    monkeypatch.setattr(imagefolder_files, "_decode", None)
    assert decoded(held, 32)["test"].shape == (12, 3, 32, 32)


def test_limits_draw_images_of_every_class_and_constants_count_all_classes(folder):
    write(folder, "val", {"ant": 10, "bee": 10, "cat": 10}, 900)
    scan.cache_clear()
    limits = {"train_images": 15, "val_images": 12, "test_images": 6}
    data = TASK.open_data(folder, config_of(**limits), 0, CPU)
    assert [len(data.labels[s]) for s in ("train", "val", "test")] == [15, 12, 6]
    assert len(data.labels["train"].unique()) == len(data.labels["val"].unique()) == 3
    assert len(data.labels["test"].unique()) > 1
    other = TASK.open_data(folder, config_of(**limits), 1, CPU)
    assert other.names["test"] == data.names["test"]
    one = TASK.open_data(folder, config_of(train_images=1, test_images=1), 0, CPU)
    assert TASK.baselines(one)["uniform guess"]["accuracy"] == 1 / 3


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_images_of_more_than_eight_bits_are_refused_not_cut_off(folder, mode):
    """PIL makes white of every value above 255."""
    scan.cache_clear()
    deep = Image.fromarray(np.full((32, 32), 3000, dtype=np.uint16)).convert(mode)
    deep.save(folder / "train" / "ant" / "deep.tif")
    with pytest.raises(DataError, match=r"deep\.tif: ValueError: more than 8 bits"):
        TASK.fingerprint(folder, config_of())


def test_a_damaged_image_is_told_with_the_fingerprint_which_is_before_ray(folder):
    scan.cache_clear()
    (folder / "test" / "ant" / "x.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"(?s)1 file cannot be decoded.*x\.png"):
        TASK.fingerprint(folder, config_of())


def test_classes_of_one_image_cannot_be_split(tmp_path):
    scan.cache_clear()
    first = write(tmp_path, "train", {"ant": 1, "bee": 1})
    with pytest.raises(DataError, match="no class has a second row"):
        TASK.fingerprint(tmp_path, config_of(classes=2))
    write(tmp_path, "test", {"ant": 1, "bee": 1}, first)
    scan.cache_clear()
    with pytest.raises(DataError, match="no class has a second row"):
        TASK.fingerprint(tmp_path, config_of(classes=2))
    write(tmp_path, "val", {"ant": 1, "bee": 1}, first + 2)
    scan.cache_clear()
    assert TASK.fingerprint(tmp_path, config_of(classes=2))["val_images"] == 2


def test_another_cut_for_test_is_another_edition(tmp_path):
    """A network of one study has been trained on the test images of the other."""
    scan.cache_clear()
    write(tmp_path, "train", {"ant": 20, "bee": 10})
    first, again, other = (
        TASK.fingerprint(tmp_path, config_of(classes=2, test_seed=seed)) for seed in (0, 0, 1)
    )
    assert first == again
    assert first["edition"] != other["edition"]
    origin = {"study": "a", "split_seed": 0, "val_fraction": 0.1, "data": [other]}
    assert "another edition" in _may_have_seen(origin, (0, 0.1), [first])
    assert _may_have_seen({**origin, "data": [first]}, (0, 0.1), [first]) == ""
