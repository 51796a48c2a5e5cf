"""What captions and pages say about a study: every number's circumstances, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.findings.cells import ALLOWED, NO_VALUE, CellValue, kept_out
from search.record import Record, configs_planned

SYNTHETIC = "SYNTHETIC DATA"
REPORT_PROTOCOL = "REPORT PROTOCOL"
MIXED_PARTS = "MIXED PARTS"
# mark -> (sign in tables, what it says)
MARKS = {
    "unfinished": ("†", "not trained to its full budget: value at epoch/budget, never averaged"),
    "unconfirmed": ("°", "fully trained in the search, not yet confirmed: a validation value"),
    "no skill": (
        "#",
        "not shown to beat every constant predictor: the 95 % interval over seeds and test "
        "images, or the one value there is, does not leave it behind",
    ),
    "collapsed": ("‡", "predictions barely differ between images (in at least one seed)"),
    "seeds missing": ("§", "fewer seeds than planned are complete"),
    "not finite": ("∅", "not finite in at least one seed, which the value leaves out"),
    "edge": ("‖", "a searched setting is the lowest or highest tried: the best may lie beyond"),
    "audit": ("∇", "a config that the rule had ended did better than the winner, trained on"),
    "synthetic": ("¶", "synthetic data: says nothing about real images"),
    "failed": ("×", "no result: its trials, or all of its seeds, failed or diverged"),
    "mixed": ("⊕", "made of parts that were not computed alike"),
    "fewer configs": ("◊", "fewer configs than planned to choose among"),
    "not told apart": ("≈", "the best is among the cells so marked, which is not decided"),
}
DIGITS = 16  # of a digest in captions
RULES = {
    "best": "checkpoint of the best epoch",
    "last": "checkpoint of the last epoch",
}
PRETRAINED = {  # by the source of the weights
    "imagenet1k_v1": "Fine-tuned: from torchvision's IMAGENET1K_V1.",
    "synthetic": "Fine-tuned: from a network trained on other synthetic images.",
}


def arrow(mode: str) -> str:
    """Which way is better."""
    return "↑" if mode == "max" else "↓"


def banners(record: Record) -> list[str]:
    """What nobody may overlook."""
    found, study = list[str](), record.study
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


def caption(record: Record, values: Iterable[CellValue]) -> str:
    """Banners, then split, rule, selection, budget, seeds, what ± is, data, date and commit."""
    held, study = list(values), record.study
    parts = [*banners(record), f"Study {study['name']}.", protocol(study, held)]
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


def legend(values: Iterable[CellValue]) -> list[tuple[str, str]]:
    """Sign and meaning of each mark that any of the values carries, with what it is of here."""
    held = list(values)
    marks = [mark for mark in MARKS if any(mark in v.marks for v in held)]
    return [(MARKS[mark][0], f"{MARKS[mark][1]}{_details(held, mark)}") for mark in marks]


def deciding(values: Iterable[CellValue]) -> str:
    """What bold is, and which uncertainties decided it."""
    held = [value for value in values if value.standing in ("best", "among the best", "behind")]
    if not held:
        return "Bold: nothing, since no two cells can be compared."
    images = [v.metric for v in held if v.behind is not None and v.behind.images.known]
    alone = [v.metric for v in held if v.behind is not None and not v.behind.images.known]
    over = [
        f"{', '.join(dict.fromkeys(metrics))} {how}"
        for metrics, how in (
            (images, "over seeds (Welch) and test images (paired bootstrap) together"),
            (alone, "over seeds alone (Welch), since results of each image do not give it"),
        )
        if metrics
    ]
    return (
        "Bold: decided to be better than every other comparable, unmarked cell of the same images "
        f"(95 %, Holm): {'; '.join(over)}; signs that keep no cell out: "
        f"{' '.join(MARKS[mark][0] for mark in ALLOWED)}."
    )


def skill_words(study: Mapping[str, Any], values: Iterable[CellValue]) -> list[str]:
    """Metrics of complete cells on whose skill nothing can be said, a sentence each."""
    held, found = [v for v in values if v.status == "complete"], []
    split = study["shown_split"]
    for skill, text in (
        ("no constants", f"No constant predictor is on record for the {split} images: {{}}."),
        (
            "unknown",
            "Whether constants are beaten no interval over seeds or images says: {}.",
        ),
    ):
        names = dict.fromkeys(v.metric for v in held if v.skill == skill)
        if names:
            found.append(text.format(", ".join(names)))
    return found


def _details(values: Iterable[CellValue], mark: str) -> str:
    """What a mark means in each cell that says so, e.g. ": depth 18: chosen among 3 of 4 ..."."""
    held = dict.fromkeys(
        f"; {cell_label(v.given)}: {v.details[mark]}" for v in values if mark in v.details
    )
    return "".join(held)


def signs(value: CellValue) -> str:
    """The signs of a value's marks, in the order of the legend."""
    return "".join(MARKS[mark][0] for mark in MARKS if mark in value.marks)


def why_out(value: CellValue) -> str:
    """What keeps a cell out of a comparison; see analysis.findings.verdict.kept_out."""
    return ", ".join(
        "no value yet" if m == NO_VALUE else value.details.get(m, MARKS[m][1])
        for m in kept_out(value)
    )


def protocol(study: Mapping[str, Any], values: Iterable[CellValue] = ()) -> str:
    """Split, checkpoint rule, selection, budget and seeds.

    Args:
        study: study.json.
        values: of the cells that this is said of, for what was run of what was planned.
    """
    watched = f"{study['watched']}_{study['metric']}"
    rule = RULES[study["checkpoint_rule"]]
    if study["checkpoint_rule"] == "best":
        rule += f" by {watched}"
    space = ", ".join(study["space_keys"])
    held = list(values)
    chosen = f"{space} selected by {watched} among {configs(study, held)}" if space else ""
    asked = ", ".join(str(s) for s in study.get("confirm_seeds") or [study.get("seed", 0)])
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


