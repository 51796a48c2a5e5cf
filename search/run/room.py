"""How many more jobs fit the nodes beside those that are out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
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
    whole = {
        key: Left(float(node.get("CPU", 0)), (1.0,) * math.floor(node.get("GPU", 0) + ROUNDING))
        for key, node in nodes.items()
    }

    def fits(out: Collection[Held]) -> Fits:
        # asked for at every event of a cluster: by kinds of jobs and of nodes, which are few
        there: dict[str, list[tuple[Shape, int]]] = {}
        for (cpus, gpus, node), count in sorted(Counter(out).items(), key=_largest_first):
            there.setdefault(node, []).append(((cpus, gpus), count))
        left = {
            key: _beside(node, tuple(there[key])) if key in there else node
            for key, node in whole.items()
        }
        for shape, count in there.get("", ()):
            more = count
            for key, node_left in left.items():
                if not more:
                    break
                here = min(more, _fit(node_left, shape))
                left[key] = _beside(node_left, ((shape, here),))
                more -= here
        kinds = Counter(left.values())
        return lambda *shape: sum(_fit(one, shape) * count for one, count in kinds.items())

    return fits


Shape = tuple[float, float]  # CPUs and GPUs of a job


class Left(NamedTuple):
    """What a node has left.

    Attributes:
        cpus: so many.
        gpus: of each GPU.
    """

    cpus: float
    gpus: tuple[float, ...]


def _largest_first(held: tuple[Held, int]) -> tuple[float, float]:
    return -held[0].gpus, -held[0].cpus


@lru_cache(maxsize=4096)
def _beside(node: Left, jobs: tuple[tuple[Shape, int], ...]) -> Left:
    """What is left of a node beside so many jobs of each shape."""
    cpus, gpus = node.cpus, [*node.gpus]
    for (each, share), count in jobs:
        cpus -= count * each
        # of whole GPUs as many shares as a job takes; of one, the fullest that has room stays it
        part, parts = min(share, 1.0), count * math.ceil(share - ROUNDING)
        for at in sorted(range(len(gpus)), key=gpus.__getitem__) if part else ():
            taken = min(parts, math.floor(gpus[at] / part + ROUNDING))
            gpus[at], parts = gpus[at] - taken * part, parts - taken
    return Left(cpus, tuple(gpus))


@lru_cache(maxsize=4096)
def _fit(node: Left, shape: Shape) -> int:
    """Jobs of a shape that fit what a node has left; a share is never cut out of two GPUs."""
    each, share = shape
    by_cpu = math.floor(node.cpus / each + ROUNDING)
    if not share:
        return max(by_cpu, 0)
    if share > 1:
        free = sum(left > 1 - ROUNDING for left in node.gpus)
        by_gpu = free // math.ceil(share - ROUNDING)
    else:
        by_gpu = sum(math.floor(left / share + ROUNDING) for left in node.gpus)
    return max(min(by_cpu, by_gpu), 0)
