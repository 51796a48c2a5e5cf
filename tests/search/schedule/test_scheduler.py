"""The scheduler against its promises: properties over random plans, outcomes and arrivals."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.schedule.rules import cell_promote, cell_stop
from search.spec.plan import (
    Plan,
    audited,
    expected_epochs,
    reaching_at_most,
    rungs,
    search_epochs,
)
from tests.search.schedule.logged import Logged

PLAN = Plan(9, (1, 3, 9), 3, 1, "max", (), 1)


@st.composite
def plans(draw):
    trials = draw(st.integers(1, 10))
    grace, eta = draw(st.sampled_from([1, 2, 3, 27])), draw(st.sampled_from([2, 2.5, 3, 4]))
    return Plan(
        trials,
        rungs(27, grace, eta),
        eta,
        draw(st.integers(1, trials)),
        draw(st.sampled_from(["max", "min"])),
        tuple(range(1, 1 + draw(st.integers(0, 3)))),
        draw(st.integers(0, 2)),
        draw(st.sampled_from([0.0, 0.05, 0.5, 1.0])),
        draw(st.integers(0, 99)),
    )


def run(scheduler, rng, workers, outcome):
    """Drive a scheduler to its end, jobs ending in random order; (job, ending, value) each."""
    running, history = [], []
    while True:
        while len(running) < workers and (job := scheduler.ask()) is not None:
            running.append(job)
        if not running:
            return history
        job = running.pop(rng.randrange(len(running)))
        ending, value = outcome(job, rng)
        scheduler.tell(job, ending, value)
        history.append((job, ending, value))


def mostly_fine(job, rng):
    draw = rng.random()
    if draw < 0.08:
        return "failed", math.nan
    return ("diverged", math.nan) if draw < 0.16 else ("value", rng.random())


def always_fine(job, rng):
    return "value", rng.random()


def verdicts(scheduler, cell, verdict):
    return [d for d in scheduler.decisions if d["cell"] == cell and d["verdict"] == verdict]


def searched(decisions):
    return {d["trial"] for d in decisions if "seed" not in d["trial"]}


@settings(max_examples=150, deadline=None)
@given(plans(), st.integers(0, 10**6), st.integers(1, 8))
def test_every_cell_is_filled_or_its_losses_explain_why(plan, seed, workers):
    scheduler = Logged(3, plan)
    run(scheduler, random.Random(seed), workers, mostly_fine)
    assert scheduler.done
    for cell in range(3):
        full = searched(verdicts(scheduler, cell, "complete"))
        lost = searched(
            verdicts(scheduler, cell, "failed") + verdicts(scheduler, cell, "diverged")
        )
        assert len(full) >= min(plan.full_per_cell, plan.trials_per_cell - len(lost))


@settings(max_examples=150, deadline=None)
@given(plans(), st.integers(0, 10**6), st.integers(1, 8))
def test_no_epoch_is_trained_twice(plan, seed, workers):
    """A job starts where the trial's last successful one ended."""
    scheduler = Logged(2, plan)
    at = {}
    for job, ending, _ in run(scheduler, random.Random(seed), workers, mostly_fine):
        assert job.from_epoch == at.get(job.trial, 0)
        if ending == "value":
            at[job.trial] = job.to_epoch


@settings(max_examples=150, deadline=None)
@given(plans(), st.integers(0, 10**6), st.integers(1, 8))
def test_work_without_losses_stays_within_the_previewed_bound(plan, seed, workers):
    """Whatever is promoted early and wrongly."""
    scheduler = Logged(2, plan)
    history = run(scheduler, random.Random(seed), workers, always_fine)
    for cell in range(2):
        spent = sum(
            j.to_epoch - j.from_epoch
            for j, *_ in history
            if j.cell == cell and j.stage == "search"
        )
        assert spent <= search_epochs(plan, reaching_at_most(plan))


@settings(max_examples=150, deadline=None)
@given(plans(), st.integers(0, 10**6), st.integers(1, 8))
def test_work_with_losses_never_exceeds_every_trial_in_full(plan, seed, workers):
    """Failed tries aside: a job that failed has come to nothing."""
    scheduler = Logged(2, plan)
    history = run(scheduler, random.Random(seed), workers, mostly_fine)
    spent = sum(
        j.to_epoch - j.from_epoch for j, ending, _ in history if ending == "value" and not j.seed
    )
    assert spent <= 2 * plan.trials_per_cell * plan.rungs[-1]


