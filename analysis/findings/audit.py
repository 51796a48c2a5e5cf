"""The late-bloomer audit: trials ended at a rung and trained on, beside what was selected.

An audited trial is one that the rule had ended; a seeded share of those runs on to the full budget
outside the selection. How many of them would have beaten their cell's winner says how often the
rule was wrong.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.display import words
from analysis.display.frames import DASH, fixed_point
from analysis.display.render import Table
from analysis.findings.facts import beside
from analysis.findings.stats import share_interval
from search.record import Record, trial_column

COLUMNS = (
    *("trial", "cell", "ended_at", "rank", "n", "value_then", "value_end", "winner", "better"),
    *("study", "synthetic", "protocol"),
)


def searched(record: Record) -> pd.DataFrame:
    """The trials of the search as the rule left them; rows and columns as in the record.

    An audited trial stands as it was ended: stopped, at its rung, with its value there.
    """
    rows = record.trials[record.trials["stage"].isin(["search", "audit"])].copy()
    ended = record.decisions[record.decisions["verdict"] == "audit"].set_index("trial")
    audited = rows["stage"] == "audit"
    names = rows.loc[audited, "trial"]
    rows.loc[audited, "status"] = "stopped"
    rows.loc[audited, "epochs"] = names.map(ended["epoch"]).astype("Int64")
    rows.loc[audited, "value"] = names.map(ended["value"]).astype("Float64")
    return rows


def audit_frame(record: Record) -> pd.DataFrame:
    """One row an audited trial.

    Returns:
        Columns trial, cell, the cell parameters, the searched ones, ended_at (epoch), rank, n (of
        its rung), value_then, value_end (at the full budget; NA where it was lost or is on its
        way), winner (value of the selected trial), better (whether value_end beats it; NA where
        one is missing).
    """
    study, decisions = record.study, record.decisions
    ends = decisions[decisions["verdict"] == "audited"].set_index("trial")["value"]
    winners = decisions[decisions["verdict"] == "select"].set_index("cell")["value"]
    trials = record.trials.set_index("trial")
    rows = []
    for audit in decisions[decisions["verdict"] == "audit"].to_dict("records"):
        end, winner = ends.get(audit["trial"]), winners.get(audit["cell"])
        row = trials.loc[audit["trial"]]
        drawn = {key: row[trial_column(study, key)] for key in study["space_keys"]}
        rows.append(
            {
                "trial": audit["trial"],
                "cell": audit["cell"],
                **beside(study["cells"][audit["cell"]] | drawn, COLUMNS),
                "ended_at": audit["epoch"],
                "rank": audit["rank"],
                "n": audit["n"],
                "value_then": audit["value"],
                "value_end": end,
                "winner": winner,
                "better": _better(end, winner, study["mode"]),
            }
        )
    return pd.DataFrame(rows)


def audit_table(record: Record) -> Table:
    """The audit as a table, with the share of wrong decisions and its interval in the caption."""
    study, data = record.study, audit_frame(record)
    metric = f"{study['watched']} {words.metric_name(study['metric'])}"
    heads = {
        "ended_at": "ended at epoch",
        "value_then": f"{metric} then",
        "value_end": f"{metric} in full",
        "winner": f"{metric} of the winner",
        "better": "better than the winner",
    }
    display = data.drop(columns="cell").rename(columns=heads)
    for name in ("value_then", "value_end", "winner"):
        display[heads[name]] = [_number(value, study["metric"]) for value in data[name]]
    display["better than the winner"] = [
        DASH if pd.isna(value) else "yes" if value else "no" for value in data["better"]
    ]
    display = display.map(lambda v: v if isinstance(v, str) else words.number(v))
    data = data.assign(
        study=study["name"], synthetic=bool(study["synthetic"]), protocol=study["protocol"]
    )
    bold = pd.DataFrame(False, index=display.index, columns=display.columns)
    caption = " ".join([*words.banners(study), _verdict(data["better"]), words.origin(study)])
    title = "Late-bloomer audit: was the rule right to end them?"
    return Table(study["name"], "audit", title, caption, display, bold, data)


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


def _better(value: float | None, winner: float | None, mode: str) -> Any:
    """Whether a value beats the winner's; NA where one is missing."""
    if value is None or winner is None:
        return pd.NA
    return bool(value > winner if mode == "max" else value < winner)


def _number(value: Any, metric: str) -> str:
    return DASH if value is None or pd.isna(value) else fixed_point(float(value), metric)
