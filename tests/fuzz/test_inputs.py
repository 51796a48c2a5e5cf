"""Damaged inputs, seeded: each is refused with one clear message, or what is taken is true.

A refusal is a UserError: the command ends with status 2 and prints its text alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.models import resnet18

from search import record
from search.schedule.curves import read_curves
from search.spec.shipped import shipped_studies
from search.spec.study_spec import load_spec
from tests.fuzz.damage import damage_file, damaged_text
from tests.search.conftest import drive
from tests.trainables.conftest import LABELS, PIXELS
from trainables import find_task
from trainables.errors import UserError
from trainables.resnet import check_weights
from trainables.tasks.imagefolder_layout import scan

CPU = torch.device("cpu")
LONGEST = 6000  # characters of a message


def cases(count: int) -> Callable[[Any], Any]:
    """So many seeds, the same each time."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    held = settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=checks,
    )
    return lambda test: held(given(seed=st.integers(0, 2**32 - 1))(test))


ENDS: dict[str, Counter[str]] = {}  # of each test: how many inputs were refused, and taken


@pytest.fixture(autouse=True, scope="module")
def _both_ends() -> Iterator[None]:
    """No reader refuses all, or takes all, that it is given; `-s` prints how many."""
    yield
    for name, ends in ENDS.items():
        print(f"{name}: {ends['refused']} refused, {ends['taken']} taken")
        if "[" not in name:  # one of few is what it is
            assert min(ends["refused"], ends["taken"]) > 0, name


def taken(read: Callable[[], Any], *named: str) -> Any:
    """What a reader makes of an input; None where it refuses it as it should."""
    test = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].partition(" ")[0]
    ends = ENDS.setdefault(test, Counter())
    try:
        held = read()
        ends["taken"] += 1
        return held
    except UserError as error:
        ends["refused"] += 1
        said = str(error)
        assert said.strip()
        assert len(said) < LONGEST
        assert "Traceback" not in said
        assert any(name in said for name in named), said
        return None


