"""One self-contained HTML page of studies; its tables and figures again as files beside it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.display import marks, tables, words
from analysis.display.cell_sections import MOST_CELLS, cell_sections
from analysis.display.dots import dot_plots
from analysis.display.figure_set import Plate, plates, save
from analysis.display.markup import environment, identifier, model
from analysis.display.provenance import casualties, facts
from analysis.display.render import PAGE_FORMATS, Table, render
from analysis.display.sentences import answer_parts
from analysis.display.svg import inline
from analysis.display.together import together
from analysis.findings.cells import cell_values
from analysis.findings.named_once import require_once
from analysis.findings.verify import verified
from search.record import Record, UserError, missing

ROOM = 3_500_000  # characters of figures in a page; those beyond are named as files beside it
CAPTION = 260  # characters of a figure's caption before its fold
WIDE = 6.5  # inches from which a figure has a row of its own
PARTS = (  # of a study's page: which tables and figures stand under which head
    ("curves", "Learning curves and samples", ("settled",), ("F", "curves", "final")),
    (
        *("search", "The search", ("search", "configs", "importance", "marginals")),
        ("search", "rungs", "best-so-far", "parallel", "importance", "marginals"),
    ),
    ("audit", "Audit", ("audit", "firstrung"), ()),
    ("ledger", "Test ledger", ("optimism", "reveals"), ()),
)


def build(runs: Sequence[Path], out: Path, published: pd.DataFrame | None = None) -> Path:
    """Write `index.html`, `tables/` and `figures/` of studies, finished or not.

    Args:
        runs: run folders.
        out: folder to write to; files of an earlier build are replaced.
        published: the course report's learning curves to lay under ours.

    Returns:
        The page.

    Raises:
        UserError: no run, two of one name, a run folder cannot be read, its trials mix what
            cannot be compared, or a file stands where the folder should.
    """
    if taken := next((at for at in (out, *out.parents) if at.exists() and not at.is_dir()), None):
        raise UserError(f"{out}: {taken} is no folder; name a folder to write to by --out")
    require_once(runs)
    records = [verified(run) for run in runs]
    if not records:
        raise UserError("no run folder given")
    names = Counter(record.study["name"] for record in records)
    twice = [name for name, count in names.items() if count > 1]
    if twice:  # their files would overwrite each other
        raise UserError(f"two runs of the name {twice[0]}; build them into two folders")
    out.mkdir(parents=True, exist_ok=True)
    sections = [
        _section(record, out, published, f"study-{n}", records)
        for n, record in enumerate(records, 1)
    ]
    beside = together(records)
    for table in beside:
        write_table(table, out / "tables")
    title = ", ".join(names)
    if any(record.study["synthetic"] for record in records):
        title += f" ({words.SYNTHETIC})"
    page = (
        environment()
        .get_template("template.html")
        .render(
            title=title,
            studies=sections,
            together=[model(t, f"{t.study}-{t.key}", "", 0) for t in beside],
            marks=list(marks.MARKS.values()),
            style=_own("style.css"),
            script=_own("page.js"),
        )
    )
    path = out / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write a table in every form as `<study>-<key>.<form>`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for form in PAGE_FORMATS:
        path = folder / f"{table.study}-{table.key}.{form}"
        path.write_text(render(table, form), encoding="utf-8")
        paths.append(path)
    return paths


def _own(name: str) -> str:
    return files("analysis.display").joinpath(name).read_text(encoding="utf-8")


def _section(
    record: Record,
    out: Path,
    published: pd.DataFrame | None,
    name: str,
    page: Sequence[Record],
) -> dict[str, Any]:
    """What the template needs of one study; its files are written on the way."""
    study = record.study
    made = [tables.make(record, key, page) for key in tables.keys(record)]
    for table in made:
        write_table(table, out / "tables")
    lost, cells = casualties(record), min(len(study["cells"]), MOST_CELLS)
    shown = {t.key: model(t, f"{name}-{t.key}", name, cells) for t in [*made, lost]}
    pictures = _pictures(plates(record, published), out / "figures", study["name"], name)
    rows = {row["trial"] for row in shown["configs"]["rows"]} if "configs" in shown else set()
    state, unfinished = state_of(record)
    banners = words.banners(record)
    if unfinished:
        banners.append(f"UNFINISHED STUDY: {state}.")
    taken = {key for _, _, keys, _ in PARTS for key in (*keys, "lost")}
    results = [table for table in made if table.key not in taken]
    return {
        "id": name,
        "name": study["name"],
        "state": state,
        "protocol": words.protocol(study, cell_values(record)),
        "description": _described(study),
        "banners": banners,
        "answers": [(_fine(told[0]), " ".join(told[1:])) for told in answer_parts(record)],
        "dots": dot_plots(record),
        "signs": _signs(results),
        "tables": [shown[table.key] for table in results],
        "parts": _parts(name, shown, pictures),
        "cells": cell_sections(record, name, rows),
        "more_cells": len(study["cells"]) - cells,
        "facts": facts(record, state),
        "lost": shown["lost"],
        "text": study.get("text", ""),
    }


def _fine(text: str) -> list[tuple[str, bool]]:
    """A verdict in pieces, and whether each is an interval, which a page sets smaller."""
    pieces = re.split(r"(\([\d.]+ %: [^()]*\))", text)
    return [(piece, at % 2 == 1) for at, piece in enumerate(pieces) if piece]


def _signs(made: Sequence[Table]) -> list[str]:
    """Marks that occur in these tables."""
    text = "".join(str(entry) for table in made for entry in table.display.to_numpy().flat)
    return [sign for sign, _ in marks.MARKS.values() if sign in text]


def _parts(
    name: str, shown: dict[str, Any], pictures: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Those parts of a study's page that hold anything."""
    found = []
    for key, title, keys, heads in PARTS:
        held = [shown[k] for k in keys if k in shown]
        drawn = [p for p in pictures if heads and p["key"].startswith(heads)]
        if held or drawn:
            part = {"id": f"{name}-{key}-part", "title": title, "tables": held, "figures": drawn}
            found.append(part)
    return found


