"""How many test images have a near-copy in training: two hashes and the pixels, beside each other.

    python benchmarks/near_copies.py --data-dir DATA [--data cifar10 A B] [--json FILE]
        [--sheets FOLDER [--pairs 25]]

Every test image, as it is and mirrored, is held against every training image by
- pHash and dHash of 64 bits, by ImageHash's definitions (github.com/JohannesBuchner/imagehash):
  signs of the lowest 8 x 8 frequencies against their median, and of horizontal differences;
- the correlation of colours at 16 x 16 px (CIFAR-10) or 32 x 32 px (crowd images).
What one of these finds is a candidate. Hashes hold signs alone and colours are mostly background,
so every candidate is measured once more, at full size: the correlation of the fine structure
(luminance less its blur) at the best of small shifts. A pair counts as a near-copy where that is
at least `--detail`. `--sheets` draws, to be looked at, the best candidate of random
test images, a sheet for each range of that correlation. What the measures can see at all is tried
on test images cut, turned, recoloured and compressed here.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from machine import describe
from PIL import Image, ImageChops, ImageDraw, ImageEnhance
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from trainables.tasks.cifar10_files import edition_of, read_pool
from trainables.tasks.crowd_files import read_split

BITS = {"phash": (0, 2, 4, 6, 8, 10), "dhash": (0, 2, 4, 6, 8)}  # thresholds, of 64
# least correlations of colours; crowd images are few, so that more can be looked at
PIXELS = {"cifar10": (0.98, 0.95, 0.92, 0.9)} | dict.fromkeys("AB", (0.98, 0.95, 0.9, 0.8, 0.7))
DETAILS = (0.5, 0.6, 0.7, 0.8, 0.9)
SIDES = {"cifar10": (32, 16), "A": (64, 32), "B": (64, 32)}  # px of fine structure and of colours
BLUR, SHIFT = 0.125, 0.1  # sigma of the blur and the largest shift, of the side
AT_ONCE = 500
PLANTED = 1000  # test images that are altered, to see which copies would be found
CELL, ACROSS = 96, 5  # px of an image on a sheet, pairs in a row

Candidates = pd.DataFrame


def pictures(data: str, data_dir: Path, split: str) -> tuple[list[Image.Image], list[str]]:
    """Images of a split, and of each its class, or for the crowd its name."""
    if data == "cifar10":
        pool = read_pool(edition_of(data_dir, {"edition": "auto"}), data_dir)
        held = [Image.fromarray(image.transpose(1, 2, 0)) for image in pool[split]]
        return held, [str(label) for label in pool[f"{split}_labels"]]
    crowd = read_split(data_dir, "files", data, split)[0]
    side = 4 * SIDES[data][0]  # 256 px, of photos of up to 1024 px
    held = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in crowd.images()]
    return [h.resize((side, side), Image.Resampling.LANCZOS) for h in held], crowd.names


def phash(images: list[Image.Image]) -> np.ndarray:
    """64 bits an image, uint64 `(n,)`."""
    grey = np.stack([np.asarray(_grey(image, 32, 32), np.float64) for image in images])
    low = dctn(grey, axes=(1, 2))[:, :8, :8].reshape(-1, 64)
    return _packed(low > np.median(low, 1, keepdims=True))


def dhash(images: list[Image.Image]) -> np.ndarray:
    """64 bits an image, uint64 `(n,)`."""
    grey = np.stack([np.asarray(_grey(image, 9, 8)) for image in images])
    return _packed((grey[:, :, 1:] > grey[:, :, :-1]).reshape(-1, 64))


def _grey(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.convert("L").resize((width, height), Image.Resampling.LANCZOS)


def _packed(bits: np.ndarray) -> np.ndarray:
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def colours(images: list[Image.Image], side: int) -> np.ndarray:
    """Small images without mean and of length 1, float32 `(n, 3 side side)`."""
    small = [np.asarray(i.resize((side, side), Image.Resampling.BOX), np.float32) for i in images]
    return _normed(np.stack(small).reshape(len(images), -1))


def _normed(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(-1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-6)


def details(images: list[Image.Image], side: int) -> np.ndarray:
    """Luminance less its blur, float32 `(n, side, side)`."""
    grey = np.stack([np.asarray(_grey(image, side, side), np.float32) for image in images])
    return grey - gaussian_filter(grey, (0, side * BLUR, side * BLUR))


def agreement(test: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Correlation of pairs `(n, side, side)` at the best shift, `(n,)`."""
    side = test.shape[-1]
    most = round(side * SHIFT)
    inner = slice(most, side - most)
    middle = _normed(test[:, inner, inner].reshape(len(test), -1))
    best = np.full(len(test), -1.0)
    for down in range(2 * most + 1):
        for right in range(2 * most + 1):
            moved = train[:, down : down + side - 2 * most, right : right + side - 2 * most]
            held = (middle * _normed(moved.reshape(len(test), -1))).sum(-1)
            best = np.maximum(best, held)
    return best


