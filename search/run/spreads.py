"""How far seeds of the study's cells were apart in studies that were run before."""

from __future__ import annotations

from dataclasses import dataclass

from search import record
from search.record.seed_spread import seed_spread
from search.run.measuring import shape_of
from search.spec.study_spec import StudySpec
from trainables import find_task


@dataclass(frozen=True)
class Spread:
    """The standard deviation over seeds that a study lends, of the cells that it shares.

    Attributes:
        metric: with its split, e.g. test_accuracy.
        sd: pooled over those cells, in the units of the metric.
        freedom: degrees of freedom of it: seeds less cells.
        source: the study, its epochs and its data.
    """

    metric: str
    sd: float
    freedom: int
    source: str


def spread_of(spec: StudySpec, held: record.Record) -> Spread | None:
    """Of the cells with seeds that have the settings of one of this study's; None without any.

    Args:
        spec: the study.
        held: the record of the one that lends it.
    """
    study, metric = held.study, f"test_{find_task(spec.task).metric}"
    try:
        source = f"{study['name']}, {study['rungs'][-1]} epochs on {study['data'][0]['data']}"
    except LookupError:  # of an earlier version, or of no data
        return None
    wanted = [shape_of(spec.config(cell, {}), spec) for cell in spec.cell_values()]
    like = [
        number
        for number, cell in enumerate(study["cells"])
        for shape in wanted
        if all({**study["settings"], **cell}.get(k, v) == v for k, v in shape.items())
    ]
    sd, freedom = seed_spread(held.trials[held.trials["cell"].isin(like)], metric)
    return Spread(metric, sd, freedom, source) if sd > 0 else None
