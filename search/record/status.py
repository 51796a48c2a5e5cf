"""How a study stands, in words: `resnet-search status` and the live page say these alike.

From its record alone; loads neither ray nor torch.
"""

from __future__ import annotations

import fcntl
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from search.record.completeness import missing, short_choices
from search.record.counts import STATES, Seeds, counts
from search.record.naming import cell_label
from search.record.read import LOCK, Record
from search.record.stored import STUDY
from search.record.terminal import shell

BEGINS = "a study is about to begin there (checks, data, Ray); nothing is on record yet"
RUNNING, KILLED, IMPORTED = "running", "NOT RUNNING, interrupted or killed", "IMPORTED"
DONE, SHORT = "done", "ended, not whole"


def status_rows(held: Record) -> tuple[list[str], list[list[str]]]:
    """Head and rows, one a cell: searched trials by status, confirmed seeds, best of the search.

    The best is of trials that were trained in full; until there is one, of all, said to be so.
    An audited trial counts as the rule left it, stopped, and once more as audited; one that has
    collapsed counts by its status, and once more as collapsed, where the task tells such.
    """
    metric = f"{held.study['watched']}_{held.study['metric']}"
    tells = bool(held.trials["collapsed"].notna().any())
    told = ["collapsed"] * tells
    head = ["cell", "configs", *STATES, *told, "audited", "confirmed", f"best {metric}"]
    held = as_it_runs(held)
    counted, trials = counts(held), held.trials[["cell", "stage", "status", "value"]]
    so_far, table = best_so_far(held), []
    for number, cell in enumerate(held.study["cells"]):
        rows, configs = trials[trials["cell"] == number], counted[number].configs
        judged = rows[rows["stage"] == ("search" if configs.run else "confirm")]
        if "imported" in held.study:  # a chosen config's runs are seeds there, and none of search
            judged = rows
        complete = judged[judged["status"] == "completed"]
        table.append(
            [
                cell_label(cell),
                f"{configs.run}/{configs.planned}" if configs.planned else "-",
                *(str(configs.states.get(state, 0)) for state in STATES),
                *[str(configs.collapsed or 0)] * tells,
                f"{configs.audits_ended}/{configs.audited}" if configs.audited else "0",
                _confirmed(counted[number].seeds),
                _best(complete["value"], held.study["mode"]) or _so_far(so_far[number]),
            ]
        )
    return head, table


class SoFar(NamedTuple):
    """The best value of a cell at the end of a job, of which epoch, and whose."""

    value: float
    epoch: int
    trial: str


def best_so_far(held: Record) -> list[SoFar | None]:
    """Of each cell the best of its search, however long it was trained; None where there is none.

    Where nothing is searched, as in a study of seeds alone, of those.
    """
    rows = held.trials.dropna(subset=["value"])
    own = rows if "imported" in held.study else rows[rows["stage"] != "confirm"]
    begun = set(held.trials.loc[held.trials["stage"] != "confirm", "cell"])
    own = pd.concat([own, rows[(rows["stage"] == "confirm") & ~rows["cell"].isin(list(begun))]])
    order = own.sort_values("value", ascending=held.study["mode"] != "max", kind="stable")
    found: list[SoFar | None] = [None] * len(held.study["cells"])
    for row in order.drop_duplicates("cell").to_dict("records"):
        found[int(row["cell"])] = SoFar(row["value"], int(row["value_epoch"]), str(row["trial"]))
    return found


def _so_far(best: SoFar | None) -> str:
    return f"{best.value:.4g} so far, at epoch {best.epoch}" if best else ""


def as_it_runs(held: Record) -> Record:
    """A record in which what a killed driver left as running waits for the next one."""
    trials = held.trials
    if not (trials["status"] == "running").any() or is_running(held.run):
        return held
    return replace(
        held, trials=trials.assign(status=trials["status"].replace("running", "paused"))
    )


def _confirmed(seeds: Seeds) -> str:
    """Seeds that are complete, and what else befell any, e.g. "2/3, 1 diverged"."""
    lost = (
        *((seeds.diverged, "diverged"), (seeds.failed, "failed"), (seeds.unscored, "unscored")),
        (seeds.collapsed, "collapsed"),
    )
    told = [f"{n} {what}" for n, what in lost if n]
    return ", ".join([f"{seeds.complete}/{seeds.planned}", *told])


def begins(folder: Path) -> bool:
    """Whether a driver holds a folder in which no study has begun yet."""
    return not (folder / STUDY).exists() and is_running(folder)


def next_line(held: Record, where: str) -> str:
    """What goes on with a study that nobody runs and that lacks something; "" for another.

    Args:
        held: its record.
        where: its run folder or URI, as a command names it.
    """
    if "imported" in held.study or is_running(held.run) or not missing(held).open:
        return ""
    return f"go on: {shell('resnet-search', 'resume', where)}"


def lost_lines(held: Record, where: str) -> list[str]:
    """Which configs were lost for good, and what that does to which cell; [] where none was.

    Args:
        held: the record.
        where: its run folder or URI, as a command names it.
    """
    again = shell("resnet-search", "resume", where, "--retry-failed")
    lines, why = [], dict(zip(held.trials["trial"], held.trials["reason"], strict=True))
    for number, choice in short_choices(held).items():
        cell = cell_label(held.study["cells"][number])
        after = f"`{again}` runs what is missing again"
        if choice.made:
            after = "that choice stands; a new study, with --name, tries all of them"
        lines.append(f"cell {cell}: {choice.words}; {after}")
        lines += [f"  {name}: {why[name]}" for name in choice.names]
    return lines


def state_of(held: Record) -> str:
    """Whether a driver has the study, and if none has, how it was left."""
    if "imported" in held.study:
        return IMPORTED
    if is_running(held.run):
        return RUNNING
    lacking = missing(held)
    if lacking.open:
        return KILLED
    return SHORT if lacking.cells else DONE


def epochs_of(held: Record) -> int:
    """Epochs that a record has rows of."""
    each = held.study["row_metrics"][0] if "imported" in held.study else "seconds"
    return int((held.curves["name"] == each).sum())


def title_of(held: Record, epochs: int) -> str:
    """A line on the study: task, protocol, what is to be known of it, how much there is.

    Args:
        held: its record.
        epochs: see `epochs_of`.
    """
    marks = [held.study["task"], f"protocol {held.study['protocol']}"]
    if held.study["synthetic"]:
        marks.append("SYNTHETIC DATA")
    if held.mixed.whole:
        marks.append("MIXED PARTS")
    if is_running(held.run):
        marks.append(RUNNING)
    elif missing(held).open:
        marks.append(KILLED)
    if "imported" in held.study:
        marks.append(IMPORTED)
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
