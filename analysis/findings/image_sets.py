"""Which test images a trial was scored on, by what it said of each of them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd

from search.record import Record
from search.record.once import once


@once
def image_sets(record: Record) -> dict[str, tuple[str, int]]:
    """Trial -> digest and number of the test images that its predictions are of.

    Two digests are the same where task, names and true values of all images are, whatever their
    order. Trials without results of each image are left out.
    """
    held = record.per_image[record.per_image["split"] == "test"]
    if held.empty:
        return {}
    codes, trials = pd.factorize(held["trial"])
    names = pd.util.hash_array(held["image"].astype(str).to_numpy(dtype=object))
    truth = pd.util.hash_array(held["truth"].to_numpy(dtype="float64"))
    both = pd.util.hash_array(names * np.uint64(31) ^ truth)
    sums = np.zeros(len(trials), dtype="uint64")
    np.add.at(sums, codes, both)
    sizes = np.bincount(codes)
    task = record.study["task"]
    return {
        str(trial): (digest_of([task, int(size), int(total)]), int(size))
        for trial, size, total in zip(trials, sizes, sums, strict=True)
    }


def digest_of(held: Any) -> str:
    """Sixteen hex digits of something that JSON can hold, or that has a text."""
    text = json.dumps(held, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
