"""A study holds scheduler, journal and record together; resume is replay."""

import json
import random
import shutil
import warnings

import pandas as pd
import pytest

from search import record
from search.record.journal import JournalError, read_lines
from search.record.optuna_view import load as load_optuna
from search.record.run_folder import RunFolder
from search.run import launch
from search.run.job_form import Places
from tests.search.conftest import TEXT, Silent, drive, open_study, score


def essence(folder):
    """Asks, tells and decisions without times."""
    keep = ("event", "job", "config", "trial", "ending", "value", "verdict", "epoch", "rank", "n")
    return [
        {k: e[k] for k in keep if k in e}
        for e in read_lines(folder / record.JOURNAL)
        if e["event"] in ("ask", "tell", "decision")
    ]


def test_a_study_runs_to_its_end(make_study):
    study = make_study()
    drive(study)
    assert study.done
    study.close()
    held = record.load(study.folder)
    confirmed = held.trials[(held.trials["stage"] == "confirm")]
    assert sorted(confirmed["seed"]) == [1, 1, 2, 2]


@pytest.mark.long
@pytest.mark.parametrize("sampler", ["quasi-random", "tpe"])
def test_cut_anywhere_a_study_goes_on_as_if_nothing_had_happened(make_study, tmp_path, sampler):
    """The journal cut at random bytes, as a kill leaves it; all later asks and decisions agree."""
    text = TEXT.replace("seed = 3", f'seed = 3\nsampler = "{sampler}"')
    whole = make_study(tmp_path / "whole", text)
    drive(whole)
    whole.close()
    expected = essence(whole.folder)
    journal = (whole.folder / record.JOURNAL).read_bytes()
    rng = random.Random(0)
    for number in range(20):
        folder = tmp_path / f"cut{number}"
        folder.mkdir()
        shutil.copy(whole.folder / record.STUDY, folder)
        (folder / record.JOURNAL).write_bytes(journal[: rng.randrange(len(journal))])
        study = make_study(folder, text)
        drive(study)
        study.close()
        assert essence(folder) == expected


def test_a_job_asked_for_and_never_heard_of_comes_first(make_study):
    study = make_study()
    drive(study, most=3)
    lost = study.ask().trial
    study.close()
    again = make_study()
    assert again.ask().trial == lost
    again.close()
    assert [
        e["trial"] for e in read_lines(again.folder / record.JOURNAL) if e["event"] == "again"
    ] == [lost]


def test_checkpoints_that_a_kill_left_go_with_the_next_start(make_study):
    study = make_study()
    drive(study)
    study.close()
    left = study.folder / "checkpoints" / "00-001.pt"
    left.parent.mkdir(exist_ok=True)
    left.touch()
    make_study().close()
    assert not left.exists()


def test_a_truncated_last_line_is_dropped_and_said(make_study):
    study = make_study()
    drive(study, most=4)
    study.close()
    journal = study.folder / record.JOURNAL
    whole = read_lines(journal)
    journal.write_bytes(journal.read_bytes() + b'{"event": "te')
    said = []
    study = make_study(noted=said.append)
    study.close()
    assert len(said) == 1
    assert "decisions.jsonl" in said[0]
    assert read_lines(journal)[: len(whole)] == whole
    assert [e["bytes"] for e in read_lines(journal) if e["event"] == "cut"] == [13]


def test_a_job_put_back_is_handed_out_again(make_study):
    study = make_study()
    first = study.ask().trial
    study.put_back(first)
    assert not study.done
    assert study.ask().trial == first


def test_a_changed_study_does_not_fit_its_journal(make_study, tmp_path):
    study = make_study()
    drive(study, most=12)
    study.close()
    with pytest.raises(JournalError, match=r"Was study\.json changed"):
        make_study(text=TEXT.replace("trials_per_cell = 5", "trials_per_cell = 3"))


def test_a_folder_has_one_writer(make_study):
    study = make_study()
    with pytest.raises(JournalError, match="written by another process"):
        make_study()
    study.close()
    make_study().close()


