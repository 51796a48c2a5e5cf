"""What a training step costs: a plain loop beside ours, eager, graphed and packed, in one run.

    python benchmarks/training.py [--tasks cifar10 shanghaitech crowd-conv]
        [--depths 18 34 50 101 152] [--modes plain eager bf16 graphed packed] [--steps 20]
        [--repeats 3] [--batch 128] [--packed 2 4] [--threads 2] [--json FILE]

crowd-conv is the conv head of stride 8 on layer3 with crops as in the study shanghaitech; its
plain loop averages no weights, ours does.

plain    what a user would write: torchvision transforms on PIL images (crowd: JPEG decode, resize
         and a kernel stamped per head), DataLoader with 2 workers, stock network, eager fp32, the
         optimizer's defaults, `.item()` at each step
eager    ours: data on the device, batched augmentation, multiplications by padding left out,
         fused optimizer, sums on the device
bf16     eager, with `precision = "bf16"`; on a CPU, where some are faster so and others far slower
graphed  the same as one CUDA graph a step; needs a GPU
packed   so many processes of ours at once, each with its share of the threads (on a GPU: all on
         it); images/s is their sum

Pictures are random: contents do not change the work. The floor (benchmarks/floor.py) is the larger
of FLOPs over the best matrix product measured here and bytes over the best copy measured here.
Rounds of the modes alternate, those of packs come after; the figure of a mode is its median. Peak
memory: resident on a CPU, in a process of its own; allocated on a GPU; of packs not measured.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from crowd_input import PlainCells, PlainCrowd, jpegs
from floor import best_rates, floor, wait
from machine import describe
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import search
from search.run.device import mps_active
from search.run.machine import git
from search.spec.study_spec import load_spec
from trainables import find_task
from trainables.engine.kit import forget, kit_for
from trainables.engine.memory import MMAP_MAX, TRIM_THRESHOLD, keep_freed, set_malloc
from trainables.engine.step import resolve_precision
from trainables.tasks import crowd_splits
from trainables.tasks.crowd_files import Crowd
from trainables.tasks.images import Data, on_gpu

CONV = "crowd-conv"
CONV_BATCH = 8
CASES = ["cifar10", "shanghaitech", CONV]  # those that have a plain loop to compare with
MODES = ("plain", "eager", "bf16", "graphed", "packed")
BY_DEFAULT = ("plain", "eager", "graphed", "packed")
PICTURES = 2048  # held in memory; an epoch of more goes round
EPOCH = 45_000  # pictures on a GPU, as a trial has them
CROWD_PICTURES = 16


@dataclass(frozen=True)
class Case:
    """One row: which of CASES, depth, how many images a step, and the stem."""

    name: str
    depth: int
    batch: int
    stem: str = "imagenet"

    @property
    def task(self) -> str:
        """Key of TASKS."""
        return "shanghaitech" if self.name == CONV else self.name

    def config(self) -> dict[str, Any]:
        """Every setting: the task's defaults, or those of the study shanghaitech."""
        defaults = {k: s.default for k, s in find_task(self.task).settings.items()}
        lr = 0.01 if self.task == "cifar10" else 1e-5
        own = {"depth": self.depth, "batch_size": self.batch, "lr": lr, "stem": self.stem}
        if self.name == CONV:
            path = Path(search.__file__).parent / "studies" / "shanghaitech.toml"
            shipped = load_spec(path)[0].fixed
            own = {**shipped, **own, "loss": "mse"}
        return {**defaults, **own}


class Pictures(Dataset):
    """PIL images of CIFAR-10's size with torchvision's transforms."""

    def __init__(self) -> None:
        held = np.random.default_rng(0).integers(0, 256, (PICTURES, 32, 32, 3), dtype=np.uint8)
        self.images = [Image.fromarray(picture) for picture in held]
        self.transform = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomCrop(32, padding=4),
                transforms.ToTensor(),
                transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
            ]
        )

    def __len__(self) -> int:
        """Enough for an epoch as long as CIFAR-10's."""
        return 50_000

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        """An image and a class."""
        return self.transform(self.images[at % PICTURES]), at % 10


def plain_steps(case: Case, device: torch.device) -> Iterator[None]:
    """The loop a user would write; yields after each step."""
    config = case.config() | {"skip_padding": False}
    net = find_task(case.task).network(config, None).to(device)
    if case.task == "cifar10":
        data: Dataset = Pictures()
        loss: nn.Module = nn.CrossEntropyLoss()
        optimizer: Any = torch.optim.SGD(net.parameters(), lr=config["lr"], momentum=0.9)
    elif case.name == CONV:
        data, loss = PlainCells(CROWD_PICTURES, config), nn.MSELoss(reduction="sum")
        optimizer = torch.optim.AdamW(net.parameters(), lr=config["lr"])
    else:
        data, loss = PlainCrowd(CROWD_PICTURES), nn.MSELoss()
        optimizer = torch.optim.Adam(net.parameters(), lr=config["lr"])
    net.train()
    while True:
        for x, target in DataLoader(data, case.batch, shuffle=True, num_workers=2, drop_last=True):
            optimizer.zero_grad()
            value = loss(net(x.to(device)), target.to(device))
            value.backward()
            optimizer.step()
            value.item()
            yield


