"""`resnet-search status`: how far a study is, from its record alone."""

from __future__ import annotations

import pandas as pd
from rich.table import Table

from search.record import Record

STATES = ("completed", "running", "paused", "stopped", "diverged", "failed")


def status_table(held: Record) -> Table:
    """One row a cell: searched trials by status, confirmed seeds, best complete value."""
    metric = f"{held.study['watched']}_{held.study['metric']}"
    table = Table(title=_title(held), title_justify="left", box=None, pad_edge=False)
    table.add_column("cell")
    for name in (*STATES, "confirmed", f"best {metric}"):
        table.add_column(name, justify="right")
    for number, cell in enumerate(held.study["cells"]):
        rows = held.trials[held.trials["cell"] == number]
        search, confirm = rows[rows["stage"] == "search"], rows[rows["stage"] == "confirm"]
        complete = rows[rows["status"] == "completed"]
        seeds = len(held.study["confirm_seeds"])
        table.add_row(
            " ".join(f"{k}={v}" for k, v in cell.items()),
            *(str((search["status"] == state).sum()) for state in STATES),
            f"{(confirm['status'] == 'completed').sum()}/{seeds}",
            _best(complete["value"], held.study["mode"]),
        )
    return table


def _title(held: Record) -> str:
    sessions = held.study["sessions"]
    marks = [held.study["task"], f"protocol {held.study['protocol']}"]
    if held.study["synthetic"]:
        marks.append("SYNTHETIC DATA")
    if sessions and sessions[-1]["ended"] is None:
        marks.append("running, or killed")
    epochs = int((held.curves["name"] == "seconds").sum())
    return f"{held.study['name']}: {', '.join(marks)}; {len(held.trials)} trials, {epochs} epochs"


def _best(values: pd.Series, mode: str) -> str:
    values = values.dropna()
    if values.empty:
        return ""
    return f"{values.max() if mode == 'max' else values.min():.4g}"
