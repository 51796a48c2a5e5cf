"""Crowd input: image to crop and density map, ours beside decode, resize and a stamp per head.

    python benchmarks/density.py [--images 16] [--repeats 5] [--threads 1]
        [--data-dir DIR] [--part B] [--json FILE]

plain    decodes the JPEG at every step, resizes the whole image, crops, stamps one Gaussian patch
         a head, normalises (numpy and PIL; benchmarks/crowd_input.py)
ours     the decoded image is held as uint8 (tasks.shanghaitech); the window is cut first and
         resized after; the map is a product of two Gaussian matrices
Both make a 512x512 crop and its map at sigma 15. Without --data-dir the pictures are random, of
Part B's size and mean number of heads. Rounds alternate; figures are medians.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from crowd_input import SIDE, SIGMA, jpegs, plain_item, stamped
from machine import describe
from PIL import Image

from trainables import find_task
from trainables.tasks.crowd_files import Crowd, read_crowd
from trainables.tasks.crowd_splits import Data
from trainables.tasks.density import Kernel, density_map
from trainables.tasks.shanghaitech import batches


def pictures(held: argparse.Namespace) -> list[tuple[bytes, np.ndarray]]:
    """JPEG files and head points: of the data directory, or random ones."""
    if held.data_dir is None:
        return jpegs(held.images)
    crowd = read_crowd(held.data_dir, "files", held.part, "train")
    chosen = range(min(held.images, len(crowd.names)))
    folder = next(held.data_dir.rglob(f"part_{held.part}*/train_data/images"))
    return [
        ((folder / f"{crowd.names[i]}.jpg").read_bytes(), crowd.points[i].numpy()) for i in chosen
    ]


def our_data(files: list[tuple[bytes, np.ndarray]]) -> Data:
    """The same pictures decoded, as a trial holds them."""
    images = [np.array(Image.open(io.BytesIO(raw)).convert("RGB")) for raw, _ in files]
    held: list[Any] = [torch.from_numpy(i).permute(2, 0, 1) for i in images]
    points = [torch.from_numpy(p).float() for _, p in files]
    return Data(Crowd([str(n) for n in range(len(files))], points, held), {}, torch.device("cpu"))


def sides(files: list[tuple[bytes, np.ndarray]]) -> dict[str, tuple[str, Callable[[], int]]]:
    """What is compared: name -> the stage, and a function that does a round, crops done."""
    config = {k: s.default for k, s in find_task("shanghaitech").settings.items()}
    data = our_data(files)
    draw = np.random.default_rng(0)
    heads = [np.clip(p / p.max(0) * (SIDE - 1), 0, SIDE - 1) for _, p in files]
    tensors = [torch.from_numpy(h).float() for h in heads]

    def maps(kernel: Kernel) -> int:
        return len([density_map(h, SIDE, SIDE, SIGMA, kernel) for h in tensors])

    def ours() -> int:
        return sum(len(x) for x, _ in batches(data, config, torch.Generator().manual_seed(0)))

    return {
        "plain": ("image to crop and map", lambda: len([plain_item(*f, draw) for f in files])),
        "ours": ("image to crop and map", ours),
        "plain map": ("density map", lambda: len([stamped(h, SIDE, SIDE) for h in heads])),
        "our map": ("density map", lambda: maps("gaussian")),
        "our map, disc": ("density map", lambda: maps("disc")),
    }


def main() -> None:
    """Measure in alternating rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--part", default="B", choices=("A", "B"))
    parser.add_argument("--json", type=Path)
    held = parser.parse_args()
    torch.set_num_threads(held.threads)
    files = pictures(held)
    compared = sides(files)
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(held.repeats + 1):  # the first round fills caches
        for name, (_, run) in compared.items():
            started = perf_counter()
            done = run()
            seconds[name].append((perf_counter() - started) / done)
    rows = []
    for name, (stage, _) in compared.items():
        first = next(n for n, (s, _) in compared.items() if s == stage)
        ms, base = 1e3 * median(seconds[name][1:]), 1e3 * median(seconds[first][1:])
        rows.append({"stage": stage, "side": name, "ms_a_crop": ms, "times_plain": base / ms})
    mean = np.mean([len(points) for _, points in files])
    print(f"{describe()}, torch {torch.__version__}, {held.threads} thread(s)")
    print(f"{len(files)} pictures, {mean:.0f} heads on average")
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.2f}".format))
    if held.json:
        held.json.write_text(json.dumps({"machine": describe(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
