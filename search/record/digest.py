"""A digest of a record: the same wherever it lies, another if one number of it is another.

Of study.json (whatever the order of its keys), the whole lines of both logs and the predictions:
all else in a run folder is made of these.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from search.record.stored import LOGS, PIECE, STUDY, study_text


def digest_of(folder: Path, sizes: Mapping[str, int], images: pd.DataFrame) -> str:
    """SHA-256 of a record, in hexadecimal digits.

    Args:
        folder: the run folder.
        sizes: bytes of its logs that were read, by name.
        images: the predictions.
    """
    found = hashlib.sha256()
    _add(found, STUDY, hashlib.sha256(study_text(folder).encode()).digest())
    for name in LOGS:
        _add(found, name, _log(folder / name, sizes.get(name, 0)))
    for trial, rows in images.groupby("trial", sort=True):
        numbers = rows[["truth", "prediction"]].to_numpy(dtype="<f8", na_value=np.nan)
        names = "\n".join(rows["image"].astype(str)).encode()
        _add(found, str(trial), hashlib.sha256(names + b"\n" + numbers.tobytes()).digest())
    return found.hexdigest()


def _add(found: Any, name: str, part: bytes) -> None:
    """A part by name and digest; JSON, so that no other names give the same bytes."""
    found.update(json.dumps([name, part.hex()]).encode())


def _log(path: Path, size: int) -> bytes:
    """The SHA-256 of the whole lines among the first bytes of a log."""
    found, rest = hashlib.sha256(), b""
    if path.is_file():
        with path.open("rb") as file:
            while size > 0 and (piece := file.read(min(size, PIECE))):
                size -= len(piece)
                end = piece.rfind(b"\n") + 1
                if end:
                    found.update(rest)
                    found.update(memoryview(piece)[:end])
                    rest = b""
                rest += piece[end:]
    return found.digest()
