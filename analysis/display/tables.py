"""The tables of a study: T1 to T4 where its cells fit, all cells side by side, and the search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.display import words
from analysis.display.audit_table import audit_table
from analysis.display.contrasts_table import contrasts_table
from analysis.display.first_rung_table import first_rung_table
from analysis.display.frames import (
    baselines_by_side,
    bold_cells,
    constant_rows,
    ends,
    long_frame,
    spread,
    text,
)
from analysis.display.grids import grid, grid_keys
from analysis.display.importance_tables import importance_table, marginals_table
from analysis.display.ledger_tables import optimism_table, reveals_table
from analysis.display.render import FORMATS, Table, render
from analysis.display.search_tables import configs_table, search_frame, search_table
from analysis.display.settled_table import settled_table
from analysis.findings.cells import CellValue, cell_values
from analysis.findings.contrasts import declared
from analysis.findings.facts import DASH, beside, digits, direction, fixed_point, metric_name
from analysis.findings.first_rung import ranked_then
from analysis.findings.marginals import is_grid
from analysis.findings.reveals import reveal_frame
from analysis.findings.stats import skill
from search.record import Record, UserError, did_you_mean, naming

__all__ = ["FORMATS", "Table", "keys", "make", "named", "render", "search_frame"]

SKILL_DIGITS = 4
NEEDS = {  # what a study that lacks the table lacks
    "contrasts": "its study file declares none; `resnet-report contrast` makes those you name",
    "settled": "nothing was trained",
    "configs": "nothing was searched",
    "importance": "it compares searched settings, two at least",
    "marginals": "its configs are no full grid",
    "audit": "no trial that had been ended was trained on to see whether that was right",
    "firstrung": "no cell has configs enough that were trained in full",
    "reveals": "no score of test came onto the record",
    "optimism": "no search chose a config whose seeds were scored since",
}


def keys(record: Record) -> list[str]:
    """The tables that a study has, in the order of a report."""
    audits = (record.decisions["verdict"] == "audit").any()
    configs = ["configs"] if (record.trials["stage"] != "confirm").any() else []
    settled = ["settled"] if len(record.trials) else []
    audit = ["audit"] if audits else []
    declares = ["contrasts"] if declared(record) else []
    first = [] if ranked_then(record).empty else ["firstrung"]
    reveals = [] if reveal_frame(record).empty else ["reveals"]
    chosen = (record.decisions["verdict"] == "select").any() and "imported" not in record.study
    return [
        *grid_keys(record.study),
        "cells",
        *declares,
        *settled,
        "search",
        *configs,
        *["importance"] * bool(configs and len(record.study["space_keys"]) > 1),
        *["marginals"] * bool(configs and is_grid(record)),
        *audit,
        *first,
        *reveals,
        *["optimism"] * bool(chosen and record.study["space_keys"]),
    ]


def named(record: Record, key: str) -> Table:
    """The table that somebody asks for by name.

    Args:
        record: the study.
        key: its name.

    Raises:
        UserError: the study has no such table; names those it has.
    """
    if key not in (held := keys(record)):
        why = NEEDS.get(key) or (
            "that is of other cells" if key in record.study["about"]["tables"] else ""
        )
        said = f": {why}" if why else did_you_mean(key, [*held, *NEEDS])
        raise UserError(
            f"study {record.study['name']} has no table {key}{said}; it has {', '.join(held)}"
        )
    return make(record, key)


def make(record: Record, key: str, page: Sequence[Record] = ()) -> Table:
    """One table.

    Args:
        record: the study.
        key: one of `keys(record)`.
        page: the studies that are shown together: captions count the reveals of all of them.

    Raises:
        ValueError: the study has no such table.
    """
    if key == "cells":
        return _cells(record, page)
    if key == "search":
        return search_table(record)
    if key == "configs":
        return configs_table(record)
    if key == "settled":
        return settled_table(record)
    if key == "audit":
        return audit_table(record)
    if key == "contrasts":
        return contrasts_table(record, page=page)
    if key == "firstrung":
        return first_rung_table(record)
    if key == "importance":
        return importance_table(record)
    if key == "marginals":
        return marginals_table(record)
    if key == "reveals":
        return reveals_table(record, page)
    if key == "optimism":
        return optimism_table(record)
    return grid(record, key, page)


def _cells(record: Record, page: Sequence[Record]) -> Table:
    study = record.study
    values = cell_values(record)
    best = bold_cells(values)
    rows, bold = [], []
    for number, at in enumerate(study["cells"]):
        held = {v.metric: v for v in values if v.cell == number}
        rows.append(_cell_row(record, at, held))
        heads = {_head(record, m): (number, m) in best for m in held}
        bold.append({name: heads.get(name, False) for name in rows[-1]})
    rows, bold = _with_constants(record, rows, bold)
    frame = long_frame(record, values, {})
    data = pd.concat([frame.astype(object), constant_rows(record).astype(object)])
    data = data.reset_index(drop=True)
    caption = words.caption(record, values, page)
    if told := study["about"]["skill"]:
        metric = told["metric"]
        held_skill = {v.cell: _skill(v, told["over"]) for v in values if v.metric == metric}
        data["skill"] = data["cell"].map(held_skill).where(data["metric"] == metric)
        name = metric_name(study, metric)
        caption += (
            f" Skill = 1 - {name} / {name} of predicting the {told['over']}; below 0 is worse."
        )
    title = "All cells side by side"
    return Table(
        study["name"], "cells", title, caption, pd.DataFrame(rows), pd.DataFrame(bold), data
    )


def _head(record: Record, metric: str) -> str:
    up = words.arrow(direction(record.study, metric))
    return f"{record.study['shown_split']} {metric_name(record.study, metric)} {up}"


def _cell_row(record: Record, at: dict[str, Any], held: dict[str, CellValue]) -> dict[str, str]:
    study = record.study
    first = held[study["metric"]]
    row = {_head(record, metric): text(value) for metric, value in held.items()}
    configs, seeds = first.counts.configs, first.counts.seeds
    other = "test" if study["shown_split"] == "val" else "val"
    if any(v.beside_split for v in held.values()) or study["watched"] == other:
        for metric, value in held.items():
            row[f"{other} {metric_name(study, metric)}"] = spread(value.beside, value.digits)
    if told := study["about"]["skill"]:
        row["skill ↑"] = fixed_point(_skill(held[told["metric"]], told["over"]), SKILL_DIGITS)
    row |= {
        "95 % over seeds": ends(first.seed_interval, first.digits),
        "95 % over test images": ends(first.image_interval, first.digits),
        "verdict": _verdict(first),
        "epochs": f"{first.epochs}/{first.budget}",
        "split": first.split,
        "rule": first.rule,
        "seeds": f"{seeds.complete}/{seeds.planned}",
        "configs": f"{configs.run}/{configs.planned}" if configs.planned else DASH,
        "status": first.state,
        "marks": ", ".join(dict.fromkeys(m for v in held.values() for m in v.marks)) or DASH,
    }
    if first.audit.ended:
        row["audited better"] = f"{first.audit.better}/{first.audit.ended}"
    given = {key: naming.setting(key, value) for key, value in at.items()}
    for key in study["space_keys"]:
        given[f"{key} (chosen)"] = naming.number(first.config.get(key, DASH))
    return beside(given, row) | row


def _with_constants(
    record: Record, rows: list[dict[str, str]], bold: list[dict[str, bool]]
) -> tuple[list[dict[str, str]], list[dict[str, bool]]]:
    """The rows with one a constant predictor, which each cell is held against."""
    study, heads = record.study, list(dict.fromkeys(key for row in rows for key in row))
    rows = [{head: row.get(head, DASH) for head in heads} for row in rows]
    for side, held in baselines_by_side(record).items():
        for name, scores in held.items():
            where = f" ({study['about']['side']} {side})" if side else ""
            test = "" if study["shown_split"] == "test" else " (on test)"
            own = {heads[0]: f"{name}{where}{test}"} if heads else {}
            for metric in study["metrics"]:
                if metric in scores:
                    value = fixed_point(scores[metric], digits(study, metric))
                    own[_head(record, metric)] = value
            rows.append({**dict.fromkeys(heads, DASH), **own})
    none = dict.fromkeys(heads, False)
    return rows, [none | held for held in bold] + [none] * (len(rows) - len(bold))


def _verdict(value: CellValue) -> str:
    """Where a value stands among those it can be compared with, in words."""
    if value.behind is not None and value.standing == "behind":
        return f"behind by {ends(value.behind.both, value.digits)}"
    return "not compared" if value.standing == "out" else value.standing


def _skill(value: CellValue, over: str) -> float:
    """Skill over a constant; NaN unless complete and held against it."""
    held = {constant.name: constant.value for constant in value.constants}
    return skill(value.mean, held[over]) if over in held else float("nan")
