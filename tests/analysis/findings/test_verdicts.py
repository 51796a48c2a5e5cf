"""Each way in which a table could say more than its trials do, one test a fault that was seen."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from make_run import Run, answer_sentences, cifar, crowd
from scipy.special import stdtrit

from analysis.display import figure_set, marks, tables
from analysis.display.explained import explained
from analysis.findings.cells import cell_values, kept_out, lead
from search.record import counts, load

DEPTHS = [{"depth": d} for d in (18, 34, 50)]


def values_of(folder, metric="accuracy"):
    return [v for v in cell_values(load(folder)) if v.metric == metric]


def shown(folder, key="cells"):
    return tables.make(load(folder), key)


def headline(folder):
    return " ".join(answer_sentences(load(folder)))


def seeds(middle, spread=0.01, loss=1.0):
    return [{"loss": loss, "accuracy": middle + spread * s} for s in (-1, 0, 1)]


# ---- marks and words: every metric is held against its constants, by intervals


def test_a_loss_above_that_of_guessing_is_marked_and_not_bold(tmp_path):
    run = Run(tmp_path / "s", cells=DEPTHS[:2], space_keys=[])
    for cell, loss in enumerate((2.90, 2.95)):
        run.confirm(cell, [{**s, "loss": loss + n / 1000} for n, s in enumerate(seeds(0.5))])
    first = values_of(tmp_path / "s", "loss")[0]
    assert "no skill" in first.marks
    assert not first.bold
    table = shown(tmp_path / "s")
    assert "#" in table.display["test loss ↓"][0]
    assert not table.bold["test loss ↓"].any()
    assert "loss worse than uniform guess (2.3026)" in table.caption


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_report_s_protocol_marks_what_is_worse_than_guessing(tmp_path, split):
    shown_split = {"protocol": "report", "shown_split": split, "space_keys": []}
    run = Run(tmp_path / "s", cells=DEPTHS[:2], confirm_seeds=[42], **shown_split)
    for cell, accuracy in enumerate((0.05, 0.04)):
        run.trial(f"0{cell}-seed42", cell, value=accuracy, stage="confirm", seed=42,
                  test={"loss": 2.4, "accuracy": accuracy})  # fmt: skip
    first = values_of(tmp_path / "s")[0]
    assert first.split == split
    assert "no skill" in first.marks
    assert not first.bold


def test_constants_of_test_images_are_not_held_against_validation(tmp_path):
    run = Run(tmp_path / "s", "shanghaitech", [{"depth": 18}], space_keys=[], shown_split="val",
              protocol="report", confirm_seeds=[42])  # fmt: skip
    run.confirm(0, [{"mae": 500.0, "rmse": 600.0}], value=50.0)
    (value,) = values_of(tmp_path / "s", "mae")
    assert value.skill == "no constants"
    assert "No constant predictor is on record for the val images: mae" in (
        shown(tmp_path / "s").caption
    )


def test_a_mean_that_is_better_within_its_noise_is_no_skill(tmp_path):
    """67.7 +- 41.0 against 68 of the training median."""
    run = Run(tmp_path / "s", "shanghaitech", [{"depth": 18}], space_keys=[])
    run.confirm(0, [{"mae": mae, "rmse": 60.0} for mae in (26.7, 67.7, 108.7)])
    (value,) = values_of(tmp_path / "s", "mae")
    median = next(c for c in value.constants if c.name == "training median")
    assert median.lead.point == pytest.approx(0.3)
    assert median.lead.says == "not decided"
    assert "no skill" in value.marks


def test_one_seed_has_skill_only_by_the_results_of_each_image(tmp_path):
    truth = np.arange(100) % 10
    right = np.where(np.arange(100) < 60, truth, (truth + 1) % 10)
    for name in ("with", "without"):
        run = Run(tmp_path / name, space_keys=[], confirm_seeds=[1])
        run.confirm(0, [{"loss": 1.0, "accuracy": 0.6}])
        if name == "with":
            run.images("00-seed1", truth, right)
    with_images, without = (values_of(tmp_path / name)[0] for name in ("with", "without"))
    assert with_images.skill == "shown"
    assert without.skill == "unknown"
    assert "no skill" not in without.marks
    assert "no interval says" in headline(tmp_path / "without")
    assert "It beats every constant predictor" in headline(tmp_path / "with")


def test_a_crowd_study_shows_its_constants_whatever_its_cells(tmp_path):
    cells = [{"pretrained": tuned} for tuned in (False, True)]
    run = Run(tmp_path / "s", "shanghaitech", cells, space_keys=[])
    for cell in range(2):
        run.confirm(cell, [{"mae": 50.0 + s, "rmse": 60.0 + s} for s in (-1, 0, 1)])
    table = shown(tmp_path / "s")
    row = table.display.set_index("pretrained").loc["training median (part B)"]
    assert (row["test MAE ↓"], row["test MSE (root) ↓"]) == ("68.0", "98.0")
    assert (table.data["status"] == "constant").sum() == 6


# ---- seeds that came to nothing


def test_a_cell_whose_seeds_all_diverged_says_so(tmp_path):
    run = Run(tmp_path / "s", cells=DEPTHS[:1])
    run.trial("00-000", value=0.8, lr=0.1)
    for seed in (1, 2, 3):
        run.trial(f"00-seed{seed}", stage="confirm", seed=seed, ending="diverged", epochs=3)
    assert shown(tmp_path / "s").display["test accuracy ↑"][0] == "3 of 3 seeds diverged×"
    assert "3 of 3 seeds diverged×" in shown(tmp_path / "s", "T1").display.to_numpy().ravel()
    assert "Left out: depth 18 (3 of 3 seeds diverged)" in headline(tmp_path / "s")


def test_a_seed_that_diverged_is_told_beside_the_others(tmp_path):
    run = Run(tmp_path / "s", cells=DEPTHS[:1], space_keys=[])
    run.confirm(0, seeds(0.6)[:2])
    run.trial("00-seed3", stage="confirm", seed=3, ending="diverged", epochs=3)
    value = values_of(tmp_path / "s")[0]
    assert value.details["seeds missing"] == "1 of 3 seeds diverged"
    assert "1 of 3 seeds diverged" in shown(tmp_path / "s").caption


def test_a_metric_that_one_seed_lacks_is_compared_with_none(tmp_path):
    run = Run(tmp_path / "s", cells=DEPTHS[:2], space_keys=[])
    run.confirm(0, [{"loss": loss, "accuracy": 0.6 + n / 100} for n, loss in
                    enumerate((0.5, 0.51, None))])  # fmt: skip
    run.confirm(1, seeds(0.5))
    loss, accuracy = (values_of(tmp_path / "s", m)[0] for m in ("loss", "accuracy"))
    assert (loss.n, accuracy.n) == (2, 3)
    assert "not finite" in kept_out(loss)
    assert kept_out(accuracy) == ()
    table = shown(tmp_path / "s")
    assert not table.bold["test loss ↓"].any()
    assert "∅" in table.display["test loss ↓"][0]
    assert "loss of 1 of 3 seeds" in table.caption


# ---- counts


@pytest.mark.parametrize(
    ("budget", "tried", "said"),
    [
        ({"trials_per_cell": 50}, 1, "among 1 of 50 planned configs a cell"),
        ({"trials_per_cell": 2}, 2, "among 2 configs a cell"),
    ],
)
def test_captions_count_the_configs_that_ran(tmp_path, budget, tried, said):
    run = Run(tmp_path / "s", spec={"fixed": {}, "budget": budget})
    for number in range(tried):
        run.trial(f"00-00{number}", value=0.5, lr=0.1 + number)
    assert said in shown(tmp_path / "s").caption
    assert shown(tmp_path / "s").display["configs"][0] == f"{tried}/{budget['trials_per_cell']}"


def test_a_grid_plans_every_combination(tmp_path):
    spec = {"fixed": {}, "sampler": "grid", "budget": {"max_epochs": 9},
            "space": {"lr": {"values": [0.1, 0.2, 0.3, 0.4, 0.5]}}}  # fmt: skip
    run = Run(tmp_path / "s", spec=spec)
    for number in range(5):
        run.trial(f"00-00{number}", value=0.5, lr=0.1 * (number + 1))
    assert "among 5 configs a cell" in shown(tmp_path / "s").caption
    assert counts(load(tmp_path / "s"))[0].configs.planned == 5


# ---- comparing


def test_cells_of_different_test_images_are_not_compared(tmp_path):
    cells = [{"depth": 18, "test_images": n} for n in (1000, 2000)]
    run = Run(tmp_path / "s", cells=cells, space_keys=[])
    run.confirm(0, seeds(0.6))
    run.confirm(1, seeds(0.9))
    assert [v.standing for v in values_of(tmp_path / "s")] == ["alone", "alone"]
    assert not shown(tmp_path / "s").bold.to_numpy().any()
    assert "leads" not in headline(tmp_path / "s")


def test_test_images_that_differ_only_in_the_results_of_each_are_not_compared(tmp_path):
    run = Run(tmp_path / "s", cells=DEPTHS[:2], space_keys=[], confirm_seeds=[1, 2])
    truth = np.arange(100) % 10
    for cell, shift in ((0, 0), (1, 5)):
        run.confirm(cell, [{"loss": 1.0, "accuracy": 1.0}] * 2)
        for seed in (1, 2):
            run.images(f"0{cell}-seed{seed}", truth, truth, names=np.arange(100) + shift)
    assert [v.standing for v in values_of(tmp_path / "s")] == ["alone", "alone"]


@pytest.mark.parametrize("chosen", [0, 1])
def test_a_grid_of_two_marks_the_end_that_it_chose(tmp_path, chosen):
    run = Run(tmp_path / "s", space_keys=["lr", "weight_decay"])
    for number, (lr, decay) in enumerate([(0.1, 1e-4), (0.1, 5e-4), (0.2, 1e-4), (0.2, 5e-4)]):
        run.trial(f"00-00{number}", value=0.5, lr=lr, weight_decay=decay)
    picked = {"lr": (0.1, 0.2)[chosen], "weight_decay": (1e-4, 5e-4)[chosen]}
    run.confirm(0, seeds(0.6), **picked)
    (value,) = values_of(tmp_path / "s")
    side = ("lowest", "highest")[chosen]
    assert [(e.key, e.side) for e in value.edges] == [("lr", side), ("weight_decay", side)]
    assert f"lr {side} tried, weight_decay {side} tried" in shown(tmp_path / "s").caption


@pytest.mark.parametrize(("chosen", "edges"), [(0.0, ()), (1e-4, ()), (5e-4, ("highest",))])
def test_nothing_is_below_no_weight_decay_at_all(tmp_path, chosen, edges):
    run = Run(tmp_path / "s", space_keys=["weight_decay"])
    for number, decay in enumerate((0.0, 1e-4, 5e-4)):
        run.trial(f"00-00{number}", value=0.5, weight_decay=decay)
    run.confirm(0, seeds(0.6), weight_decay=chosen)
    assert tuple(e.side for e in values_of(tmp_path / "s")[0].edges) == edges


def test_what_failed_was_not_tried(tmp_path):
    run = Run(tmp_path / "s")
    run.trial("00-000", value=0.5, lr=0.1)
    run.trial("00-001", value=0.5, lr=0.2)
    run.trial("00-002", ending="failed", lr=0.3)
    run.confirm(0, seeds(0.6), lr=0.2)
    assert [e.side for e in values_of(tmp_path / "s")[0].edges] == ["highest"]


def test_an_exact_tie_does_not_lead_whatever_the_order_of_the_seeds(tmp_path):
    run = Run(tmp_path / "s", cells=DEPTHS[:2], space_keys=[])
    for cell, order in enumerate(((0.1, 0.2, 0.3), (0.3, 0.2, 0.1))):
        run.confirm(cell, [{"loss": x, "accuracy": 0.5 + x} for x in order])
    assert [v.standing for v in values_of(tmp_path / "s")] == ["among the best"] * 2
    assert not shown(tmp_path / "s").bold.to_numpy().any()
    text = headline(tmp_path / "s")
    assert "NOT decided, a tie of depth 18 (0.7000) and depth 34 (0.7000)" in text
    assert "leads" not in text


def test_single_seeds_are_never_bold(tmp_path):
    crowd(tmp_path / "s")
    assert not shown(tmp_path / "s", "T3").bold.to_numpy().any()
    assert "with one seed a cell a lead decides nothing" in headline(tmp_path / "s")


def test_bold_and_not_decided_never_stand_together(tmp_path):
    run = Run(tmp_path / "s", cells=DEPTHS, space_keys=[])
    for cell, (middle, spread) in enumerate(((0.60, 0.05), (0.62, 0.02), (0.2, 0.01))):
        run.confirm(cell, seeds(middle, spread))
    table = shown(tmp_path / "s")
    assert not table.bold["test accuracy ↑"].any()
    signs = ["≈" in text for text in table.display["test accuracy ↑"][:3]]
    assert signs == [True, True, False]
    assert "NOT decided" in headline(tmp_path / "s")


def test_intervals_stay_within_what_a_metric_can_be(tmp_path):
    run = Run(tmp_path / "s", cells=DEPTHS[:2], space_keys=[])
    run.confirm(0, [{"loss": 0.1, "accuracy": a} for a in (0.2, 0.9, 0.95)])
    run.confirm(1, [{"loss": 0.1, "accuracy": a} for a in (0.1, 0.5, 0.99)])
    first, second = values_of(tmp_path / "s")
    assert first.interval[1] == 1.0
    assert second.interval[0] == 0.0
    held = lead(first, second)
    assert held.both.low >= -1.0
    assert held.both.high == 1.0
    data = shown(tmp_path / "s").data.query("status == 'complete' and metric == 'accuracy'")
    assert ((data["lo"] >= 0) & (data["hi"] <= 1)).all()


def test_a_lead_that_another_draw_of_images_could_turn_is_not_decided(tmp_path):
    """The seeds are sure of it; of 50 images, two make the difference."""
    truth = np.zeros(50)
    accuracies = [(0.80, 0.82, 0.80), (0.76, 0.76, 0.78)]
    run = Run(tmp_path / "s", cells=DEPTHS[:2], space_keys=[])
    for cell, scores in enumerate(accuracies):
        run.confirm(cell, [{"loss": 1.0, "accuracy": a} for a in scores])
        for seed, accuracy in enumerate(scores, 1):
            wrong = np.arange(50) >= round(accuracy * 50)
            prediction = np.roll(wrong, 7 * cell)
            run.images(f"0{cell}-seed{seed}", truth, prediction.astype(float))
    first, second = values_of(tmp_path / "s")
    held = lead(first, second)
    assert held.seeds.low > 0
    assert held.images.low < 0
    assert held.both.low <= min(held.seeds.low, held.images.low)
    assert first.standing == second.standing == "among the best"
    assert not first.bold


def test_a_single_cell_that_collapsed_below_a_constant_is_told_on_top(tmp_path):
    run = Run(tmp_path / "s", "shanghaitech", [{"depth": 18}], space_keys=[])
    tests = [{"mae": 123.0 + s, "rmse": 160.0} for s in (-1, 0, 1)]
    run.confirm(0, tests, collapsed=True)
    text = headline(tmp_path / "s")
    assert "no cell can be compared" in text
    assert "mae worse than training mean (75.0), training median (68.0), " in text
    assert "not shown to beat zero (124.0)" in text
    assert "predictions barely differ between images" in text


# ---- one language


def test_a_figure_says_of_an_unfinished_cell_what_the_table_says(tmp_path):
    run = Run(tmp_path / "s", cells=DEPTHS[:2])
    run.trial("00-000", value=0.8, lr=0.1)
    run.confirm(1, seeds(0.6), lr=0.1)
    record = load(tmp_path / "s")
    plate = next(p for p in figure_set.plates(record) if p.key == "final-depth")
    signs = [text.get_text() for text in plate.figure.axes[0].texts]
    assert "°" in signs
    assert "†" not in signs
    assert "° fully trained in the search, not yet confirmed" in plate.caption


def test_a_figure_explains_every_sign_that_it_draws(tmp_path):
    crowd(tmp_path / "s")
    explained = set()
    for plate in figure_set.plates(load(tmp_path / "s")):
        drawn = {s for ax in plate.figure.axes for text in ax.texts for s in text.get_text()}
        for sign, text in marks.MARKS.values():
            assert sign not in drawn or f"{sign} {text}" in plate.caption
            explained |= {plate.key} if sign in drawn else set()
    assert explained


def test_a_setting_is_called_the_same_in_every_table(tmp_path):
    cifar(tmp_path / "s")
    for key in ("cells", "configs"):
        assert set(shown(tmp_path / "s", key).display["pretrained"]) <= {
            *("from scratch", "fine-tuned", "—"),
        }
    assert "from scratch" in headline(tmp_path / "s")


def test_curves_of_crowds_say_that_training_is_of_crops(tmp_path):
    settings = {"pretrained": False, "part": "B", "depth": 18, "crop": 512}
    crowd(tmp_path / "s", settings=settings)
    plates = figure_set.plates(load(tmp_path / "s"))
    (caption,) = {p.caption.partition(".")[2] for p in plates if p.key.startswith("curves")}
    assert "of the crops that are trained on" in caption
    assert "the two do not compare" in caption


def test_a_cell_without_values_has_no_mean(tmp_path):
    Run(tmp_path / "s")
    value = values_of(tmp_path / "s")[0]
    assert math.isnan(value.mean)
    assert (value.standing, value.skill) == ("out", "no constants")


def test_the_answer_says_by_which_other_metric_a_constant_is_not_beaten(tmp_path):
    run = Run(tmp_path / "s")
    losses = (2.9, 2.91, 2.92)
    run.confirm(0, [{"loss": x, "accuracy": 0.5 + x / 1000} for x in losses], lr=0.1)
    said = " ".join(answer_sentences(load(tmp_path / "s")))
    assert "It beats every constant predictor: uniform guess (0.1000)." in said
    assert "But depth 18: loss worse than uniform guess (2.3026)." in said


def test_two_seeds_beyond_a_constant_say_what_decides(tmp_path):
    """Both values are above the guess; the t interval of two is not."""
    run = Run(tmp_path / "s", cells=DEPTHS[:2], confirm_seeds=[1, 2], space_keys=[])
    for cell, scores in enumerate(((0.50, 0.70), (0.48, 0.66))):
        run.confirm(cell, [{"loss": 1.0, "accuracy": a} for a in scores])
    said = headline(tmp_path / "s")
    assert "accuracy not shown to beat uniform guess (0.1000) (two seeds: their 95 % t" in said
    held = explained(load(tmp_path / "s"), 0)
    assert "range of two seeds, not 95 % 0.5000 to 0.7000" in held
    assert "95 % over seeds" not in held


def test_two_seeds_that_do_not_overlap_say_why_they_are_not_told_apart(tmp_path):
    run = Run(tmp_path / "s", cells=DEPTHS[:2], confirm_seeds=[1, 2], space_keys=[])
    for cell, scores in enumerate(((0.600, 0.601), (0.603, 0.606))):
        run.confirm(cell, [{"loss": 1.0, "accuracy": a} for a in scores])
    values = [v for v in cell_values(load(tmp_path / "s")) if v.metric == "accuracy"]
    assert {v.standing for v in values} == {"among the best"}
    (text,) = [said for sign, said in marks.legend(values) if sign == "≈"]
    assert text.endswith(
        "depth 18, depth 34: two seeds: their 95 % t interval decides, 12.7 "
        "standard errors to each side, not the two values shown"
    )
    assert pytest.approx(stdtrit(1, 0.975), abs=0.01) == 12.7


def test_an_exploded_loss_is_told_in_powers_of_ten(tmp_path):
    run = Run(tmp_path / "s", space_keys=[])
    run.confirm(0, [{"loss": x, "accuracy": 0.1} for x in (2.9e10, 3.1e10, 5e12)])
    record = load(tmp_path / "s")
    for said in (
        explained(record, 0),
        headline(tmp_path / "s"),
        tables.make(record, "cells").caption,
    ):
        assert not re.search(r"\d{6}\.\d", said), said
    assert "to 8.81e+12" in explained(record, 0)
