"""The other rules: cell-stop against its promises, our copy of Ray's rule against Ray's own."""

import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.schedule.rules import SIMULATED, cell_stop, ray_asha
from search.spec.plan import Plan, rungs
from tests.search.schedule.logged import Logged

PLAN = Plan(9, (1, 3, 9), 3, 1, "max", ())


def run(scheduler, outcome, workers=1, seed=0):
    """Drive to the end, jobs ending in random order; the jobs that ended, in order."""
    running, history, rng = [], [], random.Random(seed)
    while True:
        while len(running) < workers and (job := scheduler.ask()) is not None:
            running.append(job)
        if not running:
            return history
        job = running.pop(rng.randrange(len(running)))
        scheduler.tell(job, *outcome(job))
        history.append(job)


def of(scheduler, verdict, cell=0):
    return [
        d["trial"] for d in scheduler.decisions if (d["verdict"], d["cell"]) == (verdict, cell)
    ]


def test_cell_stop_ranks_the_newcomer_with_its_rung():
    """Ever worse arrivals: only the first passes; ever better ones: all do."""
    worse, better = Logged(1, PLAN, rule=cell_stop), Logged(1, PLAN, rule=cell_stop)
    run(worse, lambda job: ("value", -float(job.config)))
    assert of(worse, "complete") == ["00-000"]
    assert len(of(worse, "stop")) == 8
    run(better, lambda job: ("value", float(job.config)))
    assert len(of(better, "complete")) == 9


def test_cell_stop_lets_the_best_third_of_a_large_rung_pass():
    scheduler = Logged(1, replace(PLAN, trials_per_cell=30, rungs=(1, 2)), rule=cell_stop)
    values = random.Random(0).sample(range(30), 30)
    run(scheduler, lambda job: ("value", float(values[job.config])))
    seen = []
    expected = []
    for number, value in enumerate(values):
        seen.append(value)
        rank = sorted(seen, reverse=True).index(value) + 1
        if rank <= max(1, len(seen) // 3):
            expected.append(f"00-{number:03d}")
    assert sorted(of(scheduler, "complete")) == expected


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.sampled_from([2, 2.5, 3]), st.integers(0, 10**6), st.integers(1, 8))
def test_cell_stop_fills_every_cell_too(full, eta, seed, workers):
    plan = Plan(9, rungs(27, 1, eta), eta, full, "min", (), 1)

    def outcome(job):
        rng = random.Random(f"{seed} {job.trial} {job.to_epoch}")
        return ("diverged", math.nan) if rng.random() < 0.1 else ("value", rng.random())

    scheduler = Logged(3, plan, rule=cell_stop)
    run(scheduler, outcome, workers, seed)
    assert scheduler.done
    for cell in range(3):
        lost = len(of(scheduler, "diverged", cell))
        assert len(of(scheduler, "complete", cell)) >= min(full, 9 - lost)


def test_a_trial_that_goes_on_keeps_its_worker():
    """One worker: a job that passes its rung is followed by the same trial's next."""
    history = run(Logged(2, PLAN, rule=cell_stop), lambda job: ("value", float(job.config)))
    for before, after in itertools.pairwise(history):
        if before.to_epoch < 9:
            assert (after.trial, after.from_epoch) == (before.trial, before.to_epoch)


class _Trial:
    def __init__(self, name):
        self.trial_id = name


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(81, 9, 3), (100, 1, 4), (16, 1, 2)]),
    st.sampled_from(["max", "min"]),
    st.integers(1, 8),
    st.integers(0, 10**6),
)
def test_our_copy_of_rays_rule_decides_as_rays_own(budget, mode, workers, seed):
    """Every decision of Ray's AsyncHyperBandScheduler, given the same reports in that order."""
    from ray.tune.schedulers import AsyncHyperBandScheduler

    most, grace, eta = budget
    theirs = AsyncHyperBandScheduler(
        time_attr="epoch",
        metric="value",
        mode=mode,
        max_t=most,
        grace_period=grace,
        reduction_factor=eta,
        stop_last_trials=False,
    )
    plan = Plan(12, rungs(most, grace, eta), eta, 1, mode, ())
    ours, known, answers = Logged(2, plan, rule=ray_asha), {}, {}

    def outcome(job):
        value = random.Random(f"{seed} {job.trial} {job.to_epoch}").random()
        if job.from_epoch == job.to_epoch:
            return "value", value
        if job.trial not in known:
            known[job.trial] = _Trial(job.trial)
            theirs.on_trial_add(None, known[job.trial])
        result = {"epoch": job.to_epoch, "value": value}
        if job.to_epoch < most:
            answers[job.trial, job.to_epoch] = theirs.on_trial_result(
                None, known[job.trial], result
            )
        return "value", value

    run(ours, outcome, workers, seed)
    mine = {
        (d["trial"], d["epoch"]): "STOP" if d["verdict"] == "stop" else "CONTINUE"
        for d in ours.decisions
        if d["verdict"] in ("stop", "promote")
    }
    assert mine == answers


@pytest.mark.parametrize("rule", SIMULATED)
def test_a_job_of_every_rule_starts_where_the_last_one_ended(rule):
    at = {}
    for job in run(
        Logged(2, PLAN, rule=SIMULATED[rule]), lambda job: ("value", -float(job.config)), 3
    ):
        assert job.from_epoch == at.get(job.trial, 0)
        at[job.trial] = job.to_epoch
