"""What a power cut has left is set aside whole, wherever the driver that does it is killed."""

import json
import multiprocessing
import os
import shutil
import sys
import warnings

import pandas as pd
import pytest

from search import record
from search.record import RecordError
from search.record.journal import read_lines
from search.record.set_aside import PLAN, set_aside_unasked
from tests.search.conftest import drive

CHANGES = ("os.rename", "os.remove", "os.mkdir")


def killed_at(step, folder, call):
    """Call in a process that is killed before so many changes of a folder; whether it was."""

    def body():
        left = step

        def count(event, arguments):
            nonlocal left
            path = os.fspath(arguments[0]) if event in (*CHANGES, "open") else ""
            if isinstance(path, bytes | int) or not path.startswith(str(folder)):
                return
            if event != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR):
                left -= 1
                if left == 0:
                    os._exit(9)

        sys.addaudithook(count)
        call()
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=body)
    process.start()
    process.join()
    assert process.exitcode in (0, 9)
    return process.exitcode == 9


def whole_record(folder):
    """Name -> content of all that is there; of the journal without times."""
    names = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    held = {name: path.read_bytes() for name, path in names.items() if name != record.LOCK}
    events = read_lines(folder / record.JOURNAL)
    return held | {record.JOURNAL: [{**event, "time": ""} for event in events]}


@pytest.fixture
def cut(make_study, tmp_path):
    """A folder as a power cut leaves it: rows, frames and predictions of jobs unasked for."""
    study = make_study(tmp_path / "cut")
    drive(study, most=4)
    asks = [e for e in study.run.events() if e["event"] == "ask"]
    drive(study, most=4)
    study.close()
    columns = {"trial": ["00-003"], "split": ["test"], "image": ["0"]}
    part = pd.DataFrame({**columns, "truth": [1.0], "prediction": [1.0]})
    part.to_parquet(study.folder / "parts" / "00-003.parquet")
    (study.folder / "samples" / "00-003.npz").write_bytes(b"some")
    (study.folder / "frames.json").unlink()
    path = study.folder / record.JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    events = [json.loads(line) for line in lines]
    kept = next(n for n, e in enumerate(events) if e["event"] == "ask" and e not in asks)
    path.write_bytes(b"".join(lines[:kept]))
    return study.folder


def test_killed_at_any_step_of_it_the_next_driver_leaves_the_same_record(
    cut, make_study, tmp_path
):
    folder = tmp_path / "tiny"

    def resume():
        study = make_study(folder)
        study.run.close()

    shutil.copytree(cut, folder)
    resume()
    expected = whole_record(folder)
    (told,) = [e for e in expected[record.JOURNAL] if e["event"] == "set aside"]
    assert told["rows"] > 2
    assert told["files"] == 2
    assert not (folder / PLAN).exists()
    step = 0
    while True:
        step += 1
        shutil.rmtree(folder)
        shutil.copytree(cut, folder)
        if not killed_at(step, folder, resume):
            break
        killed_at(step, folder, resume)  # and the one after it, too
        resume()
        held = whole_record(folder)
        assert held.keys() == expected.keys(), step
        assert [name for name in held if held[name] != expected[name]] == [], step
    assert step > 15
    with warnings.catch_warnings(action="error"):
        record.load(folder)


def test_a_journal_put_back_after_a_kill_keeps_the_rows_that_it_asks_for(
    cut, make_study, tmp_path
):
    """What a driver was about to set aside counts only where it is still not asked for."""
    folder = tmp_path / "tiny"
    shutil.copytree(cut, folder)
    study = make_study(folder)
    (told,) = [e for e in study.run.events() if e["event"] == "set aside"]
    study.run.close()
    shutil.rmtree(folder)
    shutil.copytree(cut, folder)
    step = 1
    while not (folder / PLAN).exists():
        killed_at(step, folder, lambda: make_study(folder).run.close())
        step += 1
    text = (folder / record.JOURNAL).read_text()
    job = {"trial": told["trials"][-1], "cell": 0, "stage": "search"}
    held = json.loads((folder / PLAN).read_text())
    mine = [row for row in held["rows"] if row[0] == job["trial"]]
    assert mine
    ask = next(json.loads(t) for t in text.splitlines() if json.loads(t)["event"] == "ask")
    number = len(text.splitlines()) + 1
    ask |= {"line": number, "job": ask["job"] | {"trial": job["trial"], "to_epoch": 99}}
    before = (folder / record.JOURNAL).read_bytes()
    (folder / record.JOURNAL).write_bytes(before + json.dumps(ask).encode() + b"\n")
    aside = set_aside_unasked(folder, read_lines(folder / record.JOURNAL))
    assert aside.rows == told["rows"] - len(mine)


def test_a_damaged_plan_is_refused_by_name(cut, make_study):
    (cut / PLAN).parent.mkdir()
    (cut / PLAN).write_text("{")
    with pytest.raises(RecordError, match=r"under-way\.json is damaged.*delete it"):
        make_study(cut)
