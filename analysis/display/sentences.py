"""The answer of a study in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.display import marks
from analysis.display.frames import lead_words
from analysis.findings.answer import Answer, answers
from analysis.findings.cells import CellValue, cell_values
from analysis.findings.facts import fixed_point, metric_name
from search.record import Record, naming


def answer_parts(record: Record) -> list[list[str]]:
    """Sentences for each set of test images that cells are scored on, the verdict first."""
    values = cell_values(record)
    return [_sentences(record.study, answer, values) for answer in answers(record)]


def _sentences(study: Mapping[str, Any], answer: Answer, values: Sequence[CellValue]) -> list[str]:
    held = [*answer.compared, *(v for values in answer.out.values() for v in values)]
    head = f"{held[0].split} {metric_name(study, held[0].metric)}"
    left = "; ".join(
        f"{' and '.join(naming.cell_label(v.given) for v in same)} ({why})"
        for why, same in _alike(answer).items()
    )
    said = [f"{head[0].upper()}{head[1:]}: {_lead(answer)}."]
    said += [text for text in (_skill(answer),) if text]
    said += _other_metrics(answer, values)
    said += [f"Left out: {left}."] if left else []
    said += _asides(held)
    if study["synthetic"] and answer.verdict == "decided":
        said.append("Of synthetic images: nothing is decided of real ones.")
    return said


def _alike(answer: Answer) -> dict[str, list[CellValue]]:
    """Why cells are left out -> the cells of that reason."""
    found: dict[str, list[CellValue]] = {}
    for values in answer.out.values():
        for value in values:
            found.setdefault(marks.why_out(value), []).append(value)
    return found


def _named(value: CellValue) -> str:
    return f"{naming.cell_label(value.given)} ({fixed_point(value.mean, value.digits)})"


def _lead(answer: Answer) -> str:
    if answer.verdict == "none":
        return "no cell can be compared"
    first = answer.compared[0]
    if answer.verdict == "alone":
        if not answer.out:
            return f"{_named(first)}, with no other cell on the same images to compare it with"
        return f"only {_named(first)} can be compared"
    others = [value for value in answer.among if value is not first]
    if answer.verdict == "decided":
        second, count = answer.compared[1], len(answer.compared) - 1
        over = {1: "the other one", 2: "both others"}.get(count, f"all {count} others")
        return f"{_named(first)} leads, decided against {over}; next is {_by(second)}"
    rest = "; ".join(_by(value) for value in others if not _tied(value))
    if answer.verdict == "tie":
        tied = " and ".join(_named(v) for v in (first, *filter(_tied, others)))
        more = f"; not told apart from them: {rest}" if rest else ""
        return f"NOT decided, a tie of {tied}{more}"
    text = f"NOT decided. {_named(first)} has the best mean; not told apart from it: {rest}"
    if answer.verdict == "not decided":
        return text
    return f"{text}; {marks.undecidable(answer.compared[:2])}"


def _tied(value: CellValue) -> bool:
    return value.behind is not None and value.behind.tie


def _by(value: CellValue) -> str:
    """A cell and how far it is behind, e.g. "depth 18 (0.70), behind by 0.05 (95 %: ...)"."""
    lead = value.behind
    if lead is None:
        return _named(value)
    said = lead_words(lead, value.digits)
    over = f" ({said})" if said else ""
    return f"{_named(value)}, behind by {fixed_point(lead.point, value.digits)}{over}"


def _skill(answer: Answer) -> str:
    """What those that the best is among are beside constant predictors."""
    held = answer.among or answer.compared[:1]
    if not held:
        return ""
    names = {c.name: c for value in held for c in value.constants}
    told = ", ".join(f"{c.name} ({fixed_point(c.value, held[0].digits)})" for c in names.values())
    it = "It beats" if len(held) == 1 else "They beat"
    if all(value.skill == "shown" for value in held):
        return f"{it} every constant predictor: {told}."
    if any(value.skill == "no constants" for value in held):
        return f"No constant predictor is on record for the {held[0].split} images."
    untold = [value for value in held if value.skill != "shown"]
    few = "one seed" if min(value.n for value in untold) < 2 else "seeds that do not differ"
    said = f"hether a constant predictor is beaten ({told}) no interval says, of {few}"
    if len(untold) == len(held):
        return f"W{said}."
    whose = " and ".join(naming.cell_label(value.given) for value in untold)
    return f"Of {whose}, w{said}; the rest of these beat every one."


def _other_metrics(answer: Answer, values: Sequence[CellValue]) -> list[str]:
    """Metrics by which a cell that is compared does not beat the constants, in a sentence."""
    named = {value.cell for value in answer.compared}
    main = {value.metric for value in answer.compared}
    said = [
        f"{naming.cell_label(v.given)}: {v.details['no skill']}"
        for v in values
        if v.cell in named and v.metric not in main and "no skill" in v.details
    ]
    return [f"But {'; '.join(said)}."] if said else []


def _asides(held: list[CellValue]) -> list[str]:
    """Where a cell may do better than it shows: an audit that lost, an end of what was tried."""
    found = []
    for mark, text in (
        ("audit", "The rule ended better configs than it kept"),
        ("edge", "Chosen at the end of what was tried"),
    ):
        said = [
            f"{naming.cell_label(v.given)} ({v.details[mark]})" for v in held if mark in v.marks
        ]
        found += [f"{text}: {'; '.join(said)}."] if said else []
    return found
