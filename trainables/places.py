"""Folders of this machine that we and Ray need: the user's home, and one for temporary files.

In a container a user may have no home and no entry among the users, and a batch system may give a
temporary folder that is too long, full or gone. Loads nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from trainables.errors import reason

# The longest path of a socket (man 7 unix, less the final NUL; macOS has 104), and what Ray puts
# behind its folder: /session_2026-11-27_17-03-57_598866_PID/sockets/plasma_store.
SOCKET = 107 if os.uname().sysname == "Linux" else 103
SESSION = len("/session_2026-11-27_17-03-57_598866_") + len("/sockets/plasma_store")
PID = 7  # digits of the largest process id of Linux, 4194304
OURS = "rtune-"  # of a folder in a temporary one: this and eight letters of mkdtemp
LONGEST = SOCKET - SESSION - PID - len(f"/{OURS}12345678/r")  # Ray's own is `r` in that
SPACE = 64 * 2**20  # bytes; Ray's logs of a small study are 7 MB, and grow with its workers


def temporary_fault(folder: Path) -> str:
    """What makes a folder unfit for Ray's temporary files; "" if nothing does. Writes nothing.

    Args:
        folder: such as $TMPDIR.
    """
    length = len(os.fsencode(os.path.abspath(folder)))  # noqa: PTH100 - keeps symlinks
    try:
        if not folder.exists():
            return "does not exist"
        if not folder.is_dir():
            return "is no folder"
        if not os.access(folder, os.W_OK | os.X_OK):
            return "is not writable"
        held = os.statvfs(folder)
    except OSError as error:
        return f"cannot be used ({reason(error)})"
    if length > LONGEST:
        return f"is {length} bytes long, and Ray's sockets below it allow {LONGEST}"
    if held.f_bavail * held.f_frsize < SPACE:
        return (
            f"has {held.f_bavail * held.f_frsize / 2**20:.0f} MB left of {SPACE // 2**20} needed"
        )
    if held.f_files and not held.f_favail:
        return "has no inodes left"
    return ""


def temporary_folder() -> tuple[Path | None, list[str]]:
    """The first fit folder for Ray's files: $RAY_TMPDIR, $TMPDIR, /tmp, /var/tmp, /dev/shm.

    Returns:
        It, None where none is fit; and what is wrong with those before it, each in words.
    """
    faults = list[str]()
    for name, text in (
        ("RAY_TMPDIR", os.environ.get("RAY_TMPDIR")),
        ("TMPDIR", os.environ.get("TMPDIR")),
        *(("", path) for path in ("/tmp", "/var/tmp", "/dev/shm")),
    ):
        if not text:
            continue
        fault = temporary_fault(Path(text))
        if not fault:
            return Path(text), faults
        faults.append(f"{name}{' = ' if name else ''}{text} {fault}")
    return None, faults


def home() -> Path | None:
    """The user's home folder, None where the system knows none."""
    try:
        found = Path.home()
    except (RuntimeError, KeyError):
        return None
    return found if found.is_absolute() else None


def can_make(path: Path) -> bool:
    """Whether this user may make a folder there, or write to the one that is there."""
    try:
        held = nearest(path)
        return held.is_dir() and os.access(held, os.W_OK | os.X_OK)
    except OSError:
        return False


def nearest(path: Path) -> Path:
    """The path, or the nearest one above it that exists."""
    while not path.exists():
        path = path.parent
    return path


def stand_in() -> Path:
    """A private folder for a user without a home: `resnet-tune-UID` in a temporary folder.

    Made if it is missing; the same for every process of the user, so that a cache there is shared.

    Raises:
        PermissionError: it is somebody else's, or open to others; FileNotFoundError: no fit
            temporary folder.
    """
    base, faults = temporary_folder()
    if base is None:
        raise FileNotFoundError(errno.ENOENT, f"{'; '.join(faults)}; set TMPDIR", "TMPDIR")
    return private_folder(base)


def private_folder(base: Path) -> Path:
    """`resnet-tune-UID` in a temporary folder, for this user alone; made if it is missing.

    Raises:
        PermissionError: it is somebody else's, or open to others.
    """
    path = base / f"resnet-tune-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    held = path.lstat()
    if not stat.S_ISDIR(held.st_mode) or held.st_uid != os.getuid() or held.st_mode & 0o077:
        raise PermissionError(
            errno.EACCES,
            "is not a folder of this user alone; set HOME, or TMPDIR, to one that is",
            str(path),
        )
    return path


def give_home() -> str:
    """Set HOME where the system knows none: Ray's import asks for it. What was done, or "".

    Raises:
        OSError: see `stand_in`.
    """
    if home() is not None:
        return ""
    os.environ["HOME"] = str(stand_in())
    return f"this user (id {os.getuid()}) has no home folder; {os.environ['HOME']} stands in"
