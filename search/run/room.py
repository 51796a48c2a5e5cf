"""How many more jobs fit the nodes beside those that are out."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

ROUNDING = 1e-9  # 1 // 0.1 is 9

Nodes = Mapping[str, Mapping[str, float]]  # Ray's id of a node -> what it gives out
Fits = Callable[[float, float], int]  # CPUs and GPUs of a job -> so many of it fit


class Held(NamedTuple):
    """What a job that is out holds.

    Attributes:
        cpus: of its node.
        gpus: likewise; a share is one GPU's.
        node: Ray's id of it; "" where that is not known yet.
    """

    cpus: float
    gpus: float
    node: str = ""


def room(nodes: Nodes) -> Callable[[Collection[Held]], Fits]:
    """What fits beside the jobs that are out, by the shape of what is to come.

    Where it is not known what a job runs on, it is put on the first node that has room, the
    largest first, and there on the fullest GPU that has, as Ray does; one that is on none of these
    nodes takes nothing from them.

    Args:
        nodes: that may take jobs.

    Returns:
        A function of the jobs that have been given out and have not ended.
    """
    places = lru_cache(maxsize=None)(lambda *shape: _beside(nodes, ())(*shape))

    def fits(out: Collection[Held]) -> Fits:
        shapes = {held[:2] for held in out}
        if len(shapes) > 1:
            return _beside(nodes, out)
        # of one shape each takes one place, wherever it is: asked for at every event of a cluster
        taken = sum(not held.node or held.node in nodes for held in out)

        def beside(*shape: float) -> int:
            if shapes <= {shape}:
                return max(int(places(*shape)) - taken, 0)
            return _beside(nodes, out)(*shape)

        return beside

    return fits


def _beside(nodes: Nodes, out: Collection[Held]) -> Fits:
    """As `room`, job by job."""
    cpus = {key: float(node.get("CPU", 0)) for key, node in nodes.items()}
    whole = {key: math.floor(node.get("GPU", 0) + ROUNDING) for key, node in nodes.items()}
    gpus = {key: [1.0] * count for key, count in whole.items()}
    for held in sorted(out, key=lambda held: (not held.node, -held.gpus, -held.cpus)):
        at = held.node or next((key for key in nodes if _fit(cpus[key], gpus[key], *held[:2])), "")
        if at in nodes:
            cpus[at] -= held.cpus
            _take(gpus[at], held.gpus)
    return lambda *shape: sum(_fit(cpus[key], gpus[key], *shape) for key in nodes)


def _fit(cpus: float, gpus: Sequence[float], asked_cpus: float, asked_gpus: float) -> int:
    """Jobs of a shape that fit what a node has left; a share is never cut out of two GPUs."""
    by_cpu = math.floor(cpus / asked_cpus + ROUNDING)
    if not asked_gpus:
        return max(by_cpu, 0)
    if asked_gpus > 1:
        free = sum(left > 1 - ROUNDING for left in gpus)
        by_gpu = free // math.ceil(asked_gpus - ROUNDING)
    else:
        by_gpu = sum(math.floor(left / asked_gpus + ROUNDING) for left in gpus)
    return max(min(by_cpu, by_gpu), 0)


def _take(gpus: list[float], asked: float) -> None:
    """Take a share of the fullest GPU that has it, or whole ones."""
    for _ in range(math.ceil(asked - ROUNDING)):
        part = min(asked, 1.0)
        having = [number for number, left in enumerate(gpus) if left >= part - ROUNDING]
        if having:
            gpus[min(having, key=gpus.__getitem__)] -= part
