"""Which differences a study's seeds can decide, before it runs: no cell has been trained yet.

Differences are in standard deviations over seeds, since nobody knows these before; `preview` gives
them in the metric where a study that was run before lends its own. Test images add to what seeds
leave open, so a study decides this or less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from search.record.naming import setting
from search.record.power import Sds, detectable_difference, seeds_for
from search.spec.study_spec import StudySpec
from search.spec.tables import Contrast

LEVEL = 0.95  # of all comparisons that are decided together
ASKED = (1, 2, 3)  # differences in standard deviations, of which the seeds needed are told
LEAST = 2  # seeds of which anything can be decided


@dataclass(frozen=True)
class Detectable:
    """What seeds can decide of some comparisons.

    Attributes:
        what: the comparisons, in words.
        comparisons: how many are decided together (Holm); the first of them at `level`, which is
            what a difference needs that stands alone.
        level: of its interval, in (0, 1).
        seeds: of each cell.
        paired: whether differences are taken seed by seed; the unit is the standard deviation of
            these then, else that over the seeds of a cell.
        difference: that would be decided in power.POWER of studies, in these units; None where no
            difference can be, of fewer than two seeds.
        needed: difference in these units -> seeds of each cell that would decide it; None above
            power.MOST_SEEDS.
    """

    what: str
    comparisons: int
    level: float
    seeds: int
    paired: bool
    difference: float | None
    needed: Mapping[int, int | None] = field(default_factory=dict)


def detectable(spec: StudySpec) -> list[Detectable]:
    """Two cells alone, each cell against all others, and each contrast that is declared.

    The contrasts of a metric are all decided together, whichever of them a pair is of.
    """
    cells = spec.cell_values()
    if len(cells) < 2:
        return []
    declared = [(_words(contrast), len(_pairs(cells, contrast))) for contrast in spec.contrast]
    every = sum(count for _, count in declared)
    found = [_of(spec, "two cells, compared alone", 1)]
    if len(cells) > 2:
        others = len(cells) - 1
        found.append(_of(spec, f"the best cell and one of the {others} others", others))
    for words, count in declared:
        beside = f" of {every}" if every > count else ""
        pairs = f"{count}{beside} declared pair{'s' * (every != 1)}"
        found.append(_of(spec, f"contrast {words} ({pairs})", every))
    return found


def _words(contrast: Contrast) -> str:
    return f"{contrast.key} against {setting(contrast.key, contrast.against)}"


def _pairs(cells: Sequence[Mapping[str, object]], contrast: Contrast) -> list[int]:
    """Cells that have another beside the same settings with the value compared against."""
    key = contrast.key

    def rest(at: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
        return tuple((k, repr(v)) for k, v in at.items() if k != key)

    base = {rest(at) for at in cells if at[key] == contrast.against}
    return [n for n, at in enumerate(cells) if at[key] != contrast.against and rest(at) in base]


def _of(spec: StudySpec, what: str, comparisons: int) -> Detectable:
    # without [confirm] a cell has one result: its one training, or the search's winner
    seeds, paired = len(spec.confirm.seeds) or 1, spec.confirm.paired
    level = 1 - (1 - LEVEL) / max(comparisons, 1)
    sds: Sds = 1.0 if paired else (1.0, 1.0)
    return Detectable(
        what=what,
        comparisons=comparisons,
        level=level,
        seeds=seeds,
        paired=paired,
        difference=detectable_difference(sds, seeds, level) if seeds >= LEAST else None,
        needed={difference: seeds_for(sds, difference, level) for difference in ASKED},
    )
