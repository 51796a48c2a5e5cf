"""Jobs that are handed out together: which, what the journal has, and how each ends by itself."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search import record
from search.record import read_events
from search.run import ray_worker, ways
from search.run.arrays import array_sizes
from search.run.callbacks import Listener
from search.run.device import mps_active
from search.run.executor import _settle
from search.run.inquiry import Death
from search.run.job_searcher import JobSearcher, Lost
from search.run.losses import most_members
from search.run.packing import measured, probe_task
from search.run.room import Held, room
from search.run.ways import (
    fastest,
    probe_task_arrays,
    probe_task_pack,
    sizes_of,
    why_no_packs,
)
from search.spec.study_spec import SpecError, parse_spec
from tests.search.conftest import TEXT, drive, outcome, places
from tests.search.run.test_job_searcher import RayTrial, ray_says, well
from tests.tiny import decisions
from trainables.engine.pack import PackError
from trainables.engine.probe import Taken

ARRAYS = TEXT + "[resources]\narray = 3\n"


# epochs are not reported here
pytestmark = pytest.mark.filterwarnings("ignore:.*epochs.jsonl lacks")


@pytest.fixture
def arrays(make_study):
    """The study with arrays of three in both cells."""
    study = make_study(text=ARRAYS)
    study.places = replace(study.places, arrays={0: 3, 1: 3})
    return study


def shape(worker_job: Any) -> tuple[Any, ...]:
    held = worker_job.train
    at = (held["from_epoch"], held["to_epoch"], held["score_test"])
    return (worker_job.trial[:3], *at)


def drive_arrays(study: Any, most: int = 10**9) -> list[list[str]]:
    """As `drive`, arrays at a time; returns the trials of each."""
    found: list[list[str]] = []
    while len(found) < most and (asked := study.ask()) is not None:
        members = asked.members()
        assert len({shape(member) for member in members}) == 1
        found.append([member.trial for member in members])
        for member in members:
            study.tell(member.trial, outcome(member))
    return found


def test_an_array_has_jobs_of_one_cell_and_the_same_epochs(arrays):
    found = drive_arrays(arrays)
    assert arrays.done
    assert max(map(len, found)) == 3
    # of the five configs of a cell, and its two seeds
    assert sum(len(trials) > 1 for trials in found) >= 5
    arrays.close()


def test_every_trial_of_a_study_with_arrays_comes_to_its_end(arrays, make_study, tmp_path):
    """The same configs begin as without arrays, and every cell has its winner and seeds."""
    drive_arrays(arrays)
    arrays.close()
    single = make_study(tmp_path / "single")
    drive(single)
    single.close()
    ours, theirs = (record.load(folder) for folder in (arrays.folder, single.folder))
    begun = [set(held.trials.query("stage == 'search'")["trial"]) for held in (ours, theirs)]
    assert begun[0] == begun[1]
    for held in (ours, theirs):
        assert held.trials["status"].isin(["completed", "stopped", "diverged", "failed"]).all()
    assert set(ours.trials.query("stage == 'confirm'")["cell"]) == {0, 1}


@pytest.mark.parametrize("most", [1, 2, 4, 7])
def test_a_study_with_arrays_is_replayed_from_its_journal(arrays, make_study, most):
    drive_arrays(arrays, most)
    asked = arrays.ask()  # and killed
    held = arrays.folder
    arrays.close()
    again = make_study(held, text=ARRAYS)
    again.places = replace(again.places, arrays={0: 3, 1: 3})
    if asked is not None:  # handed out again, together
        names = [job.trial for job in again.ask().members()]
        assert names == [job.trial for job in asked.members()]
        for job in asked.members():
            again.tell(job.trial, outcome(job))
    drive_arrays(again)
    assert again.done
    again.close()
    assert decisions(held)


def test_the_journal_says_beside_which_trial_a_job_was_asked_for(arrays):
    first, *others = arrays.ask().members()
    asks = [event for event in read_events(arrays.folder) if event["event"] == "ask"]
    assert [event.get("beside") for event in asks] == [None, *(first.trial for _ in others)]
    arrays.close()


@pytest.mark.parametrize(("free", "size"), [(1, 3), (4, 3), (5, 2), (10, 1), (99, 1)])
def test_an_array_leaves_free_workers_their_jobs(arrays, free, size):
    """Of ten configs that may begin, five a cell."""
    assert len(arrays.ask(lambda *shape: free).members()) == size
    arrays.close()


def test_what_has_failed_is_run_by_itself(arrays):
    members = arrays.ask().members()
    failed = {"ending": "failed", "error": "out of memory", "out_of_memory": True}
    for member in members:
        arrays.tell(member.trial, failed)
    again = [arrays.ask() for _ in members]
    assert [job.trial for job in again] == [member.trial for member in members]
    assert all(not job.others for job in again)
    arrays.close()


def test_an_array_takes_the_shares_of_its_members_up_to_a_gpu(arrays):
    arrays.places = replace(arrays.places, gpus={0: 0.25, 1: 0.5})
    assert arrays.usable() == {(1.0, 0.75): 1, (1.0, 0.5): 1, (1.0, 1.0): 2}  # of five a cell
    first, second = arrays.ask(), arrays.ask()
    assert {first.gpus, second.gpus} == {0.75, 1.0}
    assert arrays.shapes() == {(1.0, 0.25), (1.0, 0.5)}  # of one
    arrays.close()


def test_room_is_asked_for_single_jobs_by_themselves(arrays):
    """Else a node is not added for what no array takes, and they run in turn."""
    for member in arrays.ask().members():
        arrays.tell(member.trial, FAILED)
    # those that failed; two more of their cell as one; five of the other as two
    assert arrays.usable() == {(1.0, 0.0): 3 + 1 + 2}
    arrays.close()


@pytest.fixture
def on_gpu(arrays):
    """Arrays of four quarters of the one GPU: the study, and what gives its jobs to Ray."""
    arrays.places = replace(arrays.places, gpus={0: 0.25, 1: 0.25}, arrays={0: 4, 1: 4})
    node = {"a": {"CPU": 8.0, "GPU": 1.0}}
    yield arrays, JobSearcher(arrays, room(node))
    arrays.close()


def suggested(searcher: Any, keys: Sequence[str]) -> list[int]:
    """Members of each job that is given out, one after another has found its worker."""
    found = []
    for key in keys:
        if searcher.suggest(key) is not None:
            searcher.started[key] = 0.0
            found.append(len(searcher.jobs[key].members()))
    return found


def test_while_an_array_has_the_gpu_nothing_else_is_given_out(on_gpu):
    assert suggested(on_gpu[1], ["r1", "r2"]) == [4]


def test_jobs_of_one_member_share_a_gpu_however_much_the_largest_array_takes(on_gpu):
    """What has failed is run by itself: four times a quarter, not one at a time."""
    study, searcher = on_gpu
    for member in study.ask().members():
        study.tell(member.trial, FAILED)
    assert suggested(searcher, ["r1", "r2", "r3", "r4", "r5"]) == [1, 1, 1, 1]


def test_an_array_takes_no_more_than_what_is_left_of_a_gpu(on_gpu):
    study, _ = on_gpu
    fits = room({"a": {"CPU": 8.0, "GPU": 1.0}})([Held(1.0, 0.5)])
    assert study.ask(fits).gpus == 0.5
    full = room({"a": {"CPU": 8.0, "GPU": 1.0}})([Held(1.0, 1.0)])
    assert study.ask(full).gpus == 1.0  # it waits, as large as it can be


@pytest.fixture
def given(arrays):
    """An array of three given to Ray: searcher, listener, Ray's trial, the members' names."""
    searcher = JobSearcher(arrays, places(2))
    assert "job" in searcher.suggest("r1")
    held = [job.trial for job in searcher.jobs["r1"].members()]
    assert len(held) == 3
    return arrays, searcher, Listener(arrays, searcher, well), RayTrial("r1"), held


def end(listener: Any, ray_trial: Any, trial: str, told: dict[str, Any]) -> None:
    payload = json.dumps(told)
    result = {"kind": "end", "trial": trial, "payload": payload, "value": 0.5}
    listener.on_trial_result(1, [], ray_trial, result)


VALUE = {"ending": "value", "value": 0.5, "epoch": 1, "value_epoch": 1}
FAILED = {"ending": "failed", "error": "its own"}


def told_of(study: Any, kind: str) -> list[str]:
    return [event["trial"] for event in told_events(study, kind)]


def told_events(study: Any, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(study.folder) if event["event"] == kind]


def test_each_member_is_told_what_it_ended_with(given):
    study, searcher, listener, ray_trial, held = given
    for trial, told in zip(held, (VALUE, FAILED, VALUE), strict=True):
        end(listener, ray_trial, trial, told)
    searcher.on_trial_complete("r1", error=True)  # a worker ends with a failed job
    assert told_of(study, "tell") == held
    assert searcher.told == 3 and not searcher.jobs and searcher.fault is None
    study.close()


def test_a_stopped_array_is_put_back_whole(given):
    study, searcher, _, _, held = given
    searcher.stopping = True
    searcher.on_trial_complete("r1")
    assert told_of(study, "put back") == held
    study.close()


def test_of_an_array_whose_worker_dies_what_had_ended_is_told_and_the_rest_lost(given):
    study, searcher, listener, ray_trial, held = given
    end(listener, ray_trial, held[1], VALUE)
    searcher.on_trial_complete("r1", error=True)
    died = ray_says(study, "r1", "The actor died: worker died")
    listener.on_trial_error(1, [], died)
    assert told_of(study, "tell") == [held[1]]
    assert told_of(study, "lost") == [held[0], held[2]]
    again = [study.ask(), study.ask()]
    assert [job.trial for job in again] == [held[0], held[2]]
    assert not any(job.others for job in again)  # either may be why
    study.close()


def run_until_dead(study: Any, guilty: str, most: int) -> dict[str, int]:
    """Give out jobs; a worker that has the guilty one dies; returns how often each was out."""
    searcher = JobSearcher(study, places(1))
    listener, out = Listener(study, searcher, well), dict[str, int]()
    for number in range(most):
        if searcher.suggest(f"r{number}") in (None, "FINISHED"):
            break
        members = searcher.jobs[f"r{number}"].members()
        for member in members:
            out[member.trial] = out.get(member.trial, 0) + 1
        if guilty in [member.trial for member in members]:
            searcher.on_trial_complete(f"r{number}", error=True)
            died = ray_says(study, f"r{number}", "The actor died: worker died")
            listener.on_trial_error(1, [], died)
            continue
        for member in members:
            end(listener, RayTrial(f"r{number}"), member.trial, outcome(member))
        searcher.on_trial_complete(f"r{number}")
    assert searcher.fault is None
    return out


def test_of_an_array_whose_worker_dies_time_after_time_the_guilty_member_alone_pays(arrays):
    guilty = [job.trial for job in arrays.ask().members()][1]
    arrays.put_back_all()
    out = run_until_dead(arrays, guilty, 200)
    assert arrays.done
    lost = [event for event in read_events(arrays.folder) if event["event"] == "lost"]
    together = [event["trial"] for event in lost if event.get("apart")]
    assert len(together) == 3 and guilty in together
    # by itself it is lost so often as any trial may be, and once more; nobody else is
    assert {event["trial"] for event in lost if not event.get("apart")} == {guilty}
    assert sum(event["trial"] == guilty for event in lost) == out[guilty]
    held = record.load(arrays.folder).trials.set_index("trial")
    assert held.loc[guilty, "status"] == "failed"
    assert held.loc[guilty, "reason"].startswith("its job was lost")
    arrays.close()


def test_after_a_resume_too_each_member_of_a_lost_array_is_tried_by_itself(given, make_study):
    study, searcher, listener, _, held = given
    searcher.on_trial_complete("r1", error=True)
    listener.on_trial_error(1, [], ray_says(study, "r1", "The actor died: worker died"))
    folder = study.folder
    study.close()
    again = make_study(folder, text=ARRAYS)
    again.places = replace(again.places, arrays={0: 3, 1: 3})
    assert again._losses == {}
    jobs = [again.ask() for _ in held]
    assert [[one.trial for one in job.members()] for job in jobs] == [[trial] for trial in held]
    for job in jobs:  # once it has ended, a trial may be trained with others again
        again.tell(job.trial, outcome(job))
    assert not again._search.apart
    again.close()


def test_an_array_that_stands_still_costs_no_member_an_attempt(given, tmp_path):
    study, searcher, _, _, held = given
    members = searcher.jobs["r1"].members()
    searcher._forget("r1")
    death = Death("stalled", "", tmp_path / "stack.txt")
    searcher._died(Lost(members, True), None, death)
    assert told_of(study, "lost") == held and not told_of(study, "tell")
    assert all(not study.ask().others for _ in held)
    study.close()


def test_an_array_that_got_no_memory_is_half_as_large_from_then_on(given, make_study):
    """Of its cell, after a resume too; at every rung it would be ended anew."""
    study, searcher, _, _, held = given
    (cell,) = {study._search.jobs[trial].cell for trial in held}
    members = searcher.jobs["r1"].members()
    searcher._forget("r1")
    searcher._lost(Lost(members, True), None, "memory", "no memory left")
    assert [event["members"] for event in told_events(study, "lost")] == [3] * 3
    folder = study.folder
    sizes = {cell: 1, 1 - cell: 3}
    assert {number: study._most(number) for number in (0, 1)} == sizes
    study.close()
    again = make_study(folder, text=ARRAYS)
    again.places = replace(again.places, arrays={0: 3, 1: 3})
    assert {number: again._most(number) for number in (0, 1)} == sizes
    seen = {0: 0, 1: 0}
    while (job := again.ask()) is not None:
        number = again._search.jobs[job.trial].cell
        seen[number] = max(seen[number], len(job.members()))
        for member in job.members():
            again.tell(member.trial, outcome(member))
    assert seen == sizes
    again.close()


SHORT = {**VALUE, "members": 3}  # of three, each trained by itself for want of memory


def test_an_array_that_a_gpu_had_no_memory_for_is_half_as_large_from_then_on(arrays, make_study):
    """Its members have ended well, one by one; a resumed study makes the same arrays."""
    arrays.places = replace(arrays.places, arrays={0: 4, 1: 4})
    folder, first = arrays.folder, arrays.ask().members()
    assert len(first) == 4
    cell = arrays._search.jobs[first[0].trial].cell
    for member in first:
        arrays.tell(member.trial, {**outcome(member), "members": len(first)})
    assert [event["members"] for event in told_events(arrays, "tell")] == [4] * 4
    arrays.close()
    shutil.copytree(folder, folder.with_name("copy"))

    def rest(held: Path) -> list[list[str]]:
        study = make_study(held, text=ARRAYS)
        study.places = replace(study.places, arrays={0: 4, 1: 4})
        try:
            return drive_arrays(study)
        finally:
            study.close()

    found = rest(folder)
    assert found == rest(folder.with_name("copy"))
    largest = {0: 0, 1: 0}
    for trials in found:
        largest[int(trials[0][:2])] = max(largest[int(trials[0][:2])], len(trials))
    assert largest == {cell: 2, 1 - cell: 4}


def test_a_study_that_goes_on_asks_for_the_arrays_of_one_that_was_resumed(arrays, make_study):
    members = arrays.ask().members()
    for member in members:
        arrays.tell(member.trial, {**outcome(member), "members": len(members)})
    folder = arrays.folder
    shutil.copytree(folder, folder.with_name("copy"))
    on = drive_arrays(arrays)
    arrays.close()
    again = make_study(folder.with_name("copy"), text=ARRAYS)
    again.places = replace(again.places, arrays={0: 3, 1: 3})
    assert drive_arrays(again) == on
    again.close()


def test_members_that_a_worker_lost_after_they_had_no_memory_together_say_so_too(given):
    study, searcher, listener, ray_trial, held = given
    broken = {**FAILED, "infrastructure": "process", "members": 3}
    for trial in held:
        end(listener, ray_trial, trial, broken)
    searcher.on_trial_complete("r1", error=True)
    lost = told_events(study, "lost")
    assert [(event["cause"], event["members"]) for event in lost] == [("process", 3)] * 3
    assert min(study._most(number) for number in (0, 1)) == 1
    study.close()


def test_it_is_told_once_how_large_arrays_are_from_now_on(given):
    study, searcher, listener, ray_trial, held = given
    said: list[str] = []
    study._watcher.noted = said.append
    for trial in held:
        end(listener, ray_trial, trial, SHORT)
    searcher.on_trial_complete("r1")
    cell = int(held[0][:2])
    assert [text for text in said if "memory" in text] == [
        f"  there was no memory for 3 trials of cell {cell} as one: at most 1 are from now on"
    ]
    study.close()


def test_other_losses_of_an_array_leave_its_size(given):
    study, searcher, *_ = given
    members = searcher.jobs["r1"].members()
    searcher._forget("r1")
    searcher._lost(Lost(members, True), None, "process", "it died")
    assert all("members" not in event for event in told_events(study, "lost"))
    assert [study._most(number) for number in (0, 1)] == [3, 3]
    study.close()


@pytest.mark.parametrize(
    ("held", "members", "most"), [(None, 8, 4), (2, 8, 2), (4, 5, 2), (None, 3, 1), (1, 2, 1)]
)
def test_half_of_what_had_no_memory_is_tried(held, members, most):
    assert most_members(held, members) == most


def test_what_a_node_that_is_gone_had_counts_as_it_does_of_single_trials(given):
    """No member is why; they go on together."""
    study, searcher, _, _, held = given
    members = searcher.jobs["r1"].members()
    searcher._forget("r1")
    searcher._lost(Lost(members, True), None, "node", "its node is gone")
    assert {trial: held.times for trial, held in study._losses.items()} == dict.fromkeys(held, 1)
    assert len(study.ask().members()) == 3
    study.close()


@pytest.mark.parametrize("told", [{"unasked": True}, {"infrastructure": "import"}])
def test_what_keeps_an_array_from_beginning_costs_no_member_an_attempt(given, told):
    """Its first job alone is told of it, by what runs before an import."""
    study, searcher, listener, ray_trial, held = given
    end(listener, ray_trial, held[0], {"ending": "failed", "error": "no search", **told})
    searcher.on_trial_complete("r1", error="infrastructure" in told)
    assert told_of(study, "put back") == held
    assert not told_of(study, "tell")
    assert searcher.fault is None  # one worker, not three, lacked something
    study.close()


def test_members_that_had_ended_when_ray_died_are_told(given):
    study, searcher, listener, ray_trial, held = given
    end(listener, ray_trial, held[2], VALUE)
    _settle(study, searcher)
    assert told_of(study, "tell") == [held[2]]
    assert told_of(study, "put back") == held[:2]
    study.close()


# ---- what a worker reports of an array


ROW = {"epoch": 1, "lr": 0.1, "train_loss": 1.0, "val_accuracy": 0.5, "seconds": 1.0}


def test_what_members_report_together_is_taken_of_each(given):
    study, searcher, listener, ray_trial, held = given
    kinds = {"epoch": ROW, "end": VALUE}
    told = [{"kind": k, "trial": t, "payload": p} for t in held for k, p in kinds.items()]
    result = {"kind": "array", "trial": held[0], "payload": json.dumps(told), "value": math.nan}
    listener.on_trial_result(1, [], ray_trial, result)
    searcher.on_trial_complete("r1")
    assert told_of(study, "tell") == held
    study.close()
    curves = record.load(study.folder).curves
    assert set(curves["trial"]) == set(held)


def test_reports_of_an_array_that_come_together_are_one(arrays, monkeypatch):
    """Rows of an epoch are sent when a step is taken a second later, the last with the ends."""
    job, clock, sent, steps = arrays.ask(), [0.0], [], []
    names = [member.trial for member in job.members()]

    class Still:
        def alive(self) -> None:
            steps.append(clock[0])

        def paused(self) -> Any:
            return contextlib.nullcontext()

    def trained(worker_job: Any, reports: Any, alive: Any, other: Any) -> list[dict[str, Any]]:
        for at, epoch in ((0.0, 1), (0.5, 2), (3.0, 3)):
            clock[0] = at
            alive()
            for report in reports:
                report({**ROW, "epoch": epoch})
        return [VALUE for _ in reports]

    monkeypatch.setattr(ray_worker.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(ray_worker, "execute", trained)
    monkeypatch.setattr(ray_worker, "_report", lambda *held: sent.append(json.dumps(held)))
    ray_worker._run_array(job, Still(), lambda *held: None)
    assert steps == [0.0, 0.5, 3.0]
    reports = [json.loads(text) for text in sent]
    assert [(trial, kind) for trial, kind, _ in reports] == [(names[0], "array")] * 2
    first, last = (
        [(held["kind"], held["trial"], held["payload"]["epoch"]) for held in payload]
        for *_, payload in reports
    )
    assert first == [("epoch", name, epoch) for epoch in (1, 2) for name in names]
    ends = [("end", name, 1) for name in names]
    assert last == [("epoch", name, 3) for name in names] + ends
    arrays.close()


# ---- which cells have arrays


def sizes(text: str, rows: Sequence[dict[str, Any]] = ()) -> tuple[dict[int, int], list[str]]:
    said: list[str] = []
    return array_sizes(parse_spec(tomllib.loads(text), "tiny.toml"), rows, said.append), said


def test_arrays_are_of_every_cell_that_can_have_them():
    assert sizes(TEXT) == ({}, [])
    assert sizes(ARRAYS) == ({0: 3, 1: 3}, [])


@pytest.mark.parametrize(
    ("old", "new", "which", "why"),
    [
        ("seed = 3", 'seed = 3\nscheduler = "ray-asha"', {}, "'ray-asha' ends them one by one"),
        (
            "[fixed]",
            "[space.batch_size]\nlow = 8\nhigh = 16\n[fixed]",
            {},
            "batch_size of [space]",
        ),
        (
            "depth = [18, 34]",
            'network = ["resnet", "densenet121"]',
            {0: 3},
            "trials of cells [1] are trained singly, not as arrays: network = 'densenet121'",
        ),
    ],
)
def test_why_trials_are_trained_singly_is_told(old, new, which, why):
    found, said = sizes(ARRAYS.replace(old, new))
    assert found == which
    assert len(said) == 1 and why in said[0]


def test_auto_takes_what_was_measured_and_trains_singly_on_a_cpu():
    auto = ARRAYS.replace("array = 3", 'array = "auto"')
    found, said = sizes(auto)
    assert found == {} and "on a CPU arrays are no faster" in said[0]
    rows = [{"cells": [0], "array": 8}, {"cells": [1]}, {"cells": [0], "array": 4}]
    assert sizes(auto, rows) == ({0: 4, 1: 1}, [])


def taken(step_ms: float, peak_mb: float = 1_000.0) -> Taken:
    return Taken("Some GPU", peak_mb, 80_000.0, step_ms)


@pytest.mark.parametrize(
    ("part", "packs", "arrays", "size"),
    [
        (0.25, {4: taken(2.2)}, {2: taken(1.2), 4: taken(1.8), 8: taken(4.0)}, 4),
        (0.25, {4: taken(1.7)}, {2: taken(1.2), 4: taken(1.8)}, 1),  # packed trials do more
        (0.5, {2: taken(1.0), 4: taken(2.2)}, {2: taken(1.2), 4: taken(2.1)}, 1),  # two do
        (0.25, {4: taken(4.5)}, {2: taken(2.1), 4: taken(4.1)}, 4),  # asked for, so it is that
        (0.1, {8: taken(9.0)}, {8: taken(8.5)}, 8),  # of more than are measured, as of the most
        (1.0, {2: taken(2.1), 4: taken(4.5)}, {2: taken(2.1), 4: taken(4.1)}, 1),  # gains nothing
        (0.25, {}, {2: taken(1.2), 4: taken(2.3)}, 4),  # without MPS they take turns
        (0.25, {}, {2: taken(2.1), 4: taken(4.1)}, 1),
        (1.0, {}, {2: taken(1.9), 4: taken(4.5)}, 2),
        (0.6, {}, {2: taken(1.9)}, 2),  # no second one fits beside it
        (0.25, {}, {2: taken(0.5), 4: taken(1.8, 75_000.0)}, 2),
        (0.25, {}, {2: taken(0.5, 40_000.0), 4: taken(1.8)}, 4),  # more than two shares
        (0.25, {2: taken(1.9)}, {}, 1),
    ],
)
def test_the_fastest_array_that_fits_is_taken(part, packs, arrays, size):
    """A single step takes 1 ms."""
    assert fastest(taken(1.0), part, packs, arrays) == size


@pytest.mark.parametrize(
    ("part", "asked", "sizes"),
    [
        (1.0, False, []),
        (0.5, False, [2]),
        (1 / 3, False, [2, 3]),
        (0.25, False, [2, 4]),
        (0.1, True, [8]),
        (0.15, True, [6]),
        (0.5, True, [2]),
        (0.6, True, []),
        (2.0, True, []),
        (0.0, True, []),
    ],
)
def test_packs_are_measured_as_trials_will_be_packed(part, asked, sizes):
    assert sizes_of(part, asked) == sizes


def test_why_packs_are_left_out_is_told():
    assert "cores of a CPU" in why_no_packs("cpu", True)
    assert "no MPS daemon" in why_no_packs("cuda", False)
    assert why_no_packs("cuda", True) == ""


@pytest.mark.parametrize(
    ("step_ms", "broken", "part", "array", "why"),
    [
        ({2: 1.9, 4: 2.0}, 0, 0.25, 1, ""),  # four at once do twice as much as one
        ({2: 1.1, 4: 4.0}, 0, 0.5, 1, ""),
        ({2: 2.2, 4: 4.4}, 0, 1.0, 4, ""),  # no pack does more than one trial
        ({2: 1.5}, 4, 0.5, 4, "4: no memory"),
    ],
)
def test_of_all_ways_the_fastest_is_taken(tmp_path, step_ms, broken, part, array, why):
    """One trial takes 1 ms a step, an array of four 2.2; all fit the GPU."""
    text = ARRAYS.replace("array = 3", 'array = "auto"').replace(", 34", "")

    def there(function: Any, *told: Any) -> Any:
        if function is mps_active:
            return True
        if function is probe_task_pack:
            if told[6] == broken:
                raise PackError("no memory")
            return taken(step_ms[told[6]])
        return [taken(1.0)] if function is probe_task else {4: taken(2.2)}

    said: list[str] = []
    (row,) = measured(parse_spec(tomllib.loads(text), "tiny.toml"), tmp_path, there, said.append)
    assert (row["share"], row["array"], row["no_packs"]) == (part, array, why)
    assert list(row["packs"]) == [str(size) for size in step_ms]
    assert f"; {1 / part:.0f} trials share a GPU" in said[1]


@pytest.mark.parametrize(
    ("asked", "mps", "size"),
    [
        ("", True, 2),
        ("0.1", True, 1),
        ("1.0", True, 2),
        ('{ "18" = 0.5 }', True, 1),
        ('{ "18" = 0.5 }', False, 2),
    ],
)
def test_arrays_are_judged_by_the_share_that_trials_will_have(tmp_path, asked, mps, size):
    """Measured, one fills the GPU; an array of two does 1.6 times as much, in a quarter of it."""
    asked = f"gpus_per_trial = {asked}\n" if asked else ""
    text = ARRAYS.replace("array = 3", f'array = "auto"\n{asked}').replace(", 34", "")
    spec = parse_spec(tomllib.loads(text), "tiny.toml")

    def there(function: Any, *told: Any) -> Any:
        if function is mps_active:
            return mps
        if function is probe_task:
            return [taken(1.0, 50_000.0)]
        if function is probe_task_pack:
            assert told[6] == (8 if "0.1" in asked else 2)
            return taken(told[6] / 1.8)
        assert function is probe_task_arrays
        return {2: taken(1.25, 20_000.0)}

    said: list[str] = []
    (row,) = measured(spec, tmp_path, there, said.append)
    assert (row["share"], row["array"]) == (1.0, size)
    assert ("would fit a GPU" in said[0]) == bool(asked)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_arrays_are_measured_by_real_steps_and_kept_on_record(tmp_path, monkeypatch):
    """Here on the CPU, two sizes; the GPU's name and memory are given."""
    monkeypatch.setattr(ways, "ARRAYS", (2, 3))
    held = tomllib.loads(ARRAYS.replace("array = 3", 'array = "auto"').replace(", 34", ""))
    held["fixed"] |= {"train_images": 32, "val_images": 8, "test_images": 8, "batch_size": 8}
    spec = parse_spec(held, "tiny.toml")

    def on_gpu(function: Any, *told: Any) -> Any:
        if function is mps_active:
            return False
        name, configs, data_dir, seed, kind, folder = told
        assert kind == "cuda"
        if function is probe_task:
            return [Taken("Some GPU", 1_000.0, 80_000.0, 1e6) for _ in configs]
        assert function is probe_task_arrays
        found = function(name, configs, data_dir, seed, "cpu", folder)
        return {
            size: replace(one, device="Some GPU", total_mb=80_000.0) for size, one in found.items()
        }

    said: list[str] = []
    (row,) = measured(spec, tmp_path, on_gpu, said.append)
    assert list(row["arrays"]) == ["2", "3"]
    assert all(0 < one["step_ms"] < 60_000 for one in row["arrays"].values())
    assert row["array"] in (2, 3)
    assert f"{row['array']} trained as one" in said[-1]
    assert json.loads(json.dumps(row)) == row


def test_an_array_of_none_is_refused():
    with pytest.raises(SpecError, match=r"resources\.array"):
        parse_spec(tomllib.loads(TEXT + "[resources]\narray = 0\n"), "tiny.toml")
