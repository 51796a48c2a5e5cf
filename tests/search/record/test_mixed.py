"""What stands together and was not computed alike is known from the record alone."""

from search.record.mixed import computes, mixtures, own_files

STUDY = {
    "space_keys": ["lr"],
    "cells": [{"depth": 18}, {"depth": 34}],
    "versions": {"torch": "2.10.0+cpu", "scipy": "1.0"},
    "sessions": [
        {"versions": {"torch": "2.10.0+cpu", "scipy": "1.0"}, "code": "a"},
        {"versions": {"torch": "2.11.0+cu128", "scipy": "2.0"}, "code": "a", "accepted": ["x"]},
    ],
}


def session(number):
    return {"event": "session", "number": number}


def ask(trial, cell=0, stage="search", **settings):
    job = {"trial": trial, "cell": cell, "stage": stage}
    held = {"lr": 0.1, "depth": 18 + 16 * cell, **settings}
    seed = 7 if stage == "confirm" else 0
    return {"event": "ask", "job": job, "config": {"lr": 0.1}, "settings": held, "seed": seed}


def tell(trial, ending="value", **more):
    return {"event": "tell", "trial": trial, "ending": ending, **more}


def test_a_trial_whose_later_job_ran_elsewhere_mixes():
    events = [session(0), ask("a"), tell("a"), session(1), ask("a"), tell("a")]
    found = mixtures(STUDY, events)
    assert found.cells == {0: ("torch 2.10.0 (1 job) and 2.11.0 (1 job)",)}


def test_a_job_that_was_interrupted_counts_for_both_sessions():
    events = [session(0), ask("a"), session(1), {"event": "again", "trial": "a"}, tell("a")]
    assert list(mixtures(STUDY, events).cells) == [0]


def test_a_job_handed_out_again_counts_with_the_settings_it_has_then():
    again = {"event": "again", "trial": "a", "settings": {"train_images": 64}, "seed": 0}
    events = [ask("a", train_images=160), again, tell("a")]
    assert mixtures(STUDY, events).cells == {0: ("train_images 160 (1 job) and 64 (1 job)",)}


def test_cells_that_differ_from_each_other_mix_the_table_and_not_themselves():
    events = [session(0), ask("a"), tell("a"), session(1), ask("b", 1), tell("b")]
    found = mixtures(STUDY, events)
    assert found.cells == {}
    assert found.whole == ("torch 2.10.0 (1 job) and 2.11.0 (1 job)",)


def test_other_code_of_a_worker_counts_whatever_its_driver_had():
    events = [session(0), ask("a"), tell("a", code="a"), ask("b"), tell("b", code="b")]
    assert mixtures(STUDY, events).cells == {0: ("code a (1 job) and b (1 job)",)}


def test_settings_count_but_for_those_that_are_searched_or_compared():
    events = [ask("a", lr=0.1), tell("a"), ask("b", lr=0.3, train_images=64), tell("b")]
    events += [ask("c", 1, train_images=64), tell("c")]
    found = mixtures(STUDY, events)
    assert found.cells == {0: ("train_images its default (1 job) and 64 (1 job)",)}


def test_a_seed_of_a_confirmation_is_its_own():
    assert mixtures(STUDY, [ask("a"), tell("a"), ask("s", 0, "confirm"), tell("s")]).whole == ()


def test_what_never_came_to_a_value_and_what_was_audited_do_not_count():
    events = [session(0), ask("a"), tell("a"), ask("b"), session(1)]
    events += [tell("b", "failed"), ask("c"), tell("c", "failed"), ask("a", 0, "audit"), tell("a")]
    assert mixtures(STUDY, events).whole == ()


def test_a_journal_from_before_sessions_were_in_it_has_the_versions_of_its_beginning():
    events = [ask("a"), tell("a"), session(1), ask("b"), tell("b")]
    assert mixtures(STUDY, events).cells == {0: ("torch 2.10.0 (1 job) and 2.11.0 (1 job)",)}


def test_a_session_that_study_json_has_not_yet_says_nothing():
    assert mixtures(STUDY, [session(0), ask("a"), tell("a"), session(9), ask("b")]).whole == ()


def test_an_accepted_change_counts_where_jobs_do_not_show_it():
    same = {**STUDY["sessions"][0], "accepted": ["lr drawn otherwise"]}
    study = {**STUDY, "sessions": [STUDY["sessions"][0], same]}
    events = [session(0), ask("a"), tell("a"), session(1), ask("b"), tell("b")]
    assert mixtures(study, events).cells == {0: ("lr drawn otherwise",)}
    assert mixtures(study, [session(1), ask("b"), tell("b")]).whole == ()


def test_versions_are_of_what_computes_and_without_their_build():
    assert computes({"torch": "2.11.0+cu128", "ray": "2.60", "cuda": "12.8"}) == {
        "torch": "2.11.0",
        "cuda": "12.8",
    }
    assert computes(None) == {}
    rows = [{"file": "trainables", "sha256": "1"}, {"file": "mine.py", "sha256": "2"}]
    assert own_files({"task_code": rows}) == {"mine.py": "2"}
