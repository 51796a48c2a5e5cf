"""Disks that are full, each a small one of its own: the store of a study, and a node's cache."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search import record
from tests.cluster.lab import Lab, wait
from tests.cluster.studies import alike, events, write_study

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1200)]


@pytest.fixture
def small_disk(machines: Lab) -> Iterator[Callable[[str, int], Path]]:
    """Makes a folder that is a disk of so many MiB for every machine that is started after it."""
    mounted = []

    def make(name: str, megabytes: int) -> Path:
        path = machines.folder / name
        path.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
        subprocess.run(words, check=True)
        mounted.append(path)
        return path

    yield make
    machines.close_nodes()
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room that a disk has left; the file that takes it."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError:
            return path


def test_a_full_store_ends_the_study_in_one_line_and_resume_goes_on(
    machines: Lab, small_disk: Callable[[str, int], Path]
) -> None:
    work, store = machines.work, small_disk("store", 200)
    write_study(work)
    machines.start("head", cpus=0)
    machines.start("first")
    machines.start("second")
    machines.ready(3)
    run, uri = work / "own" / "tiny", f"file://{store}"
    words = ("--local-dir", "own", "--address", machines.address)
    driver = machines.driver("run", "tiny.toml", "--runs-dir", uri, *words)

    wait(lambda: run.is_dir() and sum(e["event"] == "tell" for e in events(run)) >= 2, 400, "jobs")
    filler = fill(store)
    began = time.monotonic()
    assert driver.wait(300) == 1, machines.said()
    print(f"full store: ended after {time.monotonic() - began:.0f} s")
    said = machines.said().splitlines()
    assert "No space left on device" in said[-1]
    assert "resume" in said[-1]
    assert not [line for line in said if "Traceback" in line]
    told = [e["trial"] for e in events(run) if e["event"] == "tell"]

    filler.unlink()
    driver = machines.driver("resume", f"{uri}/tiny", *words, log="resumed")
    assert driver.wait(500) == 0, machines.said("resumed")
    held = record.load(run)
    assert held.trials["attempts"].sum() == 0
    assert set(held.trials["status"]) == {"completed", "stopped"}
    after = [e["trial"] for e in events(run) if e["event"] == "tell"]
    assert after[: len(told)] == told
    print("epochs trained twice:", held.trials["repeated_epochs"].sum())
    alone = machines.driver("run", "tiny.toml", "--name", "alone", *words[2:], log="alone")
    assert alone.wait(500) == 0, machines.said("alone")
    alike(run, work / "runs" / "alone")


IMAGES, SIZE = 500, 224  # 72 MiB decoded

STUDY = f"""
name = "images"
task = "imagefolder"
[cells]
network = ["own:build"]
[space.lr]
low = 0.001
high = 0.01
log = true
[fixed]
image_size = {SIZE}
batch_size = 100
[budget]
trials_per_cell = 4
max_epochs = 2
grace_epochs = 1
reduction_factor = 2
[confirm]
seeds = [1]
"""
NETWORK = f"""
from torch import nn


def build(outputs, config):
    return nn.Sequential(nn.AvgPool2d(28), nn.Flatten(), nn.Linear(3 * {SIZE // 28} ** 2, outputs))
"""


def write_images(folder: Path) -> None:
    """Two classes of noise, told apart by how bright they are."""
    draw = np.random.default_rng(0)
    for name, light in (("dark", 100), ("light", 156)):
        place = folder / "train" / name
        place.mkdir(parents=True)
        for number in range(IMAGES // 2):
            small = draw.integers(0, light, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(small).resize((SIZE, SIZE)).save(place / f"{number}.png")


def test_a_node_whose_cache_is_too_small_does_without_and_its_results_are_the_same(
    machines: Lab, small_disk: Callable[[str, int], Path]
) -> None:
    work, small = machines.work, small_disk("cache", 68)  # 64 are asked for
    (work / "images.toml").write_text(STUDY, encoding="utf-8")
    (work / "own.py").write_text(NETWORK, encoding="utf-8")
    write_images(work / "images")
    machines.start("head", cpus=0)
    machines.start("first")
    machines.start("cramped", f"export RESNET_TUNE_CACHE={small}")
    machines.ready(3)
    words = ("--data-dir", "images", "--address", machines.address)
    driver = machines.driver("run", "images.toml", *words, log="images")
    assert driver.wait(500) == 0, machines.said("images")

    run = work / "runs" / "images"
    tells = [e for e in events(run) if e["event"] == "tell"]
    assert "cramped" in {e["node"] for e in tells}
    assert not [e for e in events(run) if e["event"] in ("lost", "quarantine")]
    assert not list(small.glob("*/*"))  # nothing half-made is left
    held = record.load(run)
    assert held.trials["attempts"].sum() == 0
    machines.kill("cramped")
    alone = machines.driver(
        "run", "images.toml", "--name", "images-alone", *words, log="images-alone"
    )
    assert alone.wait(500) == 0, machines.said("images-alone")
    alike(run, work / "runs" / "images-alone")
