"""Opens a URI as pyarrow.fs does: s3://, gs://, file://; loads pyarrow when it is called."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from trainables.errors import UserError


def open_uri(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path of its folder there.

    Raises:
        UserError: it is no URI that can be opened.
    """
    from pyarrow import ArrowException, fs

    if urlsplit(uri).password is not None:
        raise UserError(
            f"{urlsplit(uri).scheme}://...: a URI is kept on record, so it must hold no password; "
            "give credentials by the environment, e.g. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    try:
        files, base = fs.FileSystem.from_uri(uri)
    except (OSError, ValueError, ArrowException) as error:
        raise UserError(
            f"{uri} cannot be opened ({in_a_line(error)}); give a folder, or a URI such as "
            "s3://bucket/runs, gs://bucket/runs or file:///mnt/runs"
        ) from error
    if not base and files.type_name != "local":
        raise UserError(f"{uri} names no bucket; give a URI such as s3://bucket/runs")
    return files, base.rstrip("/")


def in_a_line(error: BaseException) -> str:
    """What an error says, its first line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
