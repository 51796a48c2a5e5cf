from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import Tensor

from trainables import find_task
from trainables.tasks.images import Data

TRAIN, TEST = 60, 20  # images of a small CIFAR-10


def noise(count: int, seed: int) -> np.ndarray:
    """uint8 `(count, 32, 32, 3)`; the first byte of an image is its number."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    pixels[:, 0, 0, 0] = np.arange(count)
    return pixels


PIXELS = {"train": noise(TRAIN, 0), "test": noise(TEST, 1)}
LABELS = {"train": np.arange(TRAIN) * 7 % 10, "test": np.arange(TEST) * 3 % 10}


def numbers(images: Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def images_of(data: Data, split: str) -> Tensor:
    return data.take(split, torch.arange(len(data.labels[split])))


@pytest.fixture(scope="session")
def complete() -> Callable[..., dict[str, Any]]:
    """A function (task name, settings) -> a config with every other setting at its default."""

    def config(task: str, **changed: Any) -> dict[str, Any]:
        settings = find_task(task).settings
        assert set(changed) <= set(settings), "a test changes a setting that the task has not"
        return {**{name: setting.default for name, setting in settings.items()}, **changed}

    return config


@pytest.fixture(scope="session")
def write_parquet() -> Callable[..., None]:
    """A function that writes one part of CIFAR-10 as its public parquet edition has it."""

    def write(folder: Path, part: str, pixels: np.ndarray, labels: Any) -> None:
        cells = []
        for number, array in enumerate(pixels):
            buffer = io.BytesIO()
            Image.fromarray(array).save(buffer, "PNG")
            cells.append({"bytes": buffer.getvalue(), "path": f"{number}.png"})
        folder.mkdir(parents=True, exist_ok=True)
        table = pa.table({"img": cells, "label": pa.array(labels, pa.int64())})
        pq.write_table(table, folder / f"{part}-00000-of-00001.parquet")

    return write


@pytest.fixture
def parquet(tmp_path, write_parquet) -> Path:
    for part in ("train", "test"):
        write_parquet(tmp_path / "plain_text", part, PIXELS[part], LABELS[part])
    return tmp_path


@pytest.fixture(scope="session")
def write_annotation() -> Callable[[Path, Any], None]:
    """A function that writes `image_info{1}.location` and `.number`, nested as officially."""

    def write(path: Path, location: Any) -> None:
        struct = np.empty((1, 1), dtype=[("location", "O"), ("number", "O")])
        struct[0, 0] = (np.asarray(location, dtype=np.float64), np.uint16([[len(location)]]))
        cell = np.empty((1, 1), dtype=object)
        cell[0, 0] = struct
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(path, {"image_info": cell})

    return write


@pytest.fixture(scope="session")
def write_crowd(write_annotation: Callable[[Path, Any], None]) -> Callable[..., Path]:
    """A function that writes one split: {number: (image array, 1-based points x, y)}."""

    def write(
        root: Path,
        part: str,
        split: str,
        pictures: dict[int, tuple[np.ndarray, Any]],
        layout: tuple[str, str] = ("part_{}_final", "ground_truth"),
    ) -> Path:
        folder = root / layout[0].format(part) / f"{split}_data"
        (folder / "images").mkdir(parents=True)
        for number, (pixels, points) in pictures.items():
            Image.fromarray(pixels).save(folder / "images" / f"IMG_{number}.jpg", quality=100)
            write_annotation(folder / layout[1] / f"GT_IMG_{number}.mat", points)
        return folder

    return write
