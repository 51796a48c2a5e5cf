"""What is left of a study, and how it is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from search import record
from search.record import read_events
from search.record.outlook import (
    Outlook,
    duration,
    in_words,
    outlook,
    outlook_line,
    paces_of,
    workers_of,
)
from search.record.planned import plan_of
from search.spec.cells import make_plan
from search.spec.plan import expected_epochs
from tests.search import conftest
from tests.search.conftest import TEXT, drive

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "change",
    [
        ("audit_share = 0.4", ""),
        ("", ""),
        ("seed = 3", 'seed = 3\nscheduler = "none"'),
        ("[confirm]\nseeds = [1, 2]", ""),
    ],
)
def test_the_budget_on_record_is_that_of_the_file(make_study, change):
    study = make_study(text=TEXT.replace(*change))
    assert plan_of(record.load_study(study.folder)) == make_plan(study.spec).__class__(
        **{**vars(make_plan(study.spec)), "retries": 1}
    )
    study.run.close()


def test_before_the_first_job_all_is_left(make_study):
    study = make_study()
    held = record.load(study.folder)
    plan = make_plan(study.spec)
    every = sum(expected_epochs(plan, cell) for cell in range(2))
    assert outlook(held, {}) == Outlook(0, every, 0, None)
    assert "when it ends is not known yet" in outlook_line(held)
    study.run.close()
    assert outlook_line(record.load(study.folder)) == ""  # nobody runs it


@pytest.mark.long
@pytest.mark.parametrize("lucky", [True, False])
def test_what_is_left_comes_to_nothing_when_all_is_done(make_study, monkeypatch, lucky):
    if lucky:

        class Luck(conftest.random.Random):
            def random(self):
                return 0.2 + 0.8 * super().random()

        monkeypatch.setattr(conftest.random, "Random", Luck)
    study = make_study()
    whole = [outlook(record.load(study.folder), {})]
    while drive(study, most=2):
        held = record.load(study.folder)
        whole.append(outlook(held, paces_of(held)))
    assert whole[-1].left == 0
    assert whole[-1].done == int(held.trials["epochs"].sum())
    lefts = [seen.left for seen in whole]
    if lucky:  # nothing fails: only what is promoted early, or audited besides, is more
        assert lefts == sorted(lefts, reverse=True)
        sums = [seen.done + seen.left for seen in whole]
        assert max(sums) - min(sums) <= 0.2 * whole[0].left
    study.run.close()


def test_the_time_left_is_by_pace_and_jobs_and_no_shorter_than_a_chain(make_study):
    study = make_study()
    drive(study, most=3)
    jobs = [study.ask(), study.ask()]
    held = record.load(study.folder)
    seen = outlook(held, {0: 10.0, 1: 10.0})
    assert seen.jobs == len(jobs) == 2
    assert seen.seconds == pytest.approx(10.0 * seen.left / 2)
    slow = outlook(held, {0: 1.0, 1: 1000.0})
    assert slow.seconds >= 1000.0 * 2 * 4 - 4 * 1000.0  # a search to its end, then a seed
    assert outlook(held, {0: 10.0}).seconds == seen.seconds  # the other cell takes the mean
    study.run.close()


def test_words():
    assert in_words(Outlook(120, 220, 3, 7800.0), NOON) == (
        "120 of about 340 epochs; 3 jobs at once; about 2 h 10 min to go, until 14:10"
    )
    far = in_words(Outlook(1, 9, 1, 86400.0 * 3), NOON)
    assert far.startswith("1 of about 10 epochs; 1 job at a time; ")
    assert far.endswith("about 3 d 0 h to go, until 2026-01-05 12:00")
    assert [duration(s) for s in (0.4, 89, 90, 5340, 5400, 172800)] == [
        "0 s",
        "89 s",
        "2 min",
        "89 min",
        "1 h 30 min",
        "2 d 0 h",
    ]


def test_trials_that_are_trained_together_have_one_worker(make_study):
    """A row's seconds are a share of the time: an epoch of a member takes that of all."""
    study = make_study(text=TEXT + "\n[resources]\narray = 2\n")
    drive(study, most=2)
    study.places = replace(study.places, arrays={0: 2, 1: 2})
    first, second = study.ask(), study.ask()
    assert len(first.members()) == len(second.members()) == 2
    held, paces = record.load(study.folder), {0: 10.0, 1: 10.0}
    workers = workers_of(read_events(study.folder))
    seen, one_by_one = outlook(held, paces, workers), outlook(held, paces)
    assert (seen.jobs, one_by_one.jobs) == (workers, one_by_one.jobs) == (2, 4)
    assert seen.seconds == pytest.approx(10.0 * seen.left / 2)
    assert "2 jobs at once; about" in outlook_line(held)
    slow = {0: 1.0, 1: 1000.0}
    assert outlook(held, slow, 2).seconds == pytest.approx(2 * outlook(held, slow).seconds)
    study.run.close()


def test_an_array_that_is_handed_out_again_has_one_worker_too(make_study):
    study = make_study(text=TEXT + "\n[resources]\narray = 2\n")
    study.places = replace(study.places, arrays={0: 2, 1: 2})
    names = [job.trial for job in study.ask().members()]
    study.put_back_all()
    assert workers_of(read_events(study.folder)) == 0
    assert [job.trial for job in study.ask().members()] == names
    assert workers_of(read_events(study.folder)) == 1
    study.run.close()
