"""The learning curves of one cell, small: its seeds over what the search tried."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.display.scale import Scale
from analysis.findings.facts import metric_name
from search.record import Record

LINES = 400  # of the search on a page, shared among cells
LEAST, MOST = 3, 40  # of them in a cell
POINTS = 100  # of a curve; of more epochs evenly spaced ones and the last

Curves = Mapping[str, tuple[NDArray[Any], NDArray[Any]]]


def chosen_lines(record: Record, shown: Mapping[int, tuple[str, ...]]) -> dict[int, list[str]]:
    """Cell -> trials to draw: those it shows, then the longest and best of the others."""
    study, trials = record.study, record.trials
    share = min(max(LINES // max(len(study["cells"]), 1), LEAST), MOST)
    order = trials.assign(_value=trials["value"] * (-1 if study["mode"] == "max" else 1))
    order = order.sort_values(["epochs", "_value"], ascending=[False, True], kind="stable")
    found: dict[int, list[str]] = {}
    for cell, held in order.groupby("cell", sort=True):
        own = list(shown.get(int(str(cell)), ()))
        others = [trial for trial in held["trial"] if trial not in set(own)]
        found[int(str(cell))] = [*own, *others[:share]]
    return found


def curves_of(record: Record, wanted: Mapping[int, list[str]]) -> dict[str, Any]:
    """Trial -> epochs and values of the watched main metric, as recorded."""
    study, names = record.study, {t for held in wanted.values() for t in held}
    curves = record.curves
    held = curves[curves["name"] == f"{study['watched']}_{study['metric']}"]
    held = held[held["trial"].isin(list(names))].dropna(subset="value").sort_values("epoch")
    return {
        str(trial): (own["epoch"].to_numpy(float), own["value"].to_numpy(float))
        for trial, own in held.groupby("trial", sort=False)
    }


def sketch(
    study: Mapping[str, Any], wanted: list[str], shown: tuple[str, ...], curves: Curves
) -> dict[str, Any] | None:
    """Lines of a cell's drawing, in percent of its width and height; None without a curve.

    Returns:
        name (of the metric), top, bottom (texts), ticks (of the epochs: at, text), lines (trial,
        points, seed: whether the cell shows it), thinned (whether epochs are left out).
    """
    held = {trial: curves[trial] for trial in wanted if trial in curves}
    if not held:
        return None
    levels = np.concatenate([values for _, values in held.values()])
    scale = Scale([float(v) for v in levels if math.isfinite(v)])
    last = float(study["rungs"][-1])
    lines = [
        {"trial": trial, "points": _points(*held[trial], scale, last), "seed": trial in shown}
        for trial in sorted(held, key=lambda name: name in shown)  # the shown ones on top
    ]
    ticks = [{"at": scale.at(tick), "text": f"{tick:g}"} for tick in scale.ticks(4)]
    return {
        "name": f"{study['watched']} {metric_name(study, study['metric'])}",
        "levels": ticks,
        "rungs": [{"at": round(100 * rung / last, 2), "text": str(rung)} for rung in _few(study)],
        "lines": lines,
        "thinned": any(len(epochs) > POINTS for epochs, _ in held.values()),
    }


def _few(study: Mapping[str, Any]) -> list[int]:
    """Rungs whose numbers have room beside each other."""
    rungs, last = [int(rung) for rung in study["rungs"]], int(study["rungs"][-1])
    kept = [last]
    for rung in reversed(rungs[:-1]):
        if kept[-1] - rung >= last / 10:
            kept.append(rung)
    return kept[::-1]


def _points(epochs: NDArray[Any], values: NDArray[Any], scale: Scale, last: float) -> str:
    places = np.arange(len(epochs))
    if len(epochs) > POINTS:
        places = np.unique(np.linspace(0, len(epochs) - 1, POINTS).round().astype(int))
    found = []
    for at in places:
        height = scale.at(float(values[at]))
        if height is not None:
            found.append(f"{100 * epochs[at] / last:.1f},{100 - height:.1f}")
    if len(found) == 1:  # a line of one point is none
        x, y = found[0].split(",")
        found.append(f"{float(x) + 0.8:.1f},{y}")
    return " ".join(found)
