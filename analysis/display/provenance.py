"""Where a study's numbers come from: data, protocol, machine, versions; and the trials it lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.display import origins, words
from analysis.display.render import Table
from analysis.findings.cells import cell_values, config_of
from search.record import Record, naming


def facts(record: Record, state: str) -> list[tuple[str, list[str]]]:
    """Name and lines of each fact; `state` is how far the study is."""
    study = record.study
    machine = study.get("machine") or {}
    gpus = ", ".join(str(gpu) for gpu in machine.get("gpus") or []) or "no GPU"
    versions = study.get("versions") or {}
    sessions = study.get("sessions") or []
    weights = study.get("weights") or {}
    told = [
        ("record", f"sha256 {record.digest}"),
        ("task", study["about"]["title"]),
        ("state", state),
        ("protocol", f"{study['protocol']}. {words.protocol(study, cell_values(record))}"),
        ("rungs", f"{', '.join(str(rung) for rung in study['rungs'])} epochs"),
        ("configs", words.configs(study, cell_values(record)) if study["space_keys"] else ""),
        ("weights", "; ".join(_weights(depth, held) for depth, held in weights.items())),
        ("versions", ", ".join(f"{name} {value}" for name, value in versions.items())),
        ("machine", f"{machine.get('processor')}, {machine.get('cores')} cores, {gpus}"),
        ("commit", origins.commit(study)),
        ("dates", f"{origins.dates(study)}, sessions: {len(sessions)}"),
    ]
    lines = [(name, [text]) for name, text in told if text]
    lines.insert(3, ("data", origins.data_words(study)))  # one thing that is odd in it a line
    imported = study.get("imported") or {}
    more = (
        ("found at import", imported.get("faults", [])),
        ("guessed at import", imported.get("guessed", [])),
        ("not known", imported.get("unknown", [])),
        ("mixed parts", words.mixed_lines(record)),
        ("changes accepted", accepted(study)),
    )
    return lines + [(name, texts) for name, texts in more if texts]


def accepted(study: Mapping[str, Any]) -> list[str]:
    """What was not as on record when a study was resumed, and was taken all the same."""
    return [
        f"{str(session.get('started') or 'date not recorded')[:10]}: {text}"
        for session in study.get("sessions") or []
        for text in session.get("accepted") or ()
    ]


def _weights(depth: str, held: Mapping[str, Any]) -> str:
    official = "torchvision's own" if held["official"] else "not torchvision's file"
    text = f"depth {depth}: {held['file']} ({official}, sha256 {held['sha256'][:8]})"
    if origin := held.get("origin"):
        scores = origin.get("value")
        held = scores if isinstance(scores, dict) else {}
        told = "".join(f", {key} {naming.number(value)}" for key, value in held.items())
        text += f", trial {origin.get('trial')} of study {origin.get('study')}{told}"
    return text


def casualties(record: Record) -> Table:
    """Trials that failed or diverged, with the reason and the last line of the error."""
    study, rows = record.study, record.trials
    rows = rows[rows["status"].isin(["failed", "diverged"])]
    found = []
    for trial in rows.to_dict("records"):
        error = trial["error"]
        last = "" if pd.isna(error) or not error else f": {str(error).strip().splitlines()[-1]}"
        found.append(
            {
                "trial": str(trial["trial"]),
                "cell": naming.cell_label(study["cells"][trial["cell"]]),
                "config": words.config_label(config_of(trial, study)),
                "status": str(trial["status"]),
                "epochs": f"{trial['epochs']}/{trial['budget']}",
                "reason": f"{trial['reason']}{last}",
            }
        )
    columns = ["trial", "cell", "config", "status", "epochs", "reason"]
    display = pd.DataFrame(found, columns=columns)
    bold = pd.DataFrame(False, index=display.index, columns=columns)
    title = "Trials that failed or diverged"
    return Table(study["name"], "lost", title, "", display, bold, rows[["cell", "trial"]])