def test_checkpoints_go_when_their_cell_is_decided(make_study):
    """But for those of audited trials, which go on from there."""
    study, seen = make_study(), set()
    while (worker_job := study.ask()) is not None:
        path = study.folder / "checkpoints" / f"{worker_job.trial}.pt"
        path.parent.mkdir(exist_ok=True)
        path.touch()
        value = random.Random(worker_job.trial).random()
        epoch = worker_job.train["to_epoch"]
        told = {"ending": "value", "value": value, "epoch": epoch, "value_epoch": epoch}
        study.tell(worker_job.trial, told)
        for cell in ("00", "01"):
            decisions = [
                d
                for d in read_lines(study.folder / record.JOURNAL)
                if d["event"] == "decision" and (d["trial"] or "").startswith(cell)
            ]
            held = {p.stem for p in (study.folder / "checkpoints").glob(f"{cell}-0*.pt")}
            audited = {d["trial"] for d in decisions if d["verdict"] == "audit"}
            if any(d["verdict"] == "select" for d in decisions):
                assert held <= audited
                seen |= audited
    assert seen
    assert list((study.folder / "checkpoints").iterdir()) == []


def test_nothing_of_test_is_known_before_confirmation(make_study):
    study = make_study()
    while (worker_job := study.ask()) is not None:
        search = "seed" not in worker_job.trial
        assert worker_job.train["score_test"] is not search
        study.tell(
            worker_job.trial,
            {
                "ending": "value",
                "value": 0.5,
                "epoch": worker_job.train["to_epoch"],
                "value_epoch": 1,
            },
        )


def test_the_order_of_the_journal_is_ask_tell_decision(make_study):
    study = make_study()
    drive(study)
    study.close()
    waiting = set()
    for event in read_lines(study.folder / record.JOURNAL):
        if event["event"] == "ask":
            assert event["job"]["trial"] not in waiting
            waiting.add(event["job"]["trial"])
        elif event["event"] == "tell":
            waiting.remove(event["trial"])
    assert not waiting


def test_what_a_worker_gets_is_plain_json(make_study):
    study = make_study()
    json.dumps(vars(study.ask()))


def test_a_study_with_gpus_by_depth_resumes(make_study, tmp_path):
    """Large trials go first, so the order of jobs hangs on the shares that the file gives."""
    text = TEXT + "\n[resources.gpus_per_trial]\n18 = 0.25\n34 = 1.0\n"
    study = make_study(text=text)
    study.close()
    spec = study.spec
    gpus = Places(tmp_path, {}, {0: 0.25, 1: 1.0})
    study = open_study(spec, study.folder, gpus, Silent())
    assert study.ask().trial == "01-000"
    drive(study, most=4)
    study.close()
    with RunFolder(study.folder) as run:
        assert not launch._replayed(spec, run, Silent()).done
    again = open_study(spec, study.folder, gpus, Silent())
    assert again.ask().trial == "01-000"
    again.close()


def test_a_study_resumes_where_its_trials_take_other_shares(make_study, tmp_path):
    """On a smaller GPU depth 18 may need more of it than depth 34 did of the first one."""
    study = make_study()
    study.close()
    spec, folder = study.spec, study.folder
    first = {0: 0.25, 1: 1.0}
    study = open_study(spec, folder, Places(tmp_path, {}, first), Silent())
    drive(study, most=4)
    study.close()
    there = Places(tmp_path, {}, {0: 0.5, 1: 0.5}, first)
    again = open_study(spec, folder, there, Silent())
    job = again.ask()
    assert (job.trial, job.gpus) == ("01-002", 0.5)
    again.close()


@pytest.mark.parametrize("lost", ["ask", "tell"])
def test_a_journal_that_lacks_a_line_is_refused_by_line(make_study, lost):
    study = make_study()
    drive(study, most=12)
    study.close()
    path = study.folder / record.JOURNAL
    lines = path.read_text().splitlines(keepends=True)
    kinds = [json.loads(line)["event"] for line in lines]
    # the ask of a promotion, and the tell of a trial that goes on
    again = [
        n
        for n, line in enumerate(lines)
        if kinds[n] == "ask" and json.loads(line)["job"]["from_epoch"]
    ]
    trial = json.loads(lines[again[0]])["job"]["trial"]
    tells = [n for n in range(again[0]) if kinds[n] == "tell" and f'"{trial}"' in lines[n]]
    gone = again[0] if lost == "ask" else tells[-1]
    path.write_text("".join(lines[:gone] + lines[gone + 1 :]))
    with pytest.raises(JournalError, match=r"decisions\.jsonl, line \d+ .*a line is missing"):
        make_study()


