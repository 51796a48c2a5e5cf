"""Ranges of a study file as Optuna's distributions."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.spec.study_spec import StudySpec
from search.spec.tables import Range, Value


def space_of(spec: StudySpec, cell: Mapping[str, Value]) -> dict[str, BaseDistribution]:
    """Searched parameter -> distribution, in a cell."""
    return {key: _distribution(spec.range_of(key, cell)) for key in spec.space}


def _distribution(held: Range) -> BaseDistribution:
    if held.values:
        return CategoricalDistribution(held.values)
    assert held.low is not None
    assert held.high is not None
    if held.integer:
        return IntDistribution(round(held.low), round(held.high), log=held.log)
    return FloatDistribution(held.low, held.high, log=held.log)
