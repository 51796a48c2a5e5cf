"""Images and annotations of a crowd on disk: which belong together, and what is in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import Base
from scipy.io import loadmat

from trainables.files import contents
from trainables.tasks.inventory import are, is_litter, many, named, share_of, told

SUFFIXES = (".jpg", ".jpeg", ".png")
FORM = "the official form (image_info{1}.location, N x 2)"
AS_STORED = 1  # the EXIF orientation of an image that no viewer turns


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
        shown = contents(path, "annotation")
        return (
            none,
            f"{path} is no annotation of {FORM}: {f'it is {shown}' if shown else repr(error)}",
        )
    points = points.reshape(-1, 2) - 1
    if bad := np.flatnonzero(~np.isfinite(points).all(1)).tolist():
        at = ", ".join(f"head {row} at {tuple((points[row] + 1).tolist())}" for row in bad[:3])
        count = f"{share_of(len(bad), len(points), 'head')} {are(len(bad))} at no place"
        return none, f"{path}: {count} ({at}); mend it"
    if number is not None and number != len(points):
        count = many(number, "head")
        return none, f"{path}: number says {count} and location has {len(points)}; fetch it again"
    return points, ""


def orientations(images: Sequence[Path]) -> list[int]:
    """The EXIF orientation of each image, 1 to 8; 1 where it has none. Pixels are not decoded."""
    found = []
    for path in images:
        held = AS_STORED
        with suppress(Exception), Image.open(path) as image:  # what is damaged is told elsewhere
            held = int(image.getexif().get(Base.Orientation, AS_STORED))
        found.append(held)
    return found
