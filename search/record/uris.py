"""URIs of stores beside paths of folders; loads nothing."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from trainables.errors import UserError

# two letters at least; a path that was made of a URI has lost one of its slashes
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def is_uri(place: Path | str) -> bool:
    """Whether this is a URI such as s3://bucket/runs, or a path that was made of one."""
    return _URI.match(str(place)) is not None


def as_uri(place: Path | str) -> str:
    """The URI that a path was made of, or the text as it is."""
    scheme, colon, rest = str(place).partition(":/")
    slashes = "" if rest.startswith("/") else "//" if scheme.lower() == "file" else "/"
    return f"{scheme}{colon}{slashes}{rest}"


def parse_place(text: str) -> Path | str:
    """What a command is given: the path of a folder, or a URI as it is written."""
    return text.rstrip("/") if is_uri(text) else Path(text)


def child(uri: str, name: str) -> str:
    """The URI of what lies in another under a name; a query (`?region=...`) stays."""
    held = urlsplit(uri)
    return urlunsplit(held._replace(path=f"{held.path.rstrip('/')}/{name}"))


def last_name(uri: str) -> str:
    """The last name in a URI's path, which a run is called after.

    Raises:
        UserError: it has none.
    """
    name = urlsplit(uri).path.rstrip("/").rpartition("/")[2]
    if not name:
        raise UserError(f"{uri} names no run; give that of its folder, e.g. s3://bucket/runs/mine")
    return name


def refuse_uri(option: str, place: Path | str | None) -> None:
    """Refuse a URI where only a folder will do: it would become a folder called `s3:`.

    Raises:
        UserError: it is one.
    """
    if place is not None and is_uri(place):
        raise UserError(
            f"{option} {as_uri(place)}: this must be a folder, not a URI. Mount it, or copy what "
            "is there to a folder; --runs-dir alone of `run` may be a URI, and RUN of `resume`, "
            "`status` and `fetch`"
        )
