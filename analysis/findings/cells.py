"""The verdict on every cell, made here once; tables, figures, captions and sentences read it.

`results` says what a cell's trials came to, `images` what other test images would have given,
`constants` whether it beats a constant predictor, `standing` whether it is the best.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from analysis.findings.audit import audit_of_cells
from analysis.findings.constants import applicable, beside_constants, counts_in, recorded
from analysis.findings.facts import digits as main_digits
from analysis.findings.facts import fixed_point, images_of_cell
from analysis.findings.images import Images, images_of, mean_of
from analysis.findings.results import config_of, results
from analysis.findings.standing import lead, require_comparable, with_standing
from analysis.findings.stats import Interval, share_interval
from analysis.findings.verdict import (
    ALLOWED,
    MARKS,
    NO_AUDIT,
    NO_VALUE,
    TWO_SEEDS,
    Audit,
    CellValue,
    Constant,
    Edge,
    Lead,
    kept_out,
)
from search.record import Record, short_choices
from search.record.image_parts import SHARES
from search.record.once import once

__all__ = [
    "ALLOWED",
    "MARKS",
    "NO_VALUE",
    "Audit",
    "CellValue",
    "Constant",
    "Edge",
    "Lead",
    "best",
    "cell_values",
    "config_of",
    "kept_out",
    "lead",
    "require_comparable",
]


def cell_values(record: Record) -> list[CellValue]:
    """The verdict on every cell and metric of a study, cells in order, metrics inside.

    Raises:
        UserError: trials of a cell differ in rule, budget, metric or config.
    """
    return list(_judged(record))


def best(values: Iterable[CellValue]) -> frozenset[int]:
    """Cells of which it is decided that no other that can be compared with them is as good."""
    return frozenset(value.cell for value in values if value.bold)


@once  # drawing test images anew takes a second
def _judged(record: Record) -> list[CellValue]:
    values = results(record)
    shown = {t for v in values if v.status == "complete" for t in v.trials}
    scored = record.study["shown_split"] == "test"
    images = images_of(record, shown, counts_in(record)) if scored else Images()
    values = [_with_images(value, images) for value in _with_groups(record, values, images)]
    values = _with_constants(record, values, images)
    return with_standing(_with_marks(record, values))


def _with_groups(record: Record, values: list[CellValue], images: Images) -> list[CellValue]:
    """What each value may be compared within.

    Cells are of different images by their settings, or where results of each image differ in
    names or true values; a cell whose seeds do is compared with none.
    """
    held: dict[int, frozenset[str]] = {}
    by_settings: dict[str, set[frozenset[str]]] = {}
    for value in values:
        sets = frozenset(images.sets[t] for t in value.trials if t in images.sets)
        held[value.cell] = held.get(value.cell, frozenset()) | sets
    for cell, sets in held.items():
        if sets:
            key = images_of_cell(record.study, record.study["cells"][cell])
            by_settings.setdefault(key, set()).add(sets)
    found = []
    for value in values:
        key, sets = images_of_cell(record.study, value.given), held[value.cell]
        if len(sets) > 1:
            key = f"{key} cell {value.cell}"
        elif len(by_settings.get(key, ())) > 1:
            key = f"{key} {''.join(sets)}"
        found.append(replace(value, images=f"{value.split} {value.rule} {value.budget} {key}"))
    return found


def _with_images(value: CellValue, images: Images) -> CellValue:
    samples = [images.samples.get((trial, value.metric)) for trial in value.trials]
    sets = {images.sets.get(trial) for trial in value.trials}
    known = [sample for sample in samples if sample is not None]
    if value.status != "complete" or len(known) != value.n or len(sets) != 1:
        return value
    sample = mean_of(known)
    if value.metric in SHARES:
        size = images.sizes[next(iter(s for s in sets if s))]
        drawn = Interval(*share_interval(value.mean * size, size), "wilson")
    else:
        drawn = Interval(*sample.interval(), "bootstrap")
    return replace(value, sample=sample, image_interval=drawn.within(value.bounds))


def _with_constants(record: Record, values: list[CellValue], images: Images) -> list[CellValue]:
    trials = record.trials[["cell", "baselines"]]
    held = {int(str(cell)): rows for cell, rows in trials.groupby("cell")}
    none = trials.iloc[:0]
    scores = {
        cell: applicable(record.study, recorded(held.get(cell, none)))
        for cell in {value.cell for value in values}
    }
    return [
        replace(value, constants=beside_constants(value, scores[value.cell], images))
        for value in values
    ]


def _with_marks(record: Record, values: list[CellValue]) -> list[CellValue]:
    """The marks that hang on more than a cell's own trials, with what is said of them here."""
    choices, audits = short_choices(record), audit_of_cells(record)
    watched = f"{record.study['watched']} {record.study['metric']}"
    digits = main_digits(record.study, record.study["metric"])
    found = []
    for value in values:
        value = replace(value, audit=audits.get(value.cell, NO_AUDIT))
        details = dict[str, str]()
        if value.skill == "not shown":
            details["no skill"] = _without_skill(value)
        if value.edges and value.status == "complete":
            details["edge"] = ", ".join(f"{e.key} {_SIDES[e.side]}" for e in value.edges)
        if value.audit.better:
            ended, better = value.audit.ended, value.audit.better
            best, winner = (fixed_point(x, digits) for x in (value.audit.best, value.audit.winner))
            details["audit"] = f"{better} of {ended} audited, {best} against {winner} ({watched})"
        if mixed := record.mixed.cells.get(value.cell):
            details["mixed"] = "; ".join(mixed)
        if choice := choices.get(value.cell):
            details["fewer configs"] = choice.words
        if value.status in ("empty", "failed"):
            details.clear()
        marks = tuple(m for m in MARKS if m in value.marks or m in details)
        found.append(replace(value, marks=marks, details={**value.details, **details}))
    return found


def _without_skill(value: CellValue) -> str:
    """E.g. "mae worse than training mean (75.0), not shown to beat zero (124.0)".

    Of two seeds it says what decides: both values, which tables show, may lie beyond a constant.
    """
    said, two = [], False
    for words, worse in (("worse than", True), ("not shown to beat", False)):
        held = [c for c in value.constants if c.refuted and (c.lead.says == "worse") is worse]
        names = ", ".join(f"{c.name} ({fixed_point(c.value, value.digits)})" for c in held)
        said += [f"{words} {names}"] if names else []
        two = two or any(c.lead.seeds.known and value.n == 2 for c in held)
    return f"{value.metric} {', '.join(said)}{TWO_SEEDS * two}"


_SIDES = {"lowest": "lowest tried", "highest": "highest tried", "only": "the only one tried"}
