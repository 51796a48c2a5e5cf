"""What must hold of a crowd's images and annotations: whole pairs, heads that lie in the image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from torch import Tensor

from trainables.tasks.inventory import Digests, is_litter, named, told

SUFFIXES = (".jpg", ".jpeg", ".png")
FORM = "the official form (image_info{1}.location, N x 2)"
FAR = 0.05  # of the longer side: a head this far outside is no slip at the border
# heads far outside, of one image's and of a split's; see the real data's in docs/data.md
MOST_OUTSIDE, MOST_OF_SPLIT = 0.25, 0.02
FEW = 3  # heads that no rule is made of
# Of the width and height that an image's heads reach; the median image of the real data reaches
# to 0.99 of its width and, at the least, to 0.85 of its height.
REACH, REACH_IMAGES, REACH_HEADS = 0.75, 10, 10


def pairs(images: Path, annotations: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Image and annotation files that belong together, in order of number, and what lacks one.

    Args:
        images: folder of IMG_k.jpg; other ends and cases of these (.JPG, .jpeg, .png) too.
        annotations: folder of GT_IMG_k.mat.

    Returns:
        Pairs, and faults; neither where there is no image at all.
    """
    by_name = defaultdict(list)
    for path in sorted(images.iterdir()):
        if path.suffix.lower() in SUFFIXES and not is_litter(path.name):
            by_name[path.stem].append(path)
    if not by_name:
        return [], []
    truths = {
        path.stem: path
        for path in sorted(annotations.iterdir())
        if path.suffix.lower() == ".mat" and not is_litter(path.name)
    }
    every = [path for same in by_name.values() for path in same] + list(truths.values())
    faults = [f"{path} is no file; fetch it again" for path in every if not path.is_file()]
    faults += [
        f"{images} holds {stem} {len(same)} times; keep one of {named(p.name for p in same)}"
        for stem, same in by_name.items()
        if len(same) > 1
    ]
    faults += told(
        "an image has no annotation; put it there, or remove the image",
        (
            f"{same[0]} has no {annotations / f'GT_{stem}.mat'}"
            for stem, same in by_name.items()
            if f"GT_{stem}" not in truths
        ),
    )
    known = {f"GT_{stem}" for stem in by_name}
    faults += told(
        "an annotation has no image; put it there, or remove the annotation",
        (
            f"{path} has no {images / stem.removeprefix('GT_')}.jpg"
            for stem, path in truths.items()
            if stem not in known
        ),
    )
    held = [
        (same[0], truths[f"GT_{stem}"])
        for stem, same in sorted(by_name.items(), key=lambda item: _number(item[0]))
        # opening a pipe would wait for ever
        if f"GT_{stem}" in truths and same[0].is_file() and truths[f"GT_{stem}"].is_file()
    ]
    return held, faults


def _number(stem: str) -> tuple[int, str]:
    digits = "".join(c for c in stem if c.isdecimal())
    return int(digits or 0), stem


def read_points(path: Path) -> tuple[np.ndarray, str]:
    """Heads `(n, 2)` float32, x then y, and what is wrong with them ("" for nothing).

    MATLAB counts pixels from 1, we count from 0.
    """
    none = np.empty((0, 2), np.float32)
    try:
        info = loadmat(str(path))["image_info"][0, 0][0, 0]
        if np.iscomplexobj(info["location"]):
            raise ValueError("location is of complex numbers")
        points = np.asarray(info["location"], dtype=np.float32)
        if points.size and points.shape[1:] != (2,):
            raise ValueError(f"location is {' x '.join(map(str, points.shape))}")
        stated = info["number"] if "number" in info.dtype.names else None
        number = None if stated is None or not np.size(stated) else int(np.ravel(stated)[0])
    except Exception as error:  # loadmat raises many kinds for a truncated or foreign file
        return none, f"{path} is no annotation of {FORM}: {error!r}"
    points = points.reshape(-1, 2) - 1
    if bad := np.flatnonzero(~np.isfinite(points).all(1)).tolist():
        at = ", ".join(f"head {row} at {tuple((points[row] + 1).tolist())}" for row in bad[:3])
        return none, f"{path}: {len(bad)} of {len(points)} heads are at no place ({at}); mend it"
    if number is not None and number != len(points):
        text = f"{path}: number says {number} heads and location has {len(points)}; fetch it again"
        return none, text
    return points, ""