def _described(study: Mapping[str, Any]) -> str:
    """What a study's file says of it, and what it was begun with that the file does not say."""
    said = str(study["spec"].get("description", ""))
    given = [
        one for one in study.get("overrides") or () if one.partition("=")[0].strip() != "name"
    ]
    if not given:
        return said
    begun = f"begun with {' '.join(f'--set {one}' for one in given)}"
    return f"{said} ({begun})" if said else begun


def _pictures(
    drawn: Sequence[Plate], folder: Path, prefix: str, name: str
) -> list[dict[str, Any]]:
    """Figures, saved, and as elements of the page as long as there is room."""
    found, room = [], ROOM
    for plate in drawn:
        paths = {path.suffix: path for path in save(plate, folder, prefix)}
        own = f"{name}-figure-{identifier(plate.key)}"  # there may be a table of the same key
        text = inline(paths[".svg"].read_text(encoding="utf-8"), f"{own}-svg", plate.title)
        fits = len(text) <= room
        room -= len(text) if fits else 0
        found.append(
            {
                "id": own,
                "key": plate.key,
                "number": plate.number,
                "data": f"figures/{paths['.csv'].name}",
                "title": plate.title,
                "caption": _folded(plate.caption),
                "svg": text if fits else "",
                "wide": plate.figure.get_figwidth() > WIDE,
                "file": f"figures/{paths['.png'].name}",
            }
        )
    return found


def _folded(caption: str) -> tuple[str, str]:
    """What of a caption two lines have room for, whole sentences, and the rest."""
    sentences = re.split(r"(?<=[.]) (?=[^a-z])", caption)
    count, taken = 1, len(sentences[0])
    while count < len(sentences) and taken + 1 + len(sentences[count]) <= CAPTION:
        taken += 1 + len(sentences[count])
        count += 1
    return " ".join(sentences[:count]), " ".join(sentences[count:])


def state_of(record: Record) -> tuple[str, bool]:
    """How far a study is, in words, and whether anything is missing of what it asked for."""
    if "imported" in record.study:  # asked for nothing that could be missing
        return "imported, never run here", False
    lacking, cells = missing(record), len(record.study["cells"])
    text = f"{cells - len(lacking.cells)} of {cells} cells complete with all their seeds"
    if lacking.open:
        text += f"; trials running or waiting when last written: {lacking.open}"
    return text, lacking.anything