@settings(max_examples=100, deadline=None)
@given(plans(), st.integers(0, 10**6))
def test_one_worker_spends_exactly_the_expected_epochs(plan, seed):
    """With one worker nothing idles, so nothing is promoted early."""
    scheduler = Logged(2, plan)
    history = run(scheduler, random.Random(seed), 1, always_fine)
    spent = sum(j.to_epoch - j.from_epoch for j, *_ in history)
    assert spent == sum(expected_epochs(plan, cell) for cell in range(2))


@settings(max_examples=60, deadline=None)
@given(plans(), st.integers(0, 10**6))
def test_a_cells_outcome_does_not_depend_on_another_cells_values(plan, seed):
    def values(other):
        def outcome(job, rng):
            own = random.Random(f"{seed} {job.trial} {job.to_epoch}").random()
            return "value", own if job.cell == 0 else own * other

        scheduler = Logged(2, plan)
        run(scheduler, random.Random(seed), 1, outcome)
        return [d for d in scheduler.decisions if d["cell"] == 0]

    assert values(1.0) == values(-1000.0)


@settings(max_examples=60, deadline=None)
@given(plans(), st.integers(0, 10**6), st.integers(1, 8), st.integers(0, 60))
def test_replay_gives_the_same_scheduler(plan, seed, workers, cut):
    """The asks and tells so far, given to a new scheduler, lead to the same later decisions."""
    events, rng = [], random.Random(seed)
    scheduler = Logged(2, plan)
    running = []
    while len(events) < cut:
        if len(running) < workers and (job := scheduler.ask()) is not None:
            running.append(job)
            events.append(("ask", job))
        elif running:
            job = running.pop(rng.randrange(len(running)))
            told = mostly_fine(job, rng)
            scheduler.tell(job, *told)
            events.append(("tell", job, *told))
        else:
            break
    again = Logged(2, plan)
    for kind, job, *told in events:
        if kind == "ask":
            assert again.ask() == job
        else:
            again.tell(job, *told)
    assert str(again.decisions) == str(scheduler.decisions)
    assert again.running == scheduler.running
    ends = []
    for held in (scheduler, again):
        later = random.Random(seed + 1)
        for job in held.running:
            held.tell(job, *mostly_fine(job, later))
        run(held, later, workers, mostly_fine)
        ends.append(str(held.decisions))
    assert ends[0] == ends[1]


def drive(plan, values, cells=1):
    """One worker; the value of a job is `values(job)`, "fail" for a failure."""
    scheduler = Logged(cells, plan)

    def outcome(job, rng):
        value = values(job)
        return ("failed", math.nan) if value == "fail" else ("value", value)

    return scheduler, run(scheduler, random.Random(0), 1, outcome)


def test_the_best_of_a_cell_climb():
    _, history = drive(PLAN, lambda job: float(job.config))
    at = {
        rung: sorted({j.config for j, *_ in history if j.to_epoch == rung}) for rung in (1, 3, 9)
    }
    assert at == {1: list(range(9)), 3: [6, 7, 8], 9: [8]}


def test_min_metrics_promote_the_smallest():
    _, history = drive(replace(PLAN, mode="min"), lambda job: float(job.config))
    assert {j.config for j, *_ in history if j.to_epoch == 9} == {0}


