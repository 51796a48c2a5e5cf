"""What is refused before Ray is started, each by one message that names the fix."""

from pathlib import Path

import pytest

from search import record
from search.cli.main import main
from search.run.objects import Objects
from search.spec.study_spec import load_spec
from tests.search.conftest import TEXT, begin, drive

STUDY = """
name = "tiny"
task = "cifar10"
[cells]
depth = [18]
[space.lr]
low = 0.01
high = 0.1
[fixed]
edition = "synthetic"
[budget]
trials_per_cell = 2
max_epochs = 2
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RESNET_TUNE_DATA", raising=False)
    Path("tiny.toml").write_text(STUDY)
    return tmp_path


@pytest.fixture
def refused(here, capsys):
    """Run a command that must be refused before Ray; its message, in one line of stderr."""

    def run(*words, status=2):
        assert main(words) == status
        shown = capsys.readouterr()
        assert "starting Ray" not in shown.out
        assert shown.err.startswith("resnet-search: ")
        return shown.err

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "resources.cpus_per_trial=4096"), "cpus_per_trial asks for 4096"),
        (("--set", "resources.gpus_per_trial=64"), "gpus_per_trial asks for 64"),
        (("--set", "resources.gpus_per_trial={50=1}"), "no entry for depth 18"),
        (("--runs-dir", "tiny.toml"), "--runs-dir"),
        (("--set", "fixed.train_images=60000"), "train_images = 60000, but"),
        (("--set", "fixed.test_images=501"), "has 500 of them"),
        (("--set", "fixed.edition=auto", "--data-dir", "no/where"), "is no folder"),
    ],
)
def test_a_run_that_cannot_be_is_refused(refused, words, said):
    assert said in refused("run", "tiny.toml", *words)
    assert not Path("runs/tiny").exists()
    assert not Path("no").exists()


@pytest.fixture
def no_network(monkeypatch):
    """Where torchvision would download, it makes the folder and finds no network."""

    def download(root, train, download=False):
        if download:
            Path(root).mkdir(exist_ok=True)
            raise OSError("no network")
        raise RuntimeError("Dataset not found")

    monkeypatch.setattr(
        "trainables.tasks.cifar10_files.CIFAR10.__init__", lambda self, *a, **k: download(*a, **k)
    )


@pytest.mark.parametrize("damaged", [False, True])
def test_missing_data_is_downloaded_and_damaged_data_is_not(refused, no_network, damaged):
    if damaged:
        Path("data").mkdir()
        Path("data/train-0.parquet").write_bytes(b"PAR1 cut off")
    said = refused("run", "tiny.toml", "--set", "fixed.edition=auto")
    assert ("the download failed (no network)" in said) is not damaged
    assert ("train-0.parquet is no whole parquet file" in said) is damaged
    assert Path("data").is_dir() is damaged  # no folder is left that was made for nothing


def test_an_address_where_nothing_listens_is_refused_at_once(here, capsys):
    assert main(["run", "tiny.toml", "--address", "127.0.0.1:9"]) == 1
    assert "nothing answers at --address 127.0.0.1:9" in capsys.readouterr().err


def test_an_existing_run_is_kept(refused, make_study, here):
    make_study(Path("runs/tiny")).close()
    assert "already holds a study" in refused("run", "tiny.toml")


def test_a_study_that_was_edited_since_its_run_is_told_key_by_key(refused, here, capsys):
    (here / "tiny.toml").write_text(TEXT)
    spec, text = load_spec(here / "tiny.toml")
    data = [{"data": "synthetic", "edition": "synthetic", "synthetic": True}]
    begin(here / "runs" / "tiny", spec, text, [data[0] | {"train_images": 9, "test_images": 9}])
    assert "on record -> now" not in refused("run", "tiny.toml")
    (here / "tiny.toml").write_text(text.replace("high = 0.1", "high = 0.2"))
    said = refused("run", "tiny.toml", "--set", "budget.trials_per_cell=7")
    lines = [line for line in said.splitlines() if line.startswith("  ")]
    assert lines == ["  budget.trials_per_cell: 5 -> 7", "  space.lr.high: 0.1 -> 0.2"]
    assert "`resume` goes on with it as on record; for what is asked for now, --name" in said
    uri = f"file://{here}/store"  # without a copy of it here, it is the same
    store = Objects(f"{uri}/tiny")
    store.make()
    store.put("study.json", here / "runs" / "tiny" / "study.json")
    said = refused("run", "tiny.toml", "--runs-dir", uri, "--local-dir", "other")
    assert "already holds a study" in said
    assert "  space.lr.high: 0.1 -> 0.2" in said


def test_the_run_folder_is_said_before_the_checks_of_data_and_machine(here, capsys):
    assert main(["run", "tiny.toml", "--set", "fixed.train_images=60000"]) == 2
    assert capsys.readouterr().out.splitlines()[0] == "run folder: runs/tiny"


@pytest.mark.parametrize(
    "left",
    [
        "decisions.jsonl",
        "epochs.jsonl",
        "curves.parquet",
        "checkpoints/00-000.pt",
        "parts/x.parquet",
        "frames.json",
        "unasked/epochs.jsonl",
    ],
)
def test_what_is_left_of_a_study_without_its_study_json_is_not_gone_on_from(refused, here, left):
    """A journal would be replayed as if it were the new study's, without a word."""
    path = here / "runs" / "tiny" / left
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    said = refused("run", "tiny.toml")
    shown = f"{left.split('/')[0]}/" if "/" in left else left
    assert f"{here}/runs/tiny has no study.json, and holds {shown} of a study" in said
    assert "put study.json back from a copy" in said
    assert "--name ANOTHER" in said
    assert path.exists()


