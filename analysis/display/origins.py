"""Where a study's numbers come from, in words: data, weights, days, commits, digest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.record import Record
from search.record.naming import cell_label

DIGITS = 16  # of a digest in captions
UNLOOKED = (
    "whether test images are among those trained on is not on record: copies were not looked for"
)
PRETRAINED = {  # by the source of the weights
    "imagenet1k_v1": "Fine-tuned: from torchvision's IMAGENET1K_V1.",
    "synthetic": "Fine-tuned: from a network trained on other synthetic images.",
}


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

    Records of before odd things were looked for have one that says so.
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
        if not ("notes" in held or held.get("synthetic") or "imported" in study):
            lines.append(UNLOOKED)
    used = [f"{count} {split}" for split, count in limits(study["settings"]).items()]
    if used:
        lines.append(f"of these at most {', '.join(used)} images used")
    return [*lines, *_seen(study)] or ["not recorded"]


def _seen(study: Mapping[str, Any]) -> list[str]:
    """The sizes at which crops and test images were seen; of which cells, where those differ."""
    said: dict[str, str] = {}
    for cell in study.get("cells") or [{}]:
        at = {**study["settings"], **cell}
        if at.get("crop"):
            own = {key: cell[key] for key in ("head", "crop", "resize") if key in cell}
            said.setdefault(_sizes(at), cell_label(own) if own else "")
    if len(said) < 2:
        return list(said)
    return [f"{text} ({label})" for text, label in said.items()]


def _sizes(settings: Mapping[str, Any]) -> str:
    crop = settings["crop"]
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