def test_a_decision_that_was_changed_is_noticed(make_study):
    study = make_study()
    drive(study, most=12)
    study.close()
    path = study.folder / record.JOURNAL
    text = path.read_text()
    assert '"verdict": "stop"' in text
    path.write_text(text.replace('"verdict": "stop"', '"verdict": "promote"', 1))
    with pytest.raises(JournalError, match="holds the decision"):
        make_study()


def test_optunas_view_of_a_resumed_study_is_that_of_an_uninterrupted_one(make_study, tmp_path):
    """And a refused resume leaves the file that is there alone."""
    whole = make_study(tmp_path / "whole")
    drive(whole)
    whole.close()
    cut = make_study(tmp_path / "cut")
    drive(cut, most=11)
    cut.close()
    before = (cut.folder / "optuna.log").read_bytes()
    with pytest.raises(JournalError):
        make_study(cut.folder, TEXT.replace("trials_per_cell = 5", "trials_per_cell = 3"))
    assert (cut.folder / "optuna.log").read_bytes() == before
    again = make_study(cut.folder)
    drive(again)
    again.close()
    views = [
        [
            [(t.state, t.params, t.intermediate_values, t.value) for t in study.trials]
            for study in load_optuna(folder / "optuna.log").values()
        ]
        for folder in (whole.folder, cut.folder)
    ]
    assert views[0] == views[1]


def test_tpe_hears_of_a_config_that_failed_for_good(make_study):
    text = TEXT.replace("seed = 3", 'seed = 3\nsampler = "tpe"\nretries = 1')
    study = make_study(text=text)
    first = study.ask()
    study.tell(first.trial, {"ending": "failed", "error": "out of memory"})
    sampler = study._search._samplers[0]
    assert sampler._results == {}  # it is tried again
    while (job := study.ask()).trial != first.trial:
        pass
    study.tell(job.trial, {"ending": "failed", "error": "out of memory"})
    assert sampler._results == {0: None}
    study.close()


@pytest.mark.parametrize(("found", "words"), [(1, "no checkpoint"), (2, "of epoch 1 alone")])
def test_epochs_that_a_worker_trains_again_are_said_once(make_study, found, words):
    """Its row looks as if it went on; the driver may see another disk than the worker."""
    said = []
    watcher = Silent()
    watcher.noted = said.append
    study = make_study()
    study.close()
    study = open_study(study.spec, study.folder, study.places, watcher)
    for _ in range(40):
        job = study.ask()
        assert job is not None
        if job.train["from_epoch"] >= found:
            break
        epoch = job.train["to_epoch"]
        told = {"ending": "value", "value": 0.5, "epoch": epoch, "value_epoch": epoch}
        study.tell(job.trial, {**told, "seconds": 1.0})
    assert said == []
    for epoch in range(found, job.train["to_epoch"] + 1):
        study.epoch(job.trial, {"epoch": epoch, "val_accuracy": 0.5, "seconds": 1.0})
    assert len(said) == 1
    assert f"{job.trial} found " in said[0]
    assert words in said[0]
    assert f"epochs {found} to {job.train['from_epoch']} are trained again" in said[0]
    study.close()


def test_another_trial_s_checkpoint_is_told_and_on_record(make_study):
    from types import SimpleNamespace

    from search.run.callbacks import Listener

    said = []
    study = make_study(noted=said.append)
    job = study.ask()
    searcher = SimpleNamespace(placed={}, fault=None)
    payload = {"differs": "lr 0.1 there, 0.001 here"}
    result = {"kind": "other checkpoint", "trial": job.trial, "payload": json.dumps(payload)}
    Listener(study, searcher).on_trial_result(0, [], SimpleNamespace(trial_id="x"), result)
    assert f"{job.trial} found the checkpoint of another trial (lr 0.1 there" in said[0]
    study.close()
    (event,) = [e for e in study.run.events() if e["event"] == "other checkpoint"]
    assert (event["trial"], event["differs"]) == (job.trial, payload["differs"])
    assert record.load(study.folder).trials["trial"].tolist() == [job.trial]


