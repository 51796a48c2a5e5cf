"""What is on record of the code that runs."""

import subprocess

import pytest

from search.run import machine


@pytest.fixture
def checkout(tmp_path):
    """A checkout of this package's shape, whole; what runs git in it."""

    def run(*words):
        own = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", tmp_path, *own, *words], check=True, capture_output=True)

    here = tmp_path / "search" / "run"
    here.mkdir(parents=True)
    (here / "machine.py").write_text("one = 1\n")
    (tmp_path / "README.md").write_text("read\n")
    run("init")
    run("add", ".")
    run("commit", "-m", "all")
    return tmp_path, here


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("mine.toml", False),
        ("runs/mine/study.json", False),
        ("mine/own.py", False),
        ("search/run/machine.py", True),
        ("README.md", True),
        ("search/run/new.py", True),
        ("trainables/new.py", True),
        ("search/studies/mine.toml", False),
    ],
)
def test_a_commit_is_changed_by_what_git_knows_and_by_new_modules_alone(checkout, name, changed):
    folder, here = checkout
    assert machine.git(here)["dirty"] is False
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("other\n")
    held = machine.git(here)
    assert len(held["commit"]) == 40
    assert held["dirty"] is changed
