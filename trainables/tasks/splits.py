"""How data is split and how an epoch is cut into steps, for every task."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainables.task import DataError
from trainables.tasks.copies import apart
from trainables.tasks.inventory import Digests


def cut_off(total: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Cut a share of the rows off at random.

    Args:
        total: number of rows.
        share: to cut off; above 0 at least one row is.
        seed: another one cuts another way.

    Returns:
        The rows that stay and those cut off, int64, both in random order.

    Raises:
        DataError: no row would stay.
    """
    order = _shuffled(total, seed)
    cut = total - (max(1, round(total * share)) if share else 0)
    if cut < 1:
        raise DataError(f"{total} row(s) are too few to cut {share:g} of them off")
    return order[:cut], order[cut:]


def cut_apart(
    train: Digests, test: Digests, copies: str, share: float, seed: int
) -> tuple[Tensor, Tensor]:
    """`cut_off` of the training images that are no copies of test images.

    Args:
        train: checksums of the images that validation is cut off from.
        test: checksums of the test images.
        copies: the setting; unless they are kept, no image is left in two splits.
        share: to cut off.
        seed: another one cuts another way.

    Returns:
        Rows of `train` to train on and to validate on.

    Raises:
        DataError: no row would stay.
    """
    kept = apart(copies, train, test)
    stay, cut = (torch.from_numpy(kept)[rows] for rows in cut_off(len(kept), share, seed))
    return stay, cut


def cut_off_each(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """`cut_off` of every class alike, as far as whole rows allow; each keeps one row at least.

    Args:
        labels: `(n,)`, classes from 0.
        share: to cut off.
        seed: another one cuts another way.

    Raises:
        DataError: no class has a row to spare.
    """
    order = _shuffled(len(labels), seed)
    counts = torch.bincount(labels).numpy()
    total = min(max(1, round(len(labels) * share)), int((counts - 1).clip(0).sum()))
    if not total:
        raise DataError("no class has a second row, so none can be cut off for another split")
    quota = (counts * share).astype(np.int64).clip(max=(counts - 1).clip(0))
    # what is left goes to the classes whose quota was cut down most; among equals, by lot
    lots = _shuffled(len(counts), seed).numpy()
    while quota.sum() < total:
        short = np.where(quota < counts - 1, counts * share - quota, -np.inf)
        quota[lots[int(short[lots].argmax())]] += 1
    in_order = labels[order]
    cut = torch.zeros(len(labels), dtype=torch.bool)
    for label, count in enumerate(quota.tolist()):
        places = (in_order == label).nonzero()[:, 0]
        cut[places[len(places) - count :]] = True
    return order[~cut], order[cut]


def at_most(rows: Tensor, limit: int | None, seed: int) -> Tensor:
    """So many of the rows, drawn by seed: the first ones may all be of one class.

    Args:
        rows: `(n,)`.
        limit: None takes all, in their order.
        seed: a larger limit adds to what a smaller one takes.
    """
    if limit is None or limit >= len(rows):
        return rows
    return rows[_shuffled(len(rows), seed)[:limit]]


def _shuffled(total: int, seed: int) -> Tensor:
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))


def step_sizes(count: int, batch_size: int) -> list[int]:
    """Rows of each step; a last one alone joins the step before, since BatchNorm needs two."""
    whole, left = divmod(count, batch_size)
    sizes = [batch_size] * whole + [left] * bool(left)
    if left == 1 and whole:
        sizes[-2:] = [batch_size + 1]
    return sizes
