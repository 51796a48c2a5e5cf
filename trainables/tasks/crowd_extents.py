"""What of a crowd shows over a split alone: odd sizes and reaches, and another image's heads."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from torch import Tensor

from trainables.tasks.inventory import Digests, are, have, many, named, share_of, shortened

# Of the width and height that an image's heads reach; the median image of the real data reaches
# to 0.99 of its width and, at the least, to 0.85 of its height.
REACH, REACH_IMAGES, REACH_HEADS = 0.75, 10, 10
# The farther of both in one image: the real data's least is 0.746, and heads of an image that was
# enlarged to twice its size reach to 0.5.
REACH_ONE = 0.65
ODD = 0.05  # of a split's images, that may be of other sizes where all others are of one
FEW = 3  # heads that two images may share by chance, as an empty street's

Size = tuple[int, int]  # height and width, px


def reach_doubts(
    split: str, names: Sequence[str], points: Sequence[Tensor], sizes: Sequence[Size]
) -> tuple[list[str], list[str]]:
    """Annotations for smaller images than these: no head lies outside, and all too near (0, 0).

    Returns:
        A fault, where that is so of most images, or else a warning an image.
    """
    rows = [row for row, held in enumerate(points) if len(held) >= REACH_HEADS]
    if len(rows) < REACH_IMAGES:
        return [], []
    far = np.array([points[row].numpy().max(0) / sizes[row][::-1] for row in rows])
    # heads left of an image reach to 0, not to -0 %
    far = far.clip(0)
    right, down = np.median(far, axis=0)
    if max(right, down) < REACH:
        return [
            f"the heads of {split} reach to {right:.0%} of the width and {down:.0%} of the height "
            "of their images (medians): annotations and images are not of one size; fetch both "
            "again"
        ], []
    odd = [
        f"{split} {names[row]}: its {len(points[row])} heads reach to {across:.0%} of its width "
        f"({sizes[row][1]} px) and {along:.0%} of its height ({sizes[row][0]} px), and those of "
        f"the median image to {right:.0%} and {down:.0%}: the image may have been enlarged, and "
        "its annotation not; fetch both again"
        for row, (across, along) in zip(rows, far.tolist(), strict=True)
        if max(across, along) < REACH_ONE
    ]
    return [], shortened(odd, f"{split} images whose heads reach no farther")


def odd_sizes(split: str, names: Sequence[str], sizes: Sequence[Size]) -> list[str]:
    """A warning of images of other sizes in a split that is of one size but for them."""
    ((usual, _),) = Counter(sizes).most_common(1)
    odd = [row for row, size in enumerate(sizes) if size != usual]
    if not odd or len(sizes) < REACH_IMAGES or len(odd) > max(1, ODD * len(sizes)):
        return []
    which = named(f"{names[row]}: {sizes[row][1]} x {sizes[row][0]}" for row in odd)
    return [
        f"{share_of(len(odd), len(sizes), f'{split} image')} {are(len(odd))} not of the size of "
        f"all others, {usual[1]} x {usual[0]} px ({which}): resized, and the annotation not?"
    ]


def same_annotations(
    splits: Iterable[tuple[str, Sequence[str], Sequence[Tensor], Digests, Sequence[Size]]],
) -> tuple[list[str], list[str]]:
    """Images that differ and have the very same heads, in any order, within and across splits.

    Args:
        splits: of each its name, and of its images names, points, checksums and sizes.

    Returns:
        Faults, where such images differ in size: no alteration of one photo then has both. And
        warnings: of one size, they may be one photo compressed or coloured anew.
    """
    held = defaultdict[bytes, list[tuple[str, int, Size]]](list)
    for split, names, points, digests, sizes in splits:
        for name, heads, key, size in zip(names, points, digests.tolist(), sizes, strict=True):
            if len(heads) >= FEW:
                order = np.lexsort(heads.numpy().T)
                held[heads.numpy()[order].tobytes()].append((f"{split} {name}", key, size))
    faults, again = [], []
    for first, other in _pairs(held.values()):
        if first[2] != other[2]:
            faults.append(
                f"{other[0]} has the very heads of {first[0]}, an image of another size: one of "
                "both annotations is a copy; fetch it again"
            )
        else:
            again.append(f"{other[0]} as {first[0]}")
    warnings = []
    if again:
        text = f"{many(len(again), 'image')} {have(len(again))} the very heads of another"
        warnings = [f"{text}, as if its annotation were a copy: {named(again)}"]
    return shortened(faults, "images with another's heads"), warnings


def _pairs(
    groups: Iterable[Sequence[tuple[str, int, Size]]],
) -> Iterator[tuple[tuple[str, int, Size], tuple[str, int, Size]]]:
    """Of images with the same heads, the first and each later one of other pixels."""
    for first, *others in groups:
        for other in others:
            if other[1] != first[1]:
                yield first, other