def test_a_tie_goes_to_the_earlier_config():
    _, history = drive(PLAN, lambda job: 1.0)
    assert {j.config for j, *_ in history if j.to_epoch == 9 and j.from_epoch == 3} == {0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_out_of_the_rung_at_once(bad):
    scheduler, history = drive(PLAN, lambda job: bad if job.config == 8 else float(job.config))
    assert [d["trial"] for d in scheduler.decisions if d["verdict"] == "diverged"] == ["00-008"]
    assert sum(j.config == 8 for j, *_ in history) == 1
    assert {j.config for j, *_ in history if j.to_epoch == 9} == {7}


def test_a_failed_leader_is_replaced_by_the_next_best():
    scheduler, _ = drive(
        PLAN, lambda job: "fail" if job.config == 8 and job.to_epoch == 9 else float(job.config)
    )
    assert [d["trial"] for d in scheduler.decisions if d["verdict"] == "replace"] == ["00-007"]
    assert searched(verdicts(scheduler, 0, "complete")) == {"00-007"}


def test_a_failed_job_is_run_again_as_often_as_the_plan_says():
    _, history = drive(replace(PLAN, retries=2), lambda job: "fail" if job.config == 0 else 1.0)
    assert sum(j.config == 0 for j, *_ in history) == 3


def test_retries_count_anew_for_every_job_of_a_trial():
    """Retries = 1, and every job fails once: nothing is lost."""
    failed = set()

    def once(job):
        if job in failed:
            return float(job.config)
        failed.add(job)
        return "fail"

    scheduler, history = drive(replace(PLAN, retries=1), once)
    assert not verdicts(scheduler, 0, "failed")
    assert [j.score_test for j, *_ in history][-2:] == [True, True]


def test_a_cell_that_keeps_fewer_than_promised_says_so():
    scheduler, _ = drive(
        replace(PLAN, full_per_cell=3), lambda job: 1.0 if job.config == 0 else math.nan
    )
    (short,) = [d for d in scheduler.decisions if d["verdict"] == "short"]
    assert (short["cell"], short["n"], short["epoch"]) == (0, 1, 9)


def test_a_loss_is_on_record_at_the_epoch_that_was_surely_reached():
    scheduler, _ = drive(
        PLAN, lambda job: "fail" if job.config == 8 and job.to_epoch == 9 else float(job.config)
    )
    lost = [d["epoch"] for d in scheduler.decisions if d["verdict"] in ("retry", "failed")]
    assert set(lost) == {3}


def test_a_cell_of_losses_alone_ends_empty():
    scheduler, _ = drive(PLAN, lambda job: math.nan)
    assert [d["verdict"] for d in scheduler.decisions][-1] == "empty"
    assert scheduler.done


def test_the_winner_is_confirmed_over_the_seeds_and_scored_on_test():
    _, history = drive(replace(PLAN, confirm_seeds=(5, 6)), lambda job: float(job.config))
    confirm = [j for j, *_ in history if j.stage == "confirm"]
    assert [(j.config, j.seed, j.from_epoch, j.to_epoch) for j in confirm] == [
        (8, 5, 0, 9),
        (8, 6, 0, 9),
    ]
    assert all(j.score_test for j in confirm)
    assert not any(j.score_test for j, *_ in history if j.stage == "search")


def test_without_confirmation_the_winner_alone_is_scored_on_test():
    _, history = drive(PLAN, lambda job: float(job.config))
    assert [(j.config, j.from_epoch, j.to_epoch) for j, *_ in history if j.score_test] == [
        (8, 9, 9)
    ]


def test_nothing_to_search_goes_straight_to_the_seeds():
    plan = Plan(0, (50,), 3, 1, "min", (42,), 1)
    _, history = drive(plan, lambda job: 1.0, cells=2)
    assert [(j.trial, j.to_epoch, j.score_test) for j, *_ in history] == [
        ("00-seed42", 50, True),
        ("01-seed42", 50, True),
    ]


def test_a_free_worker_waits_rather_than_promote_early_while_there_are_new_trials():
    scheduler = Logged(1, PLAN)
    jobs = [scheduler.ask() for _ in range(8)]
    for job in jobs:
        scheduler.tell(job, "value", float(job.config))
    assert scheduler.ask().config == 8  # new, though seven trials could be ranked
    early = scheduler.ask()
    assert (early.config, early.to_epoch) == (7, 3)  # now it would idle
    assert scheduler.decisions[-1]["verdict"] == "promote early"


def test_confirmation_waits_for_new_trials_and_comes_before_early_promotions():
    """So that the cells finish together, and no seed is held up by a guess."""
    scheduler = Logged(2, replace(PLAN, trials_per_cell=3, confirm_seeds=(5,)))
    jobs = [scheduler.ask() for _ in range(6)]
    for job in jobs:
        if job.cell == 0:
            scheduler.tell(job, "value", 0.5)
    for _ in range(2):  # cell 0 climbs to its end while cell 1 is at its first rung
        scheduler.tell(scheduler.ask(), "value", 0.5)
    for job in jobs[1:4:2]:
        scheduler.tell(job, "value", 0.5)  # two of three: one could be promoted early
    assert scheduler.ask().stage == "confirm"


def test_cells_start_evenly():
    scheduler = Logged(3, PLAN)
    assert [scheduler.ask().cell for _ in range(6)] == [0, 1, 2, 0, 1, 2]


def test_telling_a_job_twice_is_an_error():
    scheduler = Logged(1, PLAN)
    job = scheduler.ask()
    scheduler.tell(job, "value", 1.0)
    with pytest.raises(KeyError):
        scheduler.tell(job, "value", 1.0)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((81, 9, 3), (9, 27, 81)),
        ((200, 7, 3), (7, 21, 63, 189, 200)),
        ((10, 10, 3), (10,)),
        ((27, 3, 2.5), (3, 8, 19, 27)),
        ((4, 1, 1.2), (1, 2, 3, 4)),
    ],
)
def test_rungs_grow_by_eta_and_end_at_the_budget(arguments, expected):
    assert rungs(*arguments) == expected


