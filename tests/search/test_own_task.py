"""A task of one's own: docs/own-task.md works as it stands, and what is wrong with one is told."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from search import record
from search.spec.study_spec import SpecError, load_spec

DOCS = Path(__file__).parents[2] / "docs" / "own-task.md"
ROOT = Path(__file__).parents[2]


def blocks(folder):
    """The files of the page, written to a folder; returns their names and its commands."""
    names, commands = [], []
    for kind, text in re.findall(r"```(python|toml|sh)\n(.*?)```", DOCS.read_text(), re.S):
        if kind == "sh":
            commands += text.strip().splitlines()
        else:
            name = re.match(r"# (\S+)\n", text).group(1)
            (folder / name).write_text(text)
            names.append(name)
    return names, commands


def call(folder, *words):
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_page_works_as_it_stands(tmp_path):
    names, commands = blocks(tmp_path)
    assert names == ["rings.py", "rings.toml", "rings_smooth.py"]
    assert len((tmp_path / "rings.py").read_text().splitlines()) < 60
    modules = {"resnet-search": "search", "resnet-report": "analysis"}
    for command in commands:
        program, *words = command.split()
        done = call(tmp_path, "-m", modules[program], *words)
        assert done.returncode == 0, done.stdout + done.stderr
        if words[0] == "table":
            assert "test accuracy ↑" in done.stdout
    held = record.load(tmp_path / "runs" / "rings")
    scored = held.trials[held.trials["stage"] == "confirm"]
    assert scored.groupby("width")["test_accuracy"].count().to_dict() == {2: 2, 16: 2}
    assert [row["file"] for row in held.study["task_code"]] == ["trainables", "rings.py"]
    assert len(held.per_image) == 4 * 300

    smooth = (tmp_path / "rings.toml").read_text().replace('"rings', '"rings_smooth', 2)
    (tmp_path / "smooth.toml").write_text(smooth.replace('"rings_smooth"', '"smooth"'))
    assert load_spec(tmp_path / "smooth.toml")[0].task == "rings_smooth:TASK"

    # the same study, its code changed: refused, and nothing of it is lost
    source = tmp_path / "rings.py"
    (tmp_path / "runs" / "rings" / record.JOURNAL).write_text(
        "".join((tmp_path / "runs" / "rings" / record.JOURNAL).open().readlines()[:5])
    )
    source.write_text(source.read_text().replace("900", "800"))
    done = call(tmp_path, "-m", "search", "resume", "runs/rings")
    assert done.returncode == 2
    assert "rings.py is not the code that rings was started with" in done.stderr
    assert "Traceback" not in done.stderr


STUDY = """
name = "mine"
task = "{task}"
[cells]
lr = [0.1, 0.2]
[budget]
max_epochs = 1
"""


@pytest.mark.parametrize(
    ("task", "source", "said"),
    [
        ("absent_mine:TASK", None, "no module 'absent_mine'"),
        ("broken_mine:TASK", "import torch\n1 / 0", r"ZeroDivisionError.*broken_mine\.py, line 2"),
        ("typo_mine:TASK", "TASKK = 1", "has no TASK; did you mean 'typo_mine:TASKK'"),
        ("number_mine:TASK", "TASK = 3", "is a int, not a trainables.task.Task"),
        ("not a name", None, "must be one of cifar10"),
        ("mine-x:TASK", None, "must have the form 'module:ATTRIBUTE'"),
        (
            "unsound_mine:TASK",
            "from dataclasses import replace\n"
            "from trainables.tasks.arrays import array_task\n"
            "TASK = replace(array_task('t', lambda d, c: {}, lambda c: None), metric='f1', "
            "mode='up', loss=3)",
            r"metric 'f1' is not among metrics.*mode must be max or min.*loss must be a function",
        ),
        (
            "unsaid_mine:TASK",
            "from dataclasses import replace\n"
            "from trainables.tasks.arrays import array_task\n"
            "TASK = replace(array_task('t', lambda d, c: {}, lambda c: None), inputs=lambda: 1, "
            "about={'title': 't', 'metrics': {'loss': {}}})",
            r"inputs must be a function of \(config\).*about lacks 'formulas'.*"
            r"about\['metrics'\] must say something of each of loss, accuracy",
        ),
        (
            "settings_mine:TASK",
            "from trainables.task import Setting\n"
            "from trainables.tasks.arrays import array_task\n"
            "TASK = array_task('t', lambda d, c: {}, lambda c: None, settings={'width': 3, "
            "'deep': Setting(0, 'layers', low=1), 'lr': Setting('high', 'rate'), "
            "'schedule': Setting('step', 'other', choices=('step', 'saw'))})",
            r"settings\['lr'\] is read by the training loop and must be a float.*"
            r"settings\['schedule'\] is read by the training loop, which knows.*"
            r"settings\['width'\] must be a .*Setting, not 3.*"
            r"settings\['deep'\]: its default must be at least 1",
        ),
    ],
)
def test_what_is_wrong_with_a_task_is_told_by_key_and_file(tmp_path, task, source, said):
    if source is not None:
        (tmp_path / f"{task.partition(':')[0]}.py").write_text(source)
    (tmp_path / "mine.toml").write_text(STUDY.format(task=task))
    with pytest.raises(SpecError, match=rf"(?s)task: .*{said}"):
        load_spec(tmp_path / "mine.toml")


def test_faults_of_the_data_are_told_before_ray(tmp_path, monkeypatch, capsys):
    from search.cli.main import main

    (tmp_path / "holes_mine.py").write_text(
        "import numpy as np\nfrom torch import nn\n"
        "from trainables.tasks.arrays import array_task\n"
        "def load(data_dir, config):\n"
        "    x = np.ones((4, 2)); x[2, 1] = np.nan\n"
        "    return {'train': (x, np.arange(4)), 'test': (np.ones((2, 3)), np.array([0, 9]))}\n"
        "TASK = array_task('holes', load, lambda config: nn.Linear(2, 4))\n"
    )
    (tmp_path / "mine.toml").write_text(STUDY.format(task="holes_mine:TASK"))
    monkeypatch.chdir(tmp_path)
    assert main(["run", "mine.toml"]) == 2
    shown = capsys.readouterr()
    assert "train: x is not finite in row 2" in shown.err
    assert "x differs in shape between splits" in shown.err
    assert "starting Ray" not in shown.out
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_network_that_does_not_fit_its_arrays_is_told_before_ray(tmp_path, monkeypatch, capsys):
    from search.cli.main import main

    (tmp_path / "unfit_mine.py").write_text(
        "import numpy as np\nfrom torch import nn\n"
        "from trainables.tasks.arrays import array_task\n"
        "def load(data_dir, config):\n"
        "    return {s: (np.ones((8, 2)), np.arange(8) % 4) for s in ('train', 'test')}\n"
        "def network(config):\n"
        "    return nn.Linear(3, 4)\n"
        "TASK = array_task('unfit', load, network)\n"
    )
    (tmp_path / "mine.toml").write_text(STUDY.format(task="unfit_mine:TASK"))
    monkeypatch.chdir(tmp_path)
    assert main(["run", "mine.toml"]) == 2
    shown = capsys.readouterr()
    assert "unfit: network fails on two rows of train, (2, 2): RuntimeError" in shown.err
    assert "starting Ray" not in shown.out


def test_a_module_of_a_name_that_is_taken_is_not_another_one(tmp_path):
    """Beside the study file lies a queue.py; what would be imported is Python's own."""
    (tmp_path / "queue.py").write_text("TASK = 1")
    (tmp_path / "mine.toml").write_text(STUDY.format(task="queue:TASK"))
    with pytest.raises(SpecError, match=r"'queue' is already the name of .*give yours another"):
        load_spec(tmp_path / "mine.toml")


