"""What a study says of its question, in a sentence."""

from __future__ import annotations

import math

import pytest
from make_run import Run, crowd
from make_run import answer_sentences as answers

from analysis.findings.stats import difference
from search.record import load

DEPTHS = [{"depth": 18}, {"depth": 34}]


def answer_of(folder, *cells, **study):
    run = Run(folder, cells=DEPTHS[: len(cells)], space_keys=[], **study)
    for number, values in enumerate(cells):
        run.confirm(number, [{"loss": 1.0, "accuracy": value} for value in values])
    return answers(load(folder))


def test_a_lead_beyond_the_spread_of_seeds_is_decided(tmp_path):
    (text,) = answer_of(tmp_path / "s", (0.59, 0.60, 0.61), (0.69, 0.70, 0.71))
    assert text == (
        "Test accuracy: depth 34 (0.7000) leads, decided against the other one; next is depth 18 "
        "(0.6000), behind by 0.1000 (95 %: over seeds alone 0.0773 to 0.1227). It beats every "
        "constant predictor: uniform guess (0.1000)."
    )


def test_a_lead_within_it_is_not(tmp_path):
    (text,) = answer_of(tmp_path / "s", (0.55, 0.60, 0.66), (0.59, 0.61, 0.63))
    assert text.startswith(
        "Test accuracy: NOT decided. depth 34 (0.6100) has the best mean; not told apart from it: "
        "depth 18 (0.6033), behind by 0.0067"
    )
    assert "leads" not in text


def test_less_is_better_where_the_metric_says_so(tmp_path):
    shown = {"shown_split": "val", "protocol": "report"}
    run = Run(tmp_path / "s", "shanghaitech", cells=DEPTHS, space_keys=[], **shown)
    for cell, middle in enumerate((51.0, 41.0)):
        tests = [{"mae": middle + s, "rmse": 60.0} for s in (-1, 0, 1)]
        run.confirm(cell, tests)
    (text,) = answers(load(tmp_path / "s"))
    assert text.startswith("Val MAE: depth 34 (41.0) leads, decided against the other one")
    assert "over seeds alone 7.7 to 12.3" in text
    assert "No constant predictor is on record for the val images" in text


def test_seeds_that_do_not_differ_decide_nothing(tmp_path):
    (text,) = answer_of(tmp_path / "s", (0.5, 0.5, 0.5), (0.51, 0.51, 0.51))
    assert "with seeds that do not differ a lead decides nothing" in text
    assert "NOT decided" in text


def test_one_seed_decides_nothing(tmp_path):
    (text,) = answer_of(tmp_path / "s", (0.5,), (0.9,), confirm_seeds=[1])
    assert "decides nothing" in text


def test_what_cannot_be_compared_is_left_out_with_its_reason(tmp_path):
    (text,) = answer_of(tmp_path / "s", (0.59, 0.60, 0.61), (0.9, 0.9))
    assert "only depth 18 (0.6000) can be compared" in text
    assert "Left out: depth 34 (1 of 3 seeds not begun)." in text


def test_nothing_to_compare_is_said(tmp_path):
    (text,) = answer_of(tmp_path / "s", (), ())
    assert text.startswith(
        "Test accuracy: no cell can be compared. Left out: depth 18 and depth 34"
    )


def test_a_single_cell_is_held_against_constants(tmp_path):
    (text,) = answer_of(tmp_path / "s", (0.5, 0.6, 0.7))
    assert text == (
        "Test accuracy: depth 18 (0.6000), with no other cell on the same images to compare it "
        "with. It beats every constant predictor: uniform guess (0.1000)."
    )


def test_each_part_has_its_own_answer(tmp_path):
    crowd(tmp_path / "s")
    found = answers(load(tmp_path / "s"))
    assert len(found) == 2
    assert ["part A" in text for text in found] == [True, False]
    assert ["part B" in text for text in found] == [False, True]


def test_difference_of_two_means():
    """By hand: 0.1 +- 2.776 * sqrt(2 * 0.01**2 / 3)."""
    first, second = (0.69, 0.70, 0.71), (0.59, 0.60, 0.61)
    assert difference(first, second) == pytest.approx((0.0773, 0.1227), abs=1e-4)
    assert difference(second, first) == pytest.approx((-0.1227, -0.0773), abs=1e-4)


@pytest.mark.parametrize(("first", "second"), [((0.7,), (0.6, 0.5)), ((0.7, 0.7), (0.6, 0.6))])
def test_no_interval_without_spread(first, second):
    assert all(math.isnan(end) for end in difference(first, second))
