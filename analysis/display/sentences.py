"""The answer of a study in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.display import words
from analysis.display.frames import fixed_point
from analysis.findings.answer import Answer, answers
from analysis.findings.cells import CellValue
from analysis.findings.facts import metric_name
from search.record import Record


def answer_sentences(record: Record) -> list[str]:
    """One text for each data set of which a study has several cells."""
    return [_sentence(record.study, answer) for answer in answers(record)]


def _sentence(study: Mapping[str, Any], answer: Answer) -> str:
    held = [*answer.compared, *(v for values in answer.out.values() for v in values)]
    head = f"{held[0].split} {metric_name(study, held[0].metric)}"
    left = "; ".join(
        f"{' and '.join(words.cell_label(v.given) for v in values)} ({words.why_out(why)})"
        for why, values in answer.out.items()
    )
    said = f"{head[0].upper()}{head[1:]}: {_lead(answer)}."
    return said + (f" Left out: {left}." if left else "")


def _named(value: CellValue) -> str:
    return f"{words.cell_label(value.given)} ({fixed_point(value.mean, value.digits)})"


def _lead(answer: Answer) -> str:
    if answer.verdict == "none":
        return "no cell can be compared"
    first = answer.compared[0]
    if answer.verdict == "alone":
        return f"only {_named(first)} can be compared"
    text = f"{_named(first)} leads, then {_named(answer.compared[1])}"
    if answer.verdict in ("one seed", "no spread"):
        few = answer.verdict == "one seed"
        why = "with one seed a cell" if few else "with seeds that do not differ"
        return f"{text}; {why} that decides nothing"
    (low, high), digits = answer.lead, first.digits
    sure = "decided" if answer.verdict == "decided" else "NOT decided"
    return (
        f"{text}; 95 % interval of the lead over seeds, on the same {first.split} images, "
        f"{low:.{digits}f} to {high:.{digits}f} (Welch; the leader was picked first): {sure}"
    )
