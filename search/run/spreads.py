"""How far seeds of the study's cells were apart in studies that were run before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from search import record
from search.record.seed_spread import seed_spread
from search.run.measuring import shape_of
from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.errors import UserError


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


def lent_spread(spec: StudySpec, runs_dir: Path) -> Spread | None:
    """Of the study that says most of it: whose cells with seeds have the settings of this one's.

    Args:
        spec: the study.
        runs_dir: folder of run folders; those that cannot be read lend nothing.
    """
    wanted = [shape_of(spec.config(cell, {}), spec) for cell in spec.cell_values()]
    metric, found = f"test_{find_task(spec.task).metric}", list[Spread]()
    for path in sorted(runs_dir.glob(f"*/{record.STUDY}")):
        try:
            study = record.load_study(path.parent)
            if study["task"] != spec.task or "imported" in study:
                continue
            held = record.load(path.parent)
            source = f"{study['name']}, {study['rungs'][-1]} epochs on {study['data'][0]['data']}"
        except (UserError, OSError, LookupError):
            continue
        like = [
            number
            for number, cell in enumerate(study["cells"])
            for shape in wanted
            if all({**study["settings"], **cell}.get(k, v) == v for k, v in shape.items())
        ]
        sd, freedom = seed_spread(held.trials[held.trials["cell"].isin(like)], metric)
        if sd > 0:
            found.append(Spread(metric, sd, freedom, source))
    return max(found, key=lambda spread: spread.freedom, default=None)
