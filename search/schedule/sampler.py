"""The configs drawn in each cell: one Optuna sampler a cell.

Random and quasi-random configs depend on (seed, cell, number) alone. A TPE config also depends on
the results of its cell so far, and the journal keeps it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from itertools import product
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution

from search.spec.cells import cell_seed
from search.spec.distributions import space_of
from search.spec.study_spec import StudySpec
from search.spec.tables import Value
from trainables import find_task

Config = dict[str, Any]


class CellSampler:
    """Draws the configs of one cell.

    Args:
        spec: the study.
        cell: the cell's values.

    Attributes:
        space: parameter -> Optuna's distribution.
    """

    def __init__(self, spec: StudySpec, cell: Mapping[str, Value]) -> None:
        self._sampler = spec.sampler
        self._seed = cell_seed(spec.seed, cell)
        self.space = space_of(spec, cell)
        self._mode: Literal["minimize", "maximize"] = (
            "maximize" if find_task(spec.task).mode == "max" else "minimize"
        )
        self._configs: dict[int, Config] = {}
        self._results: dict[int, tuple[int, float] | None] = {}
        if self.space and self._sampler != "tpe":
            drawn = _draw(spec, self.space, self._seed)
            self._configs = dict(enumerate(drawn))

    def config(self, number: int) -> Config:
        """Config of this number; drawn when first asked for."""
        if number not in self._configs:
            self._configs[number] = self._ask_tpe(number) if self.space else {}
        return self._configs[number]

    def remember(self, number: int, config: Config) -> None:
        """Take a config that the journal has."""
        self._configs[number] = config

    def tell(self, number: int, epoch: int, value: float | None) -> None:
        """Take a result: the value at the longest training so far; None if diverged or failed."""
        self._results[number] = (
            None if value is None or not math.isfinite(value) else (epoch, value)
        )

    def _ask_tpe(self, number: int) -> Config:
        """TPE over the results at the deepest rung reached so far.

        Values of different lengths are never compared: shorter trials are told as PRUNED at their
        epoch, which is how Optuna's TPE ranks them below every longer one, and lost ones as PRUNED
        without a value, below all, since TPE does not see a FAIL.
        """
        sampler = optuna.samplers.TPESampler(seed=self._seed + number, n_startup_trials=4)
        study = _study(sampler, self._mode)
        deepest = max((r[0] for r in self._results.values() if r), default=0)
        for other, result in sorted(self._results.items()):
            held: dict[str, Any] = {
                "params": self._configs[other],
                "distributions": self.space,
            }
            if result is None:
                trial = optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED, **held)
            elif result[0] == deepest:
                trial = optuna.trial.create_trial(value=result[1], **held)
            else:
                trial = optuna.trial.create_trial(
                    state=optuna.trial.TrialState.PRUNED,
                    intermediate_values={result[0]: result[1]},
                    **held,
                )
            study.add_trial(trial)
        return dict(study.ask(self.space).params)


def _study(
    sampler: optuna.samplers.BaseSampler,
    direction: Literal["minimize", "maximize"] = "minimize",
) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=sampler, direction=direction)


def _draw(spec: StudySpec, space: dict[str, BaseDistribution], seed: int) -> list[Config]:
    """All configs of a cell, for the samplers that do not look at results."""
    name, count = spec.sampler, spec.budget.trials_per_cell
    if name == "list":
        return [dict(point) for point in spec.points]
    if name == "grid":
        choices = [held.choices for held in space.values()]  # type: ignore[attr-defined]
        return [dict(zip(space, values, strict=True)) for values in product(*choices)]
    if name == "random":
        study = _study(optuna.samplers.RandomSampler(seed=seed))
        return [dict(study.ask(space).params) for _ in range(count)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(
            seed=seed, scramble=True, warn_independent_sampling=False
        )
    study = _study(sampler)
    study.ask(space)  # the first draw only teaches the sampler the space, at random
    return [dict(study.ask(space).params) for _ in range(count)]
