"""The end of a study, and its status, say which configs were lost and what that does."""

import pytest

from analysis.cli import main as report
from analysis.findings.cells import best, cell_values, kept_out
from search import record
from search.cli.main import main
from tests.search.conftest import TEXT, score

QUIET = TEXT.replace("audit_share = 0.4", "audit_share = 0")


def told(job, trial_fails=(), trial_diverges=()):
    """The end of a job."""
    epoch = job.train["to_epoch"]
    if job.trial in trial_fails:
        return {"ending": "failed", "error": "RuntimeError: made to fail", "for_good": True}
    if job.trial in trial_diverges:
        return {"ending": "diverged", "value": None, "epoch": epoch, "value_epoch": epoch}
    end = {"ending": "value", "value": score(job.trial, epoch), "epoch": epoch}
    if job.train["score_test"]:
        end["test"] = {"loss": 1.0, "accuracy": 0.5 + score(job.trial, 99) / 2}
        end["baselines"] = {"uniform guess": {"loss": 2.3, "accuracy": 0.1}}
    return {**end, "value_epoch": epoch}


def finish(study, lost=(), **how):
    """Run a study to its end; trials in `lost` lose their node every time."""
    while (job := study.ask()) is not None:
        for epoch in range(job.train["from_epoch"] + 1, job.train["to_epoch"] + 1):
            row = {"epoch": epoch, "lr": 0.1, "train_loss": 1.0, "seconds": 1.0}
            study.epoch(job.trial, {**row, "val_loss": 1.0, "val_accuracy": 0.5})
        if job.trial in lost:
            study.lost(job.trial, "node", "node-b", "its node is gone")
        else:
            study.tell(job.trial, told(job, **how))
    study.close()
    return study.folder


@pytest.fixture
def ended(make_study, tmp_path, monkeypatch):
    """A finished study: in the first cell one config failed and one was lost, one diverged."""
    monkeypatch.chdir(tmp_path)
    study = make_study(tmp_path / "runs" / "tiny", QUIET)
    return finish(study, ["00-003"], trial_fails=["00-001"], trial_diverges=["00-002", "01-002"])


@pytest.mark.parametrize("command", ["status", "resume"])
def test_it_is_said_which_configs_were_lost_and_what_that_does(ended, capsys, command):
    assert main([command, "runs/tiny"]) == 0
    shown = capsys.readouterr().out
    assert "cell depth 18: chosen among 3 of 5 configs: 1 failed, 1 lost" in shown
    assert "that choice stands" in shown
    assert "00-001: its job failed: RuntimeError: made to fail" in shown
    assert "00-003: its job was lost: lost 6 times; the last time: its node is gone" in shown
    assert "cell depth 34" not in shown
    assert "00-002:" not in shown  # it diverged, so it had its chance


def test_its_cell_is_marked_and_no_other(ended, capsys):
    values = [v for v in cell_values(record.load(ended)) if v.metric == "accuracy"]
    assert "fewer configs" in kept_out(values[0])
    assert "fewer configs" not in values[1].marks
    assert not best(values)
    for form, sign in (("md", "◊"), ("html", "◊"), ("tex", r"$\diamond$"), ("csv", "fewer conf")):
        assert report(["table", str(ended), "--format", form]) == 0
        shown = capsys.readouterr().out
        assert sign in shown
        assert "chosen among 3 of 5 configs: 1 failed, 1 lost" in shown


def test_a_cell_with_all_its_configs_is_not_marked(make_study, capsys, tmp_path):
    folder = finish(make_study(text=QUIET), trial_diverges=["00-002"])
    assert record.short_choices(record.load(folder)) == {}
    assert not any("fewer configs" in v.marks for v in cell_values(record.load(folder)))
    main(["status", str(folder)])
    assert "chosen among" not in capsys.readouterr().out


def test_before_a_cell_has_chosen_its_configs_can_come_back(make_study, capsys):
    study = make_study(text=QUIET)
    while (job := study.ask()) is not None:
        study.tell(job.trial, told(job, trial_fails=["00-000"]))
        if job.trial == "00-000":
            break
    study.write_views()
    study.close()
    assert main(["status", str(study.folder)]) == 1
    shown = capsys.readouterr().out
    assert "cell depth 18: choosing among 4 of 5 configs: 1 failed" in shown
    assert f"`resnet-search resume {study.folder} --retry-failed` runs what is missing" in shown
