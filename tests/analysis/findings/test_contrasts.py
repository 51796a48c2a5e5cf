"""Declared comparisons: which pairs, decided together, and what their seeds could have told."""

from __future__ import annotations

import math

import pytest
from make_run import Run, cifar

from analysis.cli import main as report
from analysis.display import tables
from analysis.findings.contrasts import Contrast, contrasts, detectable
from analysis.findings.moves import seeds_to_decide
from search.record import UserError, load
from search.spec.study_spec import SpecError, parse_spec

DEPTH = {"key": "depth", "against": 18}


def declaring(*held):
    return {"fixed": {}, "budget": {"trials_per_cell": 4}, "contrast": list(held)}


def test_each_other_value_is_compared_within_equal_settings(tmp_path):
    """Depth 34 is 0.1 better than 18, in each mode; the modes are the same."""
    modes = {"key": "pretrained", "against": False}
    record = load(cifar(tmp_path / "s", spec=declaring(DEPTH, modes)).folder)
    held = contrasts(record)
    held = held[held["metric"] == "accuracy"]
    assert (
        held["contrast"].tolist()
        == ["depth against 18"] * 2 + ["pretrained against from scratch"] * 2
    )
    assert held["within"].tolist() == ["from scratch", "fine-tuned", "depth 18", "depth 34"]
    assert held["difference"].tolist() == pytest.approx([0.1, 0.1, 0, 0])
    assert held["verdict"].tolist() == ["better", "better", "not told apart", "not told apart"]
    first = held.iloc[0]
    assert first["lo"] > 0 and first["lo"] < 0.1 < first["hi"]
    assert "contrasts" in tables.keys(record)
    assert tables.make(record, "contrasts").caption.startswith("Declared in the study file.")


def test_of_a_metric_that_should_be_low_less_is_better(tmp_path):
    run = Run(tmp_path / "s", "cifar10", [{"depth": 18}, {"depth": 34}], spec=declaring(DEPTH))
    for cell, loss in enumerate((1.0, 0.5)):
        run.confirm(cell, [{"loss": loss + s / 100, "accuracy": 0.5} for s in (-1, 0, 1)])
    held = contrasts(load(run.folder)).set_index("metric").loc["loss"]
    assert held["difference"] == pytest.approx(-0.5) and held["hi"] < 0
    assert held["verdict"] == "better"


def test_more_contrasts_make_each_harder_to_decide(tmp_path):
    """Holm: the smallest of four is decided at 98.75 %, where alone it is at 95 %."""
    cells = [{"depth": d} for d in (18, 34, 50, 101, 152)]
    run = Run(tmp_path / "s", "cifar10", cells, spec=declaring(DEPTH))
    for cell, mean in enumerate((0.5, 0.52, 0.5, 0.5, 0.5)):
        run.confirm(cell, [{"loss": 1.0, "accuracy": mean + s / 100} for s in (-1, 0, 1)])
    held = contrasts(load(run.folder))
    held = held[held["metric"] == "accuracy"]
    assert set(held["level"].round(4)) == {0.9875} and set(held["verdict"]) == {"not told apart"}
    alone = contrasts(load(run.folder), [Contrast("depth", 34)])
    assert set(alone[alone["metric"] == "accuracy"]["cell_against"]) == {1}


def test_an_unfinished_cell_is_told_and_not_compared(tmp_path):
    run = Run(tmp_path / "s", "cifar10", [{"depth": 18}, {"depth": 34}], spec=declaring(DEPTH))
    run.confirm(0, [{"loss": 1.0, "accuracy": v} for v in (0.5, 0.51, 0.52)])
    run.trial("01-000", 1, value=0.9, epochs=3, ending="running")
    held = contrasts(load(run.folder))
    assert set(held["verdict"]) == {"cannot be compared"}
    assert held["why"].str.startswith("depth 34: ").all()


def test_what_could_be_detected_is_what_the_needed_seeds_are_for():
    """The two formulas are one, solved for one or the other."""
    groups = [[0.50, 0.52, 0.54, 0.52], [0.61, 0.60, 0.62, 0.61]]
    found = detectable(groups, 0.95)
    assert seeds_to_decide(groups, found * 1.0001, 0.95) == 4
    assert seeds_to_decide(groups, found * 0.98, 0.95) == 5
    assert math.isnan(detectable([[0.5], [0.6]], 0.95))


def test_what_is_asked_afterwards_is_called_so_and_faults_are_named(tmp_path, capsys):
    folder = str(cifar(tmp_path / "s").folder)
    assert report(["contrast", folder, "depth=18", "pretrained=false"]) == 0
    assert "NOT declared in the study file" in capsys.readouterr().out
    for asked, fault in (
        ([], "declares no contrast"),
        (["depth"], "write KEY=VALUE"),
        (["depth=19"], "no cell has depth = 19; they have 18, 34"),
        (["lr=0.1"], "no cell differs in 'lr', but in depth, pretrained"),
    ):
        assert report(["contrast", folder, *asked]) == 2
        assert fault in capsys.readouterr().err
    with pytest.raises(UserError, match="no cell has"):
        contrasts(load(folder), [Contrast("depth", 50)])


@pytest.mark.parametrize(
    ("held", "fault"),
    [
        ({"key": "depht", "against": 18}, "contrast.0.key: must be a key of .cells. with several"),
        ({"key": "depth", "against": 50}, "contrast.0.against: must be one of 18, 34, not 50"),
        ({"key": "depth"}, "contrast.0.against: must be given"),
        ({**DEPTH, "within": 1}, "contrast.0.within: no such key"),
    ],
)
def test_a_study_file_with_a_wrong_contrast_is_refused(held, fault):
    raw = {
        "name": "s",
        "task": "cifar10",
        "cells": {"depth": [18, 34]},
        "budget": {"max_epochs": 3},
        "confirm": {"seeds": [1, 2]},
    }
    parse_spec({**raw, "contrast": [DEPTH]}, "s.toml")
    with pytest.raises(SpecError, match=fault):
        parse_spec({**raw, "contrast": [held]}, "s.toml")
