"""Cell values as frames and strings: what every table is made of."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis.display.words import MARKS, digest, mixed_parts
from analysis.findings.cells import CellValue, best
from analysis.findings.facts import beside, data_of, side_of
from analysis.findings.stats import interval_kind
from search.record import Record

DASH = "—"


def fixed_point(value: float, digits: int) -> str:
    """A number at so many digits, or in powers of ten from 100,000; a dash for NaN."""
    if not math.isfinite(value):
        return DASH
    return f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.3g}"


def text(value: CellValue) -> str:
    """What a table's cell says: never a number without its seeds or, unfinished, its epoch."""
    signs = "".join(MARKS[mark][0] for mark in value.marks)
    if value.status == "empty":
        return DASH
    if value.status == "failed":
        return f"failed{signs}"
    if value.status == "partial":
        split = "" if value.seen_split == value.split else f" {value.seen_split}"
        at = f"@{value.epochs}/{value.budget}"
        return f"{fixed_point(value.seen, value.digits)}{split} {at}{signs}"
    return spread(value.values, value.digits) + signs


def spread(values: tuple[float, ...], digits: int) -> str:
    """Mean ± sd (n) of three or more; both values of two; a value alone of one."""
    held = pd.Series(values, dtype=float)
    if held.empty:
        return DASH
    mean = fixed_point(float(held.mean()), digits)
    kind = interval_kind(len(held))
    if kind == "t":
        mean += f" ± {fixed_point(float(held.std(ddof=1)), digits)}"
    elif kind == "range":
        mean += f" [{fixed_point(held.min(), digits)}, {fixed_point(held.max(), digits)}]"
    return f"{mean} ({len(held)})"


def bold_cells(values: Iterable[CellValue]) -> set[tuple[int, str]]:
    """(cell, metric) of the best value of each metric and data set."""
    groups: dict[tuple[str, str], list[CellValue]] = {}
    for value in values:
        groups.setdefault((value.data, value.metric), []).append(value)
    return {(cell, metric) for (_, metric), held in groups.items() for cell in best(held)}


def baselines(record: Record) -> dict[str, dict[str, dict[str, float]]]:
    """Constant predictors: data (see CellValue) -> name -> metric -> value on test.

    Empty where no trial has been scored on test yet.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    scored = record.trials[record.trials["baselines"].notna()]
    for _, row in scored.iterrows():
        held = json.loads(row["baselines"])
        if held:
            found.setdefault(data_of(record.study, record.study["cells"][int(row["cell"])]), held)
    return found


def baselines_by_side(record: Record) -> dict[str, dict[str, dict[str, float]]]:
    """The same by what tables are split by, e.g. the part; "" where they are not."""
    found = {}
    held = baselines(record)
    for at in record.study["cells"]:
        data = data_of(record.study, at)
        if data in held:
            found[side_of(record.study, at)] = held[data]
    return found


def stamps(record: Record) -> dict[str, Any]:
    """Columns of every table's data: what nobody may overlook who reads the csv alone."""
    study = record.study
    return {
        "study": study["name"],
        "synthetic": bool(study["synthetic"]),
        "protocol": study["protocol"],
        "mixed": mixed_parts(record),
        "digest": digest(record),
    }


def long_frame(
    record: Record,
    values: Iterable[CellValue],
    published: Mapping[tuple[int, str], float],
) -> pd.DataFrame:
    """One row a cell and metric, full precision.

    Args:
        record: the study.
        values: what to write.
        published: (cell, metric) -> the course report's value.

    Returns:
        Columns study, cell, the cell parameters, the searched ones, metric, split, rule, status,
        marks, details (of marks), n, mean, sd, lo, hi, interval, values, seeds, seeds_due, val or
        test mean beside, seen and its split (of an unfinished cell), epochs, budget, published,
        trials, synthetic, protocol, mixed, digest, commit.
    """
    study, rows = record.study, []
    stamped = {key: text for key, text in stamps(record).items() if key != "study"}
    for v in values:
        low, high = v.interval
        own = {
            "metric": v.metric,
            "split": v.split,
            "rule": v.rule,
            "status": v.status,
            "marks": " | ".join(v.marks),
            "details": " | ".join(v.details.values()),
            "n": v.n,
            "mean": v.mean,
            "sd": v.sd,
            "lo": low,
            "hi": high,
            "interval": interval_kind(v.n),
            "values": " ".join(repr(x) for x in v.values),
            "seeds": " ".join(str(seed) for seed in v.seeds),
            "seeds_due": v.seeds_due,
            "beside_split": v.beside_split,
            "beside_mean": pd.Series(v.beside, dtype=float).mean(),
            "seen": v.seen,
            "seen_split": v.seen_split,
            "epochs": v.epochs,
            "budget": v.budget,
            "published": published.get((v.cell, v.metric)),
            "trials": " ".join(v.trials),
            **stamped,
            "commit": (study.get("git") or {}).get("commit"),
        }
        given = {**v.given, **{key: v.config.get(key) for key in study["space_keys"]}}
        taken = ["study", "cell", *own]
        rows.append({"study": v.study, "cell": v.cell, **beside(given, taken), **own})
    return pd.DataFrame(rows)
