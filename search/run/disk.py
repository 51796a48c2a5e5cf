"""Whose disk is full: that of one node, or one that all of them write to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from search.record.uris import is_uri
from search.run.node_probe import LEAST_MB


def of_run(run: str, text: str) -> bool:
    """Whether a full disk may be that of the run folder or store: not where it is another's.

    Args:
        run: the run folder, absolute; or the URI of a store.
        text: of `trainables.files.disk_fault`: path and reason. A store's own names no path.
    """
    path = text.rpartition(": ")[0]
    return not path.startswith("/") or Path(path).is_relative_to(_folder(run))


def full_here(run: str, text: str) -> bool:
    """Whether this process too finds the disk full, or not to be written, that a worker found so.

    Args:
        run: as above.
        text: as above.
    """
    if not of_run(run, text):
        return False
    folder = _folder(run)
    try:
        free = shutil.disk_usage(folder).free / 2**20
        refused = os.statvfs(folder).f_flag & os.ST_RDONLY
    except OSError:
        return False
    return bool(refused) or free < LEAST_MB


def _folder(run: str) -> str:
    """Where a run is on this machine; a URI of another scheme than file:// is nowhere."""
    if not is_uri(run):
        return run
    split = urlsplit(run)
    return unquote(split.path) if split.scheme == "file" else f"/{run}"
