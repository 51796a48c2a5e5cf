"""What captions and pages say about a study: every number's circumstances, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.display.ledger import ledger_words
from analysis.display.marks import MARKS, deciding, legend, skill_words
from analysis.display.origins import data_words, origin, pretraining
from analysis.findings.cells import CellValue
from analysis.findings.facts import DASH, metric_name
from search.record import Record, configs_planned
from search.record.imported import imported_note
from search.record.naming import cell_label, named, setting

SYNTHETIC = "SYNTHETIC DATA"
REPORT_PROTOCOL = "REPORT PROTOCOL"
IMPORTED = "IMPORTED"
MIXED_PARTS = "MIXED PARTS"
RULES = {
    "best": "checkpoint of the best epoch",
    "last": "checkpoint of the last epoch",
}


def arrow(mode: str) -> str:
    """Which way is better."""
    return "↑" if mode == "max" else "↓"


def config_label(config: Mapping[str, Any]) -> str:
    """A config in words; a dash where nothing is searched."""
    return cell_label(config) if config else DASH


def split_name(split: str) -> str:
    """A split where there is room for words."""
    return {"val": "validation"}.get(split, split)


def banners(record: Record) -> list[str]:
    """What nobody may overlook."""
    found, study = list[str](), record.study
    if note := imported_note(study):
        faults = len(study["imported"]["faults"])
        noun = "note" if "kind" in study["imported"] else "fault"
        seeds = "Nothing here is confirmed"
        if study["confirm_seeds"]:
            seeds = "Seeds are those that the source names or repeats"
        found.append(
            f"{IMPORTED}: {note}. {seeds}, and `resnet-report verify` can check "
            f"only that the record is as it was imported. {faults or 'No'} {noun}"
            f"{'' if faults == 1 else 's'} found at import."
        )
        return [*damage(record), *found]
    if study["synthetic"]:
        found.append(f"{SYNTHETIC}: these numbers say nothing about real images.")
    if study["protocol"] == "report":
        found.append(
            f"{REPORT_PROTOCOL}: the course report's own habits, flaws included, are reproduced"
            + (
                "; the split shown is validation, which the report published as test."
                if study["shown_split"] == "val"
                else "."
            )
        )
    return [*damage(record), *found, *mixed(record)]


def mixed(record: Record) -> list[str]:
    """What of a study was not computed alike, in a sentence; [] where nothing is mixed."""
    texts = mixed_parts(record)
    if not texts:
        return []
    cells = record.mixed.cells
    of_cells = f" Cells that mix them themselves are marked {MARKS['mixed'][0]}." if cells else ""
    return [f"{MIXED_PARTS}: not all that stands here was computed alike: {texts}.{of_cells}"]


def mixed_lines(record: Record) -> list[str]:
    """What each cell mixes, then what cells differ in, a line each."""
    cells, held = record.study["cells"], record.mixed
    lines = [f"{cell_label(cells[n])}: {'; '.join(texts)}" for n, texts in held.cells.items()]
    return [*lines, *(f"over all cells: {text}" for text in held.whole)]


def mixed_parts(record: Record) -> str:
    """The same without a sentence around it, for a column of data; "" where nothing is mixed."""
    return "; ".join(record.mixed.whole)


def damage(record: Record) -> list[str]:
    """What of a record is not as it was written, a sentence each."""
    return [f"DAMAGED RECORD: {note}." for note in record.notes]


def caption(record: Record, values: Iterable[CellValue], page: Sequence[Record] = ()) -> str:
    """Banners, split, rule, selection, budget, seeds, test ledger, what ± is, data, date, commit.

    Args:
        record: the study.
        values: of the cells that this is said of.
        page: the studies that are shown together.
    """
    held, study = list(values), record.study
    parts = [*banners(record), f"Study {study['name']}.", protocol(study, held)]
    parts += ledger_words(record, page)
    parts.append(pretraining(study))
    parts.append(
        "Shown: mean ± sample standard deviation over (n) seeds; of two seeds [both values]; "
        "of one the value."
    )
    parts += [deciding(held), *skill_words(study, held)]
    parts.append(study["about"]["formulas"])
    parts += [f"{sign} {text}." for sign, text in legend(held)]
    parts.append(f"Data: {'; '.join(data_words(study))}.")
    parts.append(origin(record))
    return " ".join(part for part in parts if part)


def protocol(study: Mapping[str, Any], values: Iterable[CellValue] = ()) -> str:
    """Split, checkpoint rule, selection, budget and seeds.

    Args:
        study: study.json.
        values: of the cells that this is said of, for what was run of what was planned.
    """
    watched = f"{split_name(study['watched'])} {metric_name(study, study['metric'])}"
    rule = RULES[study["checkpoint_rule"]]
    if study["checkpoint_rule"] == "best":
        rule += f" by {watched}"
    space = ", ".join(named(key) for key in study["space_keys"])
    held = list(values)
    chosen = f"{space} selected by {watched} among {configs(study, held)}" if space else ""
    asked = ", ".join(str(s) for s in study.get("confirm_seeds") or [study.get("seed", 0)])
    if "seeds" in (study.get("imported") or {}).get("unknown", ()):
        repeats = len(study.get("confirm_seeds") or ())
        asked = f"not known{f' ({repeats} repeats)' * bool(repeats)}"
    sentences = [
        f"Split: {study['shown_split']}",
        f"rule: {rule}",
        chosen or "nothing searched",
        f"budget: {study['rungs'][-1]} epochs",
        f"seeds: {asked}{_seeds_there(held)}",
    ]
    return "; ".join(sentences) + "."


def configs(study: Mapping[str, Any], values: Iterable[CellValue]) -> str:
    """How many configs cells chose among, e.g. "8 configs a cell", "1 of 50 planned configs"."""
    held = {v.cell: v.counts.configs for v in values}
    planned = configs_planned(study)
    run = _range(c.run for c in held.values())
    if held and "imported" in study:
        return f"{run} config{'s' * (run != '1')} a cell"
    if not held or run == str(planned):
        planned_words = f"{planned} config{'s' * (planned != 1)} a cell"
        return planned_words if held else f"{planned_words} (planned)"
    return f"{run} of {planned} planned config{'s' * (planned != 1)} a cell"


def _seeds_there(values: Iterable[CellValue]) -> str:
    """What lacks of the seeds asked for, e.g. " (planned; 0 to 3 of 3 complete)"."""
    held = {v.cell: v.counts.seeds for v in values}
    planned = max((s.planned for s in held.values()), default=0)
    there = _range(s.complete for s in held.values())
    if not held or there == str(planned):
        return ""
    return f" (planned; {there} of {planned} complete a cell)"


def _range(numbers: Iterable[int]) -> str:
    """E.g. "3", or "3 to 5"."""
    held = sorted(set(numbers))
    return " to ".join(str(n) for n in dict.fromkeys((held[0], held[-1]))) if held else ""


def training(study: Mapping[str, Any]) -> list[str]:
    """What training curves are of where it is not what the watched split's are of; [] if it is."""
    return [text] if (text := study["about"].get("training")) else []


def settings_said(frame: pd.DataFrame, study: Mapping[str, Any]) -> pd.DataFrame:
    """A frame whose columns of cell parameters say their values as all outputs do."""
    keys = [key for key in (study["cells"][0] if study["cells"] else ()) if key in frame]
    return frame.assign(**{key: [setting(key, value) for value in frame[key]] for key in keys})


SCHEDULERS = {
    "cell-promote": (
        "Of the n configs of a cell at a rung, max(full_per_cell, floor(n / reduction_factor)) go "
        "on."
    ),
    "cell-stop": (
        "A config goes on if it is among the best 1 / reduction_factor of those that its cell's "
        "rung has seen so far, itself included."
    ),
    "ray-asha": "Ray's ASHA ends configs over all cells together; it names no ranks.",
    "none": "Every config is trained in full.",
}


def scheduling(study: dict[str, Any]) -> str:
    """What decided which configs go on, in a sentence."""
    if "imported" in study:
        return "What decided elsewhere which configs went on is not known here."
    # the spec on record holds what the file gave, without defaults
    return SCHEDULERS[study["spec"].get("scheduler", "cell-promote")]
