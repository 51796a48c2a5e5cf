"""The late-bloomer audit as a table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.display import words
from analysis.display.frames import DASH, fixed_point, stamps
from analysis.display.render import Table
from analysis.findings.audit import audit_frame
from analysis.findings.facts import digits, metric_name
from analysis.findings.stats import share_interval
from search.record import Record


def audit_table(record: Record) -> Table:
    """The audit as a table, with the share of wrong decisions and its interval in the caption."""
    study, data = record.study, audit_frame(record)
    metric = f"{study['watched']} {metric_name(study, study['metric'])}"
    heads = {
        "ended_at": "ended at epoch",
        "value_then": f"{metric} then",
        "value_end": f"{metric} in full",
        "winner": f"{metric} of the winner",
        "better": "better than the winner",
    }
    display = data.drop(columns="cell").rename(columns=heads)
    for name in ("value_then", "value_end", "winner"):
        display[heads[name]] = [
            _number(value, digits(study, study["metric"])) for value in data[name]
        ]
    display["better than the winner"] = [
        DASH if pd.isna(value) else "yes" if value else "no" for value in data["better"]
    ]
    display = display.map(lambda v: v if isinstance(v, str) else words.number(v))
    data = data.assign(**stamps(record))
    bold = pd.DataFrame(False, index=display.index, columns=display.columns)
    caption = " ".join([*words.banners(record), _verdict(data["better"]), words.origin(study)])
    title = "Late-bloomer audit: was the rule right to end them?"
    short = _verdict(data["better"])
    return Table(study["name"], "audit", title, caption, display, bold, data, short=short)


def _verdict(better: pd.Series[Any]) -> str:
    known = better.dropna()
    if known.empty:
        return "No audited trial has reached the full budget yet."
    wrong, n = int(known.sum()), len(known)
    low, high = share_interval(wrong, n)
    return (
        f"Of {n} trials that the rule had ended, and that were trained on outside the selection, "
        f"{wrong} ended better than their cell's winner: {wrong / n:.0%}, 95 % Wilson interval "
        f"{low:.0%} to {high:.0%}. Values of one run each, on validation."
    )


def _number(value: Any, places: int) -> str:
    return DASH if value is None or pd.isna(value) else fixed_point(float(value), places)
