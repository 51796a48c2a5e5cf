"""`resnet-search status` at every time of a study: before it begins, while it runs, and after."""

import pytest

from search import record
from search.cli.main import main
from search.record.run_folder import RunFolder
from tests.search.conftest import drive


@pytest.fixture
def status(capsys):
    """Exit status of `status RUN`, and all that it prints."""

    def look(run):
        capsys.readouterr()
        code = main(["status", str(run)])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return look


def test_before_a_study_has_begun_it_says_that_one_is_about_to(status, tmp_path):
    folder = tmp_path / "runs" / "tiny"
    with RunFolder.make(folder):
        code, said = status(folder)
        assert code == 1
        assert f"{folder}: a study is about to begin there" in said
    code, said = status(folder)
    assert code == 2
    assert "is no run folder" in said


def test_what_nobody_runs_is_gone_on_with_by_a_command_to_paste(
    status, make_study, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    study = make_study(tmp_path / "runs of mine" / "tiny")
    drive(study, most=3)
    code, said = status("runs of mine/tiny")
    assert code == 1
    assert "running" in said
    assert "go on: " not in said
    study.close()
    code, said = status("runs of mine/tiny")
    assert code == 1
    assert "NOT RUNNING, interrupted or killed" in said
    assert "go on: resnet-search resume 'runs of mine/tiny'\n" in said


def test_its_help_tells_every_exit_status(status, make_study, capsys):
    with pytest.raises(SystemExit):
        main(["status", "--help"])
    told = " ".join(capsys.readouterr().out.split()).partition("Exit status: ")[2]
    assert told
    parts = {int(part.split()[0]): part for part in told.split(";")}
    assert sorted(parts) == [0, 1, 2, 130]
    study = make_study()
    drive(study, most=2)
    study.close()
    assert status(study.folder)[0] == 1  # interrupted
    assert "was interrupted" in parts[1]
    study = make_study()
    drive(study)
    study.close()
    assert status(study.folder)[0] == 0
    (study.folder / record.STUDY).write_text("{")
    assert status(study.folder)[0] == 2
    assert "damaged" in parts[2]
