"""What tasks that predict a number share: errors over a split, constant predictors."""

from __future__ import annotations

import numpy as np


def errors(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """MAE and root mean squared error (crowd counting's "MSE"), of arrays `(n,)`."""
    wrong = predicted - truth
    return {"mae": float(np.abs(wrong).mean()), "rmse": float(np.sqrt((wrong**2).mean()))}


def constants(
    train: np.ndarray, test: np.ndarray, zero: bool = False
) -> dict[str, tuple[float, dict[str, float]]]:
    """Constant predictors on test: name -> its value and its errors.

    Args:
        train: `(n,)`, what was trained on.
        test: `(m,)`.
        zero: also zero itself.
    """
    values = {
        **({"zero": 0.0} if zero else {}),
        "training mean": float(train.mean()),
        "training median": float(np.median(train)),
    }
    return {n: (value, errors(test, np.full(len(test), value))) for n, value in values.items()}
