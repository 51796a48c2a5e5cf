"""The convergence stamp, on curves whose future is known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from analysis.findings.trends import trend


def noise(rng: np.random.Generator, shape: tuple[int, int], sd: float, r: float) -> np.ndarray:
    """Autocorrelated by r from one epoch to the next."""
    found = rng.normal(0, sd, shape)
    for epoch in range(1, shape[1]):
        found[:, epoch] = r * found[:, epoch - 1] + np.sqrt(1 - r**2) * found[:, epoch]
    return found


def futures(rng: np.random.Generator, kind: str, epochs: int) -> np.ndarray:
    """An accuracy without noise over 1.4 times the epochs that are seen."""
    t = np.arange(1, int(1.4 * epochs) + 1)
    if kind == "power":
        return 0.9 - rng.uniform(0.2, 0.8) * t ** -rng.uniform(0.3, 1.5)
    if kind == "exponential":
        return 0.9 - 0.5 * np.exp(-t / rng.uniform(2, epochs))
    if kind == "line":
        return 0.5 + t * rng.uniform(-0.003, 0.003)
    return np.full(len(t), 0.8)


def test_few_stamps_are_false_of_curves_whose_future_is_known():
    rng, found = np.random.default_rng(0), Counter[tuple[str, bool]]()
    for _ in range(400):
        epochs, seeds = int(rng.choice([30, 50, 100])), int(rng.choice([1, 2, 3]))
        sd, r = float(rng.choice([0.002, 0.005, 0.01])), float(rng.choice([0.0, 0.5]))
        kind = str(rng.choice(["power", "exponential", "line", "flat"]))
        future = futures(rng, kind, epochs)
        seen = future[:epochs] + rng.normal(0, 0.003, (seeds, 1))
        held = trend(seen + noise(rng, (seeds, epochs), sd, r), np.full(epochs, 0.1), "max")
        gain = future[epochs - 1 + held.epochs] - future[epochs - 1]
        true = {
            "improving": gain > 0.1 * held.matters,
            "worsening": gain < -0.1 * held.matters,
            "flat": abs(gain) < 1.5 * held.matters,
            "cannot tell": True,
        }
        found[held.stamp, bool(true[held.stamp])] += 1
    wrong = sum(n for (_, true), n in found.items() if not true)
    said = sum(n for (stamp, _), n in found.items() if stamp != "cannot tell")
    assert wrong / said < 0.05
    assert said > 170  # of 400: it does not hide behind "cannot tell"
    assert all(found[stamp, True] > 20 for stamp in ("improving", "worsening", "flat"))


def test_epochs_that_are_alike_are_seldom_taken_for_a_trend():
    rng, said = np.random.default_rng(1), Counter[float]()
    for r in (0.7, 0.8, 0.9):
        for _ in range(200):
            curve = 0.8 + noise(rng, (1, 120), 0.005, r)[:, 20:]  # 20: until it has forgotten
            said[r] += trend(curve, np.full(100, 0.1), "max").stamp in ("improving", "worsening")
    assert max(said.values()) < 0.15 * 200  # 0.24 at r = 0.9 by the width alone


@pytest.mark.parametrize(("mode", "stamp"), [("max", "improving"), ("min", "worsening")])
def test_more_is_better_or_worse_as_the_metric_says(mode, stamp):
    curve = np.linspace(0.1, 0.9, 50)[None]
    held = trend(curve, np.full(50, 0.1), mode)
    assert held.stamp == stamp
    assert abs(held.gain) == pytest.approx(10 * 0.8 / 49)


def test_while_the_learning_rate_falls_nothing_can_be_told():
    curve, epochs = np.linspace(0.1, 0.9, 50)[None], np.arange(50)
    cosine = 0.05 * (1 + np.cos(np.pi * epochs / 50))
    held = trend(curve, cosine, "max")
    assert (held.stamp, held.epochs) == ("cannot tell", 0)
    assert "the learning rate changes to the end" in held.why


def test_a_rise_before_the_last_drop_is_not_looked_at():
    curve = np.concatenate([np.linspace(0.1, 0.6, 38), np.full(12, 0.8)])
    curves = curve + np.array([[-0.005], [0.0], [0.005]])  # of three seeds
    rates = np.concatenate([np.full(38, 0.1), np.full(12, 0.01)])
    assert trend(curves, rates, "max").stamp == "flat"
    held = trend(curves, np.concatenate([np.full(44, 0.1), np.full(6, 0.01)]), "max")
    assert held.stamp == "cannot tell"
    assert "changed 6 epochs before the end" in held.why


def test_a_curve_that_is_not_finite_or_too_short_says_so():
    curve = np.full((1, 30), 0.5)
    curve[0, 7] = np.nan
    assert "not finite" in trend(curve, np.full(30, 0.1), "max").why
    assert "9 epochs are fewer than 10" in trend(curve[:, 8:17], np.full(9, 0.1), "max").why
