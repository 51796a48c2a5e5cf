"""When a network that classifies has stopped telling images apart: what is measured, the rule."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

COLLAPSED_REST = 0.05  # of the share that the truth leaves to other classes than its commonest
HEALTH = ("top_share", "other_share", "answered")


def health(answer: Tensor, labels: Tensor) -> dict[str, float]:
    """What shows whether a network still tells images apart.

    Args:
        answer: classes that it answers, int64 `(n,)`.
        labels: true classes, int64 `(n,)`.

    Returns:
        By the names of HEALTH: the share of the class answered most, in (0, 1]; the share of all
        other answers, as a share of what the truth has outside of its own commonest class (1 where
        it has one class only); and how many classes are answered at all.
    """
    counts = torch.bincount(answer)
    top = float(counts.max()) / len(answer)
    rest = 1 - float(torch.bincount(labels).max()) / len(labels)
    # where all images are of one class, answering one is no collapse
    other = (1 - top) / rest if rest > 0 else 1.0
    return {"top_share": top, "other_share": other, "answered": float((counts > 0).sum())}


def is_collapsed(measured: Mapping[str, float]) -> bool:
    """The rule: next to all images get one answer.

    That is, answers outside of the one given most are fewer than COLLAPSED_REST of what they
    would be if the truth were answered: of ten classes as common as one another, one class is
    answered for more than 95.5 % of the images; of two, where one has 90 %, for more than 99.5 %.

    Args:
        measured: see `health`.
    """
    return bool(measured["other_share"] < COLLAPSED_REST)
