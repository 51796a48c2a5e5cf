"""The test ledger as tables: every score of test, and the optimism of each cell's choice."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.display import words
from analysis.display.frames import ends, stamps
from analysis.display.ledger import ledger_words, optimism_words, shown_val
from analysis.display.origins import origin
from analysis.display.render import Table
from analysis.findings.facts import DASH, beside, digits, fixed_point, metric_name
from analysis.findings.optimism import optimism
from analysis.findings.reveals import reveal_frame
from analysis.findings.stats import Interval
from search.record import Record
from search.record.naming import cell_label, setting


def reveals_table(record: Record, page: Sequence[Record] = ()) -> Table:
    """A row a score of test, by time."""
    study, data = record.study, reveal_frame(record)
    rows = []
    for row in data.to_dict("records"):
        lost = pd.isna(row["cell"])
        rows.append(
            {
                "scored (UTC)": DASH
                if pd.isna(row["time"])
                else row["time"].strftime("%Y-%m-%d %H:%M:%S"),
                "cell": DASH if lost else cell_label(study["cells"][row["cell"]]),
                "trial": row["trial"],
                "stage": DASH if lost else row["stage"],
                "seed": DASH if pd.isna(row["seed"]) else str(row["seed"]),
                "epoch": DASH if pd.isna(row["epoch"]) else str(row["epoch"]),
                "test images": DASH if pd.isna(row["test_images"]) else str(row["test_images"]),
                "images": row["test_set"] or "not on record",
                "why": row["why"],
            }
        )
    display = pd.DataFrame(rows)
    bold = pd.DataFrame(False, index=display.index, columns=display.columns)
    said = ledger_words(record, page) or [shown_val(record)]
    caption = " ".join([*words.banners(record), *said, _REVEALS, origin(record)])
    stamped = {k: v for k, v in stamps(record).items() if k != "study"}
    title = "Test ledger: every score of test"
    data = data.assign(**stamped)
    return Table(study["name"], "reveals", title, caption, display, bold, data, short=said[0])


_REVEALS = (
    "A reveal is a score of test that came onto the record; images is a digest of names and true "
    "values of the test images, equal where these are the same."
)


def optimism_table(record: Record) -> Table:
    """A row a cell: what its winner showed in the search, and what its seeds showed since."""
    study, data = record.study, optimism(record)
    places, name = (
        digits(study, study["metric"]),
        f"{study['watched']} {metric_name(study, study['metric'])}",
    )
    rows = []
    for row in data.to_dict("records"):
        given = study["cells"][row["cell"]]
        own = {
            "candidates": str(row["candidates"]),
            f"{name} in the search": fixed_point(row["value"], places),
            "of its seeds since": f"{fixed_point(row['again'], places)} ({row['n']})"
            if row["n"]
            else DASH,
            "optimism": f"cannot tell: {row['why']}"
            if row["why"]
            else fixed_point(row["optimism"], places, "+"),
            "95 %": ends(Interval(row["lo"], row["hi"], "t"), places),
            "by chance, at most": fixed_point(row["by_chance"], places),
        }
        rows.append(beside({k: setting(k, v) for k, v in given.items()}, own) | own)
    display = pd.DataFrame(rows)
    bold = pd.DataFrame(False, index=display.index, columns=display.columns)
    said = optimism_words(record)
    caption = " ".join([*words.banners(record), said, _OPTIMISM, origin(record)])
    given = pd.DataFrame([beside(study["cells"][c], data.columns) for c in data["cell"]])
    data = pd.concat([data, given], axis=1).assign(**stamps(record))
    title = "Did the search promise too much?"
    return Table(study["name"], "optimism", title, caption, display, bold, data, short=said)


_OPTIMISM = (
    "Optimism: the winner's value in the search less the mean of its seeds, trained since on the "
    "same images and judged on the same validation images; above 0 the search promised too much. "
    "Its interval is Student's over those seeds, which had no say in the choice (Cohen and "
    "Sackrowitz 1989). By chance, at most: what the best of so many configs that differ in "
    "nothing else shows more than it is worth, in the mean, at the pooled spread of the seeds; "
    "less where rungs had ended most of them before their values in full were there."
)