# -- audit ----------------------------------------------------------------------------------------


def audits(history):
    return [job for job, *_ in history if job.stage == "audit"]


def test_audited_trials_run_from_their_rung_to_the_end_and_are_never_selected():
    """Every ended trial audited, and every audit better than the winner: it changes nothing."""
    scheduler, history = drive(
        replace(PLAN, audit_share=1.0),
        lambda job: 100.0 + job.config if job.stage == "audit" else float(job.config),
    )
    jobs = audits(history)
    assert sorted((j.config, j.from_epoch, j.to_epoch) for j in jobs) == [
        *((config, 1, 9) for config in range(6)),
        (6, 3, 9),
        (7, 3, 9),
    ]
    assert not any(job.score_test for job in jobs)
    assert [d["trial"] for d in scheduler.decisions if d["verdict"] == "select"] == ["00-008"]
    assert [d["value"] for d in scheduler.decisions if d["verdict"] == "audited"] == [
        100.0 + job.config for job in jobs
    ]


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 1), st.integers(0, 500))
def test_the_audited_share_is_right_over_many_cells(share, seed):
    ended = [audited(replace(PLAN, audit_share=share, seed=seed), cell, 8) for cell in range(400)]
    assert abs(sum(map(len, ended)) / 3200 - share) < 0.03
    assert all(len(picks) in (int(8 * share), int(8 * share) + 1) for picks in ended)


def test_without_a_share_nothing_is_audited():
    assert audits(drive(PLAN, lambda job: float(job.config))[1]) == []


def test_an_audit_that_fails_costs_the_cell_nothing():
    scheduler, _ = drive(
        replace(PLAN, audit_share=1.0),
        lambda job: "fail" if job.stage == "audit" else float(job.config),
    )
    assert scheduler.done
    assert searched(verdicts(scheduler, 0, "complete")) == {"00-008"}
    assert len(verdicts(scheduler, 0, "failed")) == 8


# -- what has failed for good, run again ----------------------------------------------------------


def often_failing(job, rng):
    return ("failed", math.nan) if rng.random() < 0.5 else ("value", rng.random())


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([cell_promote, cell_stop]),
    plans(),
    st.integers(0, 10**6),
    st.integers(1, 8),
    st.integers(0, 60),
)
def test_after_a_retry_every_cell_has_a_winner_and_each_seed_once(
    rule, plan, seed, workers, early
):
    """Also when jobs are put back in the middle of a search."""
    rng, scheduler = random.Random(seed), Logged(3, plan, rule=rule)
    running = []
    for _ in range(early):
        if len(running) < workers and (job := scheduler.ask()) is not None:
            running.append(job)
        elif running:
            job = running.pop(rng.randrange(len(running)))
            scheduler.tell(job, *often_failing(job, rng))
    scheduler.retry()
    for job in running:
        scheduler.tell(job, *often_failing(job, rng))
    run(scheduler, rng, workers, often_failing)
    scheduler.retry()
    run(scheduler, rng, workers, always_fine)
    assert scheduler.done
    assert scheduler.failed == []
    for cell in range(3):
        assert len(verdicts(scheduler, cell, "select")) == 1
        complete = [d["trial"] for d in verdicts(scheduler, cell, "complete") if not d["rank"]]
        assert sorted(complete) == [f"{cell:02d}-seed{n}" for n in plan.confirm_seeds]
        audits = {d["trial"] for d in verdicts(scheduler, cell, "audit")}
        assert {d["trial"] for d in verdicts(scheduler, cell, "audited")} == audits


def test_a_failed_seed_comes_back_from_its_start_and_the_winner_stays():
    plan = replace(PLAN, confirm_seeds=(5, 6))
    scheduler, _ = drive(plan, lambda job: "fail" if job.seed == 6 else float(job.config))
    assert scheduler.done
    assert "00-seed6" in scheduler.wanted(0)  # its checkpoint
    scheduler.retry()
    assert not scheduler.done
    history = run(scheduler, random.Random(0), 1, lambda job, rng: ("value", 0.5))
    assert [(j.trial, j.from_epoch, j.to_epoch, j.score_test) for j, *_ in history] == [
        ("00-seed6", 0, 9, True)
    ]
    assert len(verdicts(scheduler, 0, "select")) == 1


def test_a_failed_config_of_a_cell_with_a_winner_stays_lost():
    scheduler, _ = drive(PLAN, lambda job: "fail" if job.config == 8 else float(job.config))
    scheduler.retry()
    assert scheduler.done
    assert searched(verdicts(scheduler, 0, "complete")) == {"00-007"}


