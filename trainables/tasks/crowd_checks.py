"""What must hold of a crowd's heads: that they lie in their images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from trainables.tasks.crowd_annotations import AS_STORED
from trainables.tasks.inventory import are, have, many, named, share_of, told

FAR = 0.05  # of the longer side: a head this far outside is no slip at the border
# heads far outside, of one image's and of a split's; see the real data's in docs/data.md
MOST_OUTSIDE, MOST_OF_SPLIT = 0.25, 0.02
MOST_AS_YX = (
    0.1  # the same of one image's, where every head lies inside once x and y are exchanged
)
FEW = 3  # heads that no rule is made of
LEFT = 0.25  # of the heads far outside that may still be so as (y, x), if that order is hinted at
MOST_REPEATED = (
    0.02  # of a split's heads that may lie where another does, with no more than a note
)
REFUSED = (
    f"more than {MOST_OUTSIDE:.0%} are refused, and more than {MOST_AS_YX:.0%} where all heads "
    "fit as (y, x)"
)


def outside(points: Tensor, height: int, width: int, by: float = 0.0) -> int:
    """Points whose nearest pixel is not in the image, or further out than `by` px."""
    pixel = points.numpy().round()
    inside = (pixel >= -by) & (pixel <= np.array([width - 1 + by, height - 1 + by]))
    return int((~inside.all(1)).sum())


def _far(points: Tensor, height: int, width: int) -> int:
    return outside(points, height, width, FAR * max(height, width))


def place_faults(
    split: str,
    names: Sequence[str],
    points: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    turned: Sequence[int],
) -> tuple[list[str], list[str], list[str]]:
    """Annotations that cannot be of their images, and those that hardly can.

    Args:
        split: for the words.
        names: of the images.
        points: per image `(heads, 2)`.
        sizes: per image its height and width.
        turned: per image its EXIF orientation.

    Returns:
        Faults, warnings and notes.
    """
    lost = [_far(p, *size) for p, size in zip(points, sizes, strict=True)]
    shares = [n / max(1, len(p)) for n, p in zip(lost, points, strict=True)]
    fault = _all_exchanged(split, points, sizes, turned, lost)
    if fault := fault or _shifted(split, names, points, sizes, lost):
        return [fault], [], []
    odd = {
        row: f"{split} {names[row]}: {lost[row]} of {len(points[row])} heads lie far outside its "
        f"{sizes[row][1]} x {sizes[row][0]} px"
        for row in range(len(names))
        if lost[row] >= FEW
    }
    hints = {row: _order_hint(points[row], sizes[row], turned[row]) for row in odd}
    only = [
        f"{text}; {hints[row]}"
        for row, text in odd.items()
        if hints[row]
        and (shares[row] > MOST_OUTSIDE or _only_exchanged(points[row], sizes[row], shares[row]))
    ]
    worst = [
        f"{text}; {_extent(points[row])}"
        for row, text in odd.items()
        if shares[row] > MOST_OUTSIDE and not hints[row]
    ]
    faults = told("heads fit only with x and y exchanged", only)
    faults += told("an annotation is not of its image; fetch both again", worst)
    if not sum(map(len, points)):
        faults = [f"no {split} image has a head; fetch the annotations again"]
    faults = faults or _split_faults(split, names, points, lost, hints)
    if faults:
        return faults, [], []
    swapped = [f"{text}; {hints[row]}" for row, text in odd.items() if hints[row]]
    notes = [
        f"{lost[row]} of {len(points[row])} heads of {split} {names[row]} lie far outside it "
        f"({shares[row]:.0%}; more than {MOST_OUTSIDE:.0%} are refused)"
        for row in odd
        if shares[row] > MOST_OUTSIDE / 2 and not hints[row]
    ]
    return [], told(f"an annotation may not be of its image ({REFUSED})", swapped), notes


def _only_exchanged(points: Tensor, size: tuple[int, int], share: float) -> bool:
    """Whether too many heads lie far outside, and none as (y, x): by chance some would."""
    return share > MOST_AS_YX and not _far(points.flip(1), *size)


def _all_exchanged(
    split: str,
    points: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    turned: Sequence[int],
    lost: Sequence[int],
) -> str:
    """The fault of a split of which every annotation is (y, x); "" where it is not.

    In no image but a few must fewer heads lie outside as they stand than exchanged: where a part
    of the annotations is exchanged, the others speak against it.
    """
    count, heads = len(points), sum(map(len, points))
    if count <= FEW or sum(lost) < FEW or sum(lost) <= MOST_OF_SPLIT * heads:
        return ""
    other = [_far(p.flip(1), *size) for p, size in zip(points, sizes, strict=True)]
    better = sum(b < a for a, b in zip(lost, other, strict=True))
    worse = sum(b > a for a, b in zip(lost, other, strict=True))
    if sum(other) > LEFT * sum(lost) or worse > MOST_OF_SPLIT * better or 2 * better <= count:
        return ""
    fix = "exchange the two columns of location in every annotation of this split"
    if 2 * sum(tag > 4 for tag in turned) > count:  # 5 to 8 turn by 90 degrees
        fix = "their EXIF orientation, which is not applied, turns them: save the images turned"
    return (
        f"all {count} of {count} {split} annotations fit only as (y, x), and must be (x, y): "
        f"{sum(lost)} of {heads} heads lie far outside their images as they stand, and "
        f"{sum(other)} with x and y exchanged; {fix}"
    )


def _shifted(
    split: str,
    names: Sequence[str],
    points: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    lost: Sequence[int],
) -> str:
    """The fault of a split whose annotations are each of the image before or after; "" if not."""
    if len(points) <= FEW or sum(lost) <= MOST_OF_SPLIT * sum(map(len, points)):
        return ""
    for by, where in ((1, "after"), (-1, "before")):
        others = [sizes[(row + by) % len(sizes)] for row in range(len(sizes))]
        left = sum(_far(p, *size) for p, size in zip(points, others, strict=True))
        if left <= LEFT * sum(lost):
            return (
                f"{sum(lost)} of {sum(map(len, points))} {split} heads lie far outside their "
                f"images, and {left} outside the images {where} these (GT_{names[1]} fits "
                f"{names[1 + by]}): the annotations are shifted by one; fetch them again"
            )
    return ""


def _split_faults(
    split: str,
    names: Sequence[str],
    points: Sequence[Tensor],
    lost: Sequence[int],
    hints: dict[int, str],
) -> list[str]:
    """Too many heads far outside over all images, though of no image too many."""
    heads = sum(map(len, points))
    if len(points) <= FEW or sum(lost) < FEW or sum(lost) <= MOST_OF_SPLIT * heads:
        return []
    at = sorted(range(len(names)), key=lambda row: -lost[row])
    hinted = [row for row in hints if hints[row]]
    why = "images and annotations are not of one size; fetch both again"
    if 2 * sum(lost[row] for row in hinted) > sum(lost):
        why = f"in {many(len(hinted), 'image')}, as in {names[hinted[0]]}, {hints[hinted[0]]}"
    return [
        f"{sum(lost)} of {heads} {split} heads lie far outside their images, more than "
        f"{MOST_OF_SPLIT:.0%}, most in {named(names[row] for row in at)}: {why}"
    ]


def counts_in_words(
    split: str, names: Sequence[str], points: Sequence[Tensor], turned: Sequence[int]
) -> tuple[list[str], list[str]]:
    """Images without a head, heads at one place and images that a viewer would turn.

    Returns:
        Warnings and notes. Streets may well be empty, so even many images without a head are no
        fault; more than half are more likely an export that has lost them.
    """
    warnings: list[str] = []
    notes: list[str] = []
    empty = [name for name, p in zip(names, points, strict=True) if not len(p)]
    if empty:
        text = f"{share_of(len(empty), len(names), f'{split} image')} {have(len(empty))} no head"
        into = warnings if 2 * len(empty) > len(names) else notes
        into.append(f"{text} ({named(empty)})")
    again = [len(p) - len(np.unique(p.numpy(), axis=0)) for p in points]
    if count := sum(again):
        most = max(range(len(names)), key=again.__getitem__)
        into = warnings if count > MOST_REPEATED * sum(map(len, points)) else notes
        into.append(
            f"{many(count, f'{split} head')} {are(count)} at the very place of another, in "
            f"{many(sum(n > 0 for n in again), 'image')} ({again[most]} in {names[most]})"
        )
    tags = [f"{n}: {tag}" for n, tag in zip(names, turned, strict=True) if tag != AS_STORED]
    if tags:
        notes.append(
            f"{many(len(tags), f'{split} image')} {have(len(tags))} an EXIF orientation, which "
            f"is not applied: heads count on the pixels as stored ({named(tags)})"
        )
    return warnings, notes


def _order_hint(points: Tensor, size: tuple[int, int], orientation: int) -> str:
    """What brings heads into their image: they are (y, x), or of the image turned; "" if nothing.

    Both exchange width and height, so that where heads lie does not tell them apart.
    """
    if _far(points.flip(1), *size) > LEFT * _far(points, *size):
        return ""
    if orientation > 4:  # 5 to 8 turn by 90 degrees
        return (
            f"its EXIF orientation ({orientation}) turns it by 90 degrees, which is not applied, "
            "and the heads fit the turned image: save the image turned, or turn the heads back"
        )
    return (
        "they fit as (y, x), and must be (x, y): exchange the two columns of location (or they "
        "were marked on the image turned by 90 degrees: turn it)"
    )


def _extent(points: Tensor) -> str:
    far = points.numpy().max(0)
    return f"they reach to ({far[0]:.0f}, {far[1]:.0f})"
