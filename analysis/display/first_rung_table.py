"""Was the first rung late enough, as a table; and the study that would have a better one."""

from __future__ import annotations

import math

import pandas as pd

from analysis.display import words
from analysis.display.frames import stamps
from analysis.display.origins import origin
from analysis.display.render import Table
from analysis.findings.facts import DASH, digits, fixed_point, metric_name
from analysis.findings.first_rung import first_rung, in_full, ranked_then
from search.record import Record


def first_rung_table(record: Record) -> Table:
    """A row an epoch that could be the first rung; the caption says which to take next."""
    study, data = record.study, ranked_then(record)
    name = f"{study['watched']} {metric_name(study, study['metric'])}"
    places, found = digits(study, study["metric"]), first_rung(record)
    rows = []
    for row in data.to_dict("records"):
        ends_known = not math.isnan(row["low"])
        rows.append(
            {
                "first rung at epoch": f"{row['epoch']}{' (a rung)' if row['rung'] else ''}",
                "rank correlation": fixed_point(row["tau"], 2),
                "95 %": f"{row['low']:.2f} to {row['high']:.2f}" if ends_known else DASH,
                "best config kept": f"{row['kept']} of {row['cells']} cells",
                f"most lost in {name}": fixed_point(row["worst"], places),
                "epochs a cell": str(row["epochs_a_cell"]),
            }
        )
    display = pd.DataFrame(rows)
    bold = pd.DataFrame(False, index=display.index, columns=display.columns)
    if found.epoch is not None:
        bold.loc[data["epoch"] == found.epoch] = True
    short = told(record)
    caption = " ".join([*words.banners(record), short, _NOTE, origin(record)])
    title = "Was the first rung late enough?"
    data = data.assign(**stamps(record))
    return Table(study["name"], "firstrung", title, caption, display, bold, data, short=short)


_NOTE = (
    "Rank correlation: Kendall's, of the values there and in full, within cells; its interval is "
    "a bootstrap over configs. Most lost: what the best config in full is better by than the best "
    "of those that would have gone on, in the worst cell."
)


def told(record: Record) -> str:
    """Which first rung the record asks for, and of how many configs that is."""
    found, (full, run) = first_rung(record), in_full(record)
    said = f"First rung to take next: {DASH if found.epoch is None else f'epoch {found.epoch}'}"
    said += f" ({found.why}). Told by {full} of {run} configs, those trained in full"
    if full < run:
        said += "; of those that ended earlier nobody knows what they would have come to"
    return f"{said}."
