"""Is it settled: each cell's convergence stamp, and the ranks that more epochs could change."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from analysis.display import words
from analysis.display.explained import settled_words
from analysis.display.frames import stamps
from analysis.display.origins import origin
from analysis.display.render import Table
from analysis.findings.cells import CellValue, cell_values
from analysis.findings.facts import DASH, beside, fixed_point, metric_name
from analysis.findings.settled import settled
from search.record import Record
from search.record.naming import cell_label, setting


def settled_table(record: Record) -> Table:
    """One row a cell, with the epoch up to which all cells can be compared.

    Raises:
        UserError: trials of a cell cannot be compared.
    """
    study, data = record.study, settled(record)
    values = {v.cell: v for v in cell_values(record) if v.metric == study["metric"]}
    epoch = max(data["common_epoch"], default=0)
    name = f"{study['watched']} {metric_name(study, study['metric'])}"
    best = study["checkpoint_rule"] == "best"
    of_best = " (of the best values until then)" if best else ""
    there = f"{'best to' if best else 'at'} epoch {epoch}" if epoch else "at a common epoch"
    rows = []
    for row in data.to_dict("records"):
        value = values[row["cell"]]
        at = {key: setting(key, held) for key, held in value.given.items()}
        own = {
            "more epochs": settled_words(row, value),
            "rank": _rank(row["rank"]),
            f"{name} {there}": fixed_point(row["value_there"], value.digits),
            f"rank {there}": _rank(row["rank_there"]),
            "could pass": _passed(row["could_pass"], row["untold"], values),
        }
        rows.append(beside(at, own) | own)
    display = pd.DataFrame(rows)
    bold = pd.DataFrame(False, index=display.index, columns=display.columns)
    caption = " ".join([*words.banners(record), *_notes(data, epoch, of_best), origin(record)])
    given = pd.DataFrame([beside(values[c].given, data.columns) for c in data["cell"]])
    data = pd.concat([data, given], axis=1).assign(**stamps(record))
    title = "Is it settled: would more epochs move it?"
    return Table(study["name"], "settled", title, caption, display, bold, data, short=_short(data))


def _rank(held: Any) -> str:
    return DASH if pd.isna(held) else str(held)


def _passed(cells: list[int], untold: list[int], values: dict[int, CellValue]) -> str:
    known = [cell_label(values[cell].given) for cell in cells if cell not in untold]
    others = ", ".join(cell_label(values[cell].given) for cell in untold)
    return "; ".join([*known, *([f"not ruled out: {others}"] if others else [])]) or DASH


def _short(data: pd.DataFrame) -> str:
    counts = data["stamp"].value_counts()
    return ", ".join(f"{n} {stamp}" for stamp, n in counts.items()) + "."


def _notes(data: pd.DataFrame, epoch: int, of_best: str) -> list[str]:
    differ = data[(data["rank_end"] != data["rank_there"]).fillna(False)]
    ranked = int(data["rank_end"].notna().sum())
    ranks = (
        f"Ranks at epoch {epoch}{of_best}, the last that all cells with a curve have, differ from "
        f"those at the ends of the same curves in {len(differ)} of {ranked} "
        "cells; the first column of ranks is of the values that tables show."
        if math.isfinite(epoch) and epoch
        else "No whole learning curve is on record."
    )
    return [
        "Slope of the mean curve over the last fifth of the epochs (10 at least) that were "
        "trained at one learning rate, with its 95 % interval (Theil and Sen), times as many "
        "epochs again: flat where both ends are within two sd between seeds (of one curve between "
        "its epochs), else improving or worsening where it leaves out 0. That is no prediction: a "
        "slope wears off, and a later drop of the learning rate, or a longer schedule, gives what "
        "no curve shows.",
        ranks,
        "Could pass: better cells that it would pass if both went on as far as their intervals "
        "allow; not ruled out: one of the two has no window by which that could be told.",
    ]
