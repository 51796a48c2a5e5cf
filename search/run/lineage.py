"""What images a network's weights have seen, and those that it was started from."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from search.run.options import PreflightError
from search.spec.study_spec import StudySpec
from trainables import TASKS, find_task
from trainables.resnet import read_origin

FILES = "files_sha256"  # of own images
PIXELS, LEFT_OUT = "pixels_sha256", "copies_left_out"
ORIGIN: dict[str, tuple[type | tuple[type, ...], str]] = {  # key -> its type, where it is given
    "study": (str, "a text"),
    "task": (str, "a text"),
    "split_seed": (int, "a whole number"),
    "val_fraction": ((int, float), "a number"),
    "config": (dict, "an object"),
}
GIVEN = ("imagenet1k_v1", "synthetic")  # sources that have seen no image of any study


def check_split(
    spec: StudySpec,
    data: list[dict[str, Any]],
    weights: Mapping[int, Path],
    say: Callable[[str], None],
) -> None:
    """Refuse own weights that have, or may have, seen images which this study validates on.

    What a network has seen is in the origin beside its file, its ancestors included. Two studies
    have the same images where their data is of one name; validation is cut off alike only where
    edition, checksum, seed and val_fraction are equal too. Test images are never trained on; where
    they are cut off, the cut is part of the edition.

    Args:
        spec: the study.
        data: fingerprints of its data.
        weights: number of a cell -> its file.
        say: told of weights that say nothing of where they are from.

    Raises:
        PreflightError: with what would be alike, or what is not known.
    """
    if spec.weights in GIVEN:
        return
    own = (spec.seed, spec.config(spec.cell_values()[0], {}).get("val_fraction"))
    faults = []
    for path in sorted(set(weights.values())):
        origin = read_origin(path)
        if origin is None:
            say(
                f"{path}: no json beside it says what images it has seen; none are held against it"
            )
        elif why := _why_refused(origin, path, own, data, spec.task):
            faults.append(f"{path}: {why}")
    if faults:
        raise PreflightError("\n".join(faults))


def _why_refused(
    origin: Mapping[str, Any],
    path: Path,
    own: tuple[int, float | None],
    data: list[dict[str, Any]],
    task: str,
) -> str:
    """Why weights of an origin may not start a study; "" where they may."""
    beside = f"{path.stem}.json"
    if wrong := origin_faults(origin):
        return f"{beside} does not say where it is from: " + "; ".join(wrong)
    for seen in [origin, *(origin.get("ancestors") or ())]:
        if why := _may_have_seen(seen, own, data, task):
            return why
    if ancestors_unknown(origin):
        return (
            f"its network was itself fine-tuned, and {beside} does not say from what (key "
            "ancestors); write it again with this version's `resnet-search weights`, or add "
            "ancestors = [] there if it was from ImageNet's weights"
        )
    return ""


def origin_faults(origin: Mapping[str, Any], above: str = "") -> list[str]:
    """Keys of an origin that lack or are of another type than `resnet-search weights` writes.

    Args:
        origin: of a weights file.
        above: where it stands itself, in words before its keys.
    """
    faults = []
    if not _are_data(origin.get("data")):
        faults.append(
            f"{above}data must name the images seen, as data of study.json does (a list; [] where "
            f"they are no study's), not {origin.get('data')!r}"
        )
    for key, (kind, words) in ORIGIN.items():
        value = origin.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            faults.append(f"{above}{key} must be {words}, not {value!r}")
    older = origin.get("ancestors", [])
    if above:
        return faults
    if not isinstance(older, list) or not all(isinstance(one, dict) for one in older):
        return [*faults, f"ancestors must be a list of objects like this one, not {older!r}"]
    return faults + [
        text for n, one in enumerate(older) for text in origin_faults(one, f"ancestors.{n}.")
    ]


def _are_data(held: Any) -> bool:
    """Whether these are fingerprints, or names, of data."""
    listed = held if isinstance(held, list) else [held]
    names = [one.get("data") if isinstance(one, dict) else one for one in listed]
    return all(isinstance(name, str) and name.strip() for name in names)


def same_data(found: list[dict[str, Any]], held: list[dict[str, Any]]) -> bool:
    """Whether fingerprints are of the same images, whatever the folder is called they lie in."""
    return len(found) == len(held) and all(map(_alike, found, held))


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    # fingerprints of before images were counted across splits left none out
    (a, b) = ({LEFT_OUT: 0, **found} for found in (one, other))
    # own images are called after their folder, and known by the checksum of all their files
    skip = {"notes", "warnings", *(("data",) if FILES in a else ())}
    skip |= {PIXELS} if PIXELS not in a or PIXELS not in b else set()  # since then, too
    return all(a.get(key) == b.get(key) for key in (a.keys() | b.keys()) - skip)


def ancestors_unknown(origin: Mapping[str, Any]) -> bool:
    """Whether an origin is of a fine-tuned network and does not say what that started from."""
    config = origin.get("config")
    return (
        "ancestors" not in origin and isinstance(config, dict) and bool(config.get("pretrained"))
    )


def _plain(name: str) -> str:
    """A name as whoever writes it by hand may spell it: cifar10 is CIFAR-10."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name).casefold()))


