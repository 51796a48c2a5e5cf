"""What a study says of its question, in a sentence."""

from __future__ import annotations

import math

import pytest
from make_run import Run, crowd

from analysis.display.sentences import answer_sentences as answers
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
        "Test accuracy: depth 34 (0.7000) leads, then depth 18 (0.6000); 95 % interval of the "
        "lead over seeds, on the same test images, 0.0773 to 0.1227 (Welch; the leader was picked "
        "first): decided."
    )


def test_a_lead_within_it_is_not(tmp_path):
    (text,) = answer_of(tmp_path / "s", (0.55, 0.60, 0.66), (0.59, 0.61, 0.63))
    assert text.startswith("Test accuracy: depth 34 (0.6100) leads, then depth 18 (0.6033)")
    assert text.endswith("NOT decided.")


def test_less_is_better_where_the_metric_says_so(tmp_path):
    shown = {"shown_split": "val", "protocol": "report"}
    run = Run(tmp_path / "s", "shanghaitech", cells=DEPTHS, space_keys=[], **shown)
    for cell, middle in enumerate((51.0, 41.0)):
        tests = [{"mae": middle + s, "rmse": 60.0} for s in (-1, 0, 1)]
        run.confirm(cell, tests)
    (text,) = answers(load(tmp_path / "s"))
    assert text.startswith("Val MAE: depth 34 (41.0) leads, then depth 18 (51.0)")
    assert "on the same val images, 7.7 to 12.3" in text
    assert text.endswith(": decided.")


def test_seeds_that_do_not_differ_decide_nothing(tmp_path):
    (text,) = answer_of(tmp_path / "s", (0.5, 0.5, 0.5), (0.51, 0.51, 0.51))
    assert "with seeds that do not differ that decides nothing" in text


def test_one_seed_decides_nothing(tmp_path):
    (text,) = answer_of(tmp_path / "s", (0.5,), (0.9,), confirm_seeds=[1])
    assert "decides nothing" in text


def test_what_cannot_be_compared_is_left_out_with_its_reason(tmp_path):
    (text,) = answer_of(tmp_path / "s", (0.59, 0.60, 0.61), (0.9, 0.9))
    assert "only depth 18 (0.6000) can be compared" in text
    assert "Left out: depth 34 (fewer seeds than planned are complete)." in text


def test_nothing_to_compare_is_said(tmp_path):
    (text,) = answer_of(tmp_path / "s", (), ())
    assert text.startswith(
        "Test accuracy: no cell can be compared. Left out: depth 18 and depth 34"
    )


def test_a_single_cell_has_no_question(tmp_path):
    assert answer_of(tmp_path / "s", (0.5, 0.6, 0.7)) == []


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