def fresh(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
    return target


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


# ---- study files

STUDIES = sorted(shipped_studies().values())


@cases(400)
def test_study_files(seed, tmp_path):
    """What is taken has settings that its task allows, in every cell."""
    draw = random.Random(seed)
    text = draw.choice(STUDIES).read_text(encoding="utf-8")
    for _ in range(draw.randrange(1, 4)):
        text = damaged_text(draw, text)
    path = tmp_path / "study.toml"
    path.write_text(text, encoding="utf-8")
    held = taken(lambda: load_spec(path, [])[0], str(path))
    if held is None:
        return
    task = find_task(held.task)
    for cell in held.cell_values():
        for key, value in held.config(cell, {}).items():
            if key not in held.space:
                assert task.settings[key].fault(value) is None, (key, value)


# ---- data


def arrays_of(task: Any, folder: Path, config: dict[str, Any]) -> list[bytes]:
    """Every split as it is trained on and scored."""
    data = task.open_data(folder, config, 1, CPU)
    return [
        data.take(split, torch.tensor([row])).numpy().tobytes() + bytes([int(label)])
        for split, labels in data.labels.items()
        for row, label in enumerate(labels)
    ]


def check_data(
    name: str, sound: Path, folder: Path, config: dict[str, Any], of: Callable[..., Any]
) -> None:
    """Refused, told, or the very data that it was before."""
    task = find_task(name)
    whole = task.fingerprint(sound, config)
    found = taken(lambda: task.fingerprint(folder, config), str(folder), "images", "heads")
    if found is not None and {**found, "data": ""} == {**whole, "data": ""}:
        assert of(task, folder, config) == of(task, sound, config)


@pytest.fixture(scope="module")
def sound_cifar(tmp_path_factory, write_parquet) -> Path:
    root = tmp_path_factory.mktemp("cifar")
    write_parquet(root, "test", PIXELS["test"], LABELS["test"])
    for number in range(2):
        at = slice(30 * number, 30 * number + 30)
        write_parquet(root / "x", "train", PIXELS["train"][at], LABELS["train"][at])
        (root / "x" / "train-00000-of-00001.parquet").rename(
            root / f"train-0000{number}-of-00002.parquet"
        )
    (root / "x").rmdir()
    return root


def damage_table(draw: random.Random, path: Path) -> None:
    """A column dropped, a label or an image changed, rows repeated or left out."""
    rows = pq.read_table(path).to_pylist()
    at, how = draw.randrange(len(rows)), draw.randrange(5)
    if how == 0:
        drop = draw.choice(["img", "label"])
        rows = [{k: v for k, v in row.items() if k != drop} for row in rows]
    elif how == 1:
        rows[at]["label"] = draw.choice([None, -1, 10, 2**40, (rows[at]["label"] + 1) % 10])
    elif how == 2:
        rows[at]["img"]["bytes"] = draw.choice([None, b"", b"junk", rows[0]["img"]["bytes"]])
    elif how == 3:
        rows += rows[: draw.randrange(1, len(rows))]
    else:
        del rows[at:]
    pq.write_table(pa.Table.from_pylist(rows), path)


@cases(150)
def test_cifar10_files(seed, tmp_path, sound_cifar, complete):
    draw, folder = random.Random(seed), fresh(sound_cifar, tmp_path / "data")
    for _ in range(draw.randrange(1, 3)):
        path = draw.choice(files_below(folder))
        if draw.random() < 0.5 and path.suffix == ".parquet":
            try:
                damage_table(draw, path)
                continue
            except (pa.ArrowException, OSError, KeyError, TypeError, IndexError):
                pass  # damaged already
        damage_file(draw, path)
        if not files_below(folder):
            break
    config = complete("cifar10", edition="parquet")
    check_data("cifar10", sound_cifar, folder, config, arrays_of)


@pytest.fixture(scope="module")
def sound_crowd(tmp_path_factory, write_crowd) -> Path:
    root = tmp_path_factory.mktemp("crowd")
    draw = np.random.default_rng(0)
    for split, count in (("train", 5), ("test", 3)):
        pictures = {
            n: (draw.integers(0, 256, (40, 60, 3), dtype=np.uint8), draw.uniform(1, 40, (6, 2)))
            for n in range(1, count + 1)
        }
        write_crowd(root, "A", split, pictures)
    return root


def crowd_arrays(task: Any, folder: Path, config: dict[str, Any]) -> list[Any]:
    data = task.open_data(folder, config, 1, CPU)
    held = [data.train.item(row) for row in range(len(data.train.names))]
    return [(i.numpy().tobytes(), p.numpy().tobytes()) for i, p in held] + [
        (f.images.numpy().tobytes(), f.counts.tolist()) for f in data.fixed.values()
    ]


@cases(150)
def test_shanghaitech_files(seed, tmp_path, sound_crowd, write_annotation, complete):
    draw, folder = random.Random(seed), fresh(sound_crowd, tmp_path / "data")
    for _ in range(draw.randrange(1, 4)):
        path = draw.choice(files_below(folder))
        if path.suffix == ".mat" and draw.random() < 0.5:
            points = np.random.default_rng(seed % 1000).uniform(1, 40, (6, 2))
            points[draw.randrange(6)] = draw.choice([np.nan, np.inf, -50, 1e30, 5])
            write_annotation(path, draw.choice([points, points[:0], points[:, ::-1] * 3]))
        else:
            damage_file(draw, path)
    config = complete("shanghaitech", part="A", crop=64)
    check_data("shanghaitech", sound_crowd, folder, config, crowd_arrays)


@pytest.fixture(scope="module")
def sound_folder(tmp_path_factory) -> Path:
    root, draw = tmp_path_factory.mktemp("folder") / "own", np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        for name in ("ant", "bee"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


@cases(150)
def test_own_images(seed, tmp_path, sound_folder, complete):
    draw, folder = random.Random(seed), fresh(sound_folder, tmp_path / "own")
    for _ in range(draw.randrange(1, 4)):
        damage_file(draw, draw.choice(files_below(folder)))
    scan.cache_clear()
    config = complete("imagefolder", image_size=12, classes=2)
    check_data("imagefolder", sound_folder, folder, config, arrays_of)


# ---- weights


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return resnet18().state_dict()


@cases(30)
def test_weights(seed, tmp_path, state):
    """What is taken runs: its body's output is finite, which check_weights itself tried."""
    draw, held = random.Random(seed), dict(state)
    key = draw.choice([k for k in held if not k.startswith("fc.")])
    values = held[key]
    how = draw.randrange(7)
    if how == 0:
        del held[key]
    elif how == 1:
        held[key] = values.to(draw.choice([torch.int8, torch.bool, torch.complex64]))
    elif how == 2 and values.is_floating_point():
        changed = values.clone()
        changed.view(-1)[draw.randrange(values.numel())] = draw.choice([np.nan, np.inf, -np.inf])
        held[key] = changed
    elif how == 3:
        held[key] = values.reshape(-1)[:-1] if values.dim() else values[None].repeat(2)
    elif how == 4:
        held = draw.choice([{"state_dict": held}, {f"module.{k}": v for k, v in held.items()}])
    elif how == 5:
        held["more"] = values
    path = tmp_path / "resnet18.pth"
    torch.save(held, path)
    if how == 6:
        raw = path.read_bytes()
        path.write_bytes(raw[: draw.randrange(len(raw))])
    found = taken(lambda: check_weights(18, path), str(path))
    if how in (0, 3, 4, 5, 6):
        sound = how == 0 and key.endswith("num_batches_tracked")  # as old files are
        assert (found is not None) is sound


# ---- curves

CURVES = ["depth,config,seed,epoch,accuracy,seconds"] + [
    f"{depth},{config},{seed},{epoch},{0.1 * epoch + 0.01 * depth / 18:.3f},{2.5}"
    for depth in (18, 34)
    for config in ("a", "b")
    for seed in (1, 2)
    for epoch in (1, 2, 3)
]
CELLS = [{"depth": 18}, {"depth": 34}]


def curves_of(path: Path) -> Any:
    return read_curves(path, CELLS, "accuracy", "max", 3, "last")


def damaged_table(draw: random.Random) -> str:
    rows = [line.split(",") for line in CURVES]
    for _ in range(draw.randrange(1, 3)):
        at = draw.randrange(len(rows))
        how = draw.randrange(5)
        if how == 0 and len(rows) > 2:
            del rows[at]
        elif how == 1:
            rows.insert(at, list(rows[at]))
        else:
            words = ["", "nan", "x", "-1", "0", "1e30", '"', "4", "0.25", "TRUE", "18.0"]
            rows[at][draw.randrange(len(rows[at]))] = draw.choice(words)
    text = "\n".join(",".join(row) for row in rows)
    return text.replace(",", ";") if draw.random() < 0.05 else text


@cases(150)
def test_tables_of_curves(seed, tmp_path):
    """What is taken has the values of the table's own rows, whole, or says what is left out."""
    path = tmp_path / "curves.csv"
    path.write_text("\n".join(CURVES))
    whole = curves_of(path)
    path.write_text(damaged_table(random.Random(seed)), encoding="utf-8")
    held = taken(lambda: curves_of(path), str(path))
    if held is None:
        return
    numbers = {field for line in path.read_text().splitlines() for field in line.split(",")}
    known = set[float]()
    for number in numbers:
        with contextlib.suppress(ValueError):
            known.add(float(number))
    assert all(np.isfinite(part).all() for part in held.values)
    assert {round(v, 6) for part in held.values for v in part.ravel()} <= {
        round(v, 6) for v in known
    }
    if [p.shape for p in held.values] != [p.shape for p in whole.values]:
        assert held.notes


# ---- records


@pytest.fixture
def finished(make_study) -> Path:
    study = make_study()
    drive(study)
    study.close()
    return Path(study.folder)


@cases(200)
def test_records(seed, tmp_path, finished):
    """Read or refused by name; where the logs are whole, frames are made of them again."""
    draw, run = random.Random(seed), fresh(finished, tmp_path / "copy")
    whole = record.load(finished).trials
    names = [record.STUDY, record.JOURNAL, record.EPOCHS]
    frames = [p for p in files_below(run) if p.suffix in (".parquet", ".csv")]
    path = draw.choice([*(run / name for name in names), *frames])
    if path in frames or draw.random() < 0.3:
        damage_file(draw, path)
    else:
        text = path.read_text(encoding="utf-8")
        path.write_text(damaged_text(draw, text), encoding="utf-8")
    found = taken(lambda: record.load(run), str(run), "journal", "study.json")
    if found is not None and path in frames and path.suffix == ".csv":
        assert found.trials["value"].equals(whole["value"])  # csv files are for other programs
    if found is not None:
        json.dumps(found.study, default=str)
        assert set(found.trials["status"]) <= {*whole["status"], "running", "paused", "failed"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("18,a,1,2,", '18,a,1,2,"'),  # an open quote would take the rows that follow
        ("18,a,1,2,", "18,a,1,1e30,"),  # as a whole number of 64 bits it would come first
        ("18,a,1,2,", "18,a,1e17,2,"),  # told apart from no other seed
    ],
)
def test_values_that_no_table_can_mean_are_refused(old, new, tmp_path):
    path = tmp_path / "curves.csv"
    path.write_text("\n".join(CURVES).replace(old, new))
    assert taken(lambda: curves_of(path), str(path)) is None
