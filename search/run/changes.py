"""What has changed between a study's record and what is here now; `resume` compares it all.

A change is known by its words: one that a session has accepted is not asked about again.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from search import record
from search.record.journal import Event
from search.record.mixed import as_text, computes, handed_out
from search.record.terminal import shell
from search.run.options import PreflightError
from search.schedule.sampler import CellSampler
from search.spec.cells import common_settings, make_plan, seed_of
from search.spec.overrides import apply_overrides
from search.spec.plan import Job
from search.spec.study_spec import StudySpec, parse_spec
from trainables import find_task
from trainables.engine.train import watched_split
from trainables.own_code import changes_of_code

OF_A_CELL = ("trials_per_cell", "full_per_cell", "audit_share")  # the rest of [budget] is in rungs


class Change(NamedTuple):
    """Something that is not what it was.

    Attributes:
        text: what, on record and now; the same whenever the same is compared.
        fix: what mends it, where `--accept-changes` never takes it; "" where it does.
    """

    text: str
    fix: str = ""


def find_changes(
    spec: StudySpec, study: Mapping[str, Any], events: Sequence[Event], here: Mapping[str, Any]
) -> list[Change]:
    """Everything but data and weights that is not as on record, but for what was accepted before.

    Args:
        spec: the study, as its study.json says now.
        study: its study.json.
        events: of its journal.
        here: versions and code of this process; see `search.run.machine.here`.
    """
    found = [
        *_of_meaning(spec, study),
        *_of_plan(spec, study),
        *_of_settings(spec, study, events),
        *_of_draws(spec, events),
        *_of_code(spec, study, here),
    ]
    accepted = {text for session in study["sessions"] for text in session.get("accepted") or ()}
    return [change for change in dict.fromkeys(found) if change.text not in accepted]


def other_versions(study: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Packages of another version than in the last session, on which no result hangs."""
    held = [study, *study["sessions"]][-1].get("versions") or {}
    known = computes(held)
    return [
        f"{name} {held[name]} -> {now}"
        for name, now in here["versions"].items()
        if name in held and name not in known and held[name] != now
    ]


def held_now(spec: StudySpec) -> dict[str, Any]:
    """Keys of study.json that follow from what it asks for, as they hold after a change to it."""
    plan = make_plan(spec)
    return {
        "settings": common_settings(spec),
        "seed": spec.seed,
        "confirm_seeds": list(plan.confirm_seeds),
    }


def take(changes: Sequence[Change], accept: bool, folder: str, name: str) -> list[str]:
    """What is accepted of changes.

    Args:
        changes: all that were found.
        accept: `--accept-changes` was given.
        folder: of the run, as a command names it.
        name: of the study.

    Returns:
        Their texts.

    Raises:
        PreflightError: something cannot be accepted, or is not; lists all that differs.
    """
    refused = [change for change in changes if change.fix]
    if not changes or (accept and not refused):
        return [change.text for change in changes]
    lines = [f"  {change.text}{f'; {change.fix}' if change.fix else ''}" for change in changes]
    head = f"{name} is not what it was (on record -> now):"
    ways = "Restore it, or start the study anew with --name"
    if not refused:
        command = shell("resnet-search", "resume", folder, "--accept-changes")
        ways += (
            f"; or `{command}` goes on, and every table that is then made of mixed parts is marked"
        )
    elif len(refused) < len(changes):
        ways += "; --accept-changes takes the others, once that is as it was"
    raise PreflightError("\n".join([head, *lines, f"{ways}."]))


# -- the study itself -----------------------------------------------------------------------------


def _of_meaning(spec: StudySpec, study: Mapping[str, Any]) -> list[Change]:
    """What a value is: of other rungs, splits or rules it is another quantity."""
    config = spec.config(spec.cell_values()[0], {})
    now = {
        "task": spec.task,
        "protocol": spec.protocol,
        "rungs": list(make_plan(spec).rungs),
        "watched": watched_split(config),
        "checkpoint_rule": config["checkpoint_rule"],
    }
    fix = "values of the two are no one quantity"
    return [
        Change(_words(key, study[key], value), fix)
        for key, value in now.items()
        if study[key] != value
    ]


