"""What the update of an array's members costs: kernels, bytes, and on a GPU time, three ways.

    python benchmarks/updates.py [--depths 18 50] [--members 4 8] [--repeats 5] [--json FILE]

each      every member's own step: torch's fused optimizer, foreach lists for clipping, averages
stacked   plain broadcasting over `(members, weights)`, rates and settings as vectors
together  trainables/engine/arrays/update.py

Kernels are those that a GPU is launched: PyTorch's operations, views left out, are counted as they
are dispatched; of lists by the chunks and tensors that a launch of its multi_tensor_apply takes
(MultiTensorApply.cuh, for CUDA 13; `cuda_12` has what older ones come to). Bytes are what
operations read and write, in single precision, a weight of a member. `stacked` has its gradients
where it wants them for nothing: to bring them there would be 8 bytes more, and is SGD alone. On a
GPU `each` and `together` are also timed, as graphs that alternate: medians.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import pandas as pd
import torch
from floor import wait
from machine import describe
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from training import Case

from search.run.machine import git
from trainables import find_task
from trainables.engine.arrays.update import Update
from trainables.engine.graphed import cuda_graph
from trainables.engine.kit import Kit, eager_kit

CHUNK = 65_536
LISTS = {"cuda_13": (770, 448, 336, 252, 210), "cuda_12": (110, 64, 48, 36, 30)}
BLOCKS = {"cuda_13": 2240, "cuda_12": 320}
CAT = 128  # tensors that a launch of cat takes
SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "sgd, clip, ema": {"clip_grad": 1.0, "ema": 0.99},
    "adam": {"optimizer": "adam"},
    "adam, clip, ema": {"optimizer": "adam", "clip_grad": 1.0, "ema": 0.99},
}


class Counted(TorchDispatchMode):
    """Counts what is dispatched within.

    Attributes:
        calls: operations.
        kernels: that a GPU would be launched, by version.
        moved: bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.moved, self.kernels = 0, 0, dict.fromkeys(LISTS, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it, and count it unless it is a view or makes an empty tensor."""
        found = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        alias = any(a.alias_info and not a.alias_info.is_write for a in func._schema.arguments)
        none = alias or name.startswith(("empty", "_record_function"))
        if none or name in ("detach", "lift_fresh"):
            return found
        self.calls += 1
        for version in LISTS:
            self.kernels[version] += launches(name, args, found, version)
        for told, held in zip(func._schema.arguments, args, strict=False):
            write = told.alias_info is not None and told.alias_info.is_write
            if name.startswith("_fused") and told.name == "grads":
                write = False  # only where they are scaled, which is what the schema is for
            self.moved += size_of(held) * (2 if write else 1)
        if func._schema.returns and not any(r.alias_info for r in func._schema.returns):
            self.moved += size_of(found)
        return found


def size_of(held: Any) -> int:
    """Bytes of a tensor or of a list of them; 0 of anything else."""
    if isinstance(held, Tensor):
        return held.nbytes
    return sum(size_of(one) for one in held) if isinstance(held, list | tuple) else 0


def launches(name: str, args: Any, found: Any, version: str) -> int:
    """How many kernels a GPU would be launched for an operation."""
    if name == "cat":
        return -(-len(args[0]) // CAT)
    if not name.startswith(("_foreach", "_fused")):
        return 1
    lists = [held for held in args if isinstance(held, list | tuple) and len(held) > 0]
    tensors = [held for held in lists if isinstance(held[0], Tensor)]
    if name.startswith("_fused_adam"):
        tensors = tensors[:4]  # the counts of steps are no list of their own
    if isinstance(found, list | tuple) and name not in ("_foreach_norm",):
        tensors.append(found)
    most, blocks, count = LISTS[version][len(tensors) - 1], BLOCKS[version], 0
    held = at = 0
    for tensor in tensors[0]:
        held += 1
        chunks = max(1, -(-tensor.numel() // CHUNK))
        for chunk in range(chunks):
            at += 1
            if at == blocks or (held == most and chunk == chunks - 1):
                count, at, held = count + 1, 0, 0 if chunk == chunks - 1 else 1
    return count + (at > 0) + (name == "_foreach_norm")  # its parts are summed by another one


def begun(case: Case, own: dict[str, Any], members: int, device: torch.device) -> list[Kit]:
    """Members after two steps: of each its gradients are there, and its state."""
    task, made = find_task(case.task), []
    for _ in range(members):
        config = {**case.config(), "cuda_graph": True, **own}
        kit = eager_kit(task, config, device, task.network(config, None))
        for group in kit.optimizer.param_groups:
            group["lr"] = torch.as_tensor(group["lr"], device=device)
        for _ in range(2):
            for weight in kit.net.parameters():
                weight.grad = torch.randn_like(weight)
            kit.step.move()
        made.append(kit)
    return made


def each(members: list[Kit]) -> Callable[[], None]:
    """The update of each member by itself."""

    def run() -> None:
        for member in members:
            member.step.move()

    return run


def stacked(members: int, weights: int, own: dict[str, Any]) -> Callable[[], None]:
    """SGD by broadcasting, on `(members, weights)`."""
    p, g, m, held = torch.randn(4, members, weights).unbind()
    rate, momentum, decay, share = torch.rand(4, members, 1).unbind()

    def run() -> None:
        if "clip_grad" in own:
            norm = torch.linalg.vector_norm(g, dim=1, keepdim=True)
            g.mul_((own["clip_grad"] / (norm + 1e-6)).clamp(max=1))
        g.addcmul_(p, decay)
        torch.addcmul(g, m, momentum, out=m)
        p.addcmul_(m, -rate)
        if "ema" in own:
            held.lerp_(p, share)

    return run


def joint(members: list[Kit], own: dict[str, Any]) -> tuple[int, float]:
    """Kernels of `together`, and bytes a weight: what they load and store."""
    adam, clip, ema = own.get("optimizer") == "adam", "clip_grad" in own, "ema" in own
    moved = 4 * (3 + (4 if adam else 2) + clip + 2 * ema)
    return 1 + (clip or adam or ema) + clip, moved


def timed(ways: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Milliseconds of each as a graph; they alternate."""
    device, graphs = torch.device("cuda"), {name: cuda_graph(run) for name, run in ways.items()}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, replay in graphs.items():
            wait(device)
            began = perf_counter()
            for _ in range(50):
                replay()
            wait(device)
            found[name].append(1e3 * (perf_counter() - began) / 50)
    return {name: median(times) for name, times in found.items()}


def rows(case: Case, name: str, count: int, held: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a way."""
    gpu, own = torch.cuda.is_available(), SETTINGS[name]
    members = begun(case, own, count, torch.device("cuda" if gpu else "cpu"))
    weights = sum(weight.numel() for weight in members[0].net.parameters())
    told = {"depth": case.depth, "members": count, "settings": name}
    found = []
    ways = {"each": each(members)}
    if "optimizer" not in own and not gpu:
        ways["stacked"] = stacked(count, weights, own)
    for way, run in ways.items():
        with Counted() as seen:
            run()
        moved = seen.moved / count / weights
        found.append({**told, "way": way, "calls": seen.calls, **seen.kernels, "bytes": moved})
    kernels, moved = joint(members, own)
    both = dict.fromkeys(LISTS, kernels)
    found.append({**told, "way": "together", "calls": kernels, **both, "bytes": moved})
    if gpu:
        update = Update(members)
        update()  # compiled
        ms = timed({"each": each(members), "together": update}, held.repeats)
        found = [{**row, "ms": ms.get(row["way"])} for row in found]
    return found


def main() -> None:
    """Count, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", nargs="+", type=int, default=[18, 50])
    parser.add_argument("--members", nargs="+", type=int, default=[4, 8])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    held = parser.parse_args()
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{describe()}, torch {torch.__version__}, on {name}")
    found = []
    for depth in held.depths:
        for count in held.members:
            for settings in SETTINGS:
                found += rows(Case("cifar10", depth, 128), settings, count, held)
    print(pd.DataFrame(found).to_string(index=False, float_format="{:.1f}".format))
    if held.json:
        told = {"git": git(), "machine": describe(), "device": name, "torch": torch.__version__}
        held.json.write_text(json.dumps({**told, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