def our_steps(case: Case, device: torch.device, mode: str) -> Iterator[None]:
    """Our loop, as trainables.engine.train has it; yields after each step."""
    config, task = case.config(), find_task(case.task)
    config["precision"] = "bf16" if mode == "bf16" else resolve_precision(config, device)
    graphed = mode == "graphed"
    kit = kit_for(task, config | {"cuda_graph": graphed}, device, task.network(config, None))
    data = our_data(case, device)
    kit.net.train()
    while True:
        for batch in task.batches(data, config, torch.Generator().manual_seed(0)):
            if len(batch[0]) == case.batch:
                kit.step(batch)
                yield
        kit.step.take()


def steps_of(case: Case, mode: str, device: torch.device) -> Iterator[None]:
    """The loop of a mode."""
    return plain_steps(case, device) if mode == "plain" else our_steps(case, device, mode)


def our_data(case: Case, device: torch.device) -> Any:
    """Random pictures where our loop wants them."""
    if case.task == "cifar10":
        count = EPOCH if device.type == "cuda" else max(PICTURES, 8 * case.batch)
        images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
        data = Data({"train": images}, {"train": torch.arange(count) % 10})
        return data if device.type == "cpu" else on_gpu(data, device)
    held = [
        (
            torch.from_numpy(np.array(Image.open(io.BytesIO(raw)))).permute(2, 0, 1).to(device),
            points,
        )
        for raw, points in jpegs(CROWD_PICTURES)
    ]
    pictures = [picture for picture, _ in held]
    points = [torch.from_numpy(p).float() for _, p in held]
    names = [str(n) for n in range(len(held))]
    return crowd_splits.Data(Crowd(names, points, list(pictures)), {}, device)


def timed(steps: Iterator[None], count: int, device: torch.device) -> float:
    """Seconds a step, over `count` steps after one."""
    next(steps)
    wait(device)
    started = perf_counter()
    for _ in range(count):
        next(steps)
    wait(device)
    return (perf_counter() - started) / count


def _serve(inbox: Any, outbox: Any, barriers: dict[int, Any], count: int, kind: str) -> None:
    """A process of a pack: made ready for a case, then timed together with the others."""
    device = torch.device(kind)
    while (told := inbox.get()) is not None:
        case, size, threads = told
        torch.set_num_threads(threads)
        steps = our_steps(case, device, "graphed" if kind == "cuda" else "eager")
        for _ in range(3):
            next(steps)
        wait(device)
        outbox.put("ready")
        while inbox.get() == "time":
            barriers[size].wait()
            outbox.put(timed(steps, count, device))
        steps.close()
        forget()
        outbox.put("done")


