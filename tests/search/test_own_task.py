"""A task of one's own: docs/own-task.md works as it stands, and what is wrong with one is told."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from search import record
from search.record.taken import FOLDERS
from search.run.packing import measured
from search.spec.study_spec import SpecError, load_spec
from trainables.engine.probe import Taken

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

    # from elsewhere, where no rings.py lies
    done = call(ROOT, "-m", "search", "optuna", str(tmp_path / "runs" / "rings"))
    assert done.returncode == 0, done.stderr

    smooth = (tmp_path / "rings.toml").read_text().replace('"rings', '"rings_smooth', 2)
    (tmp_path / "smooth.toml").write_text(smooth.replace('"rings_smooth"', '"smooth"'))
    assert load_spec(tmp_path / "smooth.toml")[0].task == "rings_smooth:TASK"

    # the same study, its code changed: refused, and nothing of it is lost
    source = tmp_path / "rings.py"
    (tmp_path / "runs" / "rings" / record.JOURNAL).write_text(
        "".join((tmp_path / "runs" / "rings" / record.JOURNAL).open().readlines()[:5])
    )
    (tmp_path / "runs" / "rings" / "frames.json").unlink()  # as of a run that was killed there
    source.write_text(source.read_text().replace("900", "800"))
    done = call(tmp_path, "-m", "search", "resume", "runs/rings")
    assert done.returncode == 2
    assert "rings is not what it was" in done.stderr
    assert re.search(r"your own code, \S+rings\.py: sha256 [0-9a-f]{8} -> ", done.stderr)
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
            "tuned_mine:TASK",
            "from trainables.task import Setting\n"
            "from trainables.tasks.arrays import array_task\n"
            "TASK = array_task('t', lambda d, c: {}, lambda c: None, "
            "settings={'pretrained': Setting(False, 'or not')})",
            r"settings\['pretrained'\] is the ResNets', whose weights are by depth",
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


OPEN = """
from dataclasses import replace
import numpy as np
from torch import nn
from trainables.task import Setting
from trainables.tasks.arrays import array_task
def load(data_dir, config):
    return {s: (np.ones((64, 2)), np.arange(64) % 4) for s in ("train", "test")}
def conflicts(config):
    try:
        return {"width": "is odd"} if config["width"] % 2 else {}
    except Exception:
        return {}
TASK = array_task("open", load, lambda config: nn.Linear(2, 4), settings={
    "width": Setting(2, "of nothing", 1)})
TASK = replace(TASK, conflicts=conflicts)
"""


def test_what_a_check_of_one_s_own_reads_can_be_searched(tmp_path):
    """A check may catch every Exception; it is given each value all the same."""
    (tmp_path / "open_mine.py").write_text(OPEN)
    study = STUDY.format(task="open_mine:TASK")
    space = '[space]\nschedule = ["step", "cosine"]\nwidth = [2, {}]\n'
    (tmp_path / "mine.toml").write_text(study + space.format(4))
    load_spec(tmp_path / "mine.toml")
    (tmp_path / "mine.toml").write_text(study + space.format(3))
    with pytest.raises(SpecError, match=r"space\.width: is odd"):
        load_spec(tmp_path / "mine.toml")


def test_a_gpu_s_share_is_measured_of_a_task_of_one_s_own_too(tmp_path):
    """What is sent to another process is the task's name: closures cannot be."""
    (tmp_path / "sent_mine.py").write_text(OPEN)
    (tmp_path / "mine.toml").write_text(
        STUDY.format(task="sent_mine:TASK") + "[[points]]\nwidth = 2\nbatch_size = 32\n"
        "[[points]]\nwidth = 4\nbatch_size = 16\n"
    )
    spec, _ = load_spec(tmp_path / "mine.toml")
    sizes = []

    def on_gpu(function, name, configs, data_dir, seed, kind, folder):
        function, *sent = pickle.loads(pickle.dumps((function, name, configs, folder)))
        sizes.extend((config["width"], config["batch_size"]) for config in configs)
        found = function(*sent[:2], data_dir, seed, "cpu", sent[2])
        return [Taken("GPU", 100.0, 8_000.0, taken.step_ms) for taken in found]

    rows = measured(spec, tmp_path, on_gpu, lambda text: None, str(tmp_path))
    assert sizes == [(2, 32), (4, 16)]  # and not (4, 32), which no trial has
    assert [row["share"] for row in rows] == [0.25] * 2


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("about={**RINGS.says, 'side': 3}", "about.side is 3"),
        (
            "about={**RINGS.says, 'metrics': {'loss': {}, 'accuracy': {'mode': 'min'}}}",
            "mode is 'max', which does not fit",
        ),
        ("fingerprint=lambda d, c: {**RINGS.fingerprint(d, c), 'data': 7}", "data.0.data is 7"),
    ],
)
def test_what_its_own_record_could_not_be_read_with_is_told_before_ray(
    change, said, tmp_path, monkeypatch, capsys
):
    from search.cli.main import main

    blocks(tmp_path)
    module = f"odd_{abs(hash(change))}"
    (tmp_path / f"{module}.py").write_text(
        f"from dataclasses import replace\nfrom rings import TASK as RINGS\n"
        f"TASK = replace(RINGS, {change})\n"
    )
    study = (tmp_path / "rings.toml").read_text().replace('"rings:', f'"{module}:')
    (tmp_path / "odd.toml").write_text(study)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("search.run.cluster.connect", lambda *a: pytest.fail("Ray is started"))
    assert main(["run", "odd.toml"]) == 2
    told = capsys.readouterr().err
    assert f"its record could not be read again: {said}" in told.replace("\n", " ")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_module_of_a_name_that_is_taken_is_not_another_one(tmp_path):
    """Beside the study file lies a queue.py; what would be imported is Python's own."""
    (tmp_path / "queue.py").write_text("TASK = 1")
    (tmp_path / "mine.toml").write_text(STUDY.format(task="queue:TASK"))
    with pytest.raises(SpecError, match=r"'queue' is already the name of .*give yours another"):
        load_spec(tmp_path / "mine.toml")


def test_a_worker_trains_no_other_code_than_is_on_record(tmp_path):
    from search.run.worker import WorkerJob
    from tests.tiny import execute
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
    }
    (tmp_path / "study.json").write_text("{}")
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    held = (spec.task, "t", str(tmp_path), job, 1.0, 0.0)
    now = WorkerJob(*held, task_dir=str(tmp_path), task_code=code_of([spec.task]))
    assert execute(now, lambda row: None)["ending"] == "value"
    before = [{**row, "sha256": "0" * 64} for row in now.task_code]
    told = execute(WorkerJob(*held, task_dir=str(tmp_path), task_code=before), lambda row: None)
    assert told["ending"] == "failed"
    assert "changing_mine.py was changed while the study ran" in told["error"]
