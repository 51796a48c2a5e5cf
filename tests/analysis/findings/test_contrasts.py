"""Declared comparisons: which pairs, decided together, and what their seeds could have told."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from make_run import Run, cifar

from analysis.cli import main as report
from analysis.display import tables
from analysis.findings.cells import cell_values, lead
from analysis.findings.contrasts import Contrast, contrasts
from analysis.findings.explain import explain
from analysis.findings.moves import detectable, seeds_to_decide
from analysis.findings.stats import difference
from search.record import UserError, load
from search.record.power import POWER, power
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


@pytest.mark.long
@pytest.mark.parametrize("sds", [(1.0, 1.0), (0.3, 1.5)])
@pytest.mark.parametrize("n", [3, 5])
def test_what_is_called_detectable_is_decided_in_as_many_studies_as_it_says(sds, n):
    """Of simulated studies with that difference, by the interval that tables use."""
    rng = np.random.default_rng(0)
    far = difference_at(sds, n)
    decided = 0
    for _ in range(800):
        one, other = (rng.normal(m, sd, n) for m, sd in zip((far, 0.0), sds, strict=True))
        low, high = difference(one, other)
        decided += low > 0 or high < 0
    assert decided / 800 == pytest.approx(POWER, abs=0.06)


def difference_at(sds, n):
    """The true difference that `power` gives POWER."""
    steps = np.linspace(0.01, 20, 4000)
    return next(step for step in steps if power(sds, n, step, 0.95) >= POWER)


def test_seeds_that_would_decide_and_what_is_detectable_are_one_formula(tmp_path):
    run = Run(tmp_path / "s", "cifar10", [{"depth": 18}, {"depth": 34}], spec=declaring(DEPTH))
    for cell, mean in enumerate((0.5, 0.53)):
        run.confirm(cell, [{"loss": 1.0, "accuracy": mean + s / 50} for s in (-1, 0, 1)])
    value, other = (v for v in cell_values(load(run.folder)) if v.metric == "accuracy")
    held = lead(other, value)
    n = seeds_to_decide(value, other, held)
    sds = (value.sd, other.sd)
    assert n > 3 and power(sds, n, 0.03, 0.95) >= POWER > power(sds, n - 1, 0.03, 0.95)
    assert power(sds, 3, detectable(value, other, held), 0.95) == pytest.approx(POWER, abs=1e-3)
    assert contrasts(load(run.folder)).set_index("metric").loc["accuracy", "seeds"] == n


@pytest.mark.filterwarnings("ignore::search.record.RecordWarning")  # its asks score nothing
def test_what_the_test_images_leave_open_no_seed_decides(tmp_path):
    """As `explain` says of the same pair; what is detectable is more than the images leave."""
    run = Run(tmp_path / "s", "cifar10", [{"depth": 18}, {"depth": 34}], spec=declaring(DEPTH))
    truth = np.repeat(np.arange(10.0), 100)
    for cell, mean in enumerate((0.700, 0.705)):
        tests = [round(mean + s / 1000, 3) for s in (-1, 0, 1)]
        run.confirm(cell, [{"loss": 1.0, "accuracy": v} for v in tests])
        for seed, accuracy in enumerate(tests, 1):
            wrong = np.arange(1000) >= round(accuracy * 1000)
            said = np.where(np.roll(wrong, 97 * seed + 31 * cell), (truth + 1) % 10, truth)
            run.images(f"{cell:02d}-seed{seed}", truth, said)
    record = load(run.folder)
    row = contrasts(record).set_index("metric").loc["accuracy"]
    assert row["verdict"] == "not told apart" and pd.isna(row["seeds"])
    assert row["detectable"] > 0.01
    assert [m.kind for m in explain(record, 0).moves if m.kind in ("seeds", "images")] == [
        "images"
    ]


def test_of_paired_seeds_no_number_is_given(tmp_path):
    spec = {**declaring(DEPTH), "confirm": {"seeds": [1, 2, 3], "paired": True}}
    run = Run(tmp_path / "s", "cifar10", [{"depth": 18}, {"depth": 34}], spec=spec)
    for cell, mean in enumerate((0.5, 0.52)):
        tests = [mean + s / 10 + cell * s * s / 1000 for s in (-1, 0, 1)]
        run.confirm(cell, [{"loss": 1.0, "accuracy": v} for v in tests])
    row = contrasts(load(run.folder)).set_index("metric").loc["accuracy"]
    assert row["verdict"] == "better" and math.isnan(row["detectable"]) and pd.isna(row["seeds"])


def test_a_cell_without_a_partner_is_told(tmp_path, capsys):
    cells = [{"depth": 18, "pretrained": False}, {"depth": 34, "pretrained": True}]
    run = Run(tmp_path / "s", "cifar10", cells, spec=declaring(DEPTH))
    for cell in (0, 1):
        run.confirm(cell, [{"loss": 1.0, "accuracy": 0.5 + s / 50} for s in (-1, 0, 1)])
    held = contrasts(load(run.folder))
    assert set(held["verdict"]) == {"cannot be compared"}
    assert held["why"].str.startswith("no cell has the other value").all()
    one = Run(tmp_path / "one")
    one.confirm(0, [{"loss": 1.0, "accuracy": 0.5}])
    assert report(["contrast", str(one.folder), "depth=18"]) == 2
    assert "all cells have the same depth" in capsys.readouterr().err


def test_what_is_asked_and_declared_is_called_declared(tmp_path, capsys):
    folder = str(cifar(tmp_path / "s", spec=declaring(DEPTH)).folder)
    assert report(["contrast", folder, "depth=18"]) == 0
    assert "Declared in the study file." in capsys.readouterr().out
    assert report(["contrast", folder, "depth=18", "pretrained=false"]) == 0
    said = "NOT declared in the study file (pretrained against from scratch)"
    assert said in capsys.readouterr().out


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