class Pack:
    """Processes of ours that train at once, started once for all cases.

    Args:
        sizes: how many at once, in turn.
        count: steps a measurement.
        threads: of the machine, shared out evenly.
        device: that all of them use.
    """

    def __init__(self, sizes: list[int], count: int, threads: int, device: torch.device) -> None:
        context = multiprocessing.get_context("spawn")
        self._threads, self._out = threads, context.Queue()
        self._in = [context.Queue() for _ in range(max(sizes, default=0))]
        # held here: a semaphore that nobody holds is gone before a process opens it
        self._barriers = {size: context.Barrier(size) for size in sizes}
        self._workers = []
        for inbox in self._in:
            told = (inbox, self._out, self._barriers, count, device.type)
            self._workers.append(context.Process(target=_serve, args=told, daemon=True))
            self._workers[-1].start()

    def rounds(self, case: Case, size: int, repeats: int) -> list[float]:
        """Seconds a step of the whole pack, a round each: the mean over their number."""
        working = self._in[:size]
        self._tell(working, (case, size, max(1, self._threads // size)))
        rounds = [1 / sum(1 / s for s in self._tell(working, "time")) for _ in range(repeats)]
        self._tell(working, "next")
        return rounds

    def _tell(self, working: list[Any], told: Any) -> list[Any]:
        for inbox in working:
            inbox.put(told)
        return [self._out.get(timeout=600) for _ in working]

    def close(self) -> None:
        """End the processes."""
        for inbox, worker in zip(self._in, self._workers, strict=True):
            inbox.put(None)
            worker.join(timeout=60)


def _peak_one(case: Case, mode: str, out: Any) -> None:
    device = torch.device("cpu")
    steps = steps_of(case, mode, device)
    for _ in range(3):
        next(steps)
    # not ru_maxrss, which a child inherits from the process that started it
    status = Path("/proc/self/status").read_text()
    out.put(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
    out.close()
    out.join_thread()
    os._exit(0)  # without waiting for a plain loop's workers


def resident_mb(case: Case, mode: str) -> float:
    """Peak resident memory of a process of its own that takes three steps on the CPU, MiB."""
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    worker = context.Process(target=_peak_one, args=(case, mode, out))
    worker.start()
    held = float(out.get(timeout=600))
    worker.join()
    return held


def begin(case: Case, mode: str, device: torch.device) -> tuple[Iterator[None], float]:
    """A loop after its first steps, and the peak of memory that they took, MiB."""
    before = 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    steps = steps_of(case, mode, device)
    for _ in range(3):
        next(steps)  # workers start, plans are chosen
    if device.type == "cuda":
        return steps, (torch.cuda.max_memory_allocated() - before) / 2**20
    return steps, resident_mb(case, mode)


def as_users_have_it(plain: bool) -> None:
    """PyTorch's own settings for the plain loop, those of `resolve_precision` for ours.

    And glibc's: what its thresholds come to by themselves once a large block has been freed.
    """
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.fp32_precision = "ieee" if plain else "tf32"
        torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]
    elif plain:
        set_malloc(MMAP_MAX, 65_536)
        set_malloc(TRIM_THRESHOLD, 2 * 32 * 2**20)
    else:
        keep_freed()


def measure(
    case: Case,
    held: argparse.Namespace,
    device: torch.device,
    rates: tuple[float, float],
    pack: Pack,
) -> list[dict[str, Any]]:
    """A row a mode; the rounds of the modes alternate, those of a pack come last."""
    alone = [mode for mode in held.modes if mode != "packed"]
    loops: dict[str, Iterator[None]] = {}
    peaks: dict[str, float] = {}
    seconds: dict[str, list[float]] = {mode: [] for mode in alone}
    for _ in range(held.repeats):
        for mode in alone:
            as_users_have_it(mode == "plain")
            if mode not in loops:
                loops[mode], peaks[mode] = begin(case, mode, device)
            seconds[mode].append(timed(loops[mode], held.steps, device))
    as_users_have_it(plain=False)
    lowest = floor(case.task, case.config(), case.batch, device, rates)
    for loop in loops.values():
        loop.close()  # type: ignore[attr-defined]
    loops.clear()
    forget()
    for size in held.packed if "packed" in held.modes else ():
        seconds[f"{size} packed"] = pack.rounds(case, size, held.repeats)
    first = median(next(iter(seconds.values())))
    return [
        {
            "task": case.name,
            "depth": case.depth,
            "batch": case.batch,
            "mode": mode,
            "ms_a_step": 1e3 * median(times),
            "least_ms": 1e3 * min(times),
            "images_a_second": case.batch / median(times),
            f"times_{held.modes[0]}": first / median(times),
            "share_of_floor": lowest / median(times),
            "peak_mb": peaks.get(mode),  # of a pack not measured
        }
        for mode, times in seconds.items()
    ]


def main() -> None:
    """Measure every case, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--depths", nargs="+", type=int, default=[18, 34, 50, 101, 152])
    parser.add_argument("--modes", nargs="+", choices=MODES)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128, help="of cifar10")
    parser.add_argument("--packed", nargs="+", type=int, default=[2], help="how many at once")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path)
    held = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    held.modes = held.modes or [m for m in BY_DEFAULT if m != "graphed" or device.type == "cuda"]
    torch.set_num_threads(held.threads)
    as_users_have_it(plain=False)
    rates = best_rates(device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{describe()}, torch {torch.__version__}, {held.threads} threads, on {name}")
    print(f"best measured: {rates[0] / 1e9:.0f} GFLOP/s, {rates[1] / 1e9:.1f} GB/s", flush=True)
    rows: list[dict[str, Any]] = []
    pack = Pack(held.packed if "packed" in held.modes else [], held.steps, held.threads, device)
    for task in held.tasks:
        for depth in held.depths:
            batch = {"cifar10": held.batch, CONV: CONV_BATCH}.get(task, 1)
            case = Case(task, depth, batch)
            new = measure(case, held, device, rates, pack)
            rows += new
            print(pd.DataFrame(new).to_string(index=False), flush=True)
            if held.json:
                told = {
                    "git": git(),
                    "machine": describe(),
                    "device": name,
                    "torch": torch.__version__,
                    "mps": mps_active(),
                    "rates": rates,
                    "rows": rows,
                }
                held.json.write_text(json.dumps(told, indent=1))
    pack.close()


if __name__ == "__main__":
    main()
