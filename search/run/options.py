"""Where and how a study is to run, and folders that cannot be what they are named for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainables import places
from trainables.errors import UserError, reason


class PreflightError(UserError):
    """Something a study needs is missing; found before a trial starts."""


class WouldFetchError(PreflightError):
    """Data is missing that `run` would download; raised where it is only looked for."""


@dataclass(frozen=True)
class Options:
    """Where and how to run.

    Attributes:
        data_dir: folder of the data.
        weights_dir: folder of torchvision's weights files, and of folders of one's own.
        runs_dir: folder of run folders.
        address: "local", "auto" or a Ray address.
        address_before: it was not given, but is the last session's.
        say: told of every step before the first trial.
        download: fetch missing data and weights where a task and torchvision can.
        make_data_dir: make the data folder where it is missing, to download into it.
        task_dir: folder that a task of the user's own is imported from.
        look_only: fetch nothing, whatever `download` says; what would be is told.
        strict: refuse a cluster of which one node lacks something, instead of leaving it out.
        ship_code: give the nodes of a cluster this package's code.
        store: URI that the study is handed in to; "" where all nodes see the run folder.
    """

    data_dir: Path
    weights_dir: Path
    runs_dir: Path
    address: str
    say: Callable[[str], None]
    download: bool = True
    make_data_dir: bool = True
    task_dir: Path | None = None
    look_only: bool = False
    strict: bool = False
    ship_code: bool = False
    store: str = ""
    address_before: bool = False


def data_dir_fault(options: Options, fetched: str = "") -> str:
    """What keeps the data folder from holding data, as `run` says it; "" if nothing.

    Args:
        options: where it is, and whether it may be made.
        fetched: the task that would be downloaded into it; "" for none.
    """
    said = f"--data-dir {options.data_dir}"
    if why := _unfit(options.data_dir):
        return f"{said} {why}; name the folder that holds the data"
    there = options.data_dir.is_dir()
    if not there and not options.make_data_dir:
        more = f", or make it and {fetched} is downloaded into it" if fetched else ""
        return f"{said} is no folder; name the one that holds the data{more}"
    if fetched and not places.can_make(options.data_dir):
        return (
            f"{said} holds no {fetched} and cannot be written, so it cannot be downloaded into "
            "it; name the folder that holds it, or one to be written"
        )
    return ""


def weights_dir_fault(options: Options, fetched: bool) -> str:
    """The same of the folder of pretrained weights, which a download makes.

    Args:
        options: where it is.
        fetched: whether weights would be downloaded into it.
    """
    said = f"--weights-dir {options.weights_dir}"
    if why := _unfit(options.weights_dir):
        return f"{said} {why}; name the folder that holds pretrained weights"
    if fetched and not places.can_make(options.weights_dir):
        return (
            f"{said} cannot be written, so nothing can be downloaded into it; name the folder "
            "that holds pretrained weights, or one to be written"
        )
    return ""


def run_folder_fault(folder: Path) -> str:
    """What keeps a run folder from being made; "" if nothing."""
    for path in (folder.parent, folder):
        if why := _unfit(path):
            return f"{path} {why}; name another folder of runs by --runs-dir"
    if not places.can_make(folder):
        return f"{folder} cannot be written; name another folder of runs by --runs-dir"
    if not shutil.disk_usage(places.nearest(folder)).total:  # such as /proc
        return (
            f"{folder} is on a file system that holds no files; name another folder of runs by "
            "--runs-dir"
        )
    return ""


def _unfit(path: Path) -> str:
    """Why what is in a folder's place cannot be used as one; "" for a folder, and for nothing."""
    try:
        if path.is_dir():
            return "" if os.access(path, os.R_OK | os.X_OK) else "may not be read by this user"
        path.lstat()
    except FileNotFoundError:
        return ""
    except NotADirectoryError:
        return "lies below a file, which is no folder"
    except OSError as error:
        return f"cannot be looked into ({reason(error)})"
    return "is a link to nothing" if not path.exists() else "is a file, no folder"
