"""What a search does with trials whose predictions hardly differ any more."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.schedule.rules import cell_promote, cell_stop
from search.spec.plan import Plan, rungs
from tests.search.schedule.logged import Logged

TWO_OF_FOUR = Plan(4, (1, 4), 2, 1, "min", (), 0)


def search(plan, values, fallen, rule=cell_promote, workers=1, seed=0):
    """Drive one cell; `values` by config, `fallen` the configs that have collapsed."""
    scheduler, rng, running = Logged(1, plan, (), rule), random.Random(seed), []
    while True:
        while len(running) < workers and (job := scheduler.ask()) is not None:
            running.append(job)
        if not running:
            return scheduler.decisions
        job = running.pop(rng.randrange(len(running)))
        scheduler.tell(job, "value", values[job.config], collapsed=job.config in fallen)


def trials(decisions, *verdicts):
    return [int(d["trial"][3:]) for d in decisions if d["verdict"] in verdicts]


def test_a_collapsed_trial_ends_at_its_rung_where_a_better_one_goes_on():
    made = search(TWO_OF_FOUR, [1.0, 2.0, 3.0, 4.0], {1})
    assert trials(made, "collapsed") == [1]
    ended = next(d for d in made if d["verdict"] == "collapsed")
    assert (ended["epoch"], ended["rank"], ended["n"], ended["goes_on"]) == (1, 2, 4, 2)
    assert trials(made, "stop") == [2, 3]
    assert trials(made, "complete") == [0]


def test_a_collapsed_trial_goes_on_before_one_that_is_worse():
    """What is worse than a constant has exploded, and a flat start may still come to something."""
    made = search(TWO_OF_FOUR, [1.0, 9.0, 8.0, 7.0], {0})
    assert not trials(made, "collapsed")
    assert trials(made, "select") == [0]


def test_a_collapsed_trial_that_arrives_late_is_not_ended_for_a_worse_one_promoted_early():
    made = search(TWO_OF_FOUR, [9.0, 8.0, 7.0, 1.0], {3}, workers=2)
    assert trials(made, "select") == [3]


def test_a_trial_that_its_rank_ends_is_ended_by_it_collapsed_or_not():
    made = search(TWO_OF_FOUR, [1.0, 2.0, 3.0, 4.0], {2, 3})
    assert trials(made, "stop") == [2, 3]
    assert not trials(made, "collapsed")


@pytest.mark.parametrize("rule", [cell_promote, cell_stop])
def test_a_cell_whose_trials_have_all_collapsed_still_has_its_best_trained_to_the_end(rule):
    made = search(TWO_OF_FOUR, [4.0, 2.0, 3.0, 5.0], {0, 1, 2, 3}, rule)
    assert trials(made, "select") == [1]


def test_with_the_stopping_rule_a_collapsed_first_arrival_waits_for_better_ones():
    made = search(TWO_OF_FOUR, [2.0, 1.0, 3.0, 4.0], {0}, cell_stop)
    assert trials(made, "collapsed") == [0]
    assert trials(made, "complete") == [1]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whoever_ends_collapsed_has_enough_better_ones_go_on_and_no_cell_is_short(data):
    count = data.draw(st.integers(1, 9))
    full, eta = data.draw(st.integers(1, count)), data.draw(st.sampled_from([2, 3, 4]))
    plan = Plan(count, rungs(27, 3, eta), eta, full, "min", (), 0, 0.0, 0)
    values = data.draw(st.permutations(range(count)))
    fallen = data.draw(st.sets(st.integers(0, count - 1)))
    seed, workers = data.draw(st.integers(0, 99)), data.draw(st.integers(1, 4))
    made = search(plan, [float(v) for v in values], fallen, cell_promote, workers, seed)
    assert len(trials(made, "complete")) >= full
    assert trials(made, "select") == [min(range(count), key=lambda n: values[n])]
    for ended in (d for d in made if d["verdict"] == "collapsed"):
        here = [d for d in made if d["epoch"] == ended["epoch"]]
        on = set(trials(here, "promote", "promote early", "replace"))
        assert sum(values[n] < ended["value"] for n in on) >= full
