"""The late-bloomer audit: trials ended at a rung and trained on, beside what was selected.

An audited trial is one that the rule had ended; a seeded share of those runs on to the full budget
outside the selection. How many of them would have beaten their cell's winner says how often the
rule was wrong.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from analysis.findings.facts import beside
from analysis.findings.verdict import Audit
from search.record import Record, searched, trial_column
from search.record.once import once

__all__ = ["audit_frame", "audit_of_cells", "searched"]

COLUMNS = (
    *("trial", "cell", "ended_at", "rank", "n", "value_then", "status", "epochs"),
    *("value_end", "winner", "better"),
    *("study", "synthetic", "protocol", "mixed", "digest"),
)


@once
def audit_frame(record: Record) -> pd.DataFrame:
    """One row an audited trial.

    Returns:
        Columns trial, cell, the cell parameters, the searched ones, ended_at (epoch), rank, n (of
        its rung), value_then, status (how it stands now), epochs (trained by now), value_end (at
        the full budget; NA where it has none), winner (value of the selected trial), better
        (whether value_end beats it: no for one that diverged; NA where it was lost, is on its way,
        or has no winner beside it).
    """
    study, decisions = record.study, record.decisions
    ends, winners = (
        decisions[decisions["verdict"] == verdict].drop_duplicates(key, keep="last")
        for verdict, key in (("audited", "trial"), ("select", "cell"))
    )
    frame = decisions[decisions["verdict"] == "audit"].drop_duplicates("trial", keep="last")
    trials = record.trials.set_index("trial").loc[frame["trial"]].reset_index()
    frame = frame.reset_index(drop=True)
    keys = [*(study["cells"][0] if study["cells"] else ()), *study["space_keys"]]
    columns = {key: trials[trial_column(study, key)] for key in keys}
    found = pd.DataFrame(
        {
            **{key: frame[key] for key in ("trial", "cell")},
            **beside(columns, COLUMNS),
            "ended_at": frame["epoch"],
            **{key: frame[key] for key in ("rank", "n")},
            "value_then": frame["value"],
            "status": trials["status"],
            "epochs": trials["epochs"],
            "value_end": frame["trial"].map(ends.set_index("trial")["value"]),
            "winner": frame["cell"].map(winners.set_index("cell")["value"]),
        }
    )
    pairs = zip(found["value_end"], found["winner"], found["status"], strict=True)
    found["better"] = [_better(*pair, study["mode"]) for pair in pairs]
    return found.astype({"better": object, "rank": "Int64", "n": "Int64"})


def _better(value: Any, winner: Any, status: str, mode: str) -> Any:
    """Whether a value beats the winner's; NA where one is missing."""
    if pd.isna(winner):
        return pd.NA
    if pd.isna(value):
        return False if status == "diverged" else pd.NA
    return bool(value > winner if mode == "max" else value < winner)


def audit_of_cells(record: Record) -> dict[int, Audit]:
    """What the audit found of each cell that had one, by its number."""
    pick = "max" if record.study["mode"] == "max" else "min"
    found = {}
    for cell, rows in audit_frame(record).groupby("cell"):
        known, better = rows[rows["better"].notna()], rows[rows["better"].eq(True)]
        found[int(str(cell))] = Audit(
            ended=len(known),
            better=len(better),
            open=len(rows) - len(known),
            best=float(better["value_end"].agg(pick)) if len(better) else math.nan,
            winner=float(rows["winner"].iloc[0]) if len(known) else math.nan,
        )
    return found
