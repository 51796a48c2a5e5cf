"""Rows of a csv with the numbers of their lines, and its values checked one by one."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from trainables.errors import UserError, reason


def read_csv_rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a csv with their numbers, those of the file's lines.

    Raises:
        UserError: it cannot be read, lacks a column, or a row has more or fewer fields.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(line if not line.startswith("#") else "\n" for line in file)
            held = [(lines.line_num, line) for line in lines if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as csv: {reason(error)}") from error
    if not held:
        needs = ",".join(columns) or "the names of its columns"
        raise UserError(f"{path}: holds nothing; its first row must be {needs}")
    (_, head), *rows = held
    if twice := sorted({name for name in head if head.count(name) > 1}):
        raise UserError(f"{path}, row 1: column {twice[0]} stands twice; give each its own name")
    if missing := [name for name in columns if name not in head]:
        raise UserError(
            f"{path}, row 1: has no column {', '.join(missing)}; it must be {','.join(columns)}"
        )
    if not rows:
        raise UserError(f"{path}: has a heading and no rows; there is nothing to import")
    for number, line in rows:
        if len(line) != len(head):
            raise UserError(
                f"{path}, row {number}: has {len(line)} fields, the heading {len(head)}; give "
                "each column its value"
            )
    return [(number, dict(zip(head, line, strict=True))) for number, line in rows]


def refuse(path: Path, number: int, column: str, value: str, text: str) -> NoReturn:
    """Say what is wrong with a value.

    Raises:
        UserError: always.
    """
    raise UserError(f"{path}, row {number}, column {column}: {value!r} {text}")


def whole_number(path: Path, number: int, column: str, text: str, least: int) -> int:
    """A whole number of a csv.

    Raises:
        UserError: it is none, or below the least.
    """
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        refuse(path, number, column, text, f"must be a whole number from {least} on")
    return int(text)


def real_number(path: Path, number: int, column: str, text: str) -> float:
    """A finite number of a csv.

    Raises:
        UserError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        fix = "; of a run that diverged leave the epochs from there on out" * (column == "value")
        refuse(path, number, column, text, f"must be a finite number{fix}")
    return value