def test_a_failed_config_comes_back_into_a_search_that_goes_on():
    """It reaches its rung as any other; the rung's places are counted anew."""
    scheduler = Logged(1, replace(PLAN, retries=0))
    *others, best = [scheduler.ask() for _ in range(9)]
    scheduler.tell(best, "failed")
    for job in others:
        scheduler.tell(job, "value", float(job.config))
    promoted = [d["trial"] for d in scheduler.decisions if d["verdict"] == "promote"]
    assert promoted == ["00-007", "00-006"]  # of eight, two
    scheduler.retry()
    assert scheduler.ask() == best
    scheduler.tell(best, "value", 8.0)
    promoted = {d["trial"] for d in scheduler.decisions if d["verdict"] == "promote"}
    assert promoted == {"00-006", "00-007", "00-008"}
    last = run(scheduler, random.Random(0), 1, lambda j, rng: ("value", float(j.config)))
    assert last[-1][0].config == 8


def test_an_empty_cell_is_searched_again():
    scheduler, _ = drive(PLAN, lambda job: "fail")
    assert verdicts(scheduler, 0, "empty")
    scheduler.retry()
    history = run(scheduler, random.Random(0), 1, lambda job, rng: ("value", float(job.config)))
    assert len([j for j, *_ in history if j.to_epoch == 1]) == 9
    assert [d["trial"] for d in verdicts(scheduler, 0, "select")] == ["00-008"]


def test_what_diverged_is_a_result_and_not_run_again():
    scheduler, _ = drive(PLAN, lambda job: math.nan)
    scheduler.retry()
    assert scheduler.done


# -- what is kept ---------------------------------------------------------------------------------


def test_every_trial_is_wanted_until_its_cell_is_decided_then_only_those_with_a_job():
    scheduler = Logged(1, replace(PLAN, audit_share=1.0))
    while (job := scheduler.ask()) is not None and job.stage == "search":
        wanted = scheduler.wanted(0)
        assert wanted is None or job.trial in wanted
        scheduler.tell(job, "value", float(job.config))
    assert job.trial in scheduler.wanted(0)
    assert len(scheduler.wanted(0)) == 9  # eight audits, and the winner to be scored on test


# -- large trials first ---------------------------------------------------------------------------


def test_among_jobs_of_the_same_standing_large_trials_go_first():
    scheduler = Logged(3, PLAN, sizes=[0.25, 1.0, 0.5])
    assert [scheduler.ask().cell for _ in range(6)] == [1, 2, 0, 1, 2, 0]


class Oracle:
    """What the paper's rule allows, from the history of asks and tells alone."""

    def __init__(self, cells, plan):
        self.plan, self.started = plan, [0] * cells
        self.values = [[{} for _ in plan.rungs] for _ in range(cells)]
        self.gone = [[set() for _ in plan.rungs] for _ in range(cells)]

    def asked(self, job):
        if job.stage == "search" and job.from_epoch == 0:
            self.started[job.cell] += 1
        elif job.stage == "search" and job.from_epoch < job.to_epoch:
            self.gone[job.cell][self.plan.rungs.index(job.from_epoch)].add(job.config)

    def told(self, job, value):
        if job.stage == "search" and job.from_epoch < job.to_epoch:
            self.values[job.cell][self.plan.rungs.index(job.to_epoch)][job.config] = value

    def allowed(self, cell):
        """A new trial, or one of the best floor(m/eta) of a rung that has not gone on."""
        if self.started[cell] < self.plan.trials_per_cell:
            return True
        for rung in range(len(self.plan.rungs) - 1):
            held, gone = self.values[cell][rung], self.gone[cell][rung]
            share = int(len(held) / self.plan.reduction_factor)
            top = sorted(held, key=lambda c: (-held[c], c))[:share]
            if len(gone) < share and any(config not in gone for config in top):
                return True
        return False


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.sampled_from([2, 3, 4]), st.integers(1, 64), st.integers(0, 10**6))
def test_no_worker_idles_while_a_job_is_allowed(trials, eta, workers, seed):
    plan = Plan(trials, rungs(27, 1, eta), eta, 1, "max", ())
    scheduler, oracle, rng = Logged(3, plan), Oracle(3, plan), random.Random(seed)
    running = []
    while not scheduler.done:
        while len(running) < workers and (job := scheduler.ask()) is not None:
            oracle.asked(job)
            running.append(job)
        if len(running) < workers:
            assert not any(oracle.allowed(cell) for cell in range(3))
        job = running.pop(rng.randrange(len(running)))
        value = rng.random()
        scheduler.tell(job, "value", value)
        oracle.told(job, value)
