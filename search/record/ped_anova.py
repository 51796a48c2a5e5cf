"""Importance of settings by PED-ANOVA, as Optuna has it; loads optuna when it is first asked.

Watanabe, Bansal and Hutter, "PED-ANOVA: Efficiently quantifying hyperparameter importance in
arbitrary subspaces", IJCAI 2023. It looks at which configs are among the best half alone, so ranks
are all it needs, and compares how each setting is spread there with how it was tried.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray


def evaluator_name(best: int, configs: int) -> str:
    """What computes it, with version, and which configs are held against all."""
    import optuna

    return f"PED-ANOVA, optuna {optuna.__version__}, best {best} of {configs}"


def ped_anova(
    settings: Mapping[str, Sequence[Any]],
    log: Sequence[str],
    orders: Sequence[NDArray[np.float64]],
    best: int,
) -> NDArray[np.float64]:
    """How far the best configs' settings are spread otherwise than those that were tried.

    Args:
        settings: setting -> its value in each config; numbers, or anything else as categories.
        log: those whose ranges are logarithmic.
        orders: each `(configs,)`, how good they are, less is better: one that was found, and
            others, e.g. shuffled, to hold it against.
        best: how many of the configs are the good ones; no other may be as good as the last of
            them.

    Returns:
        `(orders, settings)`: Pearson divergences, at least 0.
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # its lines would break ours
    spaces = {key: _space(list(held), key in log) for key, held in settings.items()}
    keys, study = list(settings), optuna.create_study(direction="minimize")
    for row in zip(*settings.values(), strict=True):
        params = {key: _plain(value) for key, value in zip(keys, row, strict=True)}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=spaces, value=0.0))
    quantile = (best - 0.5) / len(orders[0])  # in the middle of a step, where no rounding matters
    evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile)
    found = np.empty((len(orders), len(keys)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that less is better
        for n, order in enumerate(orders):
            held = evaluator.evaluate(study, keys, target=partial(_of_trial, order))
            found[n] = [held.get(key, 0.0) for key in keys]
    return found


def _of_trial(order: NDArray[np.float64], trial: Any) -> float:
    return float(order[trial.number])


def _space(held: Sequence[Any], log: bool) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    plain = [_plain(value) for value in held]
    if any(isinstance(value, bool | str) for value in plain):
        return CategoricalDistribution(list(dict.fromkeys(plain)))
    low, high = float(min(plain)), float(max(plain))
    return FloatDistribution(low, high, log=log and low > 0)


def _plain(value: Any) -> Any:
    held = value.item() if hasattr(value, "item") else value
    return held if isinstance(held, bool | str) else float(held)
