"""Bring a run that a store holds to a folder, to look at it or to make reports of it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from search.record import RecordError
from search.record.run_folder import RunFolder
from search.record.uris import is_uri
from search.run.mirror import RESULTS
from search.run.store_lock import is_driven
from search.run.store_log import align, fetch_study


def fetch(uri: str, folder: Path, checkpoints: bool = False) -> None:
    """Bring a run to a folder, with its frames; what is there already is not fetched again.

    Args:
        uri: the run.
        folder: the run folder, made if it is missing.
        checkpoints: also those of its trials.

    Raises:
        RecordError: see fetch_study and align, or it is no URI; JournalError: a driver writes the
            folder; UserError, StoreError: see Objects.
    """
    if not is_uri(uri):
        raise RecordError(f"{uri} is no URI such as s3://bucket/runs/mine")
    store = fetch_study(uri, folder)
    with RunFolder(folder) as run:
        align(store, folder)
        for name in (*RESULTS, *(["checkpoints"] if checkpoints else [])):
            store.fetch(name, folder / name)
        run.write_frames()


@contextlib.contextmanager
def looked_at(uri: str) -> Iterator[Path]:
    """A temporary folder with a run's study and logs; locked while a driver writes the store.

    Raises:
        See `fetch`.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        store = fetch_study(uri, Path(folder))
        align(store, Path(folder))
        if is_driven(store):
            stack.enter_context(RunFolder(Path(folder)))
        yield Path(folder)