def candidates(
    test: list[Image.Image], train: list[Image.Image], side: int, pixels: float
) -> Iterator[tuple[np.ndarray, ...]]:
    """Rows of test and train and three measures of every pair within one of the thresholds."""
    of_test = phash(test), dhash(test), colours(test, side)
    of_train = phash(train), dhash(train), colours(train, side)
    for start in range(0, len(test), AT_ONCE):
        p, d, c = (held[start : start + AT_ONCE] for held in of_test)
        bits = [
            np.bitwise_count(mine[:, None] ^ theirs)
            for mine, theirs in ((p, of_train[0]), (d, of_train[1]))
        ]
        close = c @ of_train[2].T
        near = (bits[0] <= max(BITS["phash"])) | (bits[1] <= max(BITS["dhash"]))
        row, column = np.nonzero(near | (close >= pixels))
        yield row + start, column, *(held[row, column] for held in (*bits, close))


def find(data: str, data_dir: Path) -> tuple[Candidates, dict[str, Any], Any]:
    """All candidates, one row a pair in its better orientation; images and seconds; the images."""
    started = perf_counter()
    side, small = SIDES[data]
    (test, of_test), (train, of_train) = (pictures(data, data_dir, s) for s in ("test", "train"))
    mirrored = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in test]
    theirs = details(train, side)
    frames = []
    for flip, images in ((False, test), (True, mirrored)):
        parts = zip(*candidates(images, train, small, min(PIXELS[data])), strict=True)
        names = ("test", "train", "phash", "dhash", "pixels")
        frame = pd.DataFrame(dict(zip(names, map(np.concatenate, parts), strict=True)))
        mine = details(images, side)
        frame["detail"] = 0.0
        for start in range(0, len(frame), AT_ONCE):
            held = frame.iloc[start : start + AT_ONCE]
            frame.loc[held.index, "detail"] = agreement(mine[held["test"]], theirs[held["train"]])
        frames.append(frame.assign(flip=flip))
    both = pd.concat(frames).sort_values("detail", ascending=False, kind="stable")
    found = both.drop_duplicates(["test", "train"]).reset_index(drop=True)
    labels = np.asarray(of_test)[found["test"]], np.asarray(of_train)[found["train"]]
    found["of_test"], found["of_train"] = labels
    size = {"test_images": len(test), "train_images": len(train)}
    return found, size | {"seconds": round(perf_counter() - started, 1)}, (test, train)


def table(data: str, found: Candidates, detail: float) -> pd.DataFrame:
    """A row a measure and threshold: test images, pairs, their classes, mirrored, near-copies."""
    cuts = [(name, most, found[name] <= most) for name, held in BITS.items() for most in held]
    cuts += [("pixels", least, found["pixels"] >= least) for least in PIXELS[data]]
    cuts += [("any, detail", least, found["detail"] >= least) for least in DETAILS]
    rows = []
    for name, threshold, chosen in cuts:
        held = found[chosen]
        near = held[held["detail"] >= detail]
        row = {"measure": name, "threshold": threshold}
        row |= {"test_images": held["test"].nunique(), "pairs": len(held)}
        if data == "cifar10":
            same = held["of_test"] == held["of_train"]
            row |= {"same_class": int(same.sum()), "other_class": int((~same).sum())}
        row |= {"mirrored": int(held["flip"].sum()), "near_pairs": len(near)}
        rows.append(row | {"near_test_images": near["test"].nunique()})
    return pd.DataFrame(rows)


