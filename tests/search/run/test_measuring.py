"""An epoch's time, measured by a few real steps or lent by a study that ran here before."""

import json
from dataclasses import replace

import pytest

from search import record
from search.cli.main import main
from search.record.stored import STAMP
from search.run import machine
from search.run.lenders import lent
from search.run.measuring import measure
from search.run.options import Options
from search.run.preflight import fingerprints
from search.spec.shipped import find_study
from search.spec.study_spec import load_spec
from tests.search.conftest import drive

SMALL = ["cells.depth=[18]", "fixed.train_images=96", "fixed.batch_size=32"]


@pytest.fixture
def finished(make_study):
    """A study of this machine; an epoch of its cell n took n + 1 seconds."""
    study = make_study()
    drive(study)
    study.close()
    path = study.folder / record.STUDY
    path.write_text(json.dumps({**json.loads(path.read_text()), **machine.here()}))
    log = study.folder / record.EPOCHS
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        line["row"]["seconds"] = 1.0 + int(line["trial"].split("-")[0])
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (study.folder / STAMP).unlink()  # the frames are not of this log
    record.write(study.folder)
    return study


@pytest.mark.slow
def test_each_shape_is_measured_and_steps_make_an_epoch(tmp_path):
    said = []
    spec = load_spec(find_study("quickstart-cifar10"), SMALL)[0]
    options = Options(tmp_path, tmp_path, tmp_path, "local", said.append)
    data = fingerprints(spec, replace(options, say=lambda text: None))
    (time,) = measure(spec, data, options)
    assert time.cells == [0, 1]  # from scratch and fine-tuned: of one shape
    assert (time.device, time.source) == ("cpu", "measured")
    assert 0 < time.seconds < 600
    assert said == ["measuring every trial"]
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_ran_here_lends_its_seconds(finished):
    times, _ = lent(finished.spec, finished.folder.parent)
    cells = range(len(finished.spec.cell_values()))
    assert [(t.cells, t.seconds) for t in times] == [([n], n + 1.0) for n in cells]
    (source,) = {t.source for t in times}
    assert source.startswith(f"{finished.spec.name}, on ")


@pytest.mark.parametrize("change", ["machine", "batch_size", "damaged"])
def test_a_study_of_another_machine_or_shape_lends_nothing(change, finished):
    spec, path = finished.spec, finished.folder / record.STUDY
    if change == "machine":
        held = json.loads(path.read_text())
        path.write_text(json.dumps({**held, "machine": {**held["machine"], "cores": 999}}))
    elif change == "damaged":
        path.write_text("{")
    else:
        spec = spec.model_copy(update={"fixed": {**spec.fixed, "batch_size": 77}})
    assert lent(spec, finished.folder.parent)[0] == []


def test_a_record_is_read_once_for_all_that_it_lends(finished, monkeypatch):
    read, load = [], record.load
    monkeypatch.setattr(record, "load", lambda run: read.append(run) or load(run))
    times, spread = lent(finished.spec, finished.folder.parent)
    assert times
    assert spread is not None
    assert lent(finished.spec, finished.folder.parent, times=False) == ([], spread)
    assert read == [finished.folder] * 2


@pytest.mark.slow
def test_preview_tells_hours_by_what_it_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [word for text in SMALL for word in ("--set", text)]
    assert main(["preview", "quickstart-cifar10", *words, "--measure", "--json"]) == 0
    held = json.loads(capsys.readouterr().out)
    (time,) = held["epoch_times"]
    hours = [epochs * time["seconds"] / 3600 for epochs in held["wall_epochs"]]
    assert held["wall_hours"] == pytest.approx(hours)
    assert held["questions"] == {}


def test_preview_checks_the_data_it_is_given(tmp_path, capsys):
    (tmp_path / "train-00000-of-00002.parquet").write_bytes(b"PAR1 cut off")
    assert main(["preview", "cifar10", "--data-dir", str(tmp_path)]) == 2
    assert "lacks shard 1 of train" in capsys.readouterr().err
