"""Cells of different test images are not drawn as if they could be compared."""

from __future__ import annotations

import numpy as np
from make_run import Run

from analysis.display.figure_set import plates
from search.record import load


def made(folder, limits, **study):
    cells = [{"depth": depth, "test_images": limit} for depth in (18, 34) for limit in limits]
    run = Run(folder, cells=cells, **study)
    for cell in range(len(cells)):
        run.confirm(cell, [{"loss": 1.0, "accuracy": 0.5 + cell / 50 + s / 99} for s in range(3)])
    return {plate.key: plate for plate in plates(load(folder))}


def test_final_values_of_other_images_have_panels_of_their_own(tmp_path):
    plate = made(tmp_path / "s", (20, 40))["final-depth"]
    assert [ax.get_title() for ax in plate.figure.axes] == ["images 1 of 2", "images 2 of 2"]
    assert "are of different images, so no value of one compares" in plate.caption


def test_final_values_of_the_same_images_share_a_panel(tmp_path):
    plate = made(tmp_path / "s", (20,))["final-depth"]
    assert [ax.get_title() for ax in plate.figure.axes] == [""]
    assert "different images" not in plate.caption


def test_results_of_each_image_part_panels_that_settings_do_not(tmp_path):
    run = Run(tmp_path / "s", cells=[{"depth": 18}, {"depth": 34}], space_keys=[])
    for cell in range(2):
        truth = np.arange(10.0) % 10 + 0
        said = truth.copy()
        said[: cell + 1] = (said[: cell + 1] + 1) % 10
        right = float((said == truth).mean())
        test = {"loss": 1.0, "accuracy": right}
        run.trial(f"{cell}-1", cell, value=right, stage="confirm", seed=1, test=test)
        run.images(f"{cell}-1", truth, said, names=range(cell * 100, cell * 100 + 10))
    plate = {p.key: p for p in plates(load(tmp_path / "s"))}["final-depth"]
    assert len(plate.figure.axes) == 2


def test_curves_of_other_images_are_said_not_to_compare(tmp_path):
    report = {"protocol": "report", "watched": "test", "checkpoint_rule": "last"}
    apart = made(tmp_path / "a", (20, 40), **report)["F3"]
    assert "Of different test images, so not to be compared: " in apart.caption
    alike = made(tmp_path / "b", (20,), **report)["F3"]
    assert "not to be compared" not in alike.caption
    validation = made(tmp_path / "c", (20, 40))["F3"]  # these are of the same images
    assert "not to be compared" not in validation.caption
