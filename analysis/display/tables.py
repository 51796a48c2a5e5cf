"""The tables of a study: T1 to T4 where its cells fit, all cells side by side, and the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.display import origins, words
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
    stamps,
    text,
)
from analysis.display.grids import grid, grid_keys
from analysis.display.importance_tables import importance_table, marginals_table
from analysis.display.ledger_tables import optimism_table, reveals_table
from analysis.display.render import FORMATS, Table, render
from analysis.display.settled_table import settled_table
from analysis.findings.audit import audit_frame
from analysis.findings.cells import CellValue, cell_values
from analysis.findings.contrasts import declared
from analysis.findings.facts import DASH, beside, digits, direction, fixed_point, metric_name
from analysis.findings.first_rung import ranked_then
from analysis.findings.marginals import is_grid
from analysis.findings.reveals import reveal_frame
from analysis.findings.stats import skill
from search.record import STATES, Record, UserError, counts, naming, searched, trial_column

__all__ = ["FORMATS", "Table", "keys", "make", "named", "render", "search_frame"]

SKILL_DIGITS = 4


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
        raise UserError(
            f"study {record.study['name']} has no table {key}; it has {', '.join(held)}"
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
        return _search(record)
    if key == "configs":
        return _configs(record)
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


def search_frame(record: Record) -> pd.DataFrame:
    """What the search did, one row a cell.

    Returns:
        Columns cell, the cell parameters, planned, configs (started), reached_<e> (trials with at
        least e epochs, for each rung e), completed, stopped, paused, running, diverged, failed,
        collapsed (of all of these; where a task tells it), audited, best_<key> of each searched
        parameter, search_epochs, audit_epochs, confirm_epochs, hours (on a worker). An audited
        trial counts as the rule left it, and once more as audited.
    """
    study, trials = record.study, record.trials
    chosen = {v.cell: v.config for v in cell_values(record) if v.metric == study["metric"]}
    names = ["cell", "stage", "status", "epochs", "seconds", "collapsed"]
    plain = {"stage": object, "status": object, "epochs": float}  # in a tenth of the time
    rows, trials = [], trials[names].astype(plain)
    tried = searched(record)[names].astype(plain)
    counted, tells = counts(record), bool(trials["collapsed"].notna().any())
    for number, at in enumerate(study["cells"]):
        configs = counted[number].configs
        held = trials[trials["cell"] == number]
        search = tried[tried["cell"] == number]
        confirmed = held[held["stage"] == "confirm"]
        audits = held.loc[held["stage"] == "audit", "epochs"].sum()
        shown = search if len(search) or study["space_keys"] else confirmed
        row: dict[str, Any] = {"planned": configs.planned, "configs": len(shown)}
        for rung in study["rungs"]:
            # the epoch in which a trial diverged is not one that it finished
            finished = shown["epochs"] - (shown["status"] == "diverged")
            row[f"reached_{rung}"] = int((finished >= rung).sum())
        for status in STATES:
            row[status] = int((shown["status"] == status).sum())
        if tells:
            row["collapsed"] = int(shown["collapsed"].fillna(False).sum())
        row["audited"] = configs.audited
        for key in study["space_keys"]:
            row[f"best_{key}"] = chosen[number].get(key)
        row["search_epochs"] = int(search["epochs"].sum())
        ended = search.loc[search["stage"] == "audit", "epochs"].sum()
        row["audit_epochs"] = int(audits - ended)
        row["confirm_epochs"] = int(confirmed["epochs"].sum())
        row["hours"] = float(held["seconds"].sum()) / 3600
        rows.append({"cell": number, **beside(at, ["cell", *row]), **row})
    return pd.DataFrame(rows)


def _search(record: Record) -> Table:
    study = record.study
    data = search_frame(record)
    heads = {
        name: str(name).replace("reached_", "reached ").replace("best_", "best ").replace("_", " ")
        for name in data
    }
    display = (
        words.settings_said(data, study)
        .rename(columns=heads)
        .map(lambda value: DASH if value is None or pd.isna(value) else naming.number(value))
    )
    data = data.assign(**stamps(record))
    caption = " ".join(
        [
            *words.banners(record),
            f"Study {study['name']}. Rungs: {', '.join(str(r) for r in study['rungs'])} epochs;",
            "reached e: configs trained for at least e epochs; the columns after say how each",
            "stands now. Audited, of those that the rule stopped, and counted as such: trained on",
            "outside the selection, or still to be. "
            + "Collapsed, of all of these: predictions barely differ between images. "
            * ("collapsed" in data),
            "Where nothing is searched, a cell's seeds are counted.",
            origins.origin(record),
        ]
    )
    bold = pd.DataFrame(False, index=display.index, columns=display.columns)
    return Table(study["name"], "search", "What the search did", caption, display, bold, data)


def _configs(record: Record) -> Table:
    """Every config of the search and why it ended where it did, best first in each cell."""
    study, tried = record.study, searched(record)
    metric = f"{study['watched']} {metric_name(study, study['metric'])}"
    order = tried.assign(_value=tried["value"] * (-1 if study["mode"] == "max" else 1))
    order = order.sort_values(["cell", "epochs", "_value"], ascending=[True, False, True])
    audits = _audits(record)
    rule = "best so far" if study["checkpoint_rule"] == "best" else "of the last epoch"
    rows = []
    for trial in order.to_dict("records"):
        at = {k: naming.setting(k, v) for k, v in study["cells"][trial["cell"]].items()}
        drawn = {k: naming.number(trial[trial_column(study, k)]) for k in study["space_keys"]}
        value = trial["value"]
        own = {
            "epochs": f"{trial['epochs']}/{trial['budget']}",
            f"{metric} ({rule})": DASH
            if pd.isna(value)
            else fixed_point(float(value), digits(study, study["metric"])),
            "status": _status(trial),
            **({"audit": audits.get(trial["trial"], DASH)} if audits else {}),
            "why": trial["reason"],
        }
        taken = ["trial", *own]
        rows.append({**beside(at, taken), "trial": trial["trial"], **beside(drawn, taken), **own})
    display = pd.DataFrame(rows)
    caption = " ".join(
        [
            *words.banners(record),
            "Ranks are among the configs of one cell at one rung; of equal values the config with "
            f"the lower number goes first. {words.scheduling(study)} Step by step: "
            "record.load(run).decisions.",
            origins.origin(record),
        ]
    )
    bold = pd.DataFrame(False, index=display.index, columns=display.columns)
    given = [trial_column(study, key) for key in study["cells"][0]]
    columns = ["cell", *given, "trial", *(trial_column(study, k) for k in study["space_keys"])]
    data = order[[*columns, "epochs", "budget", "metric", "value", "status", "reason"]]
    data = data.assign(**stamps(record))
    title = "Every config, and why it ended"
    return Table(study["name"], "configs", title, caption, display, bold, data)


def _status(trial: Mapping[Any, Any]) -> str:
    fallen = not pd.isna(trial["collapsed"]) and bool(trial["collapsed"])
    return f"{trial['status']}, collapsed" if fallen else str(trial["status"])


def _audits(record: Record) -> dict[str, str]:
    """Audited trial -> what became of it outside of the selection, e.g. "9/9: 0.7000, better"."""
    study, budget = record.study, record.study["rungs"][-1]
    places, found = digits(study, study["metric"]), {}
    for row in audit_frame(record).to_dict("records"):
        end, better = row["value_end"], row["better"]
        told = [str(row["status"])] if pd.isna(end) else [fixed_point(float(end), places)]
        if not pd.isna(better):
            told.append("better than the winner" if better else "not better")
        found[str(row["trial"])] = f"{row['epochs']}/{budget}: {', '.join(told)}"
    return found