def test_what_would_fail_again_is_not_run_again(make_study):
    """Also when it is read back; another failure is run again."""
    study = make_study()
    first, second = study.ask(), study.ask()
    lost = "Traceback\n  line 3\nDataError: image 7 cannot be decoded"
    study.tell(first.trial, {"ending": "failed", "error": lost, "for_good": True})
    study.tell(second.trial, {"ending": "failed", "error": "another"})
    study.close()
    again = open_study(study.spec, study.folder, study.places, Silent())
    record.write(study.folder)
    trials = record.load(study.folder).trials.set_index("trial")
    assert trials.loc[first.trial, "status"] == "failed"
    assert trials.loc[first.trial, "reason"] == (
        "its job failed: DataError: image 7 cannot be decoded"
    )
    assert again.ask().trial == second.trial
    again.close()


def finish(study, lost=()):
    """Run a study to its end; the trials named fail each time."""
    while (job := study.ask()) is not None:
        epoch = job.train["to_epoch"]
        told = {"ending": "value", "value": score(job.trial, epoch), "epoch": epoch}
        told |= {"value_epoch": epoch, "seconds": 1.0}
        if job.train["score_test"]:
            told |= {"test": {"loss": 1.0, "accuracy": 0.8}, "baselines": {}}
        failed = {"ending": "failed", "error": "disk full", "seconds": 1.0}
        study.tell(job.trial, failed if job.trial in lost else told)
    study.close()


def test_failed_trials_are_run_again_when_asked_for(make_study):
    """A seed, and a whole cell's search; the journal replays with what was put back."""
    cell = {f"01-{n:03d}" for n in range(5)}
    study = make_study()
    finish(study, lost={"00-seed2", *cell})
    before = record.load(study.folder).trials.set_index("trial")
    lost = set(before.index[before["status"] == "failed"])
    assert lost == {"00-seed2", *cell}
    again = make_study()
    assert again.done
    assert set(again.failed) == lost
    again.retry_failed()
    assert not again.done
    assert again.failed == []
    assert again.ask().trial in lost
    again.close()
    finish(make_study())  # killed, and resumed without being asked for it again
    after = record.load(study.folder).trials.set_index("trial")
    assert not (after["status"] == "failed").any()
    assert {"01-seed1", "01-seed2"} <= set(after.index[after["status"] == "completed"])
    assert (after.loc[list(lost), "attempts"] > 0).all()
    kept = before.index.difference(lost)
    assert (after.loc[kept, "status"] == before.loc[kept, "status"]).all()
    states = {t.state.name for t in load_optuna(study.folder / "optuna.log")["depth=34"].trials}
    assert states == {"FAIL", "PRUNED", "COMPLETE"}  # what failed stays there, beside a new one
    assert make_study().done


def test_a_study_without_failures_has_nothing_to_run_again(make_study):
    study = make_study()
    finish(study)
    again = make_study()
    again.retry_failed()
    again.close()
    assert "retry failed" not in (study.folder / record.JOURNAL).read_text()


def test_a_complete_trial_whose_scoring_failed_stays_complete(make_study):
    """And its scoring can be run again."""
    text = TEXT.replace("[confirm]\nseeds = [1, 2]", "")
    study = make_study(text=text)
    told = {"ending": "value", "value": 0.5, "epoch": 4, "value_epoch": 4, "seconds": 1.0}
    while (job := study.ask()) is not None:
        lost = {"ending": "failed", "error": "disk full"}
        study.tell(job.trial, lost if job.train["score_test"] else told)
    study.close()
    trials = record.load(study.folder).trials.set_index("trial")
    unscored = trials[trials["reason"].str.endswith("its scoring on test failed")]
    assert len(unscored) == 2
    assert set(unscored["status"]) == {"completed"}
    again = make_study(text=text)
    assert sorted(again.failed) == sorted(unscored.index)
    again.retry_failed()
    finish(again)
    trials = record.load(study.folder).trials.set_index("trial")
    assert (trials.loc[unscored.index, "test_accuracy"] == 0.8).all()


def test_a_trial_out_of_gpu_memory_is_tried_again_alone(make_study, tmp_path):
    """Also after a resume; the others keep their share."""
    study = make_study()
    study.close()
    places = Places(tmp_path, {}, {0: 0.25, 1: 0.25})
    study = open_study(study.spec, study.folder, places, Silent())
    first, second = study.ask(), study.ask()
    assert (first.gpus, second.gpus) == (0.25, 0.25)
    study.tell(first.trial, {"ending": "failed", "error": "oom", "out_of_memory": True})
    study.tell(second.trial, {"ending": "failed", "error": "another"})
    study.close()
    again = open_study(study.spec, study.folder, places, Silent())
    jobs = {job.trial: job.gpus for job in (again.ask(), again.ask())}
    assert jobs == {first.trial: 1.0, second.trial: 0.25}
    again.close()


