"""TOML with its faults in plain words: the line, and the key that stands there."""

from __future__ import annotations

import re
import tomllib
from typing import Any

KEY = re.compile(r"""\s*([\w."'-]+(?:\s*\.\s*[\w."'-]+)*)\s*=""")


def parsed_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        ValueError: it is none; the message names the line, and of what is there twice the key.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(_worded(text, str(error))) from error


def _worded(text: str, said: str) -> str:
    found = re.search(r"\(at line (\d+), column \d+\)", said)
    if not found:
        return f"cannot be read as TOML: {said}"
    line = int(found[1])
    lines = text.splitlines()[:line]
    if "Cannot" in said:  # of a list over several lines its last one is named
        if (head := lines[-1].split("#")[0].strip()).startswith("["):
            return (
                f"line {line}: {head}: what it names is there before, as a key or a table; put "
                "it under one, once"
            )
        keys = [KEY.match(held) for held in reversed(lines)]
        if key := next((held[1] for held in keys if held), ""):
            return f"line {line}: the key {key} is given twice in its table; leave one of them"
    return f"cannot be read as TOML: {said}"
