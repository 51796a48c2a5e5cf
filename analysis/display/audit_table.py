"""The late-bloomer audit as a table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.display import origins, words
from analysis.display.frames import stamps
from analysis.display.render import Table
from analysis.findings.audit import audit_frame
from analysis.findings.facts import DASH, digits, fixed_point, metric_name
from analysis.findings.stats import share_interval
from search.record import Record, naming


def audit_table(record: Record) -> Table:
    """The audit as a table, with the share of wrong decisions and its interval in the caption."""
    study, data = record.study, audit_frame(record)
    metric = f"{study['watched']} {metric_name(study, study['metric'])}"
    heads = {
        "ended_at": "ended at epoch",
        "value_then": f"{metric} then",
        "value_end": f"{metric} in full",
        "epochs": "epochs by now",
        "winner": f"{metric} of the winner",
        "better": "better than the winner",
    }
    display = words.settings_said(data, study).drop(columns="cell").rename(columns=heads)
    for name in ("value_then", "value_end", "winner"):
        display[heads[name]] = [
            _number(value, digits(study, study["metric"])) for value in data[name]
        ]
    display["better than the winner"] = [
        DASH if pd.isna(value) else "yes" if value else "no" for value in data["better"]
    ]
    display = display.map(lambda v: v if isinstance(v, str) else naming.number(v))
    data = data.assign(**stamps(record))
    bold = pd.DataFrame(False, index=display.index, columns=display.columns)
    short = _verdict(data, words.split_name(study["watched"]))
    caption = " ".join([*words.banners(record), short, origins.origin(record)])
    title = "Late-bloomer audit: was the rule right to end them?"
    return Table(study["name"], "audit", title, caption, display, bold, data, short=short)


def _verdict(data: pd.DataFrame, split: str) -> str:
    known = data[data["better"].notna()]
    ended = data["value_end"].notna() | data["status"].eq("diverged")
    left, waiting = int((~ended).sum()), int((ended & data["better"].isna()).sum())
    open_ = f" {left} of {len(data)} audited trials are still to run, on their way or lost."
    lost = open_ if left else ""
    if waiting:
        lost += (
            f" {waiting} of {len(data)} audited trials came to an end in a cell that has no "
            "selected winner to hold them against."
        )
    if known.empty:
        return lost.strip() if waiting else f"No audited trial has come to an end yet.{lost}"
    wrong, n = int(known["better"].eq(True).sum()), len(known)
    gone = int((known["status"] == "diverged").sum())
    low, high = share_interval(wrong, n)
    diverged = f", {gone} diverged, which counts as worse" if gone else ""
    return (
        f"Of {n} trial{'s' * (n != 1)} that the rule had ended, and that "
        f"{'were' if n != 1 else 'was'} trained on outside the selection, {wrong} ended better "
        f"than their cell's winner{diverged}: {wrong / n:.0%}, 95 % Wilson interval {low:.0%} to "
        f"{high:.0%}. Values of one run each, on {split}.{lost}"
    )


def _number(value: Any, places: int) -> str:
    return DASH if value is None or pd.isna(value) else fixed_point(float(value), places)
