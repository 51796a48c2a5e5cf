"""What captions and pages say about a study: every number's circumstances, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.findings.cells import NO_VALUE, CellValue
from search.record import Record

SYNTHETIC = "SYNTHETIC DATA"
REPORT_PROTOCOL = "REPORT PROTOCOL"
MIXED_PARTS = "MIXED PARTS"
# mark -> (sign in tables, what it says)
MARKS = {
    "unfinished": ("†", "not trained to its full budget: value at epoch/budget, never averaged"),
    "unconfirmed": ("°", "fully trained in the search, not yet confirmed: a validation value"),
    "no skill": ("#", "no better than the best constant predictor on the same test images"),
    "collapsed": ("‡", "predictions barely differ between images (in at least one seed)"),
    "seeds missing": ("§", "fewer seeds than planned are complete"),
    "edge": ("‖", "the lr chosen is the lowest or highest tried: the best may lie beyond"),
    "synthetic": ("¶", "synthetic data: says nothing about real images"),
    "failed": ("×", "every trial of the cell failed or diverged"),
    "mixed": ("⊕", "made of parts that were not computed alike"),
    "fewer configs": ("◊", "fewer configs than planned to choose among"),
}
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
    return [*found, *mixed(record), *damage(record)]


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
    parts = [*banners(record), f"Study {study['name']}.", protocol(study), pretraining(study)]
    parts.append(
        "Shown: mean ± sample standard deviation over (n) seeds; of two seeds [both values]; "
        "of one the value. Bold: best of the comparable, complete, unmarked (but for ‖) cells of "
        "one data set."
    )
    parts.append(study["about"]["formulas"])
    marks = [mark for mark in MARKS if any(mark in v.marks for v in held)]
    parts += [f"{MARKS[mark][0]} {MARKS[mark][1]}{_details(held, mark)}." for mark in marks]
    parts.append(f"Data: {'; '.join(data_words(study))}.")
    parts.append(origin(study))
    return " ".join(part for part in parts if part)


def _details(values: Iterable[CellValue], mark: str) -> str:
    """What a mark means in each cell that says so, e.g. ": depth 18: chosen among 3 of 4 ..."."""
    held = {cell_label(v.given): v.details[mark] for v in values if mark in v.details}
    return "".join(f"; {cell}: {text}" for cell, text in held.items())


def why_out(marks: Iterable[str]) -> str:
    """What keeps a cell out of a comparison; see analysis.findings.cells.kept_out."""
    return ", ".join("no value yet" if m == NO_VALUE else MARKS[m][1] for m in marks)


def protocol(study: Mapping[str, Any]) -> str:
    """Split, checkpoint rule, selection, budget and seeds."""
    watched = f"{study['watched']}_{study['metric']}"
    rule = RULES[study["checkpoint_rule"]]
    if study["checkpoint_rule"] == "best":
        rule += f" by {watched}"
    space = ", ".join(study["space_keys"])
    tried = study["spec"].get("budget", {}).get("trials_per_cell", 1)
    chosen = f"{space} selected by {watched} among {tried} configs a cell" if space else ""
    seeds = ", ".join(str(s) for s in study.get("confirm_seeds") or [study.get("seed", 0)])
    sentences = [
        f"Split: {study['shown_split']}",
        f"rule: {rule}",
        chosen or "nothing searched",
        f"budget: {study['rungs'][-1]} epochs",
        f"seeds: {seeds}",
    ]
    return "; ".join(sentences) + "."


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


def origin(study: Mapping[str, Any]) -> str:
    """Date and commit."""
    return f"Run {dates(study)}, {commit(study)}."


def cell_label(at: Mapping[str, Any], without: Iterable[str] = ()) -> str:
    """A cell in words, e.g. "depth 18, fine-tuned"."""
    skip = set(without)
    return ", ".join(_setting(key, value) for key, value in at.items() if key not in skip) or "all"


def _setting(key: str, value: Any) -> str:
    if key == "pretrained":
        return "fine-tuned" if value else "from scratch"
    return f"{key} {number(value)}"


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