def test_a_worker_trains_no_other_code_than_is_on_record(tmp_path):
    from search.run.worker import WorkerJob, execute
    from trainables.own_code import code_of

    text = (
        "import numpy as np\nfrom torch import nn\n"
        "from trainables.tasks.arrays import array_task\n"
        "def load(data_dir, config):\n"
        "    return {s: (np.ones((8, 2)), np.arange(8) % 2) for s in ('train', 'test')}\n"
        "TASK = array_task('t', load, lambda config: nn.Linear(2, 2))\n"
    )
    source = tmp_path / "changing_mine.py"
    source.write_text(text)
    (tmp_path / "mine.toml").write_text(STUDY.format(task="changing_mine:TASK"))
    spec = load_spec(tmp_path / "mine.toml")[0]
    job = {
        "config": {**spec.config({"lr": 0.1}, {}), "batch_size": 4},
        "seed": 1,
        "split_seed": 0,
        "to_epoch": 1,
        "max_epochs": 1,
        "score_test": False,
        "data_dir": str(tmp_path),
        "weights": None,
        "device": "cpu",
        "checkpoint": str(tmp_path / "checkpoints" / "t.pt"),
    }
    held = (spec.task, "t", str(tmp_path), job, 1.0, 0.0)
    now = WorkerJob(*held, task_dir=str(tmp_path), task_code=code_of([spec.task]))
    assert execute(now, lambda row: None)["ending"] == "value"
    before = [{**row, "sha256": "0" * 64} for row in now.task_code]
    told = execute(WorkerJob(*held, task_dir=str(tmp_path), task_code=before), lambda row: None)
    assert told["ending"] == "failed"
    assert "changing_mine.py was changed while the study ran" in told["error"]
