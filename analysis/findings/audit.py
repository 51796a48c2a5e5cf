"""The late-bloomer audit: trials ended at a rung and trained on, beside what was selected.

An audited trial is one that the rule had ended; a seeded share of those runs on to the full budget
outside the selection. How many of them would have beaten their cell's winner says how often the
rule was wrong.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.findings.facts import beside
from search.record import Record, trial_column

COLUMNS = (
    *("trial", "cell", "ended_at", "rank", "n", "value_then", "value_end", "winner", "better"),
    *("study", "synthetic", "protocol", "mixed", "digest"),
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


def _better(value: float | None, winner: float | None, mode: str) -> Any:
    """Whether a value beats the winner's; NA where one is missing."""
    if value is None or winner is None:
        return pd.NA
    return bool(value > winner if mode == "max" else value < winner)
