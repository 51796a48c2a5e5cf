"""The configs of a search with their values at each rung: what importance and marginals are of."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.record import Record, searched, trial_column
from search.record.once import once


def settings_of_search(record: Record) -> dict[str, str]:
    """Searched setting -> its column."""
    return {key: trial_column(record.study, key) for key in record.study["space_keys"]}


def is_log(study: Mapping[str, Any], key: str) -> bool:
    """Whether a searched setting was drawn, and is shown, on a logarithmic scale."""
    space = study["spec"].get("space", {}).get(key, {})
    return bool(space.get("log", key == "lr")) if isinstance(space, dict) else key == "lr"


@once
def tried(record: Record) -> pd.DataFrame:
    """One row a config and rung that it came to.

    Of a setting that is no number in some config the row stays, empty there.

    Returns:
        cell; trial; the searched settings; epoch (of the rung; of a config that diverged before
        the next rung, that one); value (of the watched metric by the checkpoint rule there; NaN
        of one that diverged); status (as the rule left the config).
    """
    study, rows = record.study, searched(record)
    columns = [*settings_of_search(record).values()]
    values = _judged(record, rows["trial"].astype(str).tolist())
    found = []
    for row in rows[["cell", "trial", "epochs", "status", *columns]].to_dict("records"):
        own = {key: row[key] for key in ("cell", "trial", *columns)}
        held = values.get(str(row["trial"]), np.empty(0))
        diverged = row["status"] == "diverged"
        reached = (
            int(row["epochs"]) - diverged
        )  # the epoch in which it diverged is none of its own
        for rung in study["rungs"]:
            if rung > reached:
                break
            value = float(held[rung - 1]) if rung <= len(held) else math.nan
            found.append({**own, "epoch": rung, "value": value, "status": row["status"]})
        else:
            continue
        if diverged:
            found.append({**own, "epoch": rung, "value": math.nan, "status": row["status"]})
    names = ["cell", "trial", *columns, "epoch", "value", "status"]
    frame = pd.DataFrame(found, columns=names)
    return frame.astype({"cell": int, "epoch": int, "value": float, "trial": str, "status": str})


def _judged(record: Record, trials: Collection[str]) -> dict[str, NDArray[np.float64]]:
    """Trial -> the watched metric by the checkpoint rule after each epoch from the first on.

    Up to an epoch that its log lacks, which the record's notes tell.
    """
    study, held = record.study, record.curves
    name = f"{study['watched']}_{study['metric']}"
    held = held[(held["name"] == name) & held["trial"].isin(list(trials))]
    if held.empty:
        return {}
    wide = held.pivot(index="trial", columns="epoch", values="value")
    wide = wide.reindex(columns=range(1, int(held["epoch"].max()) + 1))
    values = wide.to_numpy("float64", na_value=math.nan)
    lengths = np.where(np.isnan(values), 0, 1).cumprod(axis=1).sum(axis=1)
    if study["checkpoint_rule"] == "best":
        pick = np.fmax if study["mode"] == "max" else np.fmin
        values = pick.accumulate(values, axis=1)
    names = wide.index.astype(str)
    return {t: row[:n] for t, row, n in zip(names, values, lengths, strict=True)}
