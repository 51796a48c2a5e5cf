"""Cell values as frames and strings: what every table is made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis.display.marks import signs
from analysis.display.origins import digest
from analysis.display.words import mixed_parts
from analysis.findings.cells import CellValue
from analysis.findings.constants import constants_by_side
from analysis.findings.facts import DASH, beside, fixed_point
from analysis.findings.stats import Interval, interval_kind, mean_sd
from analysis.findings.verdict import Lead
from search.record import Record
from search.record.once import once


def text(value: CellValue) -> str:
    """What a table's cell says: never a number without its seeds or, unfinished, its epoch."""
    marks = signs(value)
    if value.status == "empty":
        return DASH
    if value.status == "failed":
        told = "not finite" if "not finite" in value.marks else value.details["failed"]
        return f"{told}{marks}"
    if value.status == "partial":
        split = "" if value.seen_split == value.split else f" {value.seen_split}"
        at = f"@{value.epochs}/{value.budget}"
        return f"{fixed_point(value.seen, value.digits)}{split} {at}{marks}"
    return spread(value.values, value.digits) + marks


def spread(values: tuple[float, ...], digits: int) -> str:
    """Mean ± sd (n) of three or more; both values of two; a value alone of one."""
    if not values:
        return DASH
    mean, sd = mean_sd(values)
    text, kind = fixed_point(mean, digits), interval_kind(len(values))
    if kind == "t":
        text += f" ± {fixed_point(sd, digits)}"
    elif kind == "range":
        text += f" [{fixed_point(min(values), digits)}, {fixed_point(max(values), digits)}]"
    return f"{text} ({len(values)})"


def ends(held: Interval, digits: int) -> str:
    """An interval, e.g. "0.6960 to 0.7062"; a dash where there is none; of two values said so."""
    if not held.known:
        return DASH
    kind = " (range of two, not 95 %)" if held.kind == "range" else ""
    return f"{fixed_point(held.low, digits)} to {fixed_point(held.high, digits)}{kind}"


def over_seeds(held: Interval) -> str:
    """What an interval over seeds is called: of two seeds there is none that says 95 %."""
    return "range of two seeds, not 95 %" if held.kind == "range" else "95 % over seeds"


def lead_words(by: Lead, digits: int) -> str:
    """What a lead is decided by, e.g. "95 %: seeds 0.1 to 0.2; test images ...; both ...".

    "" where nothing decides it: an interval over test images alone, of one training a cell, says
    nothing of other trainings, so it is not shown for one that does.
    """
    if not by.both.known:
        return ""
    seeds = "paired seeds" if by.seeds.kind == "paired" else "seeds"
    said = [f"over {seeds} alone {ends(by.seeds, digits)}"]
    if by.images.known:
        parts = ((seeds, by.seeds), ("test images", by.images), ("both", by.both))
        said = [f"{what} {ends(held, digits)}" for what, held in parts]
    return f"{100 * by.level:.3g} %: {'; '.join(said)}"


def constant_rows(record: Record) -> pd.DataFrame:
    """Constant predictors as rows of a table's data, with status "constant"."""
    study, side = record.study, record.study["about"]["side"]
    rows = [
        {
            **stamps(record),
            **({side: value} if value else {}),
            "metric": metric,
            "split": "test",
            "status": "constant",
            "marks": name,
            "mean": scores[metric],
        }
        for value, held in baselines_by_side(record).items()
        for name, scores in held.items()
        for metric in study["metrics"]
        if metric in scores
    ]
    return pd.DataFrame(rows)


def bold_cells(values: Iterable[CellValue]) -> set[tuple[int, str]]:
    """(cell, metric) of the values that are decided to be the best of those beside them."""
    return {(value.cell, value.metric) for value in values if value.bold}


@once
def baselines_by_side(record: Record) -> dict[str, dict[str, dict[str, float]]]:
    """Constant predictors by what tables are split by, e.g. the part; "" where they are not."""
    return constants_by_side(record, range(len(record.study["cells"])))


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
        marks, details (of marks), n, mean, sd, lo, hi and interval (over seeds), images_lo,
        images_hi and images_interval (over test images), standing, bold, behind_* (the lead of
        the best over it, at its level), skill, constants, edges, audited (ended), audited_better,
        values, seeds, seeds_due, seeds_complete, configs, configs_planned, val or test mean
        beside, seen and its split (of an unfinished cell), epochs, budget, published, trials,
        synthetic, protocol, mixed, digest, commit.
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
            **_verdict_columns(v),
            "values": " ".join(repr(x) for x in v.values),
            "seeds": " ".join(str(seed) for seed in v.seeds),
            "seeds_due": v.seeds_due,
            "seeds_complete": v.counts.seeds.complete,
            "configs": v.counts.configs.run,
            "configs_planned": v.counts.configs.planned,
            "beside_split": v.beside_split,
            "beside_mean": mean_sd(v.beside)[0],
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


def _verdict_columns(value: CellValue) -> dict[str, Any]:
    """What is decided of a value, as columns."""
    behind, images = value.behind, value.image_interval
    pair = behind.both if behind else images
    return {
        "images_lo": images.low,
        "images_hi": images.high,
        "images_interval": images.kind,
        "standing": value.standing,
        "bold": value.bold,
        "behind_by": behind.point if behind else math.nan,
        "behind_lo": pair.low if behind else math.nan,
        "behind_hi": pair.high if behind else math.nan,
        "behind_level": behind.level if behind else math.nan,
        "skill": value.skill,
        "constants": " | ".join(f"{c.name} {c.value!r}: {c.lead.says}" for c in value.constants),
        "edges": " | ".join(f"{edge.key} {edge.side}" for edge in value.edges),
        "audited": value.audit.ended,
        "audited_better": value.audit.better,
    }
