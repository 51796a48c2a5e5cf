"""How a study file differs from the one that the study of its name was begun with."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from search import record
from search.record.mixed import as_text
from search.run.changes import same
from search.run.errors import StoreError
from search.run.options import Options
from search.run.store import open_store
from search.spec.overrides import apply_overrides
from search.spec.study_spec import StudySpec, parse_spec
from trainables.errors import UserError

NONE = "none"


def edited(spec: StudySpec, options: Options) -> str:
    """What a new study asks for that the one in its run folder, or store, does not, in words.

    Args:
        spec: the new study.
        options: where it was to be.

    Returns:
        Every key that differs, and what to do; "" where none does, or that is not known.
    """
    study = _held(options.runs_dir / spec.name, options.store)
    try:
        raw = apply_overrides(tomllib.loads(study["text"]), study["overrides"])
        held = parse_spec(raw, record.STUDY, study.get("task_dir"))
    except (KeyError, TypeError, ValueError, UserError):  # none, or of before it was kept
        return ""
    before, now = (dict(_leaves(one.model_dump(mode="json"))) for one in (held, spec))
    lines = [
        f"  {key}: {as_text(before.get(key, NONE))} -> {as_text(now.get(key, NONE))}"
        for key in sorted({*before, *now})
        if not same(before.get(key, NONE), now.get(key, NONE))
    ]
    if not lines:
        return ""
    head = "What is asked for now is not what that one was begun with (on record -> now):"
    fix = "`resume` goes on with it as on record; for what is asked for now, --name ANOTHER."
    return "\n".join([f".\n{head}", *lines, fix])


def _held(folder: Path, store: str) -> Mapping[str, Any]:
    """study.json of the one that is there; {} where it cannot be read."""
    try:
        return record.load_study(folder)
    except (record.RecordError, OSError):
        pass
    try:
        found = json.loads((open_store(store).read(record.STUDY) if store else None) or b"{}")
    except (ValueError, OSError, StoreError, UserError):
        return {}
    return found if isinstance(found, dict) else {}


def _leaves(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; a list is one value."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
