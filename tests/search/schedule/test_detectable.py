"""Which differences planned seeds decide, held against simulated studies and those on record."""

from __future__ import annotations

import json
import math
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import nct

from analysis.findings.stats import difference, paired_difference
from search import record
from search.cli.detectable_lines import detectable_lines
from search.cli.main import main
from search.record.power import POWER, detectable_difference, paired_power, power, seeds_for
from search.run.lenders import lent
from search.schedule.detectable import detectable
from search.spec.study_spec import parse_spec, recorded_spec

SHIPPED = Path(__file__).parents[3] / "results"
TEXT = """
name = "mine"
task = "cifar10"
[cells]
depth = {depth}
pretrained = [false, true]
[budget]
max_epochs = 3
[confirm]
seeds = {seeds}
paired = {paired}
"""
CONTRASTS = """
[[contrast]]
key = "depth"
against = 18
[[contrast]]
key = "pretrained"
against = false
"""


def spec(seeds=(1, 2, 3), paired=False, depth="[18, 34, 50]", contrasts=CONTRASTS):
    text = TEXT.format(seeds=list(seeds), paired=str(paired).lower(), depth=depth) + contrasts
    return parse_spec(tomllib.loads(text), "mine.toml")


def share(n, far, level, paired, studies=4000):
    """Of simulated studies with this difference, in sds, those whose table decides it."""
    rng, decided = np.random.default_rng(7), 0
    for _ in range(studies):
        if paired:
            both = rng.normal(size=n)
            one = both + far + rng.normal(size=n)  # the differences have sd 1
            low, high = paired_difference(one.tolist(), both.tolist(), level)
        else:
            one, two = rng.normal(far, 1, n), rng.normal(0, 1, n)
            low, high = difference(one.tolist(), two.tolist(), level)
        decided += low > 0 or high < 0
    return decided / studies


@pytest.mark.long
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_difference_it_says_is_decided_as_often_by_the_intervals_of_tables(seeds, paired):
    for held in detectable(spec(range(1, seeds + 1), paired))[:3]:
        found = share(seeds, held.difference, held.level, paired)
        assert found == pytest.approx(POWER, abs=0.03), held


@pytest.mark.long
@pytest.mark.parametrize("paired", [False, True])
def test_the_seeds_it_says_decide_and_one_fewer_do_not(paired):
    for held in detectable(spec(paired=paired))[:3]:
        for far, n in held.needed.items():
            assert share(n, far, held.level, paired) > POWER - 0.03
            assert n == 3 or share(n - 1, far, held.level, paired) < POWER + 0.03


def test_contrasts_are_decided_together_and_cells_among_themselves():
    two, best, depth, pretrained = detectable(spec())
    assert (two.level, two.comparisons) == (0.95, 1)
    assert best.comparisons == 5 and best.level == pytest.approx(0.99)
    assert depth.what == "contrast depth against 18 (4 of 7 declared pairs)"
    assert pretrained.what == "contrast pretrained against from scratch (3 of 7 declared pairs)"
    assert depth.level == pretrained.level == pytest.approx(1 - 0.05 / 7)
    assert two.difference < best.difference < depth.difference


@pytest.mark.parametrize("seeds", [(), (1,)])
def test_of_one_seed_no_difference_can_be_decided(seeds):
    held = detectable(spec(seeds))
    assert all(one.difference is None for one in held)
    lines = detectable_lines(held, None)
    assert lines[0] == (
        "1 seed a cell: no difference between cells can be decided, two are the fewest"
    )
    assert "seeds needed: 17 for 1 sd, 6 for 2 sd, 4 for 3 sd" in lines[1]


def test_a_study_of_one_cell_has_nothing_to_compare_and_of_two_no_best_of_several():
    two = spec(depth="[18]", contrasts="")
    assert [one.what for one in detectable(two)] == ["two cells, compared alone"]
    one = two.model_copy(update={"cells": {"depth": (18,)}})
    assert detectable(one) == [] and detectable_lines([], None) == []


def test_more_seeds_or_a_lower_level_never_decide_less():
    for sds in ((1.0, 1.0), (0.2, 1.0), 1.0):
        found = [detectable_difference(sds, n, 0.95) for n in range(2, 12)]
        assert found == sorted(found, reverse=True)
        assert detectable_difference(sds, 4, 0.99) > detectable_difference(sds, 4, 0.95)
    assert seeds_for((1.0, 1.0), 0.01, 0.95) is None
    assert paired_power(1.0, 5, 0.0, 0.95) == pytest.approx(0.05, abs=1e-4)
    assert paired_power(1.0, 5, 1.0, 0.95) == pytest.approx(nct.sf(2.7764, 4, 5**0.5), abs=1e-3)
    assert power((1.0, 1.0), 5, 0.0, 0.95) < 0.06


@pytest.mark.long
def test_a_study_that_was_run_before_lends_its_spread(tmp_path, capsys):
    """Pooled over the seeds of cells with the same settings, in the metric of test."""
    shutil.copytree(SHIPPED / "cifar10-plain", tmp_path / "runs" / "cifar10-plain")
    held = record.load(SHIPPED / "cifar10-plain")
    again = recorded_spec(held.study, "s")
    _, spread = lent(again, tmp_path / "runs")
    rows = held.trials.query("stage == 'confirm'")
    own = [g["test_accuracy"].astype(float) for _, g in rows.groupby("cell")]
    assert spread.sd == pytest.approx(math.sqrt(sum(g.var() for g in own) / 3))
    assert (spread.freedom, spread.metric) == (6, "test_accuracy")
    line = detectable_lines(detectable(again), spread)[1]
    assert f"3.51 sd over seeds = {3.51 * spread.sd:.2g} test_accuracy" in line
    other = again.model_copy(update={"fixed": {**again.fixed, "batch_size": 16}})
    assert lent(other, tmp_path / "runs")[1] is None
    assert lent(again, tmp_path / "nowhere") == ([], None)
    nowhere = str(tmp_path / "nowhere")
    assert main(["preview", "quickstart-cifar10", "--json", "--runs-dir", nowhere]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["seed_spread"] is None
    assert told["detectable"][0]["needed"] == {"1": 17, "2": 6, "3": 4}
