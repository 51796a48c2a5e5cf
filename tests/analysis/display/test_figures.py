from __future__ import annotations

import itertools
import math
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from make_run import Run, cifar, crowd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.display import curve_sheets, figures, search_figures
from analysis.display.figure_set import plates, save
from analysis.display.plates import Plate, new
from analysis.findings.cells import cell_values
from analysis.findings.published import load_published
from search.record import load
from trainables.about import CIFAR10

pytestmark = pytest.mark.long


@pytest.fixture
def ax():
    return Figure().subplots()


def curves(**values):
    return pd.DataFrame(
        [
            {"trial": trial.partition("_")[0], "epoch": epoch, "name": trial.partition("_")[2],
             "value": value}
            for trial, column in values.items()
            for epoch, value in enumerate(column, 1)
        ]
    )  # fmt: skip


def lines(*trials, unfinished=False):
    row = {"cell": 0, "label": "depth 18", "colour": "#000000", "unfinished": unfinished}
    return pd.DataFrame([{"trial": trial, **row} for trial in trials])


def test_curves_are_drawn_as_recorded_train_dashed_val_solid(ax):
    held = curves(a_train_loss=[3.0, 1.0, 2.0], a_val_loss=[4.0, 1.5, 9.0])
    assert figures.learning_curves(ax, held, lines("a"), "loss", "val") is ax
    train, val = ax.get_lines()
    assert list(train.get_ydata()) == [3.0, 1.0, 2.0]
    assert list(val.get_ydata()) == [4.0, 1.5, 9.0]
    assert train.get_linestyle() != "-"
    assert val.get_linestyle() == "-"


def test_an_unfinished_curve_ends_in_an_x(ax):
    held = curves(a_val_loss=[4.0, 1.5])
    figures.learning_curves(ax, held, lines("a", unfinished=True), "loss", "val")
    end = ax.get_lines()[-1]
    assert (end.get_marker(), list(end.get_xdata()), list(end.get_ydata())) == ("x", [2], [1.5])


def test_a_finished_curve_does_not(ax):
    figures.learning_curves(ax, curves(a_val_loss=[4.0, 1.5]), lines("a"), "loss", "val")
    assert [line.get_marker() for line in ax.get_lines()] == ["None"]


def test_seeds_of_a_cell_enter_the_legend_once(ax):
    held = curves(a_val_loss=[4.0, 1.5], b_val_loss=[4.0, 1.6])
    figures.learning_curves(ax, held, lines("a", "b"), "loss", "val")
    assert ax.get_legend_handles_labels()[1] == ["depth 18"]


def test_published_curves_are_grey_thin_and_named(ax):
    old = pd.DataFrame(
        {"depth": 18, "lr": 0.1, "run": 0, "epoch": [1, 2], "name": "val_loss", "value": [2.0, 1]}
    )
    figures.learning_curves(ax, curves(a_val_loss=[1.0, 2.0]), lines("a"), "loss", "val", old)
    line = ax.get_lines()[0]
    assert (line.get_label(), line.get_color()) == ("report", figures.GREY)
    assert line.get_linewidth() < ax.get_lines()[1].get_linewidth()


def test_final_metric_shows_every_seed_and_the_interval(tmp_path, ax):
    cifar(tmp_path / "c")
    values = [v for v in cell_values(load(tmp_path / "c")) if v.metric == "accuracy"]
    figures.final_metric(ax, values, "depth", dict.fromkeys(range(4), "all"))
    seeds = [line for line in ax.get_lines() if line.get_marker() == "."]
    assert sorted(seeds[0].get_ydata()) == [0.59, 0.6, 0.61]
    low, high = sorted(ax.collections[0].get_segments()[0][:, 1])
    assert (low, high) == pytest.approx(values[0].interval)


def test_final_metric_has_no_point_for_an_unfinished_cell(tmp_path, ax):
    run = Run(tmp_path / "s", cells=[{"depth": 18}, {"depth": 34}])
    run.confirm(0, [{"loss": 1.0, "accuracy": 0.5}], lr=0.1)
    run.trial("01-000", 1, value=0.9, epochs=3, verdict="stop", lr=0.1)
    values = [v for v in cell_values(load(tmp_path / "s")) if v.metric == "accuracy"]
    figures.final_metric(ax, values, "depth", {0: "all", 1: "all"})
    drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.get_lines()])
    assert 0.9 not in drawn
    assert "†" in [text.get_text() for text in ax.texts]


