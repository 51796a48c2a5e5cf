"""Event files while a study runs: what is in them, and when they cannot be written."""

from __future__ import annotations

import struct
from collections import defaultdict

import pytest
from tensorboardX.proto.event_pb2 import Event

from search import record
from search.run.tensorboard import FOLDER
from search.spec.study_spec import SpecError, parse_spec
from tests.search.conftest import TEXT, drive

LOGGED = f'{TEXT}[log]\nto = ["tensorboard"]\n'


def scalars(folder):
    """Trial -> name -> epoch -> value, of all event files below a folder."""
    found = defaultdict(lambda: defaultdict(dict))
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack("<Q", data[at : at + 8])
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                found[path.parent.name][value.tag][event.step] = value.simple_value
    return found


@pytest.mark.parametrize("stops", [(), (5,), (1, 2, 7)])
def test_each_epoch_and_score_is_there_as_on_record_over_every_resume(make_study, stops):
    for most in stops:
        study = make_study(text=LOGGED)
        drive(study, most=most)
        study.run.close()
    study = make_study(text=LOGGED)
    drive(study)
    study.run.close()
    held = record.load(study.folder)
    found = scalars(study.folder / FOLDER)
    assert set(found) == set(held.trials["trial"])
    for row in held.curves.itertuples():
        assert found[row.trial][row.name][row.epoch] == pytest.approx(row.value, rel=1e-6)
    for row in held.trials.dropna(subset=["test_accuracy"]).itertuples():
        told = found[row.trial]["test_accuracy"]
        assert told == {row.value_epoch: pytest.approx(row.test_accuracy)}
    assert {path.name for path in (study.folder / FOLDER).iterdir()} == {"depth 18", "depth 34"}
    assert "_hparams_/experiment" in found["00-000"]


def test_without_the_setting_nothing_is_written(make_study):
    study = make_study()
    drive(study, most=3)
    study.run.close()
    assert not (study.folder / FOLDER).exists()


def test_a_folder_that_cannot_be_written_ends_no_study(make_study):
    study = make_study(text=LOGGED)
    (study.folder / FOLDER).write_text("in the way")
    drive(study)
    study.run.close()
    assert set(record.load(study.folder).trials["status"]) >= {"completed"}


def test_another_place_is_refused_by_name():
    raw = {"name": "s", "task": "cifar10", "cells": {"depth": [18]}, "budget": {"max_epochs": 3}}
    with pytest.raises(SpecError, match=r"log\.to"):
        parse_spec({**raw, "confirm": {"seeds": [1]}, "log": {"to": ["aim"]}}, "s.toml")
