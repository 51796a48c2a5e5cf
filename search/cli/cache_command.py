"""`resnet-search cache`: what decoded data lies on this machine, and its removal."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from search.record.terminal import in_words
from trainables.engine.cache import cache_dir, entries, remove
from trainables.errors import UserError

DAY = 24 * 3600.0  # seconds
HELP = "list the decoded data that this machine holds, or remove it; a run decodes what it lacks"


def add_cache(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser."""
    parser: argparse.ArgumentParser = commands.add_parser("cache", help=HELP, description=HELP)
    parser.add_argument("--clear", action="store_true", help="remove what is listed")
    parser.add_argument(
        "--older-than",
        type=_days,
        default=0.0,
        metavar="DAYS",
        help="only what was made before that many days",
    )
    return parser


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: a number of days, 0 or more")
    return days


def show_cache(arguments: argparse.Namespace, console: Console) -> int:
    """List the entries and, if asked to, remove them; exit status 1 if one could not be.

    Raises:
        UserError: the cache cannot be read.
    """
    try:
        folder, found = cache_dir(), entries()
    except OSError as error:
        raise UserError(
            f"the data cache cannot be read ({in_words(error)}); RESNET_TUNE_CACHE names another "
            "folder"
        ) from error
    before = time.time() - arguments.older_than * DAY
    held = [entry for entry in found if entry[2] <= before]
    table = Table("entry", "size", "made", box=None)
    table.columns[1].justify = "right"
    for path, size, made in held:
        table.add_row(path.name, decimal(size), time.strftime("%Y-%m-%d", time.localtime(made)))
    if held:
        console.print(table)
    console.print(f"{folder}: {_count(held)}", soft_wrap=True)
    return _clear(held, console) if arguments.clear else 0


def _count(held: list[tuple[Path, int, float]]) -> str:
    size = decimal(sum(entry[1] for entry in held))
    return f"{len(held)} entr{'y' if len(held) == 1 else 'ies'}, {size}"


def _clear(held: list[tuple[Path, int, float]], console: Console) -> int:
    gone, left = [], False
    for entry in held:
        try:
            if remove(entry[0]):
                gone.append(entry)
                continue
            why = "it is being made right now"
        except OSError as error:
            why = in_words(error)
        left = True
        console.print(f"not removed: {entry[0].name}: {why}", soft_wrap=True)
    console.print(f"removed: {_count(gone)}")
    return int(left)
