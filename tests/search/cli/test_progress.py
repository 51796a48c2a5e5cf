import io
import tomllib

import pytest
from rich.console import Console

from search import record
from search.cli.progress import Progress
from search.spec.cells import make_plan
from search.spec.plan import Job
from search.spec.study_spec import parse_spec
from tests.search.conftest import TEXT, drive


@pytest.fixture
def shown(make_study):
    def show(terminal):
        spec = parse_spec(tomllib.loads(TEXT), "tiny.toml")
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=120)
        with Progress(spec, make_plan(spec), console, "val_accuracy") as progress:
            study = make_study()
            study._watcher = progress
            drive(study)
            study.close()
        return out.getvalue()

    return show


def test_piped_output_is_a_plain_line_an_event(shown):
    text = shown(False)
    assert "\x1b" not in text
    for piece in ("00-000 epoch 0 to 1: depth 18, lr ", "promote", "select", "stop", "rank 1 of"):
        assert piece in text


def test_a_job_ends_at_its_last_epoch_whichever_one_is_chosen():
    spec = parse_spec(tomllib.loads(TEXT), "tiny.toml")
    out = io.StringIO()
    console = Console(file=out, width=120)
    with Progress(spec, make_plan(spec), console, "val_accuracy") as progress:
        job = Job("00-000", "search", 0, 0, None, 0, 2, False)
        told = {"ending": "value", "value": 0.5, "epoch": 2, "seconds": 3.0}
        progress.told(job, {**told, "value_epoch": 1}, [])
        progress.told(job, {**told, "value_epoch": 2}, [])
    lines = [line.split(" ", 3)[3].strip() for line in out.getvalue().splitlines()]
    assert lines[0] == "00-000 epoch 2 done: val_accuracy 0.5 (of epoch 1), 3 s"
    assert lines[1] == "00-000 epoch 2 done: val_accuracy 0.5, 3 s"


def test_a_scored_job_tells_the_metrics_of_tables_alone_and_whether_it_collapsed():
    text = TEXT.replace('"cifar10"', '"shanghaitech"')
    spec = parse_spec(tomllib.loads(text), "tiny.toml")
    out = io.StringIO()
    console = Console(file=out, width=200)
    with Progress(spec, make_plan(spec), console, "val_mae") as progress:
        job = Job("00-seed1", "confirm", 0, 0, 1, 0, 4, True)
        test = {"mae": 9.5, "rmse": 12.0, "nae": 0.5, "live": 0.0}
        told = {"ending": "value", "value": 9.0, "epoch": 4, "value_epoch": 4, "seconds": 3.0}
        progress.told(job, {**told, "test": test, "collapsed": True}, [])
    (line,) = out.getvalue().splitlines()
    assert line.endswith("val_mae 9, test mae 9.5, test rmse 12, COLLAPSED, 3 s")


def test_a_resumed_study_shows_what_was_done_before(make_study):
    spec = parse_spec(tomllib.loads(TEXT), "tiny.toml")
    study = make_study()
    drive(study)
    study.close()
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with Progress(spec, make_plan(spec), console, "val_accuracy") as progress:
        progress.restored(record.load(study.folder))
    epochs = len(record.load(study.folder).curves[["trial", "epoch"]].drop_duplicates())
    assert f"[{epochs}/" in out.getvalue()


def test_a_terminal_gets_a_table_of_cells(shown):
    text = shown(True)
    assert "best val_accuracy" in text
    assert "depth 34" in text
