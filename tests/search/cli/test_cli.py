"""Bad input gets one clear error and status 2 before anything starts."""

import pytest

from search import record
from search.cli.main import main
from tests.search.conftest import TEXT, drive


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["run", "nothing"], "shipped are cifar10"),
        (["run", "nothing.toml"], "no such file"),
        (["run", "cifar10", "--set", "budget.max_epoch=3"], "did you mean max_epochs?"),
        (["run", "cifar10", "--set", "budget.max_epochs"], "key=value"),
        (["run", "report-crowd-lr", "--part", "C"], "must be one of 'A', 'B', not 'C'"),
        (["run", "report-crowd-lr"], "no part_A_final/train_data"),
        (["status", "nowhere"], "is no run folder"),
        (["resume", "nowhere"], "is no run folder"),
    ],
)
def test_bad_input_is_one_error_that_names_the_fix(words, text, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("resnet-search: ")
    assert text in error
    assert "Traceback" not in error


@pytest.mark.parametrize("command", ["run", "preview", "simulate", "doctor"])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cifra10", "did you mean cifar10?"),
        ("CIFAR-10", "did you mean cifar10?"),
        ("minne", "did you mean mine.toml?"),
        ("minne.toml", "did you mean mine.toml?"),
        ("below/otter.toml", "did you mean below/other.toml?"),
        ("below", "below is a folder, no study file; it holds below/other.toml"),
        ("runs", "`resnet-search resume runs/a` goes on with one"),
        ("runs/a", "runs/a is the run folder of a study: `resnet-search resume runs/a`"),
        ("runs/a/study.json", "runs/a is the run folder of a study"),
    ],
)
def test_a_study_that_is_none_is_told_what_was_meant(
    command, name, meant, capsys, monkeypatch, tmp_path
):
    for path in ("mine.toml", "below/other.toml", "runs/a/study.json"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("{}")
    monkeypatch.setattr("search.run.doctor.examine", lambda spec, options: iter(()))
    assert main([command, name]) == 2
    shown = capsys.readouterr()
    assert meant in shown.out + shown.err


def test_missing_weights_name_every_depth_and_file(capsys, tmp_path):
    words = ["run", "cifar10", "--set", "fixed.edition=synthetic", "--depth", "18,34", "--offline"]
    assert main(words) == 2
    error = capsys.readouterr().err
    for name in ("resnet18-f37072fd.pth", "resnet34-b627a593.pth"):
        assert name in error
    assert "--weights-dir" in error
    assert not (tmp_path / "runs" / "cifar10" / record.STUDY).exists()


def test_a_second_run_does_not_overwrite_the_first(make_study, capsys, tmp_path):
    make_study(tmp_path / "runs" / "quickstart-crowd").close()
    assert main(["run", "quickstart-crowd"]) == 2
    error = capsys.readouterr().err
    assert "resnet-search resume" in error
    assert "--name" in error


def test_a_study_killed_before_its_first_job_can_be_resumed(make_study, capsys):
    """It has no session on record yet; here its data is not what it was."""
    study = make_study()
    study.close()
    assert main(["resume", str(study.folder)]) == 2
    assert "--data-dir" in capsys.readouterr().err


def test_status_shows_every_cell(make_study, capsys):
    study = make_study()
    drive(study)
    study.close()
    assert main(["status", str(study.folder)]) == 0
    shown = capsys.readouterr().out
    assert "depth 18" in shown
    assert "depth 34" in shown
    assert "SYNTHETIC DATA" in shown


def test_status_without_seeds_asks_for_the_winners_test_score(make_study, capsys):
    text = TEXT.split("[confirm]")[0]
    study = make_study(text=text)
    while not any(job.score_test for job in study._search.jobs.values()):
        job = study.ask()
        if not job.train["score_test"]:
            told = {"value": 0.5, "epoch": job.train["to_epoch"], "seconds": 1.0}
            study.tell(job.trial, {"ending": "value", "value_epoch": told["epoch"], **told})
    study.close()
    assert main(["status", str(study.folder)]) == 1
    study = make_study(text=text)
    drive(study)
    study.close()
    assert main(["status", str(study.folder)]) == 0
    capsys.readouterr()


def test_status_of_a_cell_with_fewer_full_trials_than_promised_is_not_success(make_study, capsys):
    study = make_study(text=TEXT.replace("audit_share = 0.4", "full_per_cell = 3"))
    while (job := study.ask()) is not None:
        lost = (
            job.train["from_epoch"] and not job.trial.endswith("000") and "seed" not in job.trial
        )
        epoch = job.train["to_epoch"]
        told = {"value": 0.5, "epoch": epoch, "value_epoch": epoch, "seconds": 1.0}
        if job.train["score_test"]:
            told |= {"test": {"loss": 1.0, "accuracy": 0.5}, "baselines": {}}
        study.tell(job.trial, {"ending": "diverged" if lost else "value", **told})
    study.close()
    assert main(["status", str(study.folder)]) == 1
    capsys.readouterr()
    assert main(["resume", str(study.folder)]) == 1  # nothing is left to run
    shown = capsys.readouterr().out
    assert "not every cell has what it was promised" in shown
    assert "00-001 diverged: not finite in epoch" in shown


def test_a_seed_that_failed_is_told_with_its_reason(make_study, capsys):
    study = make_study()
    while (job := study.ask()) is not None:
        epoch = job.train["to_epoch"]
        told = {"ending": "value", "value": 0.5, "epoch": epoch, "value_epoch": epoch}
        if job.train["score_test"]:
            told |= {"test": {"loss": 1.0, "accuracy": 0.5}, "baselines": {}}
        if job.trial == "00-seed1":
            told = {"ending": "failed", "error": "Traceback\nOSError: disk full"}
        study.tell(job.trial, {**told, "seconds": 1.0})
    study.close()
    assert main(["resume", str(study.folder)]) == 1
    assert "00-seed1 failed: its job failed: OSError: disk full" in capsys.readouterr().out


def test_status_of_an_unfilled_cell_is_not_success(make_study, capsys):
    study = make_study()
    drive(study, most=2)
    study.close()
    assert main(["status", str(study.folder)]) == 1


def test_studies_lists_what_ships(capsys):
    assert main(["studies"]) == 0
    shown = capsys.readouterr().out
    for name in ("quickstart-cifar10", "report-crowd-lr", "shanghaitech"):
        assert name in shown


def test_the_report_s_switches_set_the_study(make_study):
    from search.cli.main import _parser
    from search.spec.overrides import given_overrides
    from search.spec.shipped import find_study
    from search.spec.study_spec import load_spec

    words = ["run", "report-crowd-depth", "--part", "B", "--batch-size", "4", "--epochs", "500"]
    arguments = _parser()[0].parse_args([*words, "--depth", "18,34", "--lr", "0.001"])
    spec, _ = load_spec(find_study(arguments.study), given_overrides(arguments))
    assert spec.cells == {"depth": (18, 34), "part": ("B",), "lr": (0.001,)}
    assert spec.fixed == {"batch_size": 4}
    assert spec.budget.max_epochs == 500


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data-dir", "D", "run", "x.toml"], "the command comes first, then --data-dir"),
        (["stauts", "runs/x"], "no command stauts; did you mean status?"),
        (["train"], "no command train; there are run, resume,"),
        (["simulate", "quickstart-cifar10", "--data-dir", "D"], "`simulate` takes no --data-dir"),
    ],
)
def test_a_misplaced_word_is_told_where_it_belongs(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_what_a_run_is_given_can_be_previewed(capsys):
    assert main(["preview", "quickstart-cifar10", "--depth", "34", "--epochs", "5"]) == 0
    shown = capsys.readouterr().out
    assert "depth 34" in shown


def test_a_fault_of_our_own_keeps_its_traceback(monkeypatch):
    """Only what a user gave is told in one line; an internal ValueError looked like bad input."""

    def broken():
        raise ValueError("not the user's fault")

    monkeypatch.setattr("search.cli.main.shipped_studies", broken)
    with pytest.raises(ValueError, match="not the user's fault"):
        main(["studies"])
