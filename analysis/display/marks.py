"""The marks of tables and figures: which there are, what they say, and what bold is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.findings.cells import ALLOWED, NO_VALUE, CellValue, kept_out
from analysis.findings.stats import has_spread
from search.record.naming import cell_label

# mark -> (sign in tables, what it says)
MARKS = {
    "unfinished": ("†", "not trained to its full budget: value at epoch/budget, never averaged"),
    "unconfirmed": (
        "°",
        "fully trained in the search, not yet confirmed: the value it was ranked by",
    ),
    "no skill": (
        "#",
        "not shown to beat every constant predictor: the 95 % interval over seeds and test "
        "images, or the one value there is, does not leave it behind",
    ),
    "collapsed": ("‡", "predictions barely differ between images (in at least one seed)"),
    "seeds missing": ("§", "fewer seeds than planned are complete"),
    "not finite": ("∅", "not finite in at least one seed, which the value leaves out"),
    "edge": ("‖", "a searched setting is the lowest or highest tried: the best may lie beyond"),
    "audit": ("∇", "a config that the rule had ended did better than the winner, trained on"),
    "synthetic": ("¶", "synthetic data: says nothing about real images"),
    "failed": ("×", "no result: its trials, or all of its seeds, failed or diverged"),
    "mixed": ("⊕", "made of parts that were not computed alike"),
    "fewer configs": ("◊", "fewer configs than planned to choose among"),
    "imported": (
        "⇣",
        "imported: one training elsewhere, by the rule and on the split named; no seeds, logs or "
        "results of images, so never confirmed",
    ),
    "imported seeds": (
        "⇢",
        "imported with seeds: trained elsewhere, compared as the source has it; nothing says that "
        "its numbers are those of a run",
    ),
    "not told apart": ("≈", "the best is among the cells so marked, which is not decided"),
}

SEED_KINDS = {"paired": "seed by seed, as the study pairs them", "welch": "Welch"}


def legend(values: Iterable[CellValue]) -> list[tuple[str, str]]:
    """Sign and meaning of each mark that any of the values carries, with what it is of here."""
    held = list(values)
    marks = [mark for mark in MARKS if any(mark in v.marks for v in held)]
    return [(MARKS[mark][0], f"{MARKS[mark][1]}{_details(held, mark)}") for mark in marks]


def _details(values: Iterable[CellValue], mark: str) -> str:
    """What a mark means in each cell that says so, e.g. ": depth 18: chosen among 3 of 4 ..."."""
    held: dict[str, dict[str, None]] = {}
    for value in values:
        if mark in value.details:
            held.setdefault(value.details[mark], {})[cell_label(value.given)] = None
    return "".join(f"; {', '.join(cells)}: {said}" for said, cells in held.items())


def signs(value: CellValue) -> str:
    """The signs of a value's marks, in the order of the legend."""
    return "".join(MARKS[mark][0] for mark in MARKS if mark in value.marks)


def why_out(value: CellValue) -> str:
    """What keeps a cell out of a comparison; see analysis.findings.verdict.kept_out."""
    return ", ".join(
        "no value yet" if m == NO_VALUE else value.details.get(m, MARKS[m][1])
        for m in kept_out(value)
    )


def undecidable(values: Iterable[CellValue]) -> str:
    """Why no interval over seeds is known of some values, so that no lead of theirs decides."""
    held = list(values)
    if any(value.n < 2 for value in held):
        why = "with one seed a cell"
    elif any(has_spread(value.values) for value in held):  # paired
        why = "with the same difference at every seed"
    else:
        why = "with seeds that do not differ"
    return f"{why} a lead decides nothing"


def deciding(values: Iterable[CellValue]) -> str:
    """What bold is, and which uncertainties decided it."""
    held = [value for value in values if value.standing in ("best", "among the best", "behind")]
    if not held:
        return "Bold: nothing, since no two cells can be compared."
    leads = [(v.metric, v.behind) for v in held if v.behind is not None]
    kinds = {by.seeds.kind for _, by in leads}
    seeds = ", or ".join(SEED_KINDS[kind] for kind in SEED_KINDS if kind in kinds)
    over = []
    for there, how in (
        ((True, True), f"over seeds ({seeds}) and test images (paired bootstrap) together"),
        ((True, False), f"over seeds alone ({seeds}), since results of each image do not give it"),
        ((False, False), "not at all where a cell has one seed, or seeds do not differ"),
    ):
        same = [m for m, by in leads if (by.both.known, by.both.kind == "both") == there]
        over += [f"{', '.join(dict.fromkeys(same))} {how}"] if same else []
    return (
        "Bold: decided to be better than every other comparable, unmarked cell of the same images "
        f"(95 %, Holm): {'; '.join(over)}; signs that keep no cell out: "
        f"{' '.join(MARKS[mark][0] for mark in ALLOWED)}."
    )


def skill_words(study: Mapping[str, Any], values: Iterable[CellValue]) -> list[str]:
    """Metrics of complete cells on whose skill nothing can be said, a sentence each."""
    held, found = [v for v in values if v.status == "complete"], []
    split = study["shown_split"]
    for skill, text in (
        ("no constants", f"No constant predictor is on record for the {split} images: {{}}."),
        (
            "unknown",
            "Whether constants are beaten no interval over seeds or images says: {}.",
        ),
    ):
        names = dict.fromkeys(v.metric for v in held if v.skill == skill)
        if names:
            found.append(text.format(", ".join(names)))
    return found