def test_a_folder_with_files_of_somebody_elses_can_be_a_new_studys(make_study, here):
    folder = here / "runs" / "tiny"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "notes.md").touch()
    make_study(folder).close()
    assert (folder / "study.json").exists()


# -- resume ---------------------------------------------------------------------------------------


@pytest.fixture
def killed(make_study, here):
    """A run folder with a few jobs done."""
    folder = here / "runs" / "tiny"
    study = make_study(folder)
    drive(study, most=4)
    study.close()
    return folder


def test_a_missing_journal_is_no_empty_one(refused, killed):
    (killed / record.JOURNAL).unlink()
    for words in (("resume", "runs/tiny"), ("status", "runs/tiny")):
        assert "is missing or holds nothing" in refused(*words)


def test_a_journal_of_rubbish_is_no_empty_one(refused, killed):
    (killed / record.JOURNAL).write_bytes(b"\xff\xfe\x00")
    assert "is missing or holds nothing" in refused("status", "runs/tiny")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda lines: lines[1:], "a line is missing"),
        (lambda lines: [lines[0].replace("ask", "tusk"), *lines[1:]], "has the event 'tusk'"),
        (lambda lines: [lines[0][:20], *lines[1:]], "line 1 is not JSON"),
        (lambda lines: ["[]", *lines[1:]], "has the event None"),
    ],
)
def test_a_damaged_journal_names_file_and_line(refused, killed, damage, said):
    path = killed / record.JOURNAL
    path.write_text("\n".join(damage(path.read_text().splitlines())) + "\n")
    for words in (("resume", "runs/tiny"), ("status", "runs/tiny")):
        message = refused(*words)
        assert said in message
        assert record.JOURNAL in message


@pytest.mark.parametrize(
    ("text", "said"),
    [("{}", "has format None"), ("[]", "has format None"), ('{"format": 1}', "lacks name, task")],
)
def test_a_damaged_study_names_the_file(refused, killed, text, said):
    (killed / record.STUDY).write_text(text)
    message = refused("resume", "runs/tiny")
    assert said in message
    assert record.STUDY in message


def test_a_study_that_is_being_written_is_not_resumed(refused, killed, make_study):
    study = make_study(killed)
    assert "written by another process" in refused("resume", "runs/tiny")
    study.close()


def test_a_finished_study_is_done_without_ray(make_study, here, capsys):
    study = make_study(here / "runs" / "tiny")
    drive(study)
    study.close()
    main(["resume", "runs/tiny"])
    shown = capsys.readouterr()
    assert "done: runs/tiny" in shown.out
    assert "starting Ray" not in shown.out


def test_status_tells_a_running_study_from_a_dead_one(make_study, here, capsys):
    study = make_study(here / "runs" / "tiny")
    drive(study, most=3)
    study.ask()
    record.write(study.folder)
    assert main(["status", "runs/tiny"]) == 1
    shown = capsys.readouterr().out
    assert "running;" in shown
    assert _running(shown) == 1
    study.close()
    assert main(["status", "runs/tiny"]) == 1
    shown = capsys.readouterr().out
    assert "NOT RUNNING" in shown
    assert _running(shown) == 0


def _running(shown):
    """Sum of the column `running` of a table of status."""
    head, *rows = [line for line in shown.splitlines() if line.startswith(("cell ", "depth "))]
    at = head.split().index("running") + 1  # a cell is two words, e.g. "depth 18"
    return sum(int(row.split()[at]) for row in rows)


def test_the_best_of_status_is_the_searchs_not_a_seeds(make_study, here, capsys):
    study = make_study(here / "runs" / "tiny")
    drive(study)
    study.close()
    main(["status", "runs/tiny"])
    shown = capsys.readouterr().out
    trials = record.load("runs/tiny").trials
    full = trials[(trials["status"] == "completed") & (trials["stage"] == "search")]
    for _, rows in full.groupby("cell"):
        assert f"{rows['value'].max():.4g}" in shown


def test_settings_of_a_task_are_listed(capsys):
    assert main(["settings", "shanghaitech"]) == 0
    shown = capsys.readouterr().out
    assert "density_scale" in shown
    assert main(["settings", "mnist"]) == 2
    assert "cifar10, shanghaitech" in capsys.readouterr().err


def test_a_record_without_its_frames_is_made_again(killed):
    expected = record.load(killed).trials
    for path in killed.glob("*.parquet"):
        path.unlink()
    assert record.load(killed).trials.equals(expected)
