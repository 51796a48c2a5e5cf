"""Damaged records, seeded: each is refused by one message, or shows what it showed before damage.

What is taken and shows other means says so: by a note, a mark on the cell, or what is missing.
"""

from __future__ import annotations

import copy
import json
import os
import random
import socket
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.display import tables
from analysis.findings.cells import cell_values
from search import record
from search.cli.status import status_table
from search.record.event_forms import EVENTS, event_fault
from search.record.stored import STAMP
from tests.fuzz.test_inputs import cases, files_below, fresh, taken
from tests.search.conftest import drive

VALUES = [None, "x", -1, 2.5, True, [], {}, [1], {"a": 1}, 10**400, float("inf"), float("nan")]
UNSURE = {"seeds missing", "unfinished", "unconfirmed", "failed"}


@pytest.fixture
def finished(make_study) -> Path:
    """A finished study with its frames; every event that a study writes itself is in it."""
    study = make_study()
    study.put_back(study.ask().trial)
    drive(study)
    study.note({"event": "ray died", "error": "some"})
    study.note({"event": "cut", "bytes": 3})
    study.note({"event": "set aside", "rows": 2, "files": 0, "trials": ["00-000"]})
    study.write_views()
    study.close()
    return Path(study.folder)


def shown(run: Path, draw: random.Random) -> tuple[dict[Any, Any], Any]:
    """Values by cell and metric with their marks, and the record; renders one of its outputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", record.RecordWarning)
        held = record.load(run)
    key = draw.choice([*tables.keys(held), "status"])
    if key == "status":
        status_table(held)
    else:
        tables.render(tables.make(held, key), draw.choice(["md", "csv"]))
    return {(v.cell, v.metric): (sorted(v.values), v.marks) for v in cell_values(held)}, held


def judged(run: Path, draw: random.Random, whole: dict[Any, Any]) -> str:
    """refused, same or told; fails on a figure that is another in silence."""
    found = taken(lambda: shown(run, draw), str(run))
    if found is None:
        return "refused"
    means, held = found
    if {k: v[0] for k, v in means.items()} == {k: v[0] for k, v in whole.items()}:
        return "noted" if held.notes else "same"
    lacking = record.missing(held)
    for key, (values, marks) in means.items():
        if key in whole and values != whole[key][0]:
            assert held.notes or (UNSURE & set(marks)) or key[0] in lacking.cells, key
    assert set(means) == set(whole)
    return "told"


def places(held: Any) -> Iterator[tuple[Any, Any]]:
    """Every (table or list, key) inside a value."""
    for key, value in list(held.items() if isinstance(held, dict) else enumerate(held)):
        yield held, key
        if isinstance(value, dict | list):
            yield from places(value)


def wrong(draw: random.Random, old: Any) -> Any:
    """A value of another type; of a number that need not be whole, no number."""
    kinds = (int, float) if type(old) is float else (type(old),)
    held = [v for v in VALUES if type(v) not in kinds or v != v or v in (10**400, float("inf"))]
    return draw.choice(held)


def spoil(draw: random.Random, held: Any) -> None:
    """Another type for, or without, one of the values inside."""
    table, key = draw.choice(list(places(held)))
    if draw.random() < 0.25:
        del table[key]
    else:
        table[key] = wrong(draw, table[key])


def spoil_lines(draw: random.Random, path: Path) -> None:
    """Lines dropped, doubled, swapped, or one with a spoiled value; perhaps of old times."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if draw.random() < 0.5:  # before lines had numbers
        lines = [{k: v for k, v in line.items() if k != "line"} for line in lines]
    at, other, how = draw.randrange(len(lines)), draw.randrange(len(lines)), draw.randrange(6)
    if how == 0:
        del lines[at : at + draw.choice([1, 1, 2, 5])]
    elif how == 1:
        lines.insert(other, lines[at])
    elif how == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif how == 3:
        lines[at] = draw.choice([[], 1, None, "x", {}])
    else:
        spoil(draw, lines[at])
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def replace(draw: random.Random, path: Path) -> None:
    """Something else in a file's place, or nothing."""
    path.unlink()
    how = draw.choice(["pipe", "folder", "link", "loop", "gone", "socket"])
    if how == "pipe":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    elif how in ("link", "loop"):
        path.symlink_to("nowhere" if how == "link" else path.name)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as held:
            before = Path.cwd()
            os.chdir(path.parent)  # a socket's path may not be long
            try:
                held.bind(path.name)
            finally:
                os.chdir(before)


def test_records_of_spoiled_values(tmp_path, finished):
    """study.json, both logs: values of another type, lines that are gone, doubled or swapped."""
    ends: Counter[str] = Counter()
    whole = shown(finished, random.Random(0))[0]

    @cases(130)
    def check(seed):
        draw, run = random.Random(seed), fresh(finished, tmp_path / "copy")
        for name in (STAMP, "curves.parquet"):
            if draw.random() < 0.7:
                (run / name).unlink()
        name = draw.choice([record.STUDY, record.JOURNAL, record.JOURNAL, record.EPOCHS])
        if name == record.STUDY:
            held = json.loads((run / name).read_text(encoding="utf-8"))
            spoil(draw, held)
            (run / name).write_text(json.dumps(held), encoding="utf-8")
        else:
            spoil_lines(draw, run / name)
        ends[f"{name} {judged(run, draw, whole)}"] += 1

    check()
    print(dict(ends))
    for name in (record.STUDY, record.JOURNAL, record.EPOCHS):
        assert ends[f"{name} refused"] > 5
    assert ends[f"{record.EPOCHS} noted"] > 5
    assert ends[f"{record.JOURNAL} same"]


