"""The run folder's Optuna file says what the journal says, in Optuna's own states."""

from datetime import datetime

import pytest
from optuna.trial import TrialState

from search import record
from search.cli.main import main
from search.record.journal import read_lines
from search.record.optuna_view import load, write
from tests.search.conftest import TEXT, drive

POINTS = """
[[points]]
lr = 1
[[points]]
lr = 0.05
[[points]]
lr = 0.025
"""
LISTED = TEXT.replace("[cells]", 'sampler = "list"\n[cells]').replace("high = 0.1", "high = 1")
LISTED = LISTED.replace("trials_per_cell = 5\n", "") + POINTS
STATES = {
    "stop": TrialState.PRUNED,
    "complete": TrialState.COMPLETE,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}


def studies_of(study):
    study.close()
    return load(study.folder / "optuna.log")


def by_trial(studies):
    return {t.user_attrs["trial"]: t for held in studies.values() for t in held.get_trials()}


def ends(folder):
    """Trial -> verdicts that ended it: two where it replaced another; an audit ends nothing."""
    found = {}
    for event in read_lines(folder / record.JOURNAL):
        if event["event"] == "decision" and event["verdict"] in STATES:
            found.setdefault(event["trial"], []).append(event["verdict"])
    trials = record.load(folder).trials
    audited = set(trials.loc[trials["stage"] == "audit", "trial"])
    return {name: held[:1] if name in audited else held for name, held in found.items()}


def test_every_config_has_an_optuna_trial_in_the_study_of_its_cell(make_study):
    study = make_study()
    drive(study)
    studies = studies_of(study)
    assert set(studies) == {"depth=18", "depth=34"}
    trials = record.load(study.folder).trials
    searched = trials[trials["stage"] != "confirm"]
    held = by_trial(studies)
    assert set(held) == set(searched["trial"])
    for row in searched.to_dict("records"):
        assert held[row["trial"]].params["lr"] == row["lr"]


def test_states_are_those_of_the_journal(make_study, tmp_path):
    """Stopped is PRUNED, lost is FAIL, and only a full training is COMPLETE with a value."""
    seen = set()
    for seed in range(3, 11):
        text = TEXT.replace("seed = 3", f"seed = {seed}").replace('"tiny"', f'"tiny{seed}"')
        study = make_study(tmp_path / f"tiny{seed}", text)
        drive(study)
        held = {}
        for of_cell in studies_of(study).values():
            for trial in of_cell.get_trials():
                held.setdefault(trial.user_attrs["trial"], []).append(trial.state)
        for trial, verdicts in ends(study.folder).items():
            if "seed" not in trial:
                assert held[trial] == [STATES[v] for v in verdicts], trial
                seen |= set(verdicts)
    assert seen == set(STATES)


def test_a_stopped_trial_has_its_values_at_the_rungs(make_study):
    study = make_study()
    drive(study)
    rows = record.load(study.folder).trials.set_index("trial")
    for name, trial in by_trial(studies_of(study)).items():
        if trial.state == TrialState.PRUNED:
            assert trial.intermediate_values
            reached = max(trial.intermediate_values)
            if rows.loc[name, "stage"] == "search":
                assert trial.intermediate_values[reached] == rows.loc[name, "value"]


def test_a_trial_that_waits_is_running_and_resuming_makes_the_file_anew(make_study):
    study = make_study()
    drive(study, most=3)
    first = by_trial(studies_of(study))
    assert {t.state for t in first.values()} <= {TrialState.RUNNING, TrialState.FAIL}
    again = make_study()
    drive(again)
    whole = by_trial(studies_of(again))
    assert len(whole) > len(first)
    assert all(t.state.is_finished() for t in whole.values())


def test_direction_is_the_tasks(make_study):
    study = make_study()
    drive(study, most=2)
    assert {s.direction.name for s in studies_of(study).values()} == {"MAXIMIZE"}


def test_times_are_those_of_the_journal_and_a_later_look_changes_none(make_study):
    study = make_study()
    drive(study)
    first = by_trial(studies_of(study))
    asks = {}
    for event in read_lines(study.folder / record.JOURNAL):
        if event["event"] == "ask":
            asks.setdefault(event["job"]["trial"], event["time"])
    for name, trial in first.items():
        began = trial.datetime_start.astimezone().timestamp()
        if len([v for v in ends(study.folder).get(name, []) if v]) < 2:
            assert abs(began - datetime.fromisoformat(asks[name]).timestamp()) < 0.002
        assert trial.datetime_complete >= trial.datetime_start
    again = by_trial(load(write(study.folder)))
    assert {n: t.datetime_start for n, t in again.items()} == {
        n: t.datetime_start for n, t in first.items()
    }


def test_the_command_writes_it_of_a_run(make_study, capsys):
    study = make_study()
    drive(study, most=5)  # while the study runs, too
    assert main(["optuna", str(study.folder)]) == 0
    said = capsys.readouterr().out
    assert "optuna-dashboard" in said
    assert len(by_trial(load(study.folder / "optuna.log"))) == 5
    study.close()
    assert main(["optuna", str(study.folder / "nowhere")]) == 2


def moments(folder):
    """Trial -> when it was first asked for, and when the verdict that ended it came."""
    asked, ended = {}, {}
    for event in read_lines(folder / record.JOURNAL):
        at = datetime.fromisoformat(event["time"])
        if event["event"] == "ask":
            asked.setdefault(event["job"]["trial"], at)
        elif event["event"] == "decision" and event["verdict"] in STATES:
            ended.setdefault(event["trial"], []).append(at)
    return asked, ended


@pytest.mark.parametrize("text", [TEXT, LISTED])
def test_over_every_resume_times_are_the_journals_and_rates_are_floats(make_study, text):
    known = {}
    for most in (2, 3, 4, 10**9):
        study = make_study(text=text)
        drive(study, most=most)
        job = study.ask()  # out when the session ends
        if job is not None:
            study.put_back(job.trial)
        held = studies_of(study)
        asked, ended = moments(study.folder)
        rates = record.load(study.folder).trials.set_index("trial")["lr"]
        for trial in (t for of_cell in held.values() for t in of_cell.get_trials()):
            name = trial.user_attrs["trial"]
            assert type(trial.params["lr"]) is float
            assert trial.params["lr"] == rates[name]
            began, over = trial.datetime_start, trial.datetime_complete
            verdicts = ended.get(name, [])
            if len(verdicts) < 2:  # a second one is of another Optuna trial
                assert began.astimezone() == asked[name]
            if over is not None:
                assert over.astimezone() in verdicts
            assert (over is not None) == trial.state.is_finished()
            key = (name, began)
            assert known.get(key, over) == over  # what was told once stays
            if over is not None:
                known[key] = over
    assert known
