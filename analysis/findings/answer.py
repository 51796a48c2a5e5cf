"""What a study says of its question: which cell leads, and whether the seeds decide it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from analysis.display import words
from analysis.display.frames import fixed_point
from analysis.findings.cells import CellValue, cell_values, why_out
from analysis.findings.stats import difference
from search.record import Record

ALLOWED = ("edge", "synthetic")  # a study of synthetic data says so in its banner


def answers(record: Record) -> list[str]:
    """One text for each data set of which a study has several cells."""
    main = [v for v in cell_values(record) if v.metric == record.study["metric"]]
    kinds = dict.fromkeys(v.data for v in main)
    held = [[v for v in main if v.data == kind] for kind in kinds]
    return [_answer(values) for values in held if len(values) > 1]


def _answer(values: Sequence[CellValue]) -> str:
    out: dict[str, list[str]] = {}
    sound = []
    for value in values:
        why = why_out(value, ALLOWED)
        if why:
            out.setdefault(why, []).append(words.cell_label(value.given))
        else:
            sound.append(value)
    sound.sort(key=lambda v: v.mean, reverse=values[0].mode == "max")
    if len(sound) > 1:
        text = _lead(sound[0], sound[1])
    elif sound:
        text = f"only {_named(sound[0])} can be compared"
    else:
        text = "no cell can be compared"
    head = f"{values[0].split} {words.metric_name(values[0].metric)}"
    left = "; ".join(f"{' and '.join(labels)} ({why})" for why, labels in out.items())
    return f"{head[0].upper()}{head[1:]}: {text}." + (f" Left out: {left}." if left else "")


def _named(value: CellValue) -> str:
    return f"{words.cell_label(value.given)} ({fixed_point(value.mean, value.metric)})"


def _lead(first: CellValue, second: CellValue) -> str:
    text = f"{_named(first)} leads, then {_named(second)}"
    pair = (first, second) if first.mode == "max" else (second, first)
    low, high = difference(pair[0].values, pair[1].values)
    if math.isnan(low):
        few = min(first.n, second.n) < 2
        why = "with one seed a cell" if few else "with seeds that do not differ"
        return f"{text}; {why} that decides nothing"
    digits = words.DECIMALS.get(first.metric, 4)
    sure = "decided" if low > 0 else "NOT decided"
    return (
        f"{text}; 95 % interval of the lead over seeds, on the same {first.split} images, "
        f"{low:.{digits}f} to {high:.{digits}f} (Welch; the leader was picked first): {sure}"
    )
