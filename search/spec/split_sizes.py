"""How many images each split has, by what the data is and what a config says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def trained_on(data: Mapping[str, Any]) -> int:
    """Training images, those that validation is cut from included; copies left out are not."""
    return int(data["train_images"]) - int(data.get("copies_left_out", 0))


def share_for_val(config: Mapping[str, Any], data: Mapping[str, Any]) -> float:
    """Share of the training images that validation is cut off; 0 where it has its own."""
    return 0.0 if "val_images" in data else float(config.get("val_fraction", 0))


def split_sizes(config: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, int]:
    """Images of train, val and test before the settings `*_images` limit them.

    Args:
        config: `val_fraction` is read.
        data: a fingerprint.
    """
    cut = share_for_val(config, data) * trained_on(data)
    return {
        "train": trained_on(data) - round(cut),
        "val": int(data.get("val_images", max(1, round(cut)) if cut else 0)),
        "test": int(data["test_images"]),
    }
