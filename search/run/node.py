"""One node of a cluster as it is known so far, and how a function is run on it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from search.run import cluster  # noqa: F401 - first: it sets what ray reads when imported

import ray  # isort: skip
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.run.clocks import SAME, Offset
from search.run.node_probe import Facts

if TYPE_CHECKING:
    from search.run.asking import Answer


@dataclass
class Node:
    """A node as it is known so far.

    Attributes:
        id: Ray's.
        address: its own.
        name: of its host; its address until it has answered.
        resources: that Ray gives out of it.
        facts: what it has answered; None before that.
        why_not: what it lacks; empty for one that takes jobs.
        clock: of its clock to the driver's.
        asked: its answer, while it is waited for.
        losses: jobs lost on it quickly, one after another.
        rests: quarantines so far since a job ended well on it.
        refusals: answers in a row by which it may take no job.
        again_at: of one that may take none, when it is asked again, on the monotonic clock.
        told: `why_not` as it was told last; None before that, and since a quarantine.
    """

    id: str
    address: str
    name: str
    resources: Mapping[str, float]
    facts: Facts | None = None
    why_not: list[str] = field(default_factory=list)
    clock: Offset = SAME
    asked: Future[Answer] | None = None
    losses: int = 0
    rests: int = 0
    refusals: int = 0
    again_at: float | None = None
    told: list[str] | None = None

    @property
    def known(self) -> bool:
        """Whether it is known if it may take jobs: it has answered, or is not waited for."""
        return self.facts is not None or bool(self.why_not)

    @property
    def used(self) -> bool:
        """Whether it may take jobs."""
        return self.facts is not None and not self.why_not


def said(node: Node) -> str:
    """A node in a line."""
    gpus = node.facts["gpus"] if node.facts else []
    cards = ", ".join(f"{gpus.count(name)} x {name}" for name in sorted(set(gpus)))
    what = f"{node.resources.get('CPU', 0):g} CPUs, {cards or 'no GPU'}"
    if node.used:
        return f"node {node.name} ({node.address}): {what}"
    return f"node {node.name} ({node.address}): {what}; LEFT OUT: {why(node)}"


def why(node: Node) -> str:
    """What a node that takes no jobs lacks, in a line."""
    return "; ".join(node.why_not) or "it has not answered yet"


def on(key: str, function: Any, anew: bool = False) -> Any:
    """A function as a task of a node, by its id, which waits for none of its cores.

    Args:
        key: Ray's id of the node.
        function: what runs there.
        anew: in a process that nothing else runs in: one that has imported code, or has found that
            it cannot, does not look again.
    """
    at = NodeAffinitySchedulingStrategy(key, soft=False)
    more = {"max_calls": 1} if anew else {}
    return ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=at, **more)(function)
