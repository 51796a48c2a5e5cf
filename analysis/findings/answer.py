"""What a study says of its question: which cell is the best, and whether that is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.findings.cells import CellValue, cell_values, kept_out
from analysis.findings.stats import equal
from search.record import Record

Verdict = Literal["decided", "not decided", "tie", "one seed", "no spread", "alone", "none"]


@dataclass(frozen=True)
class Answer:
    """The main metric of a study's cells that can be held beside each other.

    Attributes:
        compared: cells that can be compared, best first.
        out: what keeps cells out (see kept_out) -> those cells.
        verdict: whether the first is the best of them; "one seed" and "no spread" decide nothing,
            a "tie" has no first, "alone" and "none" have nothing to compare.
    """

    compared: tuple[CellValue, ...]
    out: dict[tuple[str, ...], tuple[CellValue, ...]]
    verdict: Verdict

    @property
    def among(self) -> tuple[CellValue, ...]:
        """Those that the best is among: not told apart from the first, itself included."""
        return tuple(v for v in self.compared if v.standing in ("best", "among the best"))


def answers(record: Record) -> list[Answer]:
    """One for each set of test images that cells of a study are scored on."""
    main = [v for v in cell_values(record) if v.metric == record.study["metric"]]
    groups: dict[str, list[CellValue]] = {}
    for value in main:
        groups.setdefault(value.images, []).append(value)
    return [_answer(values) for values in groups.values()]


def _answer(values: Sequence[CellValue]) -> Answer:
    out: dict[tuple[str, ...], tuple[CellValue, ...]] = {}
    for value in values:
        if why := kept_out(value):
            out[why] = (*out.get(why, ()), value)
    sign = -1 if values[0].mode == "max" else 1
    sound = [value for value in values if value.standing != "out"]
    sound.sort(key=lambda value: (sign * value.mean, value.cell))
    return Answer(tuple(sound), out, _verdict(sound))


def _verdict(sound: Sequence[CellValue]) -> Verdict:
    if len(sound) < 2:
        return "alone" if sound else "none"
    first, second = sound[:2]
    if first.standing == "best":
        return "decided"
    if equal(first.mean, second.mean):
        return "tie"
    if second.behind is None or second.behind.both.known:
        return "not decided"
    return "one seed" if min(first.n, second.n) < 2 else "no spread"
