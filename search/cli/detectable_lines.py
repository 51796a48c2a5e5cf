"""What `preview` says of the differences that a study's seeds can decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.record.power import MOST_SEEDS, POWER

if TYPE_CHECKING:
    from search.run.spreads import Spread
    from search.schedule.detectable import Detectable


def detectable_lines(held: Sequence[Detectable], spread: Spread | None) -> list[str]:
    """A head, a line each, and where the unit comes from.

    Args:
        held: what seeds can decide; nothing of a study of one cell.
        spread: standard deviation over seeds that a study lends.
    """
    if not held:
        return []
    first, lines = held[0], list[str]()
    seeds = f"{first.seeds} seed{'s' * (first.seeds != 1)} a cell"
    if first.difference is None:
        lines.append(f"{seeds}: no difference between cells can be decided, two are the fewest")
    else:
        lines.append(
            f"{seeds}: decided in {100 * POWER:.0f} % of studies is a difference, seeds alone, of"
        )
    unit = "sd of the differences seed by seed" if first.paired else "sd over seeds"
    lent = spread if spread and not first.paired else None
    for one in held:
        lines.append(f"  {one.what} (at {100 * one.level:.4g} %): {_said(one, unit, lent)}")
    if lent:
        lines.append(
            f"  {lent.metric} by the sd over seeds of study {lent.source}: {lent.sd:.3g} "
            f"({lent.freedom} degrees of freedom)"
        )
    return lines


def _said(held: Detectable, unit: str, lent: Spread | None) -> str:
    needs = ", ".join(
        f"{f'more than {MOST_SEEDS}' if n is None else n} for {difference} sd"
        for difference, n in held.needed.items()
    )
    if held.difference is None:
        return f"seeds needed: {needs}"
    metric = f" = {held.difference * lent.sd:.2g} {lent.metric}" if lent else ""
    return f"{held.difference:.2f} {unit}{metric}; seeds needed: {needs}"