def planted(images: list[Image.Image], side: int, small: int, pixels: float) -> pd.DataFrame:
    """Share of images whose altered copy is a candidate, and passes 0.7 and 0.8 of detail."""
    width, height = images[0].size
    rows = []
    for name, alter in ALTERED.items():
        altered = [
            alter(image).resize((width, height), Image.Resampling.BICUBIC) for image in images
        ]
        bits = [np.bitwise_count(h(images) ^ h(altered)) for h in (phash, dhash)]
        close = (colours(images, small) * colours(altered, small)).sum(1)
        found = (bits[0] <= max(BITS["phash"])) | (bits[1] <= max(BITS["dhash"]))
        found |= close >= pixels
        agreed = agreement(details(images, side), details(altered, side))
        passes = {f"detail_{least}": (found & (agreed >= least)).mean() for least in (0.7, 0.8)}
        rows.append({"altered": name, "candidates": found.mean(), **passes})
    return pd.DataFrame(rows)


def _cut(image: Image.Image, share: float) -> Image.Image:
    """The middle, of so much of width and height."""
    width, height = image.size
    left, top = width * (1 - share) / 2, height * (1 - share) / 2
    return image.crop((round(left), round(top), round(width - left), round(height - top)))


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    held = io.BytesIO()
    image.save(held, "JPEG", quality=quality)
    return Image.open(held).convert("RGB")


ALTERED = {
    "JPEG, quality 50": lambda image: _compressed(image, 50),
    "half the colour, 1.3 x the contrast": lambda image: ImageEnhance.Contrast(
        ImageEnhance.Color(image).enhance(0.5)
    ).enhance(1.3),
    "moved by a sixteenth": lambda image: ImageChops.offset(image, image.width // 16, 0),
    "cut to 15/16": lambda image: _cut(image, 15 / 16),
    "cut to 7/8": lambda image: _cut(image, 7 / 8),
    "cut to 3/4": lambda image: _cut(image, 3 / 4),
    "turned by 5 degrees": lambda image: image.rotate(5, Image.Resampling.BICUBIC),
    "turned by 10 degrees": lambda image: image.rotate(10, Image.Resampling.BICUBIC),
}


def draw(chosen: Candidates, images: Any, path: Path) -> None:
    """A sheet of pairs, test left (mirrored where the pair is), with number and measures."""
    down = -(-len(chosen) // ACROSS)
    sheet = Image.new("RGB", (ACROSS * (2 * CELL + 12), down * (CELL + 14)), "white")
    pen = ImageDraw.Draw(sheet)
    for at, row in enumerate(chosen.itertuples()):
        left, top = at % ACROSS * (2 * CELL + 12), at // ACROSS * (CELL + 14)
        first = images[0][row.test]
        if row.flip:
            first = first.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for place, image in enumerate((first, images[1][row.train])):
            big = image.resize((CELL, CELL), Image.Resampling.BICUBIC)
            sheet.paste(big, (left + place * CELL, top))
        text = f"{at} p{row.phash} d{row.dhash} c{row.pixels:.2f} f{row.detail:.2f}"
        pen.text((left, top + CELL), f"{text}{' M' if row.flip else ''}", fill="black")
    sheet.save(path)


def main() -> None:
    """Count, print, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--data", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--detail", type=float, default=0.8)
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--json", type=Path)
    held = parser.parse_args()
    print(describe())
    told = []
    for data in held.data:
        found, size, images = find(data, held.data_dir)
        counted = table(data, found, held.detail)
        print(f"\n{data}: {size}\n{counted.to_string(index=False)}")
        made = planted(images[0][:PLANTED], *SIDES[data], min(PIXELS[data]))
        print(f"altered copies that would be found:\n{made.to_string(index=False)}")
        told.append({"data": data, **size, "rows": counted.to_dict("records")})
        told[-1]["altered"] = made.to_dict("records")
        if held.sheets:
            held.sheets.mkdir(parents=True, exist_ok=True)
            found.to_parquet(held.sheets / f"{data}.parquet")
            best = found.drop_duplicates("test")  # sorted by detail
            for low, high in zip(DETAILS, (*DETAILS[1:], 1.01), strict=True):
                range_ = best[(best["detail"] >= low) & (best["detail"] < high)]
                print(f"best of a test image in [{low}, {high}): {len(range_)}")
                if chosen := min(held.pairs, len(range_)):
                    rows = range_.sample(chosen, random_state=0)
                    draw(rows, images, held.sheets / f"{data}-{low}.png")
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(f"\npeak memory {peak} MB")
    if held.json:
        record = {"machine": describe(), "detail": held.detail, "peak_mb": peak, "data": told}
        held.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
