"""Whether a single trial is bound by launches: FLOPs, bytes and operations of a step, counted.

    python benchmarks/crowd_work.py [--tasks crowd-conv shanghaitech cifar10] [--depths 18 34 50]
        [--json FILE]

The conv head as in the study shanghaitech (crops and batch too), the report's head at its own size
and CIFAR-10 at batch 128. Nothing is timed: FLOPs and bytes are those of benchmarks/floor.py, of
tensors that hold nothing; operations those that an eager step of ours dispatches, views left out,
counted on small images (they hang on the network, not on its maps; those of a small map that
multiply no padding are counted at their size), a convolution's backward as two. `floor_ms` is the
larger of FLOPs and bytes at RATES, `launch_ms` the operations at LAUNCH_S each. A captured step of
ours has fewer kernels than operations here. `column_gbyte` are im2col's columns of a trial that an
array would write and read, forward and again for the gradients of the weights, each once
(trainables/kernels/array_layers.py): bytes that a trial by itself does not move.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from floor import work
from machine import describe
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from training import CASES, CONV, Case
from updates import Counted

from search.run.machine import git
from trainables import find_task
from trainables.engine.kit import eager_kit

# FLOP/s and bytes/s of an H200, the best there: results/training-shanghaitech-h200-mps.json
RATES = (408_299_449_024_218.3, 4_025_583_311_961.3438)
LAUNCH_S = 3e-6
SMALL = 64  # side of the crops that operations are counted on
BATCH = {CONV: 16, "shanghaitech": 1, "cifar10": 128}  # the study shanghaitech has 16 crops
META, CPU = torch.device("meta"), torch.device("cpu")


class Backwards(TorchDispatchMode):
    """Counts backward passes of convolutions, which are two kernels each."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it."""
        self.count += func._schema.name == "aten::convolution_backward"
        return func(*args, **(kwargs or {}))


def operations(case: Case) -> int:
    """Those of an eager step, update and averages included."""
    config, task = {**case.config(), "precision": "fp32"}, find_task(case.task)
    side = 32
    if case.task != "cifar10":
        config["crop"] = side = SMALL
    kit = eager_kit(task, config, CPU, task.network(config, None))
    kit.net.train()
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        like = kit.net(x)
    target = torch.randint(0, 10, (2,)) if case.task == "cifar10" else torch.rand_like(like)
    kit.step((x, target))  # the optimizer makes its state
    with Backwards() as twice, Counted() as seen:
        kit.step((x, target))
    return int(seen.kernels["cuda_13"]) + twice.count


def column_bytes(case: Case) -> int:
    """Of im2col, written and read twice a step: of all convolutions but 1x1 and the first.

    Of CIFAR-10 taps that meet padding alone are counted too, which a trial leaves out.
    """
    config, moved = {**case.config(), "skip_padding": False}, 0
    net = find_task(case.task).network(config, None).to(META)
    side = 32 if case.task == "cifar10" else int(config["crop"])

    def see(layer: nn.Conv2d, _: Any, output: torch.Tensor) -> None:
        nonlocal moved
        taps = layer.kernel_size[0] * layer.kernel_size[1]
        if taps > 1 and layer.in_channels > 3:
            places = output.numel() // output.shape[1]
            moved += 4 * 4 * places * taps * layer.in_channels

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(see)
    net(torch.zeros(max(2, case.batch), 3, side, side, device=META))
    return moved * case.batch // max(2, case.batch)


def row(case: Case) -> dict[str, Any]:
    """What is counted of a case, and the times that are reckoned from it."""
    flops, moved = work(case.task, case.config(), case.batch, META)
    count = operations(case)
    by_flops, by_bytes = 1e3 * flops / RATES[0], 1e3 * moved / RATES[1]
    return {
        "task": case.name,
        "depth": case.depth,
        "batch": case.batch,
        "gflop": flops / 1e9,
        "gbyte": moved / 1e9,
        "operations": count,
        "flop_ms": by_flops,
        "byte_ms": by_bytes,
        "floor_ms": max(by_flops, by_bytes),
        "launch_ms": 1e3 * LAUNCH_S * count,
        "column_gbyte": column_bytes(case) / 1e9,
    }


def main() -> None:
    """Count, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=CASES, default=[CONV, *CASES[1::-1]])
    parser.add_argument("--depths", nargs="+", type=int, default=[18, 34, 50])
    parser.add_argument("--json", type=Path)
    held = parser.parse_args()
    cases = [Case(task, depth, BATCH[task]) for task in held.tasks for depth in held.depths]
    found = [row(case) for case in cases]
    print(f"{describe()}, torch {torch.__version__}, nothing timed")
    print(pd.DataFrame(found).to_string(index=False, float_format="{:.2f}".format))
    if held.json:
        told = {"git": git(), "machine": describe(), "torch": torch.__version__, "rates": RATES}
        held.json.write_text(json.dumps({**told, "launch_s": LAUNCH_S, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