def _of_plan(spec: StudySpec, study: Mapping[str, Any]) -> list[Change]:
    """How much its file asked for of each cell; the file as it was stands in study.json, too."""
    try:
        raw = apply_overrides(tomllib.loads(study.get("text") or ""), study["overrides"])
        held = parse_spec(raw, record.STUDY, study.get("task_dir"))
    except (KeyError, ValueError):  # of before it was kept, or when files had another form
        return []
    now = spec.budget.model_dump()
    pairs = [(f"budget.{key}", held.budget.model_dump()[key], now[key]) for key in OF_A_CELL]
    pairs += [(key, getattr(held, key), getattr(spec, key)) for key in ("scheduler", "sampler")]
    return [Change(_words(*pair)) for pair in pairs if not same(*pair[1:])]


def _of_settings(
    spec: StudySpec, study: Mapping[str, Any], events: Iterable[Event]
) -> list[Change]:
    """Settings and seeds on record, of the study and of every job, that it would not give now."""
    now = held_now(spec)
    known = {*study["settings"], *spec.cells, *spec.space}
    pairs = [("seed", study.get("seed", spec.seed), spec.seed)]
    pairs.append(("confirm.seeds", study["confirm_seeds"], now["confirm_seeds"]))
    pairs += _setting_pairs(study["settings"], now["settings"])
    cells = spec.cell_values()
    defaults = {key: setting.default for key, setting in find_task(spec.task).settings.items()}
    asked: dict[str, Mapping[str, Any]] = {}
    for event in (event for event in events if event["event"] in ("ask", "again")):
        ask = handed_out(asked, event)
        job = Job(**{key: ask["job"][key] for key in Job._fields})
        full = spec.config(cells[job.cell], ask["config"])
        # what is not among them had its default; a setting that was not there yet had none
        held = {key: value for key, value in defaults.items() if key in known} | ask["settings"]
        pairs += _setting_pairs(held, full)
        pairs.append(("seed", ask["seed"], seed_of(spec, job)))
    return [Change(_words(*pair)) for pair in pairs if not same(*pair[1:])]


def _setting_pairs(held: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(key, value, now.get(key, "no such setting")) for key, value in held.items()]


def _of_draws(spec: StudySpec, events: Iterable[Event]) -> list[Change]:
    """The first config of each parameter that would be drawn otherwise now.

    A TPE config hangs on results; of it is asked only whether it could be drawn.
    """
    cells = spec.cell_values()
    samplers = [CellSampler(spec, cell) for cell in cells]
    found: dict[str, Change] = {}
    for ask in (event for event in events if event["event"] == "ask"):
        job, sampler = ask["job"], samplers[ask["job"]["cell"]]
        for key, held in ask["config"].items():
            if spec.sampler == "tpe":
                if not _may_be(sampler.space.get(key), held):
                    text = f"{key} {as_text(held)} of {job['trial']} -> outside the space"
                    found.setdefault(key, Change(text))
                continue
            drawn = sampler.config(job["config"]).get(key, "not searched")
            if not same(held, drawn):
                text = _words(f"{key} drawn for {job['trial']}", held, drawn)
                found.setdefault(key, Change(text))
    return list(found.values())


def _may_be(space: Any, value: Any) -> bool:
    """Whether a value lies in one of Optuna's distributions."""
    if space is None:
        return False
    if hasattr(space, "choices"):
        return value in space.choices
    return bool(space.low <= value <= space.high)


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, one of them read from JSON."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)  # another libm
    return bool(json.loads(json.dumps(one)) == json.loads(json.dumps(other)))


def _words(what: str, held: Any, now: Any) -> str:
    return f"{what}: {as_text(held)} -> {as_text(now)}"


# -- what computes it -----------------------------------------------------------------------------


def _of_code(spec: StudySpec, study: Mapping[str, Any], here: Mapping[str, Any]) -> list[Change]:
    """Code and versions of any session, and of the study's beginning, that are not those here."""
    found, own = [], spec.own_code()
    now = computes(here["versions"])
    for session in (study, *study["sessions"]):
        code = session.get("code")
        if code and code != here["code"]:
            found.append(Change(f"resnet-tune itself: code {code} -> {here['code']}"))
        held = computes(session.get("versions"))
        found += [
            Change(_words(name, value, now[name]))
            for name, value in held.items()
            if name in now and value != now[name]
        ]
        for path, before, after in changes_of_code(own, session.get("task_code") or []):
            now_is = after[:8] or "gone"
            found.append(Change(f"your own code, {path}: sha256 {before[:8]} -> {now_is}"))
    return found
