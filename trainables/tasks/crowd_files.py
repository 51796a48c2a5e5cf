"""ShanghaiTech on disk: folder layouts, checked and decoded once a machine, and what they hold.

Two layouts are read, below the data directory or its folder ShanghaiTech:
`part_A_final/train_data/{images/IMG_k.jpg, ground_truth/GT_IMG_k.mat}` (official), and the public
one with `part_A` and `ground-truth`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from trainables.engine.cache import cached, key_of
from trainables.task import Config, MissingDataError
from trainables.tasks import synthetic
from trainables.tasks.copies import across, apart, left_out, said, within
from trainables.tasks.crowd_annotations import orientations, pairs, read_points
from trainables.tasks.crowd_checks import counts_in_words, outside, place_faults
from trainables.tasks.crowd_extents import odd_sizes, reach_doubts, same_annotations
from trainables.tasks.crowd_folders import SOURCE, SPLITS, folders_of
from trainables.tasks.inventory import (
    Digests,
    checksum,
    digest,
    each,
    gathered,
    grey_note,
    is_grey,
    named,
    noted_number,
    readable,
    refuse,
    rgb,
    shortened,
    shown_path,
    why,
)

PUBLISHED = {"A": (300, 182), "B": (400, 316)}  # images of train and test


@dataclass(frozen=True)
class Crowd:
    """Images with annotated heads.

    Attributes:
        names: file stems, e.g. IMG_12.
        points: per image `(heads, 2)` float32, x then y, 0-based, as annotated.
        held: per image uint8 `(3, height, width)`, channels last in memory and mapped from the
            cache, where all trials of a machine share it.
    """

    names: list[str]
    points: list[Tensor]
    held: list[Tensor]

    def take(self, rows: Iterable[int]) -> Crowd:
        """The subset with these rows, in this order."""
        chosen = list(rows)
        columns = (self.names, self.points, self.held)
        return Crowd(*([column[i] for i in chosen] for column in columns))  # type: ignore[arg-type]

    def item(self, row: int) -> tuple[Tensor, Tensor]:
        """Image, uint8 `(3, height, width)`, and points."""
        return self.held[row], self.points[row]

    def images(self) -> Iterator[Tensor]:
        """Every image in turn."""
        return iter(self.held)

    def counts(self) -> np.ndarray:
        """Annotated heads an image, `(images,)`, points outside the image included."""
        return np.asarray([len(points) for points in self.points])


def read_crowd(data_dir: Path, edition: str, part: str, split: str) -> Crowd:
    """Images and heads alone; see `read_split`."""
    return read_split(data_dir, edition, part, split)[0]


def read_split(
    data_dir: Path, edition: str, part: str, split: str
) -> tuple[Crowd, Digests, NDArray[np.bool_]]:
    """One split (train or test) of one part (A or B), decoded once a machine.

    Args:
        data_dir: the data directory.
        edition: "synthetic", or anything else for files.
        part: "A" or "B".
        split: "train" or "test".

    Returns:
        Images with heads; per image a checksum of its pixels, and whether it is grey.

    Raises:
        DataError: every fault of the files: missing, unpaired, unreadable.
    """
    if edition == "synthetic":
        names, points, pictures = synthetic.crowd(part, split)
        pixels_of = [picture.permute(1, 2, 0).numpy() for picture in pictures]
        keys = np.array([digest(pixels) for pixels in pixels_of], np.uint64)
        return Crowd(names, points, pictures), keys, np.array([is_grey(p) for p in pixels_of])
    faults: list[str] = []
    images, annotations = folders_of(data_dir, part, split)[0]
    found, unpaired = pairs(images, annotations)
    if not found and not unpaired:
        raise MissingDataError(f"shanghaitech: no *.jpg in {images}. {SOURCE}")
    if not found:  # nothing that belongs together: there is nothing to read
        refuse("shanghaitech", unpaired)
    paths = [path for path, _ in found]
    read = [read_points(path) for _, path in found]
    key = key_of(f"shanghaitech-{part}-{split}", paths, holds="digests, grey")
    arrays = gathered(faults, cached, key, lambda: _decode_all(paths))
    bad = shortened([fault for _, fault in read if fault], "annotations with faults")
    refuse("shanghaitech", [*unpaired, *bad, *faults])
    assert arrays is not None
    pixels, shapes = torch.from_numpy(arrays["pixels"]), arrays["shapes"]
    ends = shapes.prod(1).cumsum()
    views = [
        pixels[end - height * width * 3 : end].view(height, width, 3).permute(2, 0, 1)
        for end, (height, width, _) in zip(ends.tolist(), shapes.tolist(), strict=True)
    ]
    points = [torch.from_numpy(held) for held, _ in read]
    crowd = Crowd([path.stem for path in paths], points, views)
    return crowd, arrays["digests"], arrays["grey"]


def _decode_all(paths: list[Path]) -> dict[str, np.ndarray]:
    """All images one after another; `(n, 3)` height, width, 3; checksums and greyness `(n,)`.

    Raises:
        DataError: with every file that cannot be decoded.
    """
    found: list[Any] = [None] * len(paths)

    def decode(row: int) -> str | None:
        try:
            with Image.open(paths[row]) as image:
                pixels = rgb(image)
        except Exception as error:  # PIL raises many kinds for a damaged file
            return f"{paths[row]} cannot be decoded ({why(error, paths[row])}); fetch it again"
        # channels stay last in memory: resizing is up to twice as fast on them
        found[row] = pixels, digest(pixels), is_grey(pixels)
        return None

    bad = each(decode, range(len(paths)))
    refuse("shanghaitech", shortened(bad, "images that cannot be decoded"))
    return {
        "pixels": np.concatenate([pixels.ravel() for pixels, _, _ in found]),
        "shapes": np.array([pixels.shape for pixels, _, _ in found], dtype=np.int64),
        "digests": np.array([key for _, key, _ in found], dtype=np.uint64),
        "grey": np.array([grey for _, _, grey in found]),
    }


@readable("shanghaitech")
def fingerprint(data_dir: Path, config: Config) -> dict[str, Any]:
    """Edition, images, heads and points outside, by split; checksums of annotations and pixels.

    Images are decoded into the cache, where trials look for them.

    Raises:
        DataError: every fault of the files, or more copies across the splits than can be left out.
    """
    edition, part = config["edition"], config["part"]
    generated = edition == "synthetic"
    found: dict[str, Any] = {
        "data": f"synthetic crowd, part {part}" if generated else f"ShanghaiTech Part {part}",
        "part": part,
        "edition": "synthetic" if generated else "files",
        "synthetic": generated,
    }
    faults: list[str] = []
    held = {}
    for split in SPLITS:
        if read := gathered(faults, read_split, data_dir, edition, part, split):
            held[split] = read
    refuse("shanghaitech", faults)
    train, test = [(keys, crowd.names) for crowd, keys, _ in held.values()]
    faults, notes = across(config["copies"], train, test)
    more: list[str] = []
    severe: list[str] = []
    mild: list[str] = []
    for (split, (crowd, keys, grey)), whole in zip(held.items(), PUBLISHED[part], strict=True):
        more += within(config["copies"], keys, crowd.names, split)
        if not generated:
            wrong, bad, odd = _doubts(data_dir, part, split, crowd)
            faults, severe, more = [*faults, *wrong], [*severe, *bad], [*more, *odd]
            mild += noted_number(len(grey), whole, f"{split} image")
        more += grey_note(grey, split)
        sizes = _sizes(crowd)
        lost = map(outside, crowd.points, *zip(*sizes, strict=True))
        found |= {
            f"{split}_images": len(crowd.names),
            f"{split}_heads": int(crowd.counts().sum()),
            f"{split}_points_outside": sum(lost),
        }
    if not generated:
        wrong, bad = same_annotations(
            (split, crowd.names, crowd.points, keys, _sizes(crowd))
            for split, (crowd, keys, _) in held.items()
        )
        faults, severe = [*faults, *wrong], [*severe, *bad]
    refuse("shanghaitech", faults)
    found["annotations_sha256"] = checksum(_annotations(crowd for crowd, _, _ in held.values()))
    found["pixels_sha256"] = checksum(keys for _, keys, _ in held.values())
    if not generated:
        mild += _unread(data_dir, part)
    found |= left_out(len(train[0]), len(apart(config["copies"], train[0], test[0])))
    return {**found, **said(config["copies"], notes, more, [*severe, *mild])}


def _sizes(crowd: Crowd) -> list[tuple[int, int]]:
    """Height and width of each image."""
    return [(int(image.shape[1]), int(image.shape[2])) for image in crowd.held]


def _doubts(
    data_dir: Path, part: str, split: str, crowd: Crowd
) -> tuple[list[str], list[str], list[str]]:
    """Faults, warnings and notes on where heads lie and how many there are."""
    files, _ = pairs(*folders_of(data_dir, part, split)[0])
    turned = orientations([path for path, _ in files])
    held, sizes = (split, crowd.names, crowd.points), _sizes(crowd)
    faults, warnings, notes = place_faults(*held, sizes, turned)
    wrong, near = reach_doubts(*held, sizes)
    more, odd = counts_in_words(*held, turned)
    warnings += [*near, *odd_sizes(split, crowd.names, sizes), *more]
    return [*faults, *wrong], warnings, [*notes, *odd]


def _unread(data_dir: Path, part: str) -> list[str]:
    """Notes on a part that is there more than once, or of two copies."""
    held = {split: folders_of(data_dir, part, split) for split in SPLITS}
    first = {folders[0][0].parent.parent for folders in held.values()}
    names = sorted({f[0].parent.parent for folders in held.values() for f in folders} - first)
    found = [f"{shown_path(path, data_dir)} is not read" for path in names]
    if len(first) > 1:
        found.append(f"train and test are of two folders, {named(sorted(f.name for f in first))}")
    return found


def _annotations(crowds: Iterable[Crowd]) -> Iterator[np.ndarray]:
    for crowd in crowds:
        for name, points in zip(crowd.names, crowd.points, strict=True):
            yield np.frombuffer(name.encode(), np.uint8)
            yield points.numpy()