def _begins(name: str, names: set[str]) -> bool:
    """Whether it may be one of these data sets: "CIFAR-10 (parquet)" is CIFAR-10."""
    return any(
        name == held or (held and name.startswith(held) and not name[len(held)].isdigit())
        for held in names
    )


def _may_have_seen(
    seen: Mapping[str, Any],
    own: tuple[int, float | None],
    data: list[dict[str, Any]],
    task: str = "",
) -> str:
    """Why a network may have seen this study's validation images; "" if it has not."""
    held = seen.get("data")
    listed: list[Any] = held if isinstance(held, list) else [held]
    prints: list[dict[str, Any]] = [{"data": d} if isinstance(d, str) else d for d in listed]
    # by the task's name too: who writes "shanghaitech" may mean either part
    names = {_plain(name) for name in (task, *(found["data"] for found in data)) if name}
    files = {found[FILES] for found in data if FILES in found}
    same = [d for d in prints if _begins(_plain(d["data"]), names) or d.get(FILES) in files]
    if not same:
        return ""
    name = same[0]["data"]
    who = f"study {seen['study']}" if "study" in seen else "its author"
    theirs = (seen.get("split_seed"), seen.get("val_fraction", _val_fraction(seen)))
    # where all have validation images of their own, seeds cut nothing off
    cut = any("val_images" not in found for found in [*same, *data])
    if cut and None in theirs:
        return (
            f"{who} trained it on {name}, as this study does, and the json beside it does not say "
            "which images were kept for validation; add split_seed and val_fraction there"
        )
    if cut and theirs != own:
        return (
            f"it was trained on images that this study validates on: both use {name}, and {who} "
            f"cut validation off by seed = {theirs[0]}, val_fraction = {theirs[1]}, not by "
            f"{own[0]} and {own[1]}. Set both to its values"
        )
    if any(set(d) == {"data"} for d in same):
        return (
            f"{who} trained it on {name}, and the json beside it does not say which edition; copy "
            "all of data there from that study's study.json"
        )
    if any(not any(_alike(d, found) for found in data) for d in same):
        return (
            f"it was trained on another edition of {name} than this study uses, where equal seeds "
            "keep other images for validation; use the same edition, and the same fixed.copies"
        )
    return ""


def _val_fraction(seen: Mapping[str, Any]) -> float | None:
    """Of an origin from before it had its own key: in the config, unless it was the default."""
    config, name = seen.get("config"), seen.get("task")
    if not isinstance(config, dict) or name not in TASKS:
        return None
    share: float = config.get("val_fraction", find_task(name).settings["val_fraction"].default)
    return share