def test_constants_that_touch_share_a_label():
    levels = {"zero": 434.0, "training mean": 252.0, "training median": 240.0}
    assert figures.together(levels, 20) == {"training median, training mean": 252.0, "zero": 434.0}
    assert figures.together(levels, 5) == levels


def test_search_values_tell_endings_apart(ax):
    trials = pd.DataFrame(
        {
            "lr": [0.01, 0.1, 0.3, 1.0],
            "value": [0.5, 0.4, 0.3, None],
            "status": ["completed", "stopped", "stopped", "diverged"],
            "epochs": [9, 3, 1, 2],
        }
    )
    search_figures.search_values(ax, trials, "lr", "val accuracy", log=True)
    done, stopped, _, diverged = ax.get_lines()
    assert (done.get_fillstyle(), stopped.get_fillstyle()) == ("full", "none")
    assert diverged.get_marker() == "x"
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.texts] == ["9", "3"]  # and none of the one epoch


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("tried", [[0.1, 0.1], [0.1], [0.0, 0.0], [0.0, 1e-4], [0.01, 0.1]])
@pytest.mark.parametrize("gave", ["values", "none"])
def test_search_values_have_an_axis_whatever_was_tried(ax, tried, gave, log):
    """All alike, one alone, none with a result, one at zero: no warning, and every mark shows."""
    trials = pd.DataFrame({"lr": tried, "value": [0.5] * len(tried), "status": "completed"})
    trials = trials.assign(epochs=3, value=trials["value"] if gave == "values" else math.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search_figures.search_values(ax, trials, "lr", "val accuracy", log)
        FigureCanvasAgg(ax.figure).draw()
    low, high = ax.get_xlim()
    assert all(low < value < high for value in tried)
    ticks = [float(tick.get_text().replace("\u2212", "-")) for tick in ax.get_xticklabels()]
    if len(set(tried)) == 1:
        assert ticks == [tried[0]]


@pytest.mark.parametrize("rates", [(0.0009, 0.09), (0.004, 0.2), (0.011, 0.012), (1e-5, 0.9)])
def test_labels_of_rates_do_not_touch(ax, rates):
    trials = pd.DataFrame(
        {"lr": rates, "value": [0.5, 0.6], "status": "completed", "epochs": [3, 3]}
    )
    ax.figure.set_size_inches(2.4, 2.6)
    search_figures.search_values(ax, trials, "lr", "val accuracy", log=True)
    ax.figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert len(boxes) >= 2
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_the_ladder_has_a_bar_a_trial_of_its_epochs(ax):
    trials = pd.DataFrame({"epochs": [1, 9, 0], "status": ["stopped", "completed", "failed"]})
    search_figures.rung_ladder(ax, trials, [1, 3, 9])
    (bars,) = ax.collections
    assert [int(bar[1][0]) for bar in bars.get_segments()] == [9, 1, 0]
    ends = {tuple(line.get_xdata()) for line in ax.get_lines() if line.get_linestyle() == "None"}
    assert ends == {(9.0,), (1.0,), (0.0,)}


def test_thousands_of_configs_are_a_few_artists(ax):
    """A line and a label a trial took minutes."""
    rng = np.random.default_rng(0)
    trials = pd.DataFrame(
        {
            "lr": rng.uniform(0.001, 1, 5000),
            "value": rng.random(5000),
            "status": rng.choice(["completed", "stopped", "diverged"], 5000),
            "epochs": rng.choice([2, 7, 22, 66, 200], 5000),
        }
    )
    search_figures.search_values(ax, trials, "lr", "val accuracy", log=True)
    assert len(ax.get_lines()) <= 15
    assert len(ax.texts) <= 3
    assert sum(len(line.get_xdata()) for line in ax.get_lines()) == 5000
    ladder = Figure().subplots()
    search_figures.rung_ladder(ladder, trials, [2, 7, 22, 66, 200])
    assert len(ladder.get_lines()) + len(ladder.collections) <= 9
    assert all(artist.get_rasterized() for artist in (*ax.get_lines(), *ladder.collections))


def test_of_very_many_curves_some_are_in_colour_and_all_are_drawn(ax):
    held = curves(**{f"t{n}_val_loss": [4.0, 1.0 + n] for n in range(100)})
    many = pd.DataFrame(
        [{"trial": f"t{n}", "cell": n, "label": f"depth {n}", "colour": "#0072B2",
          "unfinished": False} for n in range(100)]
    )  # fmt: skip
    figures.learning_curves(ax, held, many, "loss", "val")
    (rest,) = ax.collections
    assert len(rest.get_segments()) + len(ax.get_lines()) == 100
    assert len(ax.get_lines()) == figures.MOST_NAMED
    assert ax.get_ylim()[1] >= 100  # the grey ones count for the axes


def test_maps_of_truth_and_prediction_share_one_scale():
    samples = {
        "quantile": np.array([0.1, 0.9]),
        "name": np.array(["IMG_1", "IMG_2"]),
        "image": np.zeros((2, 3, 4, 4), np.uint8),
        "truth_map": np.full((2, 4, 4), 2.0),
        "predicted_map": np.full((2, 4, 4), 0.001),
        "truth": np.array([32.0, 32.0]),
        "prediction": np.array([0.016, 0.016]),
    }
    axes = Figure().subplots(2, 3)
    figures.sample_maps(axes, samples)
    limits = {axes[row, column].images[0].get_clim() for row in (0, 1) for column in (1, 2)}
    assert limits == {(0.0, 2.0)}
    assert axes[0, 1].get_title() == "ground truth: 32.0"
    assert axes[0, 2].get_title() == "predicted: 0.0"


def test_which_figures_a_study_has(tmp_path):
    cifar(tmp_path / "c")
    crowd(tmp_path / "t").samples("00-seed42")
    keys = {name: [p.key for p in plates(load(tmp_path / name))] for name in ("c", "t")}
    assert keys == {
        "c": ["F1", "F2", "F3", "final-depth", "search-lr", "rungs", "best-so-far"],
        "t": ["curves-A", "curves-B", "F4-cell0", "final-lr"],
    }


def test_f1_to_f3_are_as_in_the_report(tmp_path):
    """F1 both modes on one sheet, F2 validation accuracy and F3 loss by depth, from scratch."""
    cifar(tmp_path / "c")
    held = {plate.key: plate.figure for plate in plates(load(tmp_path / "c"))}
    heads = {key: [ax.get_title() for ax in figure.axes] for key, figure in held.items()}
    assert heads["F1"] == [
        "from scratch, loss: train dashed, val solid",
        "from scratch, accuracy: train dashed, val solid",
        "fine-tuned, loss: train dashed, val solid",
        "fine-tuned, accuracy: train dashed, val solid",
    ]
    assert (heads["F2"], heads["F3"]) == (["val accuracy"], ["val loss"])
    shown = [text.get_text() for text in held["F2"].legends[0].get_texts()]
    assert shown == ["depth 18", "depth 34"]
    scratch = {line.get_gid().split("|")[1] for line in held["F2"].axes[0].get_lines()}
    assert scratch == {"0", "2"}  # the cells that are not pretrained


def test_axes_and_heads_speak_words(tmp_path):
    cifar(tmp_path / "c")
    crowd(tmp_path / "t")
    drawn = {f"{n}{p.key}": p for n in "ct" for p in plates(load(tmp_path / n))}
    labels = {key: {ax.get_ylabel() for ax in p.figure.axes} for key, p in drawn.items()}
    assert labels["tcurves-A"] == {"MAE"}
    assert labels["tfinal-lr"] == {"test MAE"}
    search = drawn["csearch-lr"]
    assert {ax.get_xlabel() for ax in search.figure.axes} == {"learning rate"}
    assert search.title == "Learning rate tried, and what it gave"
    assert [ax.get_ylabel() for ax in search.figure.axes] == ["val accuracy", "", "", ""]


def test_training_values_of_crops_stand_in_no_panel_of_whole_images(tmp_path):
    crowd(tmp_path / "t")
    (plate,) = [p for p in plates(load(tmp_path / "t")) if p.key == "curves-A"]
    assert [ax.get_title() for ax in plate.figure.axes] == ["test MAE", "train MAE"]
    splits = [
        {line.get_gid().split("|")[2] for line in ax.get_lines()} for ax in plate.figure.axes
    ]
    assert splits == [{"test"}, {"train"}]


@pytest.mark.parametrize(
    ("heads", "titles"),
    [
        (["conv"], ["MAE: train dashed, test solid"]),
        (["fc", "conv"], [
            "part B, head=conv, MAE: train dashed, test solid",
            "part B, test MAE",
            "part B, train MAE",
        ]),
    ],
)  # fmt: skip
def test_training_values_of_whole_images_stand_beside_those_of_the_watched_split(
    tmp_path, heads, titles
):
    run = Run(
        tmp_path / "w",
        "shanghaitech",
        cells=[{"head": head} for head in heads],
        watched="test",
    )
    for cell in range(len(heads)):
        run.confirm(cell, [{"mae": 20.0, "rmse": 30.0}] * 3)
    (plate,) = [p for p in plates(load(tmp_path / "w")) if p.key == "curves-B"]
    assert [ax.get_title() for ax in plate.figure.axes if ax.get_visible()] == titles


def test_a_final_figure_has_the_sign_that_tables_have(tmp_path):
    """Fully trained but not confirmed is not unfinished."""
    run = Run(tmp_path / "s", cells=[{"depth": 18}, {"depth": 34}])
    run.confirm(0, [{"loss": 1.0, "accuracy": 0.5}] * 3, lr=0.1)
    run.trial("01-000", 1, value=0.9, epochs=9, lr=0.1)
    (plate,) = [p for p in plates(load(tmp_path / "s")) if p.key == "final-depth"]
    texts = [text.get_text() for text in plate.figure.axes[0].texts]
    assert "°" in texts
    assert "†" not in texts
    assert "° fully trained in the search" in plate.caption
    assert "†" not in plate.caption


def test_half_written_samples_are_passed_over(tmp_path):
    run = crowd(tmp_path / "t")
    run.samples("00-seed42")
    path = tmp_path / "t" / "samples" / "00-seed42.npz"
    path.write_bytes(path.read_bytes()[:100])
    assert "F4-cell0" not in [p.key for p in plates(load(tmp_path / "t"))]


def test_every_figure_says_synthetic(tmp_path):
    crowd(tmp_path / "t", synthetic=True)
    for plate in plates(load(tmp_path / "t")):
        assert "SYNTHETIC DATA" in plate.figure.get_suptitle()
        assert "SYNTHETIC DATA" in [text.get_text() for text in plate.figure.texts]


def test_saved_as_png_and_pdf_without_type_3_fonts(tmp_path):
    Run(tmp_path / "s", cells=[{"depth": 18}])
    (plate,) = plates(load(tmp_path / "s"))
    before = mpl.rcParams["pdf.fonttype"]
    png, pdf, svg, _ = save(plate, tmp_path / "out", "s")
    names = ("s-final-depth.png", "s-final-depth.pdf", "s-final-depth.svg")
    assert (png.name, pdf.name, svg.name) == names
    assert "<text" in svg.read_text(encoding="utf-8")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"/Type3" not in pdf.read_bytes()
    assert mpl.rcParams["pdf.fonttype"] == before


def test_no_figure_is_left_with_pyplot(tmp_path):
    from matplotlib import pyplot as plt

    cifar(tmp_path / "c")
    plates(load(tmp_path / "c"))
    assert plt.get_fignums() == []


def test_published_curves_without_their_columns_are_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("task,epoch\ncifar10,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no column part, mode"):
        load_published(path)
    with pytest.raises(ValueError, match="cannot be read"):
        load_published(tmp_path / "none.csv")


def test_curves_of_the_report_s_resnets_lie_under_no_other_network():
    row = {"task": "cifar10", "mode": "scratch", "part": "", "depth": 18, "lr": 0.1}
    published = pd.DataFrame([row, {**row, "depth": 34}])
    cells = [{"network": name} for name in ("densenet121", "resnet")]
    study = {"task": "cifar10", "settings": {"depth": 18}, "cells": cells, "about": CIFAR10}
    sheet = CIFAR10["sheets"][0]
    found = [curve_sheets._matching(published, study, sheet, "", [n]) for n in range(2)]
    assert found[0] is None
    assert list(found[1]["depth"]) == [18]


def test_a_saved_figure_is_laid_out_once_and_drawn_once_a_form(tmp_path, monkeypatch):
    """Drawing is most of what a page takes; a layout engine that is left costs a draw a form."""
    draws, draw = [], Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda self, r: (draws.append(1), draw(self, r))[1])
    figure, _ = new(1, 2, 3.0, 2.0)
    paths = save(Plate("k", "t", "c", figure, pd.DataFrame({"x": [1]})), tmp_path, "s")
    assert [path.suffix for path in paths] == [".png", ".pdf", ".svg", ".csv"]
    assert len(draws) == 1 + 3
