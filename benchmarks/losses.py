"""What loss and sums of an array's members are, counted: of each by itself, and together.

    python benchmarks/losses.py [--members 4 8] [--batch 128] [--json FILE]

Forward, backward and adding up, for 10 classes; `each` is what members' own steps do, `together`
what a step of an array does (trainables/engine/arrays/losses.py). Counted are the operations that
PyTorch dispatches, views left out, as benchmarks/updates.py does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from machine import describe
from torch import Tensor, nn
from training import Case
from updates import Counted

from search.run.machine import git
from trainables import find_task
from trainables.engine.arrays.losses import add_up, losses_of
from trainables.engine.kit import Kit
from trainables.engine.step import Step, make_optimizer

CLASSES = 10
SMOOTHING = {"none": (0.0, 0.0), "of every second": (0.0, 0.1), "of all": (0.1, 0.1)}


def begun(batch: int, smoothing: tuple[float, float], members: int) -> list[Kit]:
    """Members with a network of one layer, which losses do not hang on."""
    task, made = find_task("cifar10"), []
    for number in range(members):
        config = {**Case("cifar10", 18, batch).config(), "label_smoothing": smoothing[number % 2]}
        net = nn.Linear(1, CLASSES)
        optimizer = make_optimizer(net, config)
        made.append(Kit(net, optimizer, Step(task, net, optimizer, config)))
    return made


def ways(kits: list[Kit], outputs: Tensor, targets: Tensor) -> dict[str, Callable[[], None]]:
    """What computes losses, gradients of the outputs, and sums."""
    losses, totals, count = losses_of(kits), dict[str, Tensor](), outputs.shape[1]

    def each() -> None:
        told = zip(kits, outputs, targets, strict=True)
        found = [kit.step.loss(output, target) for kit, output, target in told]
        torch.autograd.backward([loss for loss, _ in found])
        for kit, (loss, sums) in zip(kits, found, strict=True):
            kit.step.add_up(count, loss.detach(), sums)

    def together() -> None:
        found, sums = losses(outputs, targets)
        torch.autograd.backward(found, torch.ones_like(found))
        add_up(totals, kits, {"loss": found.detach() * count, **sums})

    return {"each": each, "together": together}


def row(batch: int, members: int, name: str) -> dict[str, Any]:
    """Operations of both ways; the first call of each makes what stays."""
    outputs = torch.randn(members, batch, CLASSES, requires_grad=True)
    targets = torch.randint(0, CLASSES, (members, batch))
    calls = {}
    for way, run in ways(begun(batch, SMOOTHING[name], members), outputs, targets).items():
        run()
        outputs.grad = None
        with Counted() as seen:
            run()
        calls[way] = seen.calls
    return {"members": members, "smoothing": name, **calls}


def main() -> None:
    """Count, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", nargs="+", type=int, default=[4, 8])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--json", type=Path)
    held = parser.parse_args()
    found = [row(held.batch, members, name) for members in held.members for name in SMOOTHING]
    print(f"{describe()}, torch {torch.__version__}")
    print(pd.DataFrame(found).to_string(index=False))
    if held.json:
        told = {"git": git(), "machine": describe(), "device": "CPU", "torch": torch.__version__}
        held.json.write_text(json.dumps({**told, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