UNCONFIRMED = TEXT.replace("[confirm]\nseeds = [1, 2]", "").replace("0.4", "0.0")
STANDS = ["status", "epochs", "value", "value_epoch", "test_accuracy", "test_loss", "collapsed"]


def standing(folder):
    """Trial -> how it stands by the logs as they are."""
    trials = record.load(folder).trials.set_index("trial")
    return trials[[*STANDS, "reason"]]


@pytest.mark.long
def test_interrupted_at_any_line_a_study_comes_to_the_same_frames(make_study, tmp_path):
    """What is complete stays complete, also while its test scoring is interrupted or fails."""
    whole = make_study(tmp_path / "whole", UNCONFIRMED)
    drive(whole)
    whole.close()
    expected = standing(whole.folder).sort_index()
    lines = (whole.folder / record.JOURNAL).read_bytes().splitlines(keepends=True)
    complete: set[str] = set()
    for count in range(1, len(lines) + 1):
        folder = tmp_path / f"cut{count}"
        folder.mkdir()
        for name in (record.STUDY, record.EPOCHS):
            shutil.copy(whole.folder / name, folder)
        (folder / record.JOURNAL).write_bytes(b"".join(lines[:count]))
        now = standing(folder)
        assert complete <= set(now.index[now["status"] == "completed"]), lines[count - 1]
        complete = set(now.index[now["status"] == "completed"])
        study = make_study(folder, UNCONFIRMED)
        job = study.ask()  # handed out, stopped by a signal, and put back
        if job is not None:
            study.put_back_all()
            stopped = standing(folder)
            assert complete <= set(stopped.index[stopped["status"] == "completed"])
        drive(study)
        study.run.close()
        found = standing(folder).sort_index()
        assert found.equals(expected), found.compare(expected)
    assert len(complete) == 2


def test_an_interrupted_scoring_that_then_fails_leaves_its_trial_complete(make_study):
    study = make_study(text=UNCONFIRMED)
    told = {"ending": "value", "value": 0.5, "epoch": 4, "value_epoch": 4, "seconds": 1.0}
    while not (job := study.ask()).train["score_test"]:
        study.tell(job.trial, told)
    study.put_back(job.trial)
    assert study.ask().trial == job.trial
    for _ in range(2):  # as often as it is retried
        study.tell(job.trial, {"ending": "failed", "error": "disk full"})
        while (again := study.ask()).trial != job.trial and not again.train["score_test"]:
            study.tell(again.trial, told)
        if again.trial != job.trial:
            break
    study.close()
    row = standing(study.folder).loc[job.trial]
    assert row["status"] == "completed"
    assert row["reason"].endswith("its scoring on test failed")


def test_a_decision_that_nothing_led_to_is_noticed(make_study):
    """Lines at the end of a journal that the study as it is would never decide."""
    study = make_study()
    drive(study, most=12)
    study.close()
    path = study.folder / record.JOURNAL
    made = [e for e in read_lines(path) if e["event"] == "decision"]
    with path.open("a") as file:
        last = len(read_lines(path)) + 1
        file.write(json.dumps({**made[-1], "line": last, "verdict": "select"}) + "\n")
    with pytest.raises(JournalError, match="decides nothing more"):
        make_study()


def row(epoch):
    values = {"lr": 0.1, "train_loss": 1.0, "val_loss": 1.0, "val_accuracy": 0.5, "seconds": 1.0}
    return {"epoch": epoch, **values}


def lose(study, gained, times):
    """Losses of one trial that comes so many epochs further before each; those it survived."""
    for loss in range(times):
        job = study.ask()
        for _ in range(gained):
            lose.epoch += 1
            study.epoch(job.trial, row(lose.epoch))
        study.lost(job.trial, "node", f"spot-{loss}", "its node is gone")
        if study.failed:
            return loss
    return times


LONG = TEXT.replace("seed = 3", "seed = 3\nretries = 0\nlosses = 2")
LONG = LONG.replace("max_epochs = 4", "max_epochs = 200").replace(
    "grace_epochs = 1", "grace_epochs = 100"
)


