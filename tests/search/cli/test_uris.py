"""A URI is taken where one may stand, and refused by a line where only a folder will do."""

from pathlib import Path

import pytest

from analysis.cli import main as report
from search.cli.main import main
from search.record.uris import as_uri, child, is_uri, last_name, parse_place
from trainables.errors import UserError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DATA", "WEIGHTS"):
        monkeypatch.delenv(f"RESNET_TUNE_{name}", raising=False)
    return tmp_path


RUN = ("run", "quickstart-cifar10")


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ((*RUN, "--data-dir", "s3://bucket/data"), "--data-dir s3://bucket/data"),
        ((*RUN, "--weights-dir", "gs://bucket/w"), "--weights-dir gs://bucket/w"),
        ((*RUN, "--local-dir", "s3://bucket/w"), "--local-dir s3://bucket/w"),
        (("doctor", "--runs-dir", "s3://bucket/runs"), "--runs-dir s3://bucket/runs"),
        (("resume", "runs/mine", "--data-dir", "file:///data"), "--data-dir file:///data"),
        (("weights", "runs/mine", "--out", "s3://bucket/w"), "--out s3://bucket/w"),
        (("fetch", "s3://bucket/r/x", "--to", "s3://bucket/w"), "--to s3://bucket/w"),
        (("preview", "cifar10", "--runs-dir", "s3://b/r"), "--runs-dir s3://b/r"),
    ],
)
def test_a_uri_in_the_place_of_a_folder_is_refused(here, capsys, words, option):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"resnet-search: {option}: this must be a folder, not a URI")
    assert said.count("\n") == 1
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", ["DATA", "WEIGHTS", "CACHE"])
def test_a_uri_in_the_environment_is_refused_too(here, capsys, monkeypatch, name):
    monkeypatch.setenv(f"RESNET_TUNE_{name}", "s3://bucket/x")
    assert main(RUN) == 2
    assert f"RESNET_TUNE_{name} s3://bucket/x" in capsys.readouterr().err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (main, ("weights", "s3://bucket/runs/x")),
        (main, ("optuna", "s3://bucket/runs/x")),
        (report, ("build", "s3://bucket/runs/x")),
        (report, ("table", "s3://bucket/runs/x")),
    ],
)
def test_who_reads_folders_alone_says_how_to_get_one(here, capsys, program, words):
    assert program(words) == 2
    assert "`resnet-search fetch s3://bucket/runs/x`" in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_a_report_is_written_to_a_folder(here, capsys):
    assert report(["build", "runs/x", "--out", "s3://bucket/x"]) == 2
    assert "--out s3://bucket/x: this must be a folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["resume", "status", "fetch"])
def test_a_store_without_the_study_is_told(here, capsys, command):
    assert main([command, f"file://{here}/nowhere/x"]) == 2
    assert f"file://{here}/nowhere/x holds no study" in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_only_a_uri_can_be_fetched(here, capsys):
    assert main(["fetch", "runs/mine"]) == 2
    assert "runs/mine is no URI" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["runs", "/tmp/a", "./s3:", "a:b/c", "C:/x", "s3:", "x y:/z"])
def test_what_is_a_folder(place):
    assert not is_uri(place)
    assert parse_place(place) == Path(place)


def test_parts_of_a_uri():
    assert parse_place("s3://bucket/runs/") == "s3://bucket/runs"
    assert as_uri(Path("s3://bucket/runs")) == "s3://bucket/runs"
    assert as_uri(Path("file:///mnt/runs")) == as_uri("file:///mnt/runs") == "file:///mnt/runs"
    assert child("s3://bucket", "x") == "s3://bucket/x"
    assert child("s3://bucket/runs?region=eu-1", "x") == "s3://bucket/runs/x?region=eu-1"
    assert child("file:///mnt/runs", "x") == "file:///mnt/runs/x"
    assert last_name("s3://bucket/runs/x?region=eu-1") == "x"
    with pytest.raises(UserError, match="names no run"):
        last_name("s3://bucket")
