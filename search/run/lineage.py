"""What images a network's weights have seen, and those that it was started from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from search.run.preflight import PreflightError
from search.spec.study_spec import StudySpec
from trainables import TASKS, find_task
from trainables.resnet import describe_weights

FILES = "files_sha256"  # of own images
PIXELS, LEFT_OUT = "pixels_sha256", "copies_left_out"
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
    for path in sorted(set(weights.values())):
        origin = describe_weights(path).get("origin")
        if origin is None:
            say(
                f"{path}: no json beside it says what images it has seen; none are held against it"
            )
            continue
        for seen in [origin, *(origin.get("ancestors") or ())]:
            if why := _may_have_seen(seen, own, data):
                raise PreflightError(f"{path}: {why}")
        if ancestors_unknown(origin):
            raise PreflightError(
                f"{path}: its network was itself fine-tuned, and {path.stem}.json does not say "
                "from what (key ancestors); write it again with this version's `resnet-search "
                "weights`, or add ancestors = [] there if it was from ImageNet's weights"
            )


def same_data(found: list[dict[str, Any]], held: list[dict[str, Any]]) -> bool:
    """Whether fingerprints are of the same images, whatever the folder is called they lie in."""
    return len(found) == len(held) and all(map(_alike, found, held))


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    # fingerprints of before images were counted across splits left none out
    (a, b) = ({LEFT_OUT: 0, **found} for found in (one, other))
    # own images are called after their folder, and known by the checksum of all their files
    skip = {"notes", "data"} if FILES in a else {"notes"}
    skip |= {PIXELS} if PIXELS not in a or PIXELS not in b else set()  # since then, too
    return all(a.get(key) == b.get(key) for key in (a.keys() | b.keys()) - skip)


def ancestors_unknown(origin: Mapping[str, Any]) -> bool:
    """Whether an origin is of a fine-tuned network and does not say what that started from."""
    config = origin.get("config")
    return (
        "ancestors" not in origin and isinstance(config, dict) and bool(config.get("pretrained"))
    )


def _may_have_seen(
    seen: Mapping[str, Any], own: tuple[int, float | None], data: list[dict[str, Any]]
) -> str:
    """Why a network may have seen this study's validation images; "" if it has not."""
    held = seen.get("data")
    listed = held if isinstance(held, list) else [held]
    prints = [{"data": d} if isinstance(d, str) else d for d in listed]
    names = {found["data"] for found in data}
    files = {found[FILES] for found in data if FILES in found}
    same = [
        d
        for d in prints
        if isinstance(d, dict) and (d.get("data") in names or d.get(FILES) in files)
    ]
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
    if any(not any(_alike(d, found) for found in data) for d in same):
        return (
            f"it was trained on another edition of {name} than this study uses, where equal seeds "
            "keep other images for validation; use the same edition"
        )
    return ""


def _val_fraction(seen: Mapping[str, Any]) -> float | None:
    """Of an origin from before it had its own key: in the config, unless it was the default."""
    config, name = seen.get("config"), seen.get("task")
    if not isinstance(config, dict) or name not in TASKS:
        return None
    share: float = config.get("val_fraction", find_task(name).settings["val_fraction"].default)
    return share
