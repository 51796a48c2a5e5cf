"""What a training step of a trial array costs: against single trials and packs, in one run.

    python benchmarks/arrays.py [--depths 18] [--members 2 4 8]
        [--modes joined "joined, each" "in turn" vmap packed] [--steps 2] [--repeats 3]
        [--batch 128] [--stem imagenet] [--threads N] [--json FILE]

single   one trial, as trainables.engine.train has it (a CUDA graph a step on a GPU); so many after
         one another take so many times as long
joined   an array of so many: forward and backward as one program (trainables/engine/arrays), on a
         GPU captured, with one update for all (benchmarks/updates.py has that by itself)
joined, each  the same with each member's own update; on a GPU alone
in turn  an array whose members take their steps in turn on one pass over the data
vmap     the same networks by torch.func.stack_module_state and vmap, whose convolutions are
         grouped ones; eager
packed   so many processes at once, each with its share of the threads

`times_single` is how much more all members get done in a second than one single trial does;
`times_single_cpu` the same in a second of CPU time, which others on the machine disturb less. All
modes of a row alternate, packs come after; figures are medians. Pictures are random.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch
import torch.nn.functional as F
from floor import wait
from machine import describe
from torch import Tensor
from training import Case, Pack, as_users_have_it, our_data, our_steps, timed

from search.run.machine import git
from trainables import find_task
from trainables.engine.arrays import update_check
from trainables.engine.arrays.step import step_of
from trainables.engine.kit import Kit, eager_kit, forget
from trainables.engine.step import channels_last, resolve_precision

ON_GPU = ("joined, each",)  # elsewhere no step is captured
MODES = ("joined", *ON_GPU, "in turn", "vmap", "packed")


def begun(case: Case, members: int, device: torch.device) -> tuple[list[Kit], dict[str, Any]]:
    """Kits of so many trials, and their config."""
    task, config = find_task(case.task), case.config()
    config["precision"] = resolve_precision(config, device)
    kits = [
        eager_kit(
            task, config | {"lr": config["lr"] / (1 + n)}, device, task.network(config, None)
        )
        for n in range(members)
    ]
    for kit in kits:
        kit.net.train()
    return kits, config


def array_steps(
    case: Case, members: int, device: torch.device, joined: bool, together: bool = True
) -> Iterator[None]:
    """The loop of an array, all of one seed; yields after each step of all.

    Without `together` a captured step has each member's own update, as where Triton does not work.
    """
    kits, config = begun(case, members, device)
    step = step_of(kits, config, device, joined)
    step.begin(range(len(kits)))
    for number, batch in enumerate(batches(case, config, device)):
        # asked for before the capture, which is at the first step
        each = patch.object(update_check, "works", lambda *_: False)
        with nullcontext() if together or number else each:
            step([batch] * members)
        yield


def vmap_steps(case: Case, members: int, device: torch.device) -> Iterator[None]:
    """The loop that torch.func's own recipe for ensembles makes; yields after each step of all."""
    kits, config = begun(case, members, device)
    weights, buffers = torch.func.stack_module_state([kit.net for kit in kits])
    shape = copy.deepcopy(kits[0].net).to("meta")
    optimizer = torch.optim.SGD(list(weights.values()), lr=1e-3, momentum=0.9, fused=True)

    def forward(held: dict[str, Tensor], rest: dict[str, Tensor], x: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(shape, (held, rest), (x,))
        return found

    together = torch.vmap(forward, in_dims=(0, 0, None))
    for x, target in batches(case, config, device):
        optimizer.zero_grad(set_to_none=True)
        outputs = together(weights, buffers, channels_last(x))
        sum(F.cross_entropy(output, target) for output in outputs).backward()
        optimizer.step()
        yield


def batches(case: Case, config: dict[str, Any], device: torch.device) -> Iterator[Any]:
    """Batches of full size, without end."""
    task, data = find_task(case.task), our_data(case, device)
    while True:
        for batch in task.batches(data, config, torch.Generator().manual_seed(0)):
            if len(batch[0]) == case.batch:
                yield batch


def measure(
    case: Case, members: int, held: argparse.Namespace, device: torch.device, pack: Pack | None
) -> list[dict[str, Any]]:
    """A row a mode, and one of the single trial."""
    graphed = device.type == "cuda"
    makes: dict[str, Callable[[], Iterator[None]]] = {
        "single": lambda: our_steps(case, device, graphed),
        "joined": lambda: array_steps(case, members, device, True),
        "joined, each": lambda: array_steps(case, members, device, True, False),
        "in turn": lambda: array_steps(case, members, device, False),
        "vmap": lambda: vmap_steps(case, members, device),
    }
    chosen = ["single", *(mode for mode in held.modes if mode != "packed")]
    loops = {mode: makes[mode]() for mode in chosen}
    seconds: dict[str, list[float]] = {mode: [] for mode in chosen}
    for loop in loops.values():
        next(loop)
        wait(device)
    cpu: dict[str, list[float]] = {mode: [] for mode in chosen}
    for _ in range(held.repeats):
        for mode, loop in loops.items():
            began = process_time()
            seconds[mode].append(timed(loop, held.steps, device))
            cpu[mode].append((process_time() - began) / (held.steps + 1))  # one before is untimed
    for loop in loops.values():
        loop.close()  # type: ignore[attr-defined]
    loops.clear()
    forget()
    if pack is not None:  # of a step of one: the pack's is the mean over their number
        rounds = pack.rounds(case, members, held.repeats)
        seconds["packed"] = [members * time for time in rounds]
    single = median(seconds["single"])

    def count(mode: str) -> int:
        return 1 if mode == "single" else members

    return [
        {
            "depth": case.depth,
            "stem": case.stem,
            "members": count(mode),
            "mode": mode,
            "ms_a_step": 1e3 * median(times),
            "least_ms": 1e3 * min(times),
            "times_single": count(mode) * single / median(times),
            # of a pack it is other processes'
            "times_single_cpu": count(mode) * median(cpu["single"]) / median(cpu[mode])
            if mode in cpu and device.type == "cpu"
            else None,
        }
        for mode, times in seconds.items()
    ]


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", nargs="+", type=int, default=[18])
    parser.add_argument("--members", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument("--modes", nargs="+", choices=MODES)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--stem", default="imagenet", choices=("imagenet", "cifar"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path)
    held = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu = device.type == "cuda"
    held.modes = held.modes or [mode for mode in MODES if gpu or mode not in ON_GPU]
    if not gpu and {*held.modes} & {*ON_GPU}:
        parser.error(f"{', '.join(ON_GPU)}: needs a GPU; a step is captured nowhere else")
    torch.set_num_threads(held.threads)
    as_users_have_it(plain=False)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{describe()}, torch {torch.__version__}, {held.threads} thread(s), on {name}")
    pack = None
    if "packed" in held.modes:
        pack = Pack(held.members, held.steps, held.threads, device)
    rows: list[dict[str, Any]] = []
    for depth in held.depths:
        for members in held.members:
            case = Case("cifar10", depth, held.batch, held.stem)
            new = measure(case, members, held, device, pack)
            rows += new
            print(pd.DataFrame(new).to_string(index=False), flush=True)
            if held.json:
                told = {"git": git(), "machine": describe(), "device": name}
                told |= {"torch": torch.__version__, "threads": held.threads, "rows": rows}
                held.json.write_text(json.dumps(told, indent=1))
    if pack is not None:
        pack.close()


if __name__ == "__main__":
    main()
