"""Which of what we do to a network pays: by the time of a whole study, against the plain network.

    python benchmarks/pays.py [--depths 18 50] [--sides plain "small maps" compiled] [--repeats 2]
        [--images 2048] [--stem imagenet] [--threads 1] [--data-dir DATA] [--json FILE]

plain           torchvision's network, multiplications by padding and all; on a GPU as a CUDA graph
small maps      the same with `skip_padding` (trainables/kernels/small_maps.py)
compiled        plain, by torch.compile; on a GPU with mode "reduce-overhead" in place of our graph
fused           plain with BatchNorm, addition and ReLU as one kernel (fused_norm, fused_blocks,
                norm_kernels), which needs Triton and so a GPU
second stream   plain with gradients of weights on a stream beside (captured.py); needs a GPU
ours            all of ours together, as it ships

A study: three rates, rungs at 1 and 3 epochs, one seed, test, and all that a driver and a worker
do, Ray aside; each in a process of its own, with nothing compiled before. The sides of a round
follow one another, rounds begin with another one each. `whole` is by the time of all of it,
`epoch` by that of an epoch that is not its job's first, evaluation included: what a study of many
epochs comes to. Both are how many times as fast as plain, medians over rounds; `cpu` is by CPU
time, g++'s included, which other programs on the machine change less. Without DATA pictures are
generated.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import pandas as pd
import torch
from machine import describe
from studies import begun

from search.record.run_folder import RunFolder
from search.run.machine import git
from search.run.worker import execute
from trainables import find_task
from trainables.engine import captured, kit

ON_CPU = ("plain", "small maps", "compiled")
SIDES = (*ON_CPU, "fused", "second stream", "ours")
TEXT = """
name = "pays"
task = "cifar10"
[cells]
depth = [{depth}]
[space.lr]
low = 0.01
high = 0.1
log = true
[fixed]
{edition}
stem = "{stem}"
train_images = {images}
val_images = {scored}
test_images = {scored}
batch_size = {batch}
skip_padding = {skip}
cuda_graph = {graph}
[budget]
trials_per_cell = 3
max_epochs = 3
grace_epochs = 1
reduction_factor = 3
audit_share = 0.0
[confirm]
seeds = [1]
"""


class Nothing:
    """A watcher that does nothing."""

    def __getattr__(self, name: str) -> Any:
        """Any hook of a watcher."""
        return lambda *held: None


def spent() -> tuple[float, float]:
    """Wall seconds, and CPU seconds of this process and of what it has started and awaited."""
    held = os.times()
    return perf_counter(), sum(held[:4])


def made_so(side: str) -> None:
    """Have every network of this process run as a side does."""
    if side not in ("ours", "fused"):
        captured.fused_norm_works = lambda device: False  # type: ignore[assignment]
    if side not in ("ours", "second stream"):
        captured._beside = lambda device: None  # type: ignore[assignment]
    if side == "compiled":
        plain, mode = kit.eager_kit, "reduce-overhead" if torch.cuda.is_available() else "default"

        def compiled(*told: Any) -> kit.Kit:
            held = plain(*told)
            held.net.compile(mode=mode)
            return held

        kit.eager_kit = compiled  # type: ignore[assignment]


def study(side: str, case: dict[str, Any], data: Path | None) -> dict[str, float]:
    """Run a study in this process; seconds of all, and of an epoch that is not its job's first."""
    gpu = torch.cuda.is_available()
    told = {"skip": side in ("small maps", "ours"), "graph": gpu and side != "compiled"}
    text = TEXT.format(
        **case,
        **{key: str(value).lower() for key, value in told.items()},
        edition="" if data else 'edition = "synthetic"',
        scored=max(256, case["images"] // 4),
    )
    ends: dict[int, list[tuple[float, float]]] = {}  # of each job, when its epochs ended
    with tempfile.TemporaryDirectory() as place, RunFolder.make(Path(place) / "pays") as run:
        held = begun(run, text, Nothing())
        held.places = replace(held.places, data_dir=data or run.path, gpus={0: float(gpu)})
        task, config = find_task("cifar10"), held.spec.config({"depth": case["depth"]}, {})
        task.open_data(data or run.path, config, 0, torch.device("cpu"))  # decoded before
        began = spent()
        while (job := held.ask()) is not None:
            times = ends.setdefault(len(ends), [])

            def report(trial: str, times: list[Any], row: Any) -> None:
                held.epoch(trial, row)
                times.append(spent())

            (end,) = execute(job, [partial(report, job.trial, times)])
            if end["ending"] == "failed":
                raise RuntimeError(end["error"])
            held.tell(job.trial, end)
        held.write_views()
        whole = [now - then for now, then in zip(spent(), began, strict=True)]
    pairs = [pair for times in ends.values() for pair in pairwise(times)]
    later = [median(b[n] - a[n] for a, b in pairs) for n in (0, 1)]
    names = ("whole", "whole_cpu", "epoch", "epoch_cpu")
    return dict(zip(names, [*whole, *later], strict=True))


def _apart(side: str, case: dict[str, Any], data: Path | None, threads: int, out: Any) -> None:
    torch.set_num_threads(threads)
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # in this process, to be counted
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        made_so(side)
        out.put(study(side, case, data))


def apart(*told: Any) -> dict[str, float]:
    """A study in a process of its own."""
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    worker = context.Process(target=_apart, args=(*told, out))
    worker.start()
    while worker.is_alive() and out.empty():
        worker.join(0.5)
    if out.empty() and worker.exitcode:
        raise RuntimeError(f"the study of {told[0]} ended with {worker.exitcode}")
    held: dict[str, float] = out.get(timeout=60)
    worker.join()
    return held


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """How many times as fast as plain each side was, medians of its rounds' ratios."""
    frame = pd.DataFrame(rows)
    measured = ["whole", "whole_cpu", "epoch", "epoch_cpu"]
    keys = ["depth", "round"]
    plain = frame[frame["side"] == "plain"].set_index(keys)[measured]
    found = frame.set_index(keys)
    ratios = plain.reindex(found.index) / found[measured]
    ratios["side"] = found["side"]
    return ratios.groupby(["depth", "side"], sort=False)[measured].median()


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", nargs="+", type=int, default=[18, 50])
    parser.add_argument("--sides", nargs="+", choices=SIDES)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--stem", default="imagenet", choices=("imagenet", "cifar"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", type=Path)
    held = parser.parse_args()
    gpu = torch.cuda.is_available()
    sides = held.sides or list(SIDES if gpu else ON_CPU)
    if lacking := sorted({*sides} - {*ON_CPU}) if not gpu else []:
        parser.error(f"{', '.join(lacking)}: needs a GPU; a step is captured nowhere else")
    if "plain" not in sides:
        parser.error("--sides lacks plain, which the others are compared with")
    name = torch.cuda.get_device_name() if gpu else "CPU"
    print(f"{describe()}, torch {torch.__version__}, {held.threads} thread(s), on {name}")
    told: dict[str, Any] = {"git": git(), "machine": describe(), "device": name}
    told |= {"torch": torch.__version__, "threads": held.threads, "rows": []}
    rows = told["rows"]
    for number in range(held.repeats):
        for depth in held.depths:
            case = {"depth": depth, "images": held.images, "batch": held.batch, "stem": held.stem}
            for side in [*sides[number % len(sides) :], *sides[: number % len(sides)]]:
                found = apart(side, case, held.data_dir, held.threads)
                load = os.getloadavg()[0]
                rows.append({"side": side, **case, "round": number, **found, "load": load})
                print(rows[-1], flush=True)
                if held.json:
                    held.json.write_text(json.dumps(told, indent=1))
    print(table(rows).to_string(float_format="{:.2f}".format))


if __name__ == "__main__":
    main()
