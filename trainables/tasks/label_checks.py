"""What must hold of labels: more than one class, and none in a held-out split that train lacks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc  # scipy.stats takes two seconds to import

from trainables.tasks.inventory import are, many, named

Labels = Mapping[str, NDArray[np.int64]]  # split -> classes from 0, `(n,)`

# A class's share of a split, relative to an even one, that is told; and with what probability a
# random part of an even set has one so far off, since none is quite even.
LEAST, MOST, BY_CHANCE = 0.5, 1.5, 1e-6


def one_class(labels: Labels) -> list[str]:
    """Splits whose labels are all the same."""
    return [
        f"every one of {many(len(held), f'{split} label')} is {held[0]}: with one class there is "
        "nothing to tell apart; the labels are lost, or the rows are a part of a sorted set"
        for split, held in labels.items()
        if len(held) and (held == held[0]).all()
    ]


def unlearned(labels: Labels) -> list[str]:
    """Classes of a held-out split that no training row is of."""
    known = np.unique(labels["train"])
    faults = []
    for split, held in labels.items():
        count = int((~np.isin(held, known)).sum())
        if count:
            absent = np.setdiff1d(held, known).tolist()
            which = f"class{'es' * (len(absent) > 1)} {named(absent, 10)}"
            faults.append(
                f"{count:,} of {many(len(held), f'{split} label')} {are(count)} of {which}, which "
                "no train label is of: no network can learn it from this"
            )
    return faults


def unbalanced(labels: Labels, classes: int) -> list[str]:
    """Warnings of shares far from even ones, in a data set that has as many rows of each class."""
    even = 1 / classes
    found = []
    for split, held in labels.items():
        counts = np.bincount(held, minlength=classes)
        share = counts / len(held)
        # so few of a class by chance, or so many: the binomial distribution
        few, much = bdtr(counts, len(held), even), bdtrc(counts - 1, len(held), even)
        off = np.minimum(few, much) < BY_CHANCE
        off &= (share < LEAST * even) | (share > MOST * even)
        off &= counts > 0  # classes that are absent are told by themselves
        if off.any():
            rows = np.flatnonzero(off)
            worst = rows[
                np.argsort(-np.abs(counts[rows] * classes - len(held)), kind="stable")
            ].tolist()
            figures = named((f"class {k} {share[k]:.1%} ({counts[k]:,})" for k in worst), classes)
            found.append(f"{split} labels are far from {even:.0%} a class: {figures}")
    return found


def exchanged(train: int, test: int, published: tuple[int, int]) -> tuple[list[str], list[str]]:
    """A fault where each split has the other's number of images; a warning where test is larger.

    Args:
        train: images.
        test: images.
        published: of both, as published.
    """
    if test <= train:
        return [], []
    text = (
        f"test holds more images than train ({test:,} and {train:,}): are the two swapped? Give "
        "each file the other's name"
    )
    return ([text], []) if (test, train) == published else ([], [text])
