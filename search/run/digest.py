"""Which code of this package a process has: drivers and workers of a study must have the same."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

import search
import trainables


@cache
def code_digest() -> str:
    """First 16 hex digits of the SHA-256 of this package's code, as this process imports it.

    Of every .py file of `trainables` and `search`, by its path in the package; what a task of the
    user's own is, is compared apart.
    """
    digest = sha256()
    for package in (search, trainables):
        top = Path(str(package.__file__)).parent
        for path in sorted(top.rglob("*.py")):
            name = f"{package.__name__}/{path.relative_to(top).as_posix()}"
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