def test_a_trial_that_comes_further_between_losses_is_never_given_up(make_study):
    study, lose.epoch = make_study(text=LONG), 0
    assert lose(study, gained=3, times=12) == 12
    assert lose(study, gained=0, times=12) == 1  # beside the last one of before
    study.close()


def test_a_resumed_study_counts_losses_on(make_study):
    study, lose.epoch = make_study(text=LONG), 0
    assert lose(study, gained=3, times=5) == 5
    assert lose(study, gained=0, times=1) == 1
    study.close()
    again = make_study(text=LONG)
    assert lose(again, gained=0, times=12) == 0
    again.close()


def power_cut(study, lines, frames):
    """The journal loses its last lines, the log of epochs nothing; frames are as they were."""
    study.close()
    path = study.folder / record.JOURNAL
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-lines]))
    (study.folder / "frames.json").unlink(missing_ok=True)
    for name, held in frames.items():
        (study.folder / name).write_bytes(held)


@pytest.mark.parametrize("stamped", [True, False])
def test_rows_without_asks_after_a_power_cut_are_set_aside_and_trained_again(
    make_study, tmp_path, stamped
):
    whole = make_study(tmp_path / "whole")
    drive(whole)
    whole.write_views()
    folder = tmp_path / "tiny"
    study = make_study(folder)
    drive(study, most=4)
    study.write_views()
    names = ["frames.json", *(f"{name}.parquet" for name in ("trials", "curves", "per_image"))]
    frames = {name: (folder / name).read_bytes() for name in names} if stamped else {}
    asked = {e["job"]["trial"] for e in study.run.events() if e["event"] == "ask"}
    drive(study, most=4)
    after = [e for e in study.run.events() if e["event"] == "ask"][4:]
    lost = {e["job"]["trial"] for e in after} - asked
    first = next(n for n, e in enumerate(study.run.events()) if e == after[0])
    power_cut(study, len(study.run.events()) - first, frames)
    assert len(lost) >= 2
    said = []
    study = make_study(folder, noted=said.append)
    (text,) = [line for line in said if "set aside" in line]
    assert "decisions.jsonl has lost lines" in text
    (event,) = [e for e in study.run.events() if e["event"] == "set aside"]
    assert set(event["trials"]) >= lost
    kept = [json.loads(line) for line in (folder / "unasked" / "epochs.jsonl").open()]
    assert len(kept) == event["rows"] > 0
    assert set(event["trials"]) == {line["trial"] for line in kept}
    with warnings.catch_warnings(action="error"):  # nothing is left to be said of the record
        held = record.load(folder)
    assert not lost & set(held.curves["trial"])
    drive(study)
    study.write_views()
    with warnings.catch_warnings(action="error"):
        held = record.load(folder)
    assert held.curves.equals(record.load(whole.folder).curves)
    study.close()
    again = make_study(folder, noted=said.append)
    assert len([e for e in again.run.events() if e["event"] == "set aside"]) == 1


def test_predictions_without_an_ask_after_a_power_cut_are_set_aside(make_study):
    study = make_study()
    drive(study, most=4)
    study.close()
    parts = study.folder / "parts"
    columns = {"trial": ["00-003"], "split": ["test"], "image": ["0"]}
    pd.DataFrame({**columns, "truth": [1.0], "prediction": [1.0]}).to_parquet(
        parts / "00-003.parquet"
    )
    said = []
    study = make_study(noted=said.append)
    assert not list(parts.iterdir())
    assert (study.folder / "unasked" / "parts" / "00-003.parquet").exists()
    assert "1 file(s) of predictions and samples of trials 00-003" in said[-1]
    with warnings.catch_warnings(action="error"):
        record.load(study.folder)


def test_logs_are_on_disk_before_frames_are_made_of_them(make_study, monkeypatch):
    """Else a power cut leaves frames of more than the logs have, and the record is refused."""
    done = []
    monkeypatch.setattr("search.run.study.WRITE_EVERY", 0.0)
    for name in ("to_disk", "write_frames"):
        method = getattr(RunFolder, name)
        monkeypatch.setattr(
            RunFolder, name, lambda self, n=name, m=method: (done.append(n), m(self))[1]
        )
    study = make_study()
    job = study.ask()
    study.epoch(job.trial, {"epoch": 1, "val_accuracy": 0.5})
    assert done == ["to_disk", "write_frames"]
