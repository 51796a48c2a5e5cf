"""Which CUDA the torch of a study's nodes is built for, and which node has another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from search.run.node_probe import Facts


def usual_cuda(nodes: Iterable[Facts], ours: Facts) -> str | None:
    """The CUDA that torch is built for on most of some nodes with GPUs; None where none has any.

    Where as many have another, the driver's own counts, else the newest: not who answered first.

    Args:
        nodes: of `look`, of each.
        ours: of the driver; see `computed_by`.
    """
    built = Counter(str(facts["versions"]["cuda"]) for facts in nodes if facts["gpus"])
    return max(
        built,
        key=lambda cuda: (built[cuda], cuda == ours["versions"].get("cuda"), _numbers(cuda)),
        default=None,
    )


def odd_cuda(facts: Facts, usual: str | None) -> str:
    """What of a node's torch is built for another CUDA than the study's nodes; "" for nothing."""
    cuda = facts["versions"]["cuda"]
    if usual is None or not facts["gpus"] or cuda == usual:
        return ""
    return f"torch for CUDA {cuda}, the study's nodes have {usual}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
