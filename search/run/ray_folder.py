"""The folder of a Ray that is started here: short, private, and gone when Ray has ended.

Ray puts sockets below its folder, whose paths the system limits, so that a long $TMPDIR ends it
(ray#7724); and by default all users of a machine share one folder, where logs pile up. Ray opens
the folder that it is given, and all below it, to everybody (mode 0777), so that is one in ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from search.run.errors import ExecutionError
from trainables.places import OURS, home, temporary_folder

HELD = ".held"  # locked while its driver lives
KEEP = "kept-for-its-logs"
RAYS = "r"  # what Ray is given of it
TOKEN = "auth_token"
OLD = 3600.0  # seconds after which a folder that nobody holds was left by a killed driver


@contextlib.contextmanager
def ray_folder(say: Callable[[str], None] = lambda text: None) -> Iterator[Path]:
    """A folder for Ray, of this user alone; removed in the end, but where KEEP is in it.

    Args:
        say: told where another than the first choice had to be taken.

    Raises:
        ExecutionError: no temporary folder is fit.
    """
    base, faults = temporary_folder()
    if base is None:
        raise ExecutionError(
            f"Ray needs a folder for its temporary files, and none is fit: {'; '.join(faults)}. "
            "Set TMPDIR to a short one, on a local disk with room"
        )
    for left in base.glob(f"{OURS}*"):
        remove_if_left(left)
    folder = Path(tempfile.mkdtemp(prefix=OURS, dir=os.path.abspath(base)))  # noqa: PTH100
    if faults:
        say(f"{'; '.join(faults)}: Ray's temporary files are in {folder}")
    with (folder / HELD).open("w") as file, _token(folder):
        fcntl.flock(file, fcntl.LOCK_EX)
        yield folder
    if not (folder / KEEP).exists():
        shutil.rmtree(folder, ignore_errors=True)


def remove_if_left(folder: Path) -> None:
    """Remove a folder of ours that a killed process has left: nobody holds its lock."""
    with contextlib.suppress(OSError):  # somebody else's, or gone
        held = folder.lstat()
        if held.st_uid != os.getuid() or time.time() - held.st_mtime < OLD:
            return
        with (folder / HELD).open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _token(folder: Path) -> Iterator[None]:
    """Where the user has no token of Ray's, one in its folder: Ray would write it to the home."""
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    at = home()
    if any(name in os.environ for name in names) or (
        at is not None and os.access(at / ".ray" / TOKEN, os.R_OK)
    ):
        yield
        return
    (folder / TOKEN).touch(0o600)
    (folder / TOKEN).write_text(_secret(), encoding="ascii")
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(folder / TOKEN)
    try:
        yield
    finally:
        del os.environ["RAY_AUTH_TOKEN_PATH"]


@cache  # Ray keeps the first one that a process has read
def _secret() -> str:
    return secrets.token_hex(32)
