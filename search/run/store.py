"""Where workers hand in what they made: a folder that all nodes see, or objects at a URI.

A folder holds plain files, written there and never copied; see `objects` for a URI.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from search.record import STUDY
from search.record.taken import FOLDERS
from search.record.uris import is_uri
from search.run.errors import NotSharedError
from search.run.objects import Objects, checkpoint_name
from trainables.files import own_partial, whole


class Folder:
    """A run folder on storage that every node has mounted.

    Args:
        path: the run folder.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.where = path, str(path)

    def check(self, run_id: str) -> None:
        """See that this node has the study's folder and may write to it; never make one.

        Args:
            run_id: of the study; "" of one from before they had any.

        Raises:
            NotSharedError: it has not.
        """
        node = platform.node()
        try:
            held = json.loads((self.path / STUDY).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise NotSharedError(_unseen(node, self.where, str(error))) from None
        if run_id and held.get("run_id") != run_id:
            raise NotSharedError(_unseen(node, self.where, "another study's folder is there"))
        for name in FOLDERS:
            folder = self.path / name
            if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
                raise NotSharedError(
                    f"node {node} cannot write to {folder}: mount the run folder there for "
                    "writing, or give --runs-dir a URI such as s3://bucket/runs"
                )

    @contextlib.contextmanager
    def checkpoint(self, trial: str) -> Iterator[tuple[Path, Callable[[Path], None] | None]]:
        """The trial's checkpoint, and what is to be called when it is whole."""
        yield self.path / checkpoint_name(trial), None

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A path to write to; it becomes the file of that name when the block ends."""
        path = self.path / name
        with whole(path, own_partial(path)) as partial:
            yield partial

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is none.

        Raises:
            OSError: the system refuses.
        """
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """Names of what lies in one of the folders, e.g. `00-001.pt` in `checkpoints`."""
        return sorted(path.name for path in (self.path / folder).glob("*") if path.is_file())

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def make_folder(self, name: str) -> None:
        """Make a folder, on the driver: whoever writes to it makes none."""
        (self.path / name).mkdir(exist_ok=True)

    def remove_folder(self, name: str) -> None:
        """Remove one with all that is in it, as far as that can be."""
        shutil.rmtree(self.path / name, ignore_errors=True)


Store = Folder | Objects


@cache
def open_store(where: str) -> Store:
    """The store at a path or URI; nothing is made or read.

    Raises:
        UserError: it is a URI that cannot be opened.
    """
    return Objects(where) if is_uri(where) else Folder(Path(where))


def _unseen(node: str, where: str, why: str) -> str:
    return (
        f"node {node} does not see the run folder {where} ({why}): mount it there, or give "
        "--runs-dir a URI such as s3://bucket/runs"
    )
