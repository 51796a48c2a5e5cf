"""A run folder has one writer from its first moment; a study that was refused leaves nothing."""

import json

import pytest

from search import record
from search.cli.main import main
from search.record import JournalError, RecordError
from search.record.run_folder import RunFolder
from tests.search.conftest import TEXT

STUDY = {"format": 1, "name": "mine", "task": "", "metric": "", "mode": "", "spec": {}}
STUDY |= {key: [] for key in ("cells", "rungs", "data", "sessions")}


def test_a_folder_that_was_claimed_and_not_begun_goes_again(tmp_path):
    with RunFolder.make(tmp_path / "runs" / "mine") as run:
        (run.path / "weights").mkdir()
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_else_is_in_a_claimed_folder_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    RunFolder.make(tmp_path / "mine").close()
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_weights_that_were_there_before_a_refused_run_stay(tmp_path):
    """`--runs-dir .. --name project` claims a project's own folder."""
    (tmp_path / "mine" / "weights").mkdir(parents=True)
    (tmp_path / "mine" / "weights" / "resnet18.pth").touch()
    RunFolder.make(tmp_path / "mine").close()
    assert (tmp_path / "mine" / "weights" / "resnet18.pth").exists()


def test_of_two_that_begin_the_same_study_the_second_is_refused(tmp_path):
    first = RunFolder.make(tmp_path / "mine")
    with pytest.raises(JournalError, match="written by another process"):
        RunFolder.make(tmp_path / "mine")
    first.create(STUDY)
    with pytest.raises(JournalError, match="written by another process"):
        RunFolder.make(tmp_path / "mine")
    first.close()
    with pytest.raises(RecordError, match="already holds a study"):
        RunFolder.make(tmp_path / "mine")
    assert json.loads((tmp_path / "mine" / record.STUDY).read_text()) == STUDY


def test_no_study_is_ever_written_over_another(tmp_path):
    """Also where locks do not hold, as on some network storage."""
    run = RunFolder.make(tmp_path / "mine")
    (run.path / record.STUDY).write_text("another's")
    with pytest.raises(FileExistsError):
        run.create(STUDY)
    assert (run.path / record.STUDY).read_text() == "another's"
    run.close()


def test_a_second_run_of_the_same_name_changes_nothing_of_the_first(tmp_path, capsys):
    """It was refused, but had overwritten study.json: the first study was lost."""
    (tmp_path / "tiny.toml").write_text(TEXT)
    first = RunFolder.make(tmp_path / "runs" / "tiny")  # a run that is still starting Ray
    words = ["run", str(tmp_path / "tiny.toml"), "--runs-dir", str(tmp_path / "runs")]
    assert main(words) == 2
    assert "written by another process" in capsys.readouterr().err
    assert [p.name for p in first.path.iterdir()] == [record.LOCK]
    first.create(STUDY)
    before = (first.path / record.STUDY).read_bytes()
    assert main(words) == 2
    assert main(["resume", str(first.path)]) == 2
    assert (first.path / record.STUDY).read_bytes() == before
    first.close()


def test_a_folder_that_cannot_be_made_or_locked_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"no folder can be made there.*--runs-dir"):
        RunFolder.make(tmp_path / "file" / "mine")
    (tmp_path / "mine" / record.LOCK).mkdir(parents=True)
    with pytest.raises(RecordError, match=r"cannot be locked"):
        RunFolder.make(tmp_path / "mine")
