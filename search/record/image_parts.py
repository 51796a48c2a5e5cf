"""What of each test image a metric is the mean of: the names of metrics that predictions give.

`analysis.findings.images` makes of them what other draws of the images would have given.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SHARES = ("accuracy",)  # of images that are answered right: counts, with Wilson's interval
ERRORS = ("mae", "rmse")  # of numbers, which constant predictions of a number have too


def image_part(metric: str, truth: Array, said: Array) -> tuple[Array, bool] | None:
    """Of each image, what a metric is the mean of, and whether it is the root of that mean.

    Args:
        metric: its name.
        truth: `(images,)`, a class or a number.
        said: `(images,)`, predicted.

    Returns:
        `(images,)` and whether the root is taken; None of a metric that predictions do not give.
    """
    if metric == "accuracy":
        return (said == truth).astype(float), False
    if metric == "balanced_accuracy":
        _, at, sizes = np.unique(truth, return_inverse=True, return_counts=True)
        right = (said == truth).astype(float)
        recall = np.bincount(at, right) / sizes
        # around the score, so that only what is right within a class is drawn, not the classes
        return recall.mean() + (right - recall[at]) * len(truth) / (len(sizes) * sizes[at]), False
    if metric == "mae":
        return np.abs(said - truth), False
    if metric in ("rmse", "loss"):
        return (said - truth) ** 2, metric == "rmse"
    return None


def score(part: Array, root: bool) -> float:
    """The metric on the images, of what `image_part` gives."""
    mean = float(part.mean())
    return math.sqrt(mean) if root else mean