def outside(points: Tensor, height: int, width: int, by: float = 0.0) -> int:
    """Points whose nearest pixel is not in the image, or further out than `by` px."""
    pixel = points.numpy().round()
    inside = (pixel >= -by) & (pixel <= np.array([width - 1 + by, height - 1 + by]))
    return int((~inside.all(1)).sum())


def _far(points: Tensor, height: int, width: int) -> int:
    return outside(points, height, width, FAR * max(height, width))


def place_faults(
    split: str, names: Sequence[str], points: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
) -> tuple[list[str], list[str]]:
    """Annotations that cannot be of their images, and a note on those that hardly can.

    Args:
        split: for the words.
        names: of the images.
        points: per image `(heads, 2)`.
        sizes: per image its height and width.

    Returns:
        Faults, and notes.
    """
    lost = [_far(p, *size) for p, size in zip(points, sizes, strict=True)]
    shares = [n / max(1, len(p)) for n, p in zip(lost, points, strict=True)]
    worst = [
        f"{split} {name}: {n} of {len(p)} heads lie far outside its {width} x {height} px"
        + _advice(p, height, width)
        for name, p, n, share, (height, width) in zip(
            names, points, lost, shares, sizes, strict=True
        )
        if n >= FEW and share > MOST_OUTSIDE
    ]
    faults = told("an annotation is not of its image; fetch both again", worst)
    heads = sum(map(len, points))
    if not heads:
        faults = [f"no {split} image has a head; fetch the annotations again"]
    if not faults and sum(lost) >= FEW and sum(lost) > MOST_OF_SPLIT * heads and len(points) > FEW:
        at = sorted(range(len(names)), key=lambda row: -lost[row])
        faults = [
            f"{sum(lost)} of {heads} {split} heads lie far outside their images, more than "
            f"{MOST_OF_SPLIT:.0%}, most in {named(names[row] for row in at)}: images and "
            "annotations are not of one size; fetch both again"
        ]
    notes = [
        f"{n} of {len(p)} heads of {split} {name} lie far outside it"
        for name, p, n, share in zip(names, points, lost, shares, strict=True)
        if n >= FEW and share > MOST_OUTSIDE / 2 and not faults
    ]
    return [*faults, *_reach_faults(split, points, sizes)], notes


def same_annotations(
    split: str, names: Sequence[str], points: Sequence[Tensor], digests: Digests
) -> list[str]:
    """A warning of images that differ and have the very same heads."""
    of_points = defaultdict[bytes, set[int]](set)
    first: dict[bytes, str] = {}
    again = []
    for name, held, key in zip(names, points, digests.tolist(), strict=True):
        text = held.numpy().tobytes()
        if len(held) >= FEW and of_points[text] and key not in of_points[text]:
            again.append(f"{name} as {first[text]}")
        of_points[text].add(key)
        first.setdefault(text, name)
    return [f"{len(again)} {split} images have another's heads: {named(again)}"] if again else []


def _advice(points: Tensor, height: int, width: int) -> str:
    if _far(points.flip(1), height, width) * 4 < _far(points, height, width):
        return "; they fit as (y, x), and must be (x, y)"
    far = points.numpy().max(0)
    return f"; they reach to ({far[0]:.0f}, {far[1]:.0f})"


def _reach_faults(
    split: str, points: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
) -> list[str]:
    """Annotations for smaller images than these: no head lies outside, and all too near (0, 0)."""
    far = [
        p.numpy().max(0) / (width, height)
        for p, (height, width) in zip(points, sizes, strict=True)
        if len(p) >= REACH_HEADS
    ]
    if len(far) < REACH_IMAGES:
        return []
    right, down = np.median(far, axis=0)
    if max(right, down) >= REACH:
        return []
    return [
        f"the heads of {split} reach to {right:.0%} of the width and {down:.0%} of the height of "
        "their images (medians): annotations and images are not of one size; fetch both again"
    ]
