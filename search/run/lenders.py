"""What studies that were run before say of one that is planned: each record is read once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from search import record
from search.run.earlier import UNREADABLE, earlier_studies
from search.run.measuring import EpochTime, times_of
from search.run.spreads import Spread, spread_of
from search.spec.study_spec import StudySpec


def lent(
    spec: StudySpec, runs_dir: Path, times: bool = True
) -> tuple[list[EpochTime], Spread | None]:
    """Times of epochs, a cell the newest by name, and the spread over most seeds.

    Args:
        spec: the study.
        runs_dir: folder of run folders; those that cannot be read lend nothing.
        times: whether these are wanted: curves are read for them.
    """
    found, spreads = dict[int, EpochTime](), list[Spread]()
    for held in _records(spec, runs_dir):
        if times:
            found |= {time.cells[0]: time for time in times_of(spec, held)}
        if spread := spread_of(spec, held):
            spreads.append(spread)
    return list(found.values()), max(spreads, key=lambda s: s.freedom, default=None)


def _records(spec: StudySpec, runs_dir: Path) -> Iterator[record.Record]:
    """Those of the study's task that ran, one at a time: a large one takes hundreds of MB."""
    for folder, study in earlier_studies(runs_dir):
        if study["task"] != spec.task or "imported" in study:
            continue
        try:
            held = record.load(folder)
        except UNREADABLE:
            continue
        yield held
