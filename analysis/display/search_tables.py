"""The search as tables: what it did in each cell, and every config with why it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.display import origins, words
from analysis.display.frames import stamps
from analysis.display.render import Table
from analysis.findings.audit import audit_frame
from analysis.findings.cells import cell_values
from analysis.findings.facts import DASH, beside, digits, fixed_point, metric_name
from search.record import STATES, Record, counts, naming, searched, trial_column


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


def search_table(record: Record) -> Table:
    """A row a cell: how far its configs came, and what they cost."""
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
    display["planned"] = display["planned"].replace("0", DASH)  # where nothing is searched
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


def configs_table(record: Record) -> Table:
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
