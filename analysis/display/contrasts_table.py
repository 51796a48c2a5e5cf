"""The contrasts of a study as a table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.display import words
from analysis.display.frames import ends, stamps
from analysis.display.ledger import ledger_words
from analysis.display.origins import origin
from analysis.display.render import Table
from analysis.findings.contrasts import Contrast, contrasts, declared
from analysis.findings.facts import DASH, digits, fixed_point, metric_name
from analysis.findings.stats import Interval
from search.record import Record
from search.record.naming import cell_label
from search.record.power import POWER


def contrasts_table(
    record: Record, asked: Sequence[Contrast] | None = None, page: Sequence[Record] = ()
) -> Table:
    """A row a pair of cells and metric.

    Args:
        record: the study.
        asked: after its results were seen; those that it declares unless given.
        page: the studies that are shown together.

    Raises:
        UserError: see analysis.findings.contrasts.contrasts.
    """
    study, data = record.study, contrasts(record, asked)
    rows = []
    for row in data.to_dict("records"):
        places = digits(study, row["metric"])
        why = f": {row['why']}" if row["why"] else ""
        rows.append(
            {
                "contrast": row["contrast"],
                "within": row["within"] or DASH,
                "cell": cell_label(study["cells"][row["cell"]]),
                "metric": f"{row['split']} {metric_name(study, row['metric'])}",
                "difference": fixed_point(row["difference"], places),
                "interval": ends(Interval(row["lo"], row["hi"], "both"), places),
                "verdict": f"{row['verdict']}{why}",
                "detectable": fixed_point(row["detectable"], places),
                "seeds to decide": DASH if pd.isna(row["seeds"]) else str(row["seeds"]),
            }
        )
    display = pd.DataFrame(rows)
    bold = pd.DataFrame(False, index=display.index, columns=display.columns)
    if len(rows):
        bold["verdict"] = data["verdict"].isin(["better", "worse"]).to_numpy()
    said = _declaration(record, asked)
    caption = " ".join(
        [*words.banners(record), said, _NOTE, *ledger_words(record, page), origin(record)]
    )
    title = "Contrasts: each value against one"
    data = data.assign(**stamps(record))
    return Table(study["name"], "contrasts", title, caption, display, bold, data, short=said)


def _declaration(record: Record, asked: Sequence[Contrast] | None) -> str:
    """Whether these were declared before there was a result, or which were not."""
    own = declared(record)
    others = [contrast for contrast in asked or () if contrast not in own]
    if not others:
        return "Declared in the study file."
    which = "" if len(others) == len(asked or ()) else f" ({', '.join(c.words for c in others)})"
    return (
        f"NOT declared in the study file{which}: asked for with its results at hand, so a decided "
        "one is a hint for the next study."
    )


_NOTE = (
    "Better and worse are the cell's. Intervals are over seeds and, where results of each image "
    "are on record, over test images; all of a metric are decided together (Holm). Detectable: "
    f"what so many seeds of this spread would tell from 0 in {100 * POWER:.0f} % of studies."
)