def own_weights(study: Mapping[str, Any]) -> bool:
    """Whether fine-tuned cells start from weights that are neither torchvision's nor generated."""
    held = (study.get("weights") or {}).values()
    return any(h["source"] not in PRETRAINED for h in held)


def _listed(data: Any) -> list[Any]:
    held = data if isinstance(data, list) else [data]
    return [d for d in held if isinstance(d, str) or (isinstance(d, dict) and "data" in d)]


def pretraining(study: Mapping[str, Any]) -> str:
    """What fine-tuned cells start from, in a sentence; nothing where there are none."""
    held = list((study.get("weights") or {}).values())
    if not held:
        return ""
    source = held[0]["source"]
    if not own_weights(study):
        return PRETRAINED[source]
    origins = [h.get("origin", {}).get("data") for h in held]
    # whoever wrote a weights file by hand may say what it was trained on in a word
    data = [d if isinstance(d, str) else d["data"] for o in origins for d in _listed(o)]
    on = f", trained on {', '.join(dict.fromkeys(data))}" if data else ""
    return f"Fine-tuned: from weights of its author's own, {source}{on}; not from ImageNet's."


def limits(settings: Mapping[str, Any]) -> dict[str, int]:
    """Split -> most images that were used of it, where that is not all of them."""
    held = {s: settings.get(f"{s}_images") for s in ("train", "val", "test")}
    return {split: count for split, count in held.items() if count is not None}


def data_words(study: Mapping[str, Any]) -> list[str]:
    """Name, edition, images, heads, points outside; then an item each what is odd, worst first.

    Records of before odd things were looked for have no such items.
    """
    lines = []
    for held in study["data"]:
        counts = []
        for split in ("train", "test"):
            text = f"{held.get(f'{split}_images', '?')} {split} images"
            if f"{split}_heads" in held:
                text += f" with {held[f'{split}_heads']} heads"
            if held.get(f"{split}_points_outside"):
                text += f" ({held[f'{split}_points_outside']} of them outside the image)"
            counts.append(text)
        lines.append(f"{held['data']} ({held['edition']} edition), {', '.join(counts)}")
        lines += [*held.get("warnings", ()), *held.get("notes", ())]
    used = [f"{count} {split}" for split, count in limits(study["settings"]).items()]
    if used:
        lines.append(f"of these at most {', '.join(used)} images used")
    if crop := study["settings"].get("crop"):
        lines.append(_sizes(crop, study["settings"]))
    return lines or ["not recorded"]


def _sizes(crop: int, settings: Mapping[str, Any]) -> str:
    if settings.get("head") != "conv":
        return f"crops and whole test images at {crop}x{crop} px"
    resized = settings.get("resize", 1)
    size = "their own size" if resized == 1 else f"{resized:g} of their own size"
    return f"crops at {crop}x{crop} px, whole test images at {size}"


def dates(study: Mapping[str, Any]) -> str:
    """First start and last end of the study's sessions, days in UTC."""
    sessions = study.get("sessions") or []
    starts = [s["started"][:10] for s in sessions if s.get("started")]
    ends = [s["ended"][:10] for s in sessions if s.get("ended")]
    if not starts:
        return "date not recorded"
    if not ends:
        return f"since {min(starts)}"
    return str(min(starts)) if min(starts) == max(ends) else f"{min(starts)} to {max(ends)}"


def commit(study: Mapping[str, Any]) -> str:
    """The commits that a study's sessions ran at, with a note where files had been changed."""
    sessions = study.get("sessions") or []
    held = [s["git"] for s in sessions if s.get("git")] or [study.get("git")]
    found = []
    for git in held:
        if git and git.get("commit"):
            changed = " with uncommitted changes" if git.get("dirty") else ""
            found.append(f"commit {str(git['commit'])[:10]}{changed}")
    return ", then ".join(dict.fromkeys(found)) or "commit not recorded"


def origin(record: Record) -> str:
    """Date, commit, and the digest by which a record is known anywhere."""
    study = record.study
    return f"Run {dates(study)}, {commit(study)}. Record {digest(record)}."


def digest(record: Record) -> str:
    """The first digits of a record's digest; `resnet-report verify` prints all of it."""
    return record.digest[:DIGITS]


def cell_label(at: Mapping[str, Any], without: Iterable[str] = ()) -> str:
    """A cell in words, e.g. "depth 18, fine-tuned"."""
    skip = set(without)
    return ", ".join(_setting(key, value) for key, value in at.items() if key not in skip) or "all"


def _setting(key: str, value: Any) -> str:
    said = setting(key, value)
    return said if key == "pretrained" else f"{key} {said}"


def setting(key: str, value: Any) -> str:
    """A setting's value, as tables, figures and sentences say it alike."""
    if key == "pretrained" and isinstance(value, bool | np.bool_):
        return "fine-tuned" if value else "from scratch"
    return number(value)


def settings_said(frame: pd.DataFrame, study: Mapping[str, Any]) -> pd.DataFrame:
    """A frame whose columns of cell parameters say their values as all outputs do."""
    keys = [key for key in (study["cells"][0] if study["cells"] else ()) if key in frame]
    return frame.assign(**{key: [setting(key, value) for value in frame[key]] for key in keys})


def number(value: Any) -> str:
    """A parameter's value, floats to three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


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
    # the spec on record holds what the file gave, without defaults
    return SCHEDULERS[study["spec"].get("scheduler", "cell-promote")]
