"""`resnet-search status`: how far a study is, from its record alone."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pandas as pd
from rich.table import Table

from search.record import LOCK, Record, missing, short_choices

STATES = ("completed", "running", "paused", "stopped", "diverged", "failed")


def status_table(held: Record) -> Table:
    """One row a cell: searched trials by status, confirmed seeds, the best of the search.

    An audited trial counts as what it is now: completed when it is through.
    """
    metric = f"{held.study['watched']}_{held.study['metric']}"
    table = Table(title=_title(held), title_justify="left", box=None, pad_edge=False)
    table.add_column("cell")
    for name in (*STATES, "confirmed", f"best {metric}"):
        table.add_column(name, justify="right")
    trials = held.trials
    if not is_running(held.run):  # what a killed driver left as running waits for the next one
        trials = trials.assign(status=trials["status"].replace("running", "paused"))
    for number, cell in enumerate(held.study["cells"]):
        rows = trials[trials["cell"] == number]
        search, confirm = rows[rows["stage"] != "confirm"], rows[rows["stage"] == "confirm"]
        judged = rows[rows["stage"] == ("search" if len(search) else "confirm")]
        complete = judged[judged["status"] == "completed"]
        seeds = len(held.study["confirm_seeds"])
        table.add_row(
            " ".join(f"{k}={v}" for k, v in cell.items()),
            *(str((search["status"] == state).sum()) for state in STATES),
            f"{(confirm['status'] == 'completed').sum()}/{seeds}",
            _best(complete["value"], held.study["mode"]),
        )
    return table


def lost_lines(held: Record) -> list[str]:
    """Which configs were lost for good, and what that does to which cell; [] where none was."""
    lines, why = [], dict(zip(held.trials["trial"], held.trials["reason"], strict=True))
    for number, choice in short_choices(held).items():
        cell = " ".join(f"{k}={v}" for k, v in held.study["cells"][number].items())
        after = "`resume --retry-failed` runs what is missing again"
        if choice.made:
            after = "that choice stands; a new study, with --name, tries all of them"
        lines.append(f"cell {cell}: {choice.words}; {after}")
        lines += [f"  {name}: {why[name]}" for name in choice.names]
    return lines


def _title(held: Record) -> str:
    marks = [held.study["task"], f"protocol {held.study['protocol']}"]
    if held.study["synthetic"]:
        marks.append("SYNTHETIC DATA")
    if held.mixed.whole:
        marks.append("MIXED PARTS")
    if is_running(held.run):
        marks.append("running")
    elif missing(held).open:
        marks.append("NOT RUNNING, interrupted or killed: resnet-search resume goes on")
    epochs = int((held.curves["name"] == "seconds").sum())
    stages = held.trials["stage"].value_counts()
    seeds = stages.get("confirm", 0)
    return (
        f"{held.study['name']}: {', '.join(marks)}; {len(held.trials) - seeds} trials of the "
        f"search, {seeds} of seeds, {epochs} epochs"
    )


def is_running(folder: Path) -> bool:
    """Whether a driver on this machine, or on one that shares its locks, has the run folder."""
    path = folder / LOCK
    if not path.is_file():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _best(values: pd.Series, mode: str) -> str:
    values = values.dropna()
    if values.empty:
        return ""
    return f"{values.max() if mode == 'max' else values.min():.4g}"
