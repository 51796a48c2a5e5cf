"""One self-contained HTML page of studies; its tables and figures again as files beside it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from analysis.display import tables, words
from analysis.display.figure_set import plates, save
from analysis.display.render import Table, render
from analysis.display.sentences import answer_sentences
from analysis.findings.cells import cell_values, config_of
from analysis.findings.verify import verified
from search.record import Record, UserError, missing


def build(runs: Sequence[Path], out: Path, published: pd.DataFrame | None = None) -> Path:
    """Write `index.html`, `tables/` and `figures/` of studies, finished or not.

    Args:
        runs: run folders.
        out: folder to write to; files of an earlier build are replaced.
        published: the course report's learning curves to lay under ours.

    Returns:
        The page.

    Raises:
        UserError: no run, two of one name, a run folder cannot be read, or its trials mix what
            cannot be compared.
    """
    records = [verified(run) for run in runs]
    if not records:
        raise UserError("no run folder given")
    names = Counter(record.study["name"] for record in records)
    twice = [name for name, count in names.items() if count > 1]
    if twice:  # their files would overwrite each other
        raise UserError(f"two runs of the name {twice[0]}; build them into two folders")
    out.mkdir(parents=True, exist_ok=True)
    sections = [_section(record, out, published) for record in records]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        files("analysis.display").joinpath("template.html").read_text(encoding="utf-8")
    )
    title = ", ".join(names)
    if any(record.study["synthetic"] for record in records):
        title += f" ({words.SYNTHETIC})"
    page = template.render(title=title, studies=sections, marks=list(words.MARKS.values()))
    path = out / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write a table in every form as `<study>-<key>.<form>`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for form in tables.FORMATS:
        path = folder / f"{table.study}-{table.key}.{form}"
        path.write_text(render(table, form), encoding="utf-8")
        paths.append(path)
    return paths


def _section(record: Record, out: Path, published: pd.DataFrame | None) -> dict[str, Any]:
    """What the template needs of one study; its files are written on the way."""
    study = record.study
    made = [tables.make(record, key) for key in tables.keys(record)]
    for table in made:
        write_table(table, out / "tables")
    pictures = []
    for plate in plates(record, published):
        png = save(plate, out / "figures", study["name"])[0]
        coded = base64.b64encode(png.read_bytes()).decode("ascii")
        pictures.append({"key": plate.key, "caption": plate.caption, "png": coded})
    state, unfinished = state_of(record)
    banners = words.banners(record)
    if unfinished:
        banners.append(f"UNFINISHED STUDY: {state}.")
    return {
        "name": study["name"],
        "state": state,
        "description": study["spec"].get("description", ""),
        "banners": banners,
        "answers": answer_sentences(record),
        "facts": _facts(record, state),
        "tables": [render(table, "html") for table in made],
        "figures": pictures,
        "casualties": _casualties(record),
        "text": study.get("text", ""),
    }


def state_of(record: Record) -> tuple[str, bool]:
    """How far a study is, in words, and whether anything is missing of what it asked for."""
    lacking, cells = missing(record), len(record.study["cells"])
    text = f"{cells - len(lacking.cells)} of {cells} cells complete with all their seeds"
    if lacking.open:
        text += f"; trials running or waiting when last written: {lacking.open}"
    return text, lacking.anything


def _facts(record: Record, state: str) -> list[tuple[str, list[str]]]:
    """Name and lines of each fact."""
    study = record.study
    machine = study.get("machine") or {}
    gpus = ", ".join(str(gpu) for gpu in machine.get("gpus") or []) or "no GPU"
    versions = study.get("versions") or {}
    sessions = study.get("sessions") or []
    weights = study.get("weights") or {}
    facts = [
        ("record", f"sha256 {record.digest}"),
        ("task", study["about"]["title"]),
        ("state", state),
        ("protocol", f"{study['protocol']}. {words.protocol(study, cell_values(record))}"),
        ("rungs", f"{', '.join(str(rung) for rung in study['rungs'])} epochs"),
        ("configs", words.configs(study, cell_values(record)) if study["space_keys"] else ""),
        ("weights", "; ".join(_weights(depth, held) for depth, held in weights.items())),
        ("versions", ", ".join(f"{name} {value}" for name, value in versions.items())),
        ("machine", f"{machine.get('processor')}, {machine.get('cores')} cores, {gpus}"),
        ("commit", words.commit(study)),
        ("dates", f"{words.dates(study)}, sessions: {len(sessions)}"),
    ]
    lines = [(name, [text]) for name, text in facts if text]
    lines.insert(3, ("data", words.data_words(study)))  # one thing that is odd in it a line
    more = (("mixed parts", words.mixed_lines(record)), ("changes accepted", accepted(study)))
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
        told = "".join(f", {key} {words.number(value)}" for key, value in held.items())
        text += f", trial {origin.get('trial')} of study {origin.get('study')}{told}"
    return text


def _casualties(record: Record) -> list[dict[str, str]]:
    """Trials that failed or diverged, with the reason and the last line of the error."""
    rows = record.trials[record.trials["status"].isin(["failed", "diverged"])]
    found = []
    for trial in rows.to_dict("records"):
        error = trial["error"]
        last = "" if pd.isna(error) or not error else f": {str(error).strip().splitlines()[-1]}"
        found.append(
            {
                "trial": str(trial["trial"]),
                "cell": words.cell_label(record.study["cells"][trial["cell"]]),
                "config": words.cell_label(config_of(trial, record.study)),
                "status": str(trial["status"]),
                "epochs": f"{trial['epochs']}/{trial['budget']}",
                "reason": f"{trial['reason']}{last}",
            }
        )
    return found
