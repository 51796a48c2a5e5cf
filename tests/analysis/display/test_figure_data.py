"""The csv beside a figure is what is drawn in it, mark by mark, of every shipped record."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from make_run import Run, cifar, crowd
from matplotlib.collections import LineCollection

from analysis.display.figure_set import plates, save
from search.record import load

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::search.record.RecordWarning")]
RUNS = sorted(p.name for p in (Path(__file__).parents[3] / "results").iterdir() if p.is_dir())


@cache
def drawn(name):
    record = load(Path(__file__).parents[3] / "results" / name)
    return record, {plate.key: plate for plate in plates(record)}


def read_back(plate, tmp_path):
    """As whoever opens the file has it."""
    path = save(plate, tmp_path, "s")[-1]
    assert path.name == f"s-{plate.key}.csv"
    return pd.read_csv(path)


def lines_of(plate):
    return [line for ax in plate.figure.axes for line in ax.get_lines()]


def points(x, y):
    return Counter(zip(np.round(x, 9).tolist(), np.round(y, 9).tolist(), strict=True))


@pytest.mark.parametrize("name", RUNS)
def test_every_point_of_every_curve_and_no_other(tmp_path, name):
    _, held = drawn(name)
    curves = [p for key, p in held.items() if key.startswith(("F1", "F2", "F3", "curves"))]
    assert curves
    for plate in curves:
        data = read_back(plate, tmp_path)
        shown = {}
        for line in lines_of(plate):
            trial, _, split = str(line.get_gid()).partition("|")
            if split and line.get_marker() != "x":
                x, y = (np.asarray(v, float) for v in line.get_data())
                shown.setdefault((trial, split.rpartition("|")[2]), []).append(points(x, y))
        told = {}
        for (trial, of, _), rows in data.groupby(["trial", "name", "sheet"], dropna=False):
            key = trial, of.partition("_")[0]
            told.setdefault(key, []).append(points(rows["epoch"], rows["value"]))
        assert shown.keys() == told.keys()
        for key, drawn_points in shown.items():
            assert sorted(map(sorted, drawn_points)) == sorted(map(sorted, told[key])), key


@pytest.mark.parametrize("name", RUNS)
def test_every_config_of_the_search_and_of_the_ladder(tmp_path, name):
    record, held = drawn(name)
    for key, plate in held.items():
        if not key.startswith(("search-", "rungs")):
            continue
        data = read_back(plate, tmp_path)
        assert set(data["trial"]) <= set(record.trials["trial"]) and data["trial"].is_unique
        if key == "rungs":
            ends = [
                seg[-1][0]
                for ax in plate.figure.axes
                for c in ax.collections
                if isinstance(c, LineCollection)
                for seg in c.get_segments()
            ]
            assert Counter(ends) == Counter(data["epochs"].astype(float))
            continue
        marks, foot = Counter(), 0
        for line in lines_of(plate):
            x, y = (np.asarray(v, float) for v in line.get_data())
            if (y == 0.04).all() and len(y) and line.get_transform() != line.axes.transData:
                foot += len(y)
            else:
                marks += points(x, y)
        known = data.dropna(subset="value")
        assert marks == points(known[key.removeprefix("search-")], known["value"])
        assert foot == len(data) - len(known)


@pytest.mark.parametrize("name", RUNS)
def test_means_seeds_and_constants_of_the_final_figure(tmp_path, name):
    _, held = drawn(name)
    for key, plate in held.items():
        if not key.startswith("final"):
            continue
        data = read_back(plate, tmp_path)
        done = data[data["status"] == "complete"]
        means, seeds, levels = Counter(), Counter(), Counter()
        for line in lines_of(plate):
            y = np.round(np.asarray(line.get_ydata(), float), 9).tolist()
            if line.get_marker() == "D":
                means += Counter(y)
            elif line.get_marker() == ".":
                seeds += Counter(y)
            else:
                levels[y[0]] += 1
        assert means == Counter(done["mean"].round(9))
        told = [float(v) for text in done["values"] for v in str(text).split()]
        assert seeds == Counter(np.round(told, 9).tolist())
        across = data[data["status"] == "constant"]["mean"].round(9)
        assert levels == Counter(across)


def test_maps_are_their_pixels_and_published_curves_are_told(tmp_path):
    run = crowd(tmp_path / "s")
    run.samples("00-seed42")
    (plate,) = (p for p in plates(load(run.folder)) if p.key == "F4-cell0")
    data = read_back(plate, tmp_path)
    assert len(data) == 3 * 16 * 16 and plate.number == "F4"
    held = np.load(run.folder / "samples" / "00-seed42.npz")
    one = data[data["image"] == "IMG_2"].pivot(index="y", columns="x", values="prediction")
    np.testing.assert_allclose(one.to_numpy(), held["predicted_map"][1])


def test_synthetic_data_and_the_record_are_named_in_each(tmp_path):
    record = load(cifar(tmp_path / "s", synthetic=True).folder)
    for plate in plates(record):
        data = read_back(plate, tmp_path)
        assert data["synthetic"].all() and set(data["digest"].astype(str)) == {record.digest[:16]}


def test_every_figure_has_a_number_and_those_of_the_report_have_its(tmp_path):
    shipped = {k: p.number for k, p in drawn("cifar10-plain")[1].items()}
    assert {k: n for k, n in shipped.items() if k in ("F1", "F2", "F3")} == {
        k: k for k in shipped if k in ("F1", "F2", "F3")
    }
    others = [n for k, n in shipped.items() if k[0] != "F"]
    assert others == [f"F{5 + n}" for n in range(len(others))]
    run = Run(tmp_path / "s", "shanghaitech", [{"part": "A"}], confirm_seeds=[1])
    run.confirm(0, [{"mae": 60.0, "rmse": 90.0}])
    assert all(p.number for p in plates(load(run.folder)))
    for plate in plates(load(run.folder)):
        assert plate.number in plate.figure._suptitle.get_text()


def settings_record(folder):
    """A grid of two settings in two cells, one config of which diverged in the second."""
    spec = {"sampler": "grid", "fixed": {}, "budget": {}}
    cells = [{"depth": 18}, {"depth": 34}]
    run = Run(folder, "cifar10", cells, space_keys=["lr", "weight_decay"], rungs=[1], spec=spec)
    for cell in range(2):
        for n, (lr, decay) in enumerate((a, b) for a in (0.01, 0.1) for b in (0.0, 1e-3, 1e-2)):
            gone = cell == 1 and n == 5
            run.trial(f"{cell:02d}-{n:03d}", cell, value=None if gone else 0.1 * n + 0.01 * n * n,
                      epochs=1, ending="diverged" if gone else "value", lr=lr,
                      weight_decay=decay)  # fmt: skip
    return load(run.folder)


def test_the_best_so_far_steps_through_its_rows(tmp_path):
    for record, held in (drawn("cifar10-plain"), drawn("crowd-a-64px")):
        plate = held["best-so-far"]
        data, cells = read_back(plate, tmp_path), len(record.study["cells"])
        x = "gpu_seconds" if data["gpu_seconds"].any() else "seconds"
        lines = lines_of(plate)
        assert len(lines) == cells
        for line, (_, rows) in zip(lines, data.groupby("cell"), strict=True):
            held_x, held_y = (np.asarray(v, float) for v in line.get_data())
            assert points(held_x, held_y) == points(rows[x], rows["best"])


def test_each_config_is_a_line_over_its_settings(tmp_path):
    record = settings_record(tmp_path / "s")
    plate = {p.key: p for p in plates(record)}["parallel"]
    data = read_back(plate, tmp_path)
    assert len(data) == 12 and data.groupby("cell")["best"].sum().tolist() == [1, 1]
    for ax, (_, rows) in zip(plate.figure.axes, data.groupby("cell"), strict=False):
        grey, dashed = (held.get_segments() for held in ax.collections)
        lines = [line.get_ydata() for line in ax.get_lines() if len(line.get_xdata()) == 3]
        assert len(grey) + len(dashed) + len(lines) == len(rows) and len(lines) == 1
        low, high = data["value"].min(), data["value"].max()
        ends = sorted([float(path[-1][1]) for path in grey] + [float(lines[0][-1])])
        assert ends == pytest.approx(sorted((rows["value"].dropna() - low) / (high - low)))
        assert lines[0][-1] == max(ends)
        assert len(dashed) == rows["value"].isna().sum()
        assert all(len(path) == 2 for path in dashed)


def test_marginal_means_are_drawn_as_their_table_has_them(tmp_path):
    record = settings_record(tmp_path / "s")
    plate = {p.key: p for p in plates(record)}["marginals"]
    data = read_back(plate, tmp_path)
    assert set(data["cell"]) == {0}  # the other's grid has a hole
    for ax, (_, rows) in zip(plate.figure.axes, data.groupby("setting", sort=False), strict=True):
        (line,) = ax.get_lines()
        assert list(line.get_ydata()) == pytest.approx(rows["mean"].tolist())
        (bars,) = ax.collections
        ends = [(seg[0][1], seg[1][1]) for seg in bars.get_segments()]
        assert ends == [pytest.approx(pair) for pair in zip(rows["lo"], rows["hi"], strict=True)]
