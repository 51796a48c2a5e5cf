"""What two studies differ in: data, settings, budget, code, machine, each fact by key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from search.record import Record

# what a result may hang on, the likeliest first
KINDS = (
    *("data", "settings", "search", "budget", "chosen", "seeds", "weights"),
    *("code", "versions", "machine"),
)
ASIDE = ("notes", "warnings")  # of a fingerprint, what is said and no more


def cell_keys(records: Sequence[Record]) -> list[str]:
    """Settings that are a cell's in any of the records, in the order in which they come."""
    found = (key for record in records for at in record.study["cells"] for key in at)
    return list(dict.fromkeys(found))


def changes(one: Record, other: Record) -> pd.DataFrame:
    """What two studies differ in, but for their cells.

    Returns:
        A row a fact, of columns kind (see KINDS), key, first and second (None where one has none).
    """
    own = set(cell_keys([one, other]))
    held, now = (_facts(record.study, own) for record in (one, other))
    rows = [
        {"kind": kind, "key": key, "first": held.get((kind, key)), "second": now.get((kind, key))}
        for kind, key in dict.fromkeys([*held, *now])
        if held.get((kind, key)) != now.get((kind, key))
    ]
    rows.sort(key=lambda row: KINDS.index(row["kind"]))
    return pd.DataFrame(rows, columns=["kind", "key", "first", "second"])


def _codes(study: Mapping[str, Any]) -> str:
    """Digests of the code that a study's sessions ran on, in their order."""
    ran = [session.get("code") for session in study.get("sessions") or ()] or [study.get("code")]
    return ", then ".join(dict.fromkeys(str(code) for code in ran if code))


def _facts(study: Mapping[str, Any], own: set[str]) -> dict[tuple[str, str], str]:
    """(kind, key) -> what a study says, as text."""
    spec = study["spec"]
    given: dict[str, dict[str, Any]] = {
        "data": {
            f"{number} {key}" if len(study["data"]) > 1 else key: value
            for number, data in enumerate(study["data"])
            for key, value in data.items()
            if key not in ASIDE
        },
        "settings": {k: v for k, v in study["settings"].items() if k not in own},
        "search": spec.get("space", {}) | {"sampler": spec.get("sampler", "")},
        "budget": spec.get("budget", {}) | {"rungs": study["rungs"]},
        "seeds": {"seed": study.get("seed"), "confirm.seeds": study["confirm_seeds"]},
        "weights": study.get("weights") or {},
        "code": {"code": _codes(study) or (study.get("git") or {}).get("commit")},
        "versions": study.get("versions") or {},
        "machine": study.get("machine") or {},
    }
    # of a user's own task; of ours one digest, which `code` has as well
    files = study.get("task_code") or ()
    given["code"] |= {f["file"]: f["sha256"] for f in files if f["file"] != "trainables"}
    return {
        (kind, key): value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for kind, facts in given.items()
        for key, value in facts.items()
        if value not in (None, "")
    }
