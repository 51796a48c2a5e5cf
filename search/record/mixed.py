"""Whether what stands together was computed alike: by one code, one set of versions and settings.

Decided here, from the journal and the sessions of study.json; every table and page tells it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

COMPUTES = ("python", "torch", "torchvision", "numpy")  # a result may hang on their versions
OURS = "trainables"  # in `task_code`, what is not the user's own; `code` has it
DEFAULT = "its default"


@dataclass(frozen=True)
class Mixed:
    """What was not computed alike, in words; all of it empty where nothing is mixed.

    Attributes:
        cells: number of a cell -> what the trials that count in it differ in.
        whole: what the trials that count in any cell differ in.
    """

    cells: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    whole: tuple[str, ...] = ()


class Part(NamedTuple):
    """One stay of a trial on a worker, and what it was computed with.

    Attributes:
        trial: its name.
        cell: number of its cell.
        stage: of its job.
        session: index in `sessions` of study.json; -1 where the journal does not say.
        known: e.g. code, torch, seed -> value, as far as it is on record.
        settings: that differ from the task's defaults and are the same for a whole study.
    """

    trial: str
    cell: int
    stage: str
    session: int
    known: dict[str, str]
    settings: dict[str, str]


def computes(versions: Mapping[str, Any] | None) -> dict[str, str]:
    """Versions of what computes and the CUDA that torch is built for, as far as on record.

    Args:
        versions: as study.json and its sessions have them.
    """
    held = versions or {}
    return {
        name: str(held[name]).partition("+")[0] for name in (*COMPUTES, "cuda") if held.get(name)
    }


def own_files(session: Mapping[str, Any]) -> dict[str, str]:
    """Code of the user's own that a session ran: file -> SHA-256."""
    rows = session.get("task_code") or []
    held = {row.get("file", ""): row.get("sha256", "") for row in rows}
    return {file: sha256 for file, sha256 in held.items() if file not in ("", OURS)}


def parts_of(study: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> list[Part]:
    """Every stay of every trial, in order.

    Args:
        study: study.json.
        events: of its journal.
    """
    sessions: Sequence[Mapping[str, Any]] = study["sessions"]
    skip = {*study["space_keys"], *(key for cell in study["cells"] for key in cell)}
    at, here = -1, _known(study)  # before sessions were in the journal, as the study began
    parts: list[Part] = []
    asked: dict[str, Mapping[str, Any]] = {}
    last: dict[str, Part] = {}
    for event in events:
        if event["event"] == "session":
            at = event["number"]
            here = _known(sessions[at]) if at < len(sessions) else {}
        elif event["event"] in ("ask", "again"):
            ask = handed_out(asked, event)
            parts.append(_part(ask, at, here, skip))
            last[parts[-1].trial] = parts[-1]
        elif event["event"] == "tell" and event.get("code") and event["trial"] in last:
            last[event["trial"]].known["code"] = event["code"]
    return parts


def handed_out(asked: dict[str, Mapping[str, Any]], event: Mapping[str, Any]) -> Mapping[str, Any]:
    """An ask as its job was handed out, perhaps again and with other settings than at first.

    Args:
        asked: trial -> its last ask; kept here.
        event: an ask, or an `again`.
    """
    if event["event"] == "ask":
        asked[event["job"]["trial"]] = event
        return event
    ask = asked[event["trial"]]
    return {**ask, **{k: event[k] for k in ("settings", "seed") if event.get(k) is not None}}


def mixtures(study: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Mixed:
    """What a study's cells, and the study over all cells, mix.

    What counts is every stay of a trial that came to a value or diverged: seeds make the cell's
    value, and configs were compared to choose it. Audits are outside of the selection.

    Args:
        study: study.json.
        events: of its journal.
    """
    if "imported" in study:  # what its runs were computed with is not known
        return Mixed()
    told = {e["trial"] for e in events if e["event"] == "tell" and e["ending"] != "failed"}
    parts = [p for p in parts_of(study, events) if p.trial in told and p.stage != "audit"]
    by_cell: dict[int, list[Part]] = {}
    for part in parts:
        by_cell.setdefault(part.cell, []).append(part)
    cells = {number: _differences(study, held) for number, held in sorted(by_cell.items())}
    return Mixed({n: texts for n, texts in cells.items() if texts}, _differences(study, parts))


def _known(session: Mapping[str, Any]) -> dict[str, str]:
    """What a session, or study.json for the first one, says of what it computes with."""
    code = {"code": str(session["code"])} if session.get("code") else {}
    own = {f"code of {file}": sha[:8] for file, sha in own_files(session).items()}
    return {**code, **computes(session.get("versions")), **own}


def _part(ask: Mapping[str, Any], at: int, here: Mapping[str, str], skip: set[str]) -> Part:
    job = ask["job"]
    # a confirmation's seed is of its name; the others have the study's
    seed = {} if job["stage"] == "confirm" else {"seed": str(ask["seed"])}
    settings = {k: as_text(v) for k, v in ask["settings"].items() if k not in skip}
    return Part(job["trial"], job["cell"], job["stage"], at, {**here, **seed}, settings)


def as_text(value: Any) -> str:
    """A setting's value in words."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _differences(study: Mapping[str, Any], parts: Sequence[Part]) -> tuple[str, ...]:
    """What parts that count together differ in, a text each."""
    found = []
    for key in dict.fromkeys(key for part in parts for key in part.known):
        found.append(_counted(key, [p.known[key] for p in parts if key in p.known]))
    for key in dict.fromkeys(key for part in parts for key in part.settings):
        found.append(_counted(key, [p.settings.get(key, DEFAULT) for p in parts]))
    if texts := [text for text in found if text]:
        return tuple(texts)
    # what was accepted and leaves no trace in a job, e.g. another range that configs come from
    crossed = [p.session for p in parts] or [0]
    taken = study["sessions"][max(min(crossed) + 1, 0) : max(crossed) + 1]
    return tuple(dict.fromkeys(t for session in taken for t in session.get("accepted") or ()))


def _counted(key: str, values: Sequence[str]) -> str:
    """E.g. "torch 2.10 (3 jobs) and 2.11 (1 job)"; "" where they are all the same."""
    counts = Counter(values)
    if len(counts) < 2:
        return ""
    each = [f"{value} ({n} job{'s' if n > 1 else ''})" for value, n in counts.items()]
    return f"{key} {' and '.join(each)}"
