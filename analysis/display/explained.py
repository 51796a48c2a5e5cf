"""What `resnet-report explain` prints: why a cell is where it is, a heading and lines each."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from analysis.display import words
from analysis.display.frames import ends, lead_words, over_seeds, text
from analysis.display.marks import legend, undecidable, why_out
from analysis.display.origins import origin
from analysis.findings.cells import CellValue, config_of
from analysis.findings.explain import Explanation, Fit, explain
from analysis.findings.facts import DASH, fixed_point, metric_name, training_compares
from analysis.findings.moves import Move
from search.record import Record
from search.record.naming import cell_label, number
from search.record.power import POWER

MOST = 12  # configs that are listed


def explained(record: Record, cell: int) -> str:
    """Everything that is known of a cell, as text.

    Args:
        record: the study.
        cell: number of the cell, from 0.

    Raises:
        UserError: trials of a cell cannot be compared.
    """
    held = explain(record, cell)
    main = held.values[0]
    name = metric_name(record.study, main.metric)
    parts = [
        ("Value", [*_values(record, held), *_standing(held, name)]),
        ("Search", [*_search(record, held)]),
        ("Seeds", _seeds(held, main)),
        ("Fit", _fit(record, held.fit, main, name)),
        ("More epochs", [settled_words(held.settled, main)]),
        ("What would most likely move it", _moves(record, held)),
    ]
    title = f"{cell_label(main.given)}: study {record.study['name']}, cell {cell}"
    lines = [*words.banners(record), title]
    for head, said in parts:
        lines += [f"\n{head}", *(f"  {line}" for line in said if line)]
    return "\n".join([*lines, "", origin(record)])


def _moves(record: Record, held: Explanation) -> list[str]:
    said = [_move(move, held.values[0], record) for move in held.moves]
    return said or ["nothing that the record shows"]


def _values(record: Record, held: Explanation) -> list[str]:
    lines = []
    for v in held.values:
        told = [f"{v.split} {metric_name(record.study, v.metric)}: {text(v)}"]
        if v.seed_interval.known:
            low, high = (fixed_point(end, v.digits) for end in v.interval)
            told.append(f"{over_seeds(v.seed_interval)} {low} to {high}")
        if v.image_interval.known:
            told.append(f"over test images {ends(v.image_interval, v.digits)}")
        for c in v.constants:
            told.append(f"{c.name} {fixed_point(c.value, v.digits)}")
        lines.append("; ".join(told))
    return [*lines, *(f"{sign} {said}" for sign, said in legend(held.values))]


def _standing(held: Explanation, name: str) -> list[str]:
    main = held.values[0]
    if main.standing == "out":
        return [f"compared with no other cell: {why_out(main)}"]
    if held.ahead is None:
        told = {"best": "decided against all others", "among the best": "NOT decided"}
        if main.standing not in told:
            return []
        return [f"best mean {name} of the cells of the same images, {told[main.standing]}"]
    first, by = held.ahead
    if by.tie:
        return [f"a tie with {cell_label(first.given)}, of which nothing is decided"]
    said = f"behind {cell_label(first.given)} by {fixed_point(by.point, main.digits)}"
    if not (over := lead_words(by, main.digits)):
        return [f"{said}: NOT decided; {undecidable((first, main))}"]
    decided = "decided" if main.standing == "behind" else "NOT decided"
    return [f"{said} ({over}; all leads together, Holm): {decided}"]


def _search(record: Record, held: Explanation) -> list[str]:
    main, configs = held.values[0], held.configs
    counts = main.counts.configs
    if configs.empty:
        return [f"none of {counts.planned} planned configs has been begun"
                if counts.planned else "nothing is searched"]  # fmt: skip
    lines = (
        []
        if "imported" in record.study
        else [f"{counts.run} of {counts.planned or counts.run} planned configs were begun"]
    )
    rungs = dict(list(held.rungs.groupby("trial")))
    for row in configs.head(MOST).to_dict("records"):
        config = cell_label(config_of(row, record.study))
        value = DASH if pd.isna(row["value"]) else fixed_point(float(row["value"]), main.digits)
        ranks = ", ".join(
            f"rank {int(r['rank'])} of {int(r['n'])} at {int(r['epoch'])}"
            for r in rungs.get(row["trial"], configs.iloc[:0]).to_dict("records")
        )
        why = "" if pd.isna(row["reason"]) else str(row["reason"])
        said = ranks if ranks and (not why or why.startswith("rank")) else why or ranks
        lines.append(f"{config}: {value} at epoch {row['epochs']}, {row['status']}; {said}")
    if len(configs) > MOST:
        lines.append(f"and {len(configs) - MOST} more: `resnet-report table --table configs`")
    if main.edges:
        lines.append(f"chosen at an end of what was tried: {main.details.get('edge', '')}")
    if main.audit.ended:
        audit = f"{main.audit.better} of {main.audit.ended} audited did better than the winner"
        lines.append(main.details.get("audit", audit))
    return lines


def _seeds(held: Explanation, main: CellValue) -> list[str]:
    lines = []
    if main.counts.seeds.words and "imported" not in main.marks:
        lines.append(f"missing: {main.counts.seeds.words}")
    for row in held.seeds.to_dict("records"):
        scores = [
            f"{v.metric} {fixed_point(float(row[v.metric]), v.digits)}"
            for v in held.values
            if not pd.isna(row[v.metric])
        ]
        seed = DASH if pd.isna(row["seed"]) else str(row["seed"])
        own = row["stage"] == "confirm" or "imported" in main.marks
        whose = "" if own else f", {_OF_SEARCH[row['stage']]}"
        why = (
            "" if pd.isna(row["reason"]) or row["status"] == "completed" else f": {row['reason']}"
        )
        told = ", ".join(scores) or f"{row['status']}{why}"
        lines.append(f"seed {seed} ({row['trial']}{whose}): {told}")
    return lines


_OF_SEARCH = {"search": "of the search, no seed of its own", "audit": "of the audit"}


def _fit(record: Record, fit: Fit | None, main: CellValue, name: str) -> list[str]:
    watched = record.study["watched"]
    if fit is None:
        both = f"training and {words.split_name(watched)}"
        return [f"{both} are not on record at the epoch shown"]
    train, val, gap = (fixed_point(x, main.digits) for x in (fit.train, fit.watched, fit.gap))
    shown = f"train {name} {train}, {watched} {name} {val} at the checkpoint shown"
    if not training_compares(record.study, main.given):
        return [shown, *words.training(record.study)]
    over = f" (95 % over seeds {ends(fit.gap_interval, main.digits)})"
    lines = [f"{shown}; gap {gap}{over if fit.gap_interval.known else ''}"]
    if fit.few:
        few = f"{fit.sample} training images, fixed, too few to say whether it over- or underfits"
        return [*lines, f"train {name} is of {few}"]
    if fit.says == "unknown":
        return lines
    left = f"training itself is {fixed_point(fit.error, main.digits)} from the best {name} can be"
    if fit.says == "overfitted":
        return [*lines, f"overfitted: {left}, and {watched} is worse by more than that, {gap}"]
    beside = {
        "worse": f"is worse by less than that, {gap}",
        "no worse": "is no worse than training",
        "not decided": "is not shown to be worse than training",
    }
    return [*lines, f"underfitted: {left}, and {watched} {beside[fit.watched_is]}"]


def settled_words(held: Any, value: CellValue) -> str:
    """A cell's convergence stamp in a sentence.

    Args:
        held: its row of `analysis.findings.settled.settled`.
        value: of the cell.
    """
    stamp = held["stamp"]
    if not held["window"] or not math.isfinite(held["gain"]):
        return f"{stamp}: {held['why']}"
    gain, low, high, least = (
        fixed_point(float(held[key]), value.digits, "+")
        for key in ("gain", "low", "high", "matters")
    )
    seeds = "between seeds" if held["n"] > 1 else "between its epochs"
    said = (
        f"{stamp}: at the slope of its last {held['window']} epochs, as many more are better by "
    )
    said += f"{gain} ({low} to {high}; {least.lstrip('+')} would show {seeds})"
    return said + (f"; {held['why']}" if held["why"] else "")


def _move(move: Move, value: CellValue, record: Record) -> str:
    f = move.figures

    def shown(key: str) -> str:
        return fixed_point(float(f[key]), value.digits)

    again = f"resnet-search resume {record.study.get('store') or record.run}"
    if move.kind == "resume":
        return f"what is to come ({_to_come(f)}): `{again}` goes on with it"
    if move.kind == "lost":
        return f"what is missing ({f['seeds']}): `{again} --retry-failed`"
    if move.kind == "rung":
        return (
            f"a later first rung: {f['better']} of {f['ended']} audited did better than the winner"
        )
    if move.kind == "range":
        where = {"lowest": "lower", "highest": "higher", "only": "other"}[f["side"]]
        end = f"{number(f['value'])} was the end of what was tried"
        return f"{where} values of {f['key']}: {end}"
    if move.kind == "astray":
        tried = {"lowest": "the lowest tried", "highest": "the highest tried", "only": "all tried"}
        return (
            f"other values of {f['key']}, lower or higher: {number(f['value'])} was "
            f"{tried[f['side']]}, which says nothing here: {f['why']}"
        )
    if move.kind == "budget":
        said = f"more epochs: better by {shown('gain')} ({shown('low')} to {shown('high')})"
        return f"{said} in {f['window']} at the slope of the last"
    if move.kind == "underfit":
        return (
            "more epochs, or a network that fits more: it underfits, and whether epochs still "
            f"move it cannot be told ({f['why']})"
        )
    if move.kind == "learn":
        return f"a config that is shown to learn: the best that was tried is not ({f['why']})"
    if move.kind == "configs":
        return f"the configs that are missing: {f['run']} of {f['planned']} were begun"
    if move.kind == "images":
        return (
            f"more test images: their draw alone moves the lead by {shown('half')} either way, "
            f"which is {shown('lead')}; more seeds do not change that"
        )
    return (
        f"more seeds: about {f['seeds']} a cell would decide a lead of {shown('lead')} in "
        f"{100 * POWER:.0f} % of studies, if they spread as these {f['there']} do"
    )


def _to_come(lacking: Any) -> str:
    """E.g. "2 trials running or waiting, 3 seeds not begun"."""
    counts = (
        (lacking["open"], "trial", "running or waiting"),
        (lacking["configs"], "config", "not begun"),
        (lacking["seeds"], "seed", "not begun"),
    )
    return ", ".join(f"{n} {noun}{'s' * (n != 1)} {what}" for n, noun, what in counts if n)
