"""The study file with the first rung that a record asks for.

Lines of the file are replaced, so that its comments and its order stay. Which line is the one a
key stands in is not known by its look alone (a text may look like it, too): each that may be is
tried, and only one counts after which the file says, parsed, just what it should.
"""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis.findings.first_rung import first_rung
from search.record import Record, UserError

Key = tuple[str, ...]


def next_study(record: Record) -> tuple[str, str]:
    """The study file with the first rung that the record asks for, and a name of its own.

    What the study was begun with by --set of its name, scheduler and budget is in it.

    Returns:
        The text; and what else the study was begun with, as options, "" where it was with nothing.

    Raises:
        UserError: the record does not say which, or its study file cannot be changed so.
    """
    found, study = first_rung(record), record.study
    about = f"study {study['name']}"
    if found.epoch is None:
        raise UserError(f"{about}: {found.why}; nothing is written")
    text = str(study["text"])
    try:
        held = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(
            f"{about}: its study file is no TOML ({error}); nothing is written"
        ) from error
    if not isinstance(held.get("budget"), dict):
        raise UserError(
            f"{about}: its study file has no [budget] to change; nothing is written: write "
            f"grace_epochs = {found.epoch} yourself"
        )
    changes, apart = _given(about, study.get("overrides") or ())
    changes["name",] = json.dumps(f"{study['name']}-next")
    scheduler = _value(changes.get(("scheduler",), json.dumps(held.get("scheduler"))))
    if scheduler == "none":  # every config in full has no rungs
        changes["scheduler",] = '"cell-promote"'
    changes["budget", "grace_epochs"] = f"{found.epoch}  # {found.why}"
    for key, value in changes.items():
        text = _changed(about, text, key, value)
    head = "".join(f"# as {study['name']} was begun: --set {given}\n" for given in apart)
    if _plain(tomllib.loads(text)) != _plain(_parsed(head + text)):
        raise UserError(
            f"{about}: --set {' '.join(apart)} has more than one line, which no comment can hold; "
            "nothing is written"
        )
    return head + text, " ".join(f"--set {given}" for given in apart)


def _given(about: str, overrides: Sequence[str]) -> tuple[dict[Key, str], list[str]]:
    """Of the --set of a study those that its file can hold in a line each, and the others.

    Raises:
        UserError: one changes the budget, the name or the scheduler, and not in this way.
    """
    changes, apart = dict[Key, str](), list[str]()
    for given in overrides:
        key, _, text = given.partition("=")
        parts = tuple(part.strip() for part in key.split("."))
        if parts[0] not in ("budget", "name", "scheduler"):
            apart.append(given)
            continue
        if len(parts) != (2 if parts[0] == "budget" else 1):
            raise UserError(
                f"{about} was begun with --set {given}, which is more than a line of its file; "
                "nothing is written: write the next study yourself"
            )
        value = text.strip()
        changes[parts] = json.dumps(value) if _value(value) is None else value
    return changes, apart


def _value(text: str) -> Any:
    """What a value of TOML says; None where it is none."""
    return _parsed(f"value = {text}").get("value")


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _changed(about: str, text: str, key: Key, value: str) -> str:
    """The file with another value of a key, everything else in it as it was.

    Raises:
        UserError: that is not to be had by a line replaced or put in.
    """
    wanted = copy.deepcopy(tomllib.loads(text))
    table = wanted
    for part in key[:-1]:
        table = table[part]
    table[key[-1]] = _value(value)
    for tried in _tries(text, key, value):
        if _plain(_parsed(tried)) == _plain(wanted):
            return tried
    raise UserError(
        f"{about}: {'.'.join(key)} of its study file cannot be set by changing a line; nothing is "
        f"written: copy the file and write {'.'.join(key)} = {value} yourself"
    )


def _tries(text: str, key: Key, value: str) -> Iterator[str]:
    """The file with each line replaced that the key may stand in; then with one put in."""
    dotted = r"(?:[\w\"'-]+[ \t]*\.[ \t]*)?"
    stands = rf"^([ \t]*{dotted}[\"']?{re.escape(key[-1])}[\"']?[ \t]*=)[^\n]*$"
    for line in re.finditer(stands, text, re.MULTILINE):
        yield f"{text[: line.start()]}{line[1]} {value}{text[line.end() :]}"
    if len(key) > 1:
        header = rf"^[ \t]*\[[ \t]*[\"']?{re.escape(key[0])}[\"']?[ \t]*\][^\n]*$"
        for line in re.finditer(header, text, re.MULTILINE):
            yield f"{text[: line.end()]}\n{key[-1]} = {value}{text[line.end() :]}"
    yield f"{'.'.join(key)} = {value}\n{text}"


def _plain(held: Mapping[str, Any]) -> str:
    """In one way of writing it: NaN is itself, and 1 is neither 1.0 nor true."""
    return json.dumps(held, sort_keys=True, default=repr)
