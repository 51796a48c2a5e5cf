"""The test ledger in words: how often test was scored, and what the choice promised.

Every caption of a table of test scores has its sentences from here.
"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.findings.facts import digits, fixed_point, metric_name
from analysis.findings.optimism import overall
from analysis.findings.reveals import Ledger, ledgers, reveal_frame
from search.record import Record


def ledger_words(record: Record, page: Sequence[Record] = ()) -> list[str]:
    """What captions of test scores say of candidates and reveals, and of the choice's optimism.

    Args:
        record: the study.
        page: the studies that are shown together.
    """
    if record.study["shown_split"] != "test":
        return []  # of validation
    held = ledgers(record, page)
    if not held:
        return ["Test ledger: test has not been scored yet."]
    return [f"Test ledger: {'; '.join(_of_set(one) for one in held)}.", optimism_words(record)]


def shown_val(record: Record) -> str:
    """The same where tables show validation, as `protocol = "report"` may have it."""
    count = _count(len(reveal_frame(record)), "reveal")
    return f"Test ledger: {count} on record; tables of this study show validation."


def _of_set(held: Ledger) -> str:
    """E.g. "24 candidates, 9 reveals of 10000 test images, over the 2 studies shown here ..."."""
    images = f"{held.images} test images" if held.images else "test images"
    said = f"{_count(held.candidates, 'candidate')}, {_count(held.reveals, 'reveal')} of {images}"
    if held.watched:
        said += (
            f" ({held.watched} of them after an epoch, where test is the split that is watched)"
        )
    if held.imported:
        said += " (at least: imported, and its source may have scored them more often)"
    if len(held.studies) > 1:
        said += (
            f", over the {len(held.studies)} studies shown here "
            f"{_count(held.all_candidates, 'candidate')} and "
            f"{_count(held.all_reveals, 'reveal')} of the same images"
        )
    return said


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def optimism_words(record: Record) -> str:
    """The optimism of the choice over all cells in a sentence."""
    study, held = record.study, overall(record)
    if held.why:
        return f"Optimism of the choice: cannot tell ({held.why})."
    places = digits(study, study["metric"])
    name = f"{study['watched']} {metric_name(study, study['metric'])}"
    of = "one cell" if held.cells == 1 else f"mean of {held.cells} cells"
    which = "better" if held.optimism >= 0 else "worse"
    by = fixed_point(abs(held.optimism), places)
    ends = f"{fixed_point(held.low, places)} to {fixed_point(held.high, places)}"
    alone = ""
    stages = reveal_frame(record)["stage"]
    if len(stages) and stages.eq("confirm").fillna(False).all():
        alone = ", which alone were scored on test"
    return (
        f"Optimism of the choice: in the search {name} of the winners was {by} {which} than that "
        f"of their seeds since (95 % of how much better: {ends}; {of}){alone}."
    )
