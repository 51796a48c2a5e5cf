"""When a network that counts has stopped counting: what is measured of it, and the one rule."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trainables.tasks.regression import constants

COLLAPSED_SPREAD = 0.05  # of the true counts' standard deviation
COLLAPSED_LIVE = 0.01  # share of outputs above zero, of one that is no better than a constant
HEALTH = ("live", "spread", "rank", "skill")


def health(
    truth: np.ndarray,
    predicted: np.ndarray,
    live: float,
    train: np.ndarray,
    areas: np.ndarray | None = None,
) -> dict[str, float]:
    """What shows whether a network still tells images apart.

    Args:
        truth: annotated heads, `(images,)`.
        predicted: of the network, `(images,)`.
        live: share of the network's outputs that are above zero.
        train: annotated heads of the images trained on.
        areas: of the images as the network is shown them, `(images,)`; None where all are alike.

    Returns:
        By the names of HEALTH: the share of live outputs; the standard deviation of the
        predictions as a share of the truth's, of heads or of heads an area, whichever is less (a
        network that answers one density everywhere has counts that follow the areas); their rank
        correlation (Spearman's; 0 where either is constant); and the skill, 1 - MAE / MAE of the
        best constant, 0 where that one misses nothing.
    """
    units = [np.ones(len(truth)), *([] if areas is None else [areas])]
    best = min(scores["mae"] for _, scores in constants(train, truth, zero=True).values())
    mae = float(np.abs(predicted - truth).mean())
    return {
        "live": live,
        "spread": min(_spread(truth / unit, predicted / unit) for unit in units),
        "rank": _rank_correlation(truth, predicted),
        "skill": 1 - mae / best if best > 0 else 0.0,
    }


def _spread(truth: np.ndarray, predicted: np.ndarray) -> float:
    # where all hold the same number of heads, answering the same is no collapse
    return float(predicted.std() / truth.std()) if truth.std() > 0 else 1.0


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    a, b = _ranks(one), _ranks(other)
    wide = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean()) / wide if wide else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing their mean one (scipy.stats takes seconds to import)."""
    _, at, count = np.unique(values, return_inverse=True, return_counts=True)
    shared: np.ndarray = (count.cumsum() - (count - 1) / 2)[at]
    return shared


def is_collapsed(measured: Mapping[str, float]) -> bool:
    """The rule: predictions (or their densities) hardly differ, or hardly an output is left alive.

    That is a spread below COLLAPSED_SPREAD; or a share of live outputs below COLLAPSED_LIVE and a
    constant that does better: with skill the few that live do what there is to do.

    Args:
        measured: see `health`.
    """
    dead = measured["live"] < COLLAPSED_LIVE and measured["skill"] < 0
    return bool(measured["spread"] < COLLAPSED_SPREAD or dead)