def lose(draw: random.Random, run: Path) -> str:
    """The end of a log, both logs, or a number of one exchanged; the stamp may be gone too."""
    how = draw.choice(["cut journal", "cut epochs", "no logs", "number", "number", "score"])
    name = record.JOURNAL if how in ("cut journal", "score") else record.EPOCHS
    lines = (run / name).read_text(encoding="utf-8").splitlines()
    if how == "no logs":
        for log in (record.JOURNAL, record.EPOCHS):
            (run / log).unlink()
    elif how.startswith("cut"):
        del lines[draw.randrange(1, len(lines)) :]
    else:
        held = [json.loads(line) for line in lines]
        tables = [x["row"] for x in held if "row" in x] or [x for x in held if x.get("test")]
        table = draw.choice(tables)
        key = draw.choice(["val_accuracy", "val_loss"] if how == "number" else ["value"])
        table[key] = round(draw.random(), draw.randrange(2, 17))
        lines = [json.dumps(x) for x in held]
    if how != "no logs":
        (run / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if how in ("cut journal", "no logs") and draw.random() < 0.5:
        (run / STAMP).unlink()
        return f"{how}, no stamp"
    return how


def test_records_that_lost_their_end_or_hold_another_number(tmp_path, finished):
    """Held against what lies beside the logs, none is taken in silence."""
    ends: Counter[str] = Counter()
    (finished / "parts").mkdir(exist_ok=True)
    whole = shown(finished, random.Random(0))[0]

    @cases(40)
    def check(seed):
        draw, run = random.Random(seed), fresh(finished, tmp_path / "copy")
        ends[f"{lose(draw, run)}: {judged(run, draw, whole)}"] += 1

    check()
    print(dict(ends))
    refused = {"cut journal", "no logs", "no logs, no stamp", "number", "score"}
    assert {end.partition(":")[0] for end in ends if end.endswith(": refused")} == refused
    told = {end.partition(":")[0] for end in ends if not end.endswith(": refused")}
    assert told <= {"cut journal, no stamp", "cut epochs"}
    assert not ends["cut epochs: same"]


def test_records_with_something_else_in_a_file_s_place(tmp_path, finished):
    ends: Counter[str] = Counter()
    (finished / "parts").mkdir(exist_ok=True)
    part = finished / "parts" / "00-seed1.parquet"
    record.load(finished).per_image.assign(image=["a"] * 0).to_parquet(part)
    whole = shown(finished, random.Random(0))[0]

    @cases(40)
    def check(seed):
        draw, run = random.Random(seed), fresh(finished, tmp_path / "copy")
        path = draw.choice([p for p in files_below(run) if p.suffix != ".csv"])
        replace(draw, path)
        if draw.random() < 0.5 and (run / STAMP).is_file():
            (run / STAMP).unlink()
        ends[judged(run, draw, whole)] += 1

    check()
    print(dict(ends))
    assert ends["refused"] > 5
    assert ends["same"] > 5


OF_NODE = {"node": "b", "id": "1f"}
CLOCK = {"clock_offset": 0.1, "clock_bound": 0.1}
OUTSIDE: dict[str, dict[str, Any]] = {  # events that come from nodes, sessions and people
    "retry failed": {"trials": ["00-000"]},
    "session": {"number": 0},
    "lost": {"trial": "00-000", "cause": "node", "node": "b", "error": "its node is gone"},
    "log ended": {"to": "mlflow", "error": "gone"},
    "node": {**OF_NODE, "address": "1", "used": True, "why_not": ["?"], **CLOCK},
    "node gone": OF_NODE,
    "other checkpoint": {"trial": "00-000", "differs": "lr 0.1 there, 0.01 here"},
    "quarantine": {**OF_NODE, "seconds": 30.0},
}


def test_every_key_of_every_event_is_held_to_its_type(finished):
    """Of those that figures are made of; what is only shown to people may be anything."""
    events = [json.loads(line) for line in (finished / record.JOURNAL).read_text().splitlines()]
    kinds = {(e["event"], e.get("ending"), e.get("verdict"), *sorted(e)): e for e in events}
    moment = events[0]["time"]
    for kind, held in OUTSIDE.items():
        kinds[kind] = {"time": moment, "event": kind, **held}
    assert {event["event"] for event in kinds.values()} == set(EVENTS)
    free = Counter[str]()
    for event in kinds.values():
        assert not event_fault(event)
        for number, (_, key) in enumerate(list(places(event))):
            spoiled = copy.deepcopy(event)
            table, _ = list(places(spoiled))[number]
            table[key] = [{}] if isinstance(table[key], dict) else {"a": [1]}
            if not event_fault(spoiled):
                free[str(key)] += 1
    assert set(free) <= {"edition", "lr", "depth"}, free  # settings of an ask: kept as text
