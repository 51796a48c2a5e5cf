"""A section for each cell: its results, the trials behind them, what was left out, its curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.display import marks, words
from analysis.display.frames import ends, over_seeds, spread, text
from analysis.display.grids import published_values
from analysis.display.markup import cell_id, trial_id
from analysis.display.sketch import chosen_lines, curves_of, sketch
from analysis.findings.audit import searched
from analysis.findings.cells import CellValue, cell_values, config_of
from analysis.findings.facts import DASH, direction, fixed_point, metric_name
from search.record import Record, naming

MOST_CELLS = 200  # that have a section


def cell_sections(record: Record, name: str, rows: set[str]) -> list[dict[str, Any]]:
    """What the template needs of each cell, of the first MOST_CELLS.

    Args:
        record: the study.
        name: id of its section.
        rows: trials that have a row in the page.
    """
    study = record.study
    values: dict[int, list[CellValue]] = {}
    for value in cell_values(record):
        values.setdefault(value.cell, []).append(value)
    main = {n: _main(study, held) for n, held in values.items()}
    wanted = chosen_lines(record, {n: value.trials for n, value in main.items()})
    curves = curves_of(record, {n: wanted.get(n, []) for n in range(MOST_CELLS)})
    old, tried = published_values(record), searched(record)
    found = []
    for number, at in enumerate(study["cells"][:MOST_CELLS]):
        first = main[number]
        own = record.trials[record.trials["cell"] == number]
        found.append(
            {
                "id": cell_id(name, number),
                "number": number,
                "label": naming.cell_label(at),
                "status": first.state,
                "split": first.split,
                "has": _rows(first, any((number, v.metric) in old for v in values[number])),
                "values": [_value(study, v, old.get((number, v.metric))) for v in values[number]],
                "marks": marks.legend(values[number]),
                "config": naming.cell_label(first.config) if first.config else "",
                "metrics": [f"{study['shown_split']} {_title(study, v)}" for v in values[number]],
                "seeds": _seeds(study, own, first, name),
                "search": _counts(tried[tried["cell"] == number]),
                "links": [
                    (trial, trial_id(name, trial)) for trial in first.trials if trial in rows
                ],
                "curve": sketch(study, wanted.get(number, []), first.trials, curves),
            }
        )
    return found


def _main(study: Mapping[str, Any], held: list[CellValue]) -> CellValue:
    return next((value for value in held if value.metric == study["metric"]), held[0])


def _title(study: Mapping[str, Any], value: CellValue) -> str:
    up = words.arrow(direction(study, value.metric))
    return f"{metric_name(study, value.metric)} {up}"


def _value(study: Mapping[str, Any], value: CellValue, old: float | None) -> dict[str, str]:
    """One metric of a cell: what tables show, its interval, the other split, the published."""
    return {
        "name": _title(study, value),
        "value": text(value),
        "interval": ends(value.seed_interval, value.digits),
        "images": ends(value.image_interval, value.digits),
        "beside": spread(value.beside, value.digits),
        "published": DASH if old is None else f"{old:.4f}",
    }


def _rows(value: CellValue, published: bool) -> dict[str, str]:
    """Labels of what is known of a cell's metrics; "" for what is not."""
    return {
        "value": "mean ± sd (seeds)" if value.status == "complete" else value.state,
        "interval": over_seeds(value.seed_interval) if value.seed_interval.known else "",
        "images": "95 % over test images" if value.image_interval.known else "",
        "beside": f"{value.beside_split} of the same" if value.beside else "",
        "published": "published" if published else "",
    }


def _seeds(
    study: Mapping[str, Any], own: pd.DataFrame, shown: CellValue, name: str
) -> list[dict[str, Any]]:
    """Confirmation trials, and whichever else is shown: what each gave, and whether it counts."""
    rows = own[(own["stage"] == "confirm") | own["trial"].isin(list(shown.trials))]
    found = []
    for trial in rows.to_dict("records"):
        counts = trial["trial"] in shown.trials
        confirm = trial["stage"] == "confirm"
        found.append(
            {
                "id": trial_id(name, str(trial["trial"])) if confirm else "",
                "trial": str(trial["trial"]),
                "seed": DASH if pd.isna(trial["seed"]) else str(trial["seed"]),
                "config": words.config_label(config_of(trial, study)),
                "epochs": f"{trial['epochs']}/{trial['budget']}",
                "values": [_scored(study, trial, metric) for metric in study["metrics"]],
                "status": str(trial["status"]),
                "counts": "yes" if counts else f"no: {_reason(trial)}",
            }
        )
    return found


def _scored(study: Mapping[str, Any], trial: Mapping[Any, Any], metric: str) -> str:
    split = study["shown_split"]
    value = trial.get(f"test_{metric}" if split == "test" else f"value_{split}_{metric}")
    if value is None or pd.isna(value):
        return DASH
    return fixed_point(
        float(value), int(study["about"]["metrics"].get(metric, {}).get("digits", 4))
    )


def _reason(trial: Mapping[Any, Any]) -> str:
    why = trial["reason"]
    return str(trial["status"]) if pd.isna(why) or not why else str(why)


def _counts(tried: pd.DataFrame) -> list[tuple[str, int]]:
    """Status -> configs of the search, as the rule left them."""
    held = tried["status"].value_counts()
    names = ("completed", "stopped", "paused", "running", "diverged", "failed")
    return [(name, int(held[name])) for name in names if name in held.index]
