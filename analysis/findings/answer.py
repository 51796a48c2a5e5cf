"""What a study says of its question: which cell leads, and whether the seeds decide it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.findings.cells import CellValue, cell_values, kept_out
from analysis.findings.stats import difference
from search.record import Record

ALLOWED = ("edge", "synthetic")  # a study of synthetic data says so in its banner
Verdict = Literal["decided", "not decided", "one seed", "no spread", "alone", "none"]


@dataclass(frozen=True)
class Answer:
    """The main metric of a study's cells of one data set, compared.

    Attributes:
        compared: cells that can be compared, best first.
        out: what keeps cells out (see kept_out) -> those cells.
        verdict: whether the first leads the second for sure; "one seed" and "no spread" are leads
            that decide nothing, "alone" and "none" are no leads.
        lead: 95 % interval of the first's lead over the second (Welch), NaN where there is none.
    """

    compared: tuple[CellValue, ...]
    out: dict[tuple[str, ...], tuple[CellValue, ...]]
    verdict: Verdict
    lead: tuple[float, float] = (math.nan, math.nan)


def answers(record: Record) -> list[Answer]:
    """One for each data set of which a study has several cells."""
    main = [v for v in cell_values(record) if v.metric == record.study["metric"]]
    kinds = dict.fromkeys(v.data for v in main)
    held = [[v for v in main if v.data == kind] for kind in kinds]
    return [_answer(values) for values in held if len(values) > 1]


def _answer(values: Sequence[CellValue]) -> Answer:
    out: dict[tuple[str, ...], tuple[CellValue, ...]] = {}
    sound = []
    for value in values:
        if why := kept_out(value, ALLOWED):
            out[why] = (*out.get(why, ()), value)
        else:
            sound.append(value)
    sound.sort(key=lambda v: v.mean, reverse=values[0].mode == "max")
    if len(sound) < 2:
        return Answer(tuple(sound), out, "alone" if sound else "none")
    verdict, lead = _lead(sound[0], sound[1])
    return Answer(tuple(sound), out, verdict, lead)


def _lead(first: CellValue, second: CellValue) -> tuple[Verdict, tuple[float, float]]:
    pair = (first, second) if first.mode == "max" else (second, first)
    low, high = difference(pair[0].values, pair[1].values)
    if math.isnan(low):
        return ("one seed" if min(first.n, second.n) < 2 else "no spread"), (low, high)
    return ("decided" if low > 0 else "not decided"), (low, high)
