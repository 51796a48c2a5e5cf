"""The other uncertainty: another draw of the test images, by the results of each image.

Images are drawn with replacement, the same for every trial of one set of test images (paired), and
each metric is computed anew. An interval is Efron's BCa (JASA 82, 1987) of these: bounded by
what can occur, and corrected for the skew of squared errors of a few hundred images.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri  # scipy.stats takes two seconds to import

from analysis.findings.image_sets import image_sets
from search.record import Record
from search.record.image_parts import ERRORS, image_part, score

Array = NDArray[np.float64]
DRAWS = 2000
AT_ONCE = 4_000_000  # images drawn at a time: 32 MB
CLOSE = 1e-5  # relative: float32 sums of a GPU against float64 ones here
SEED = 0


@dataclass(frozen=True)
class Sample:
    """A number under other draws of the test images; samples of one set add up draw by draw.

    Attributes:
        point: the number on the images as they are.
        draws: `(DRAWS,)`, on other draws of them.
        pull: `(images,)`, how far each image pulls it: its influence, of mean 0.
    """

    point: float
    draws: Array = field(repr=False)
    pull: Array = field(repr=False)

    def __sub__(self, other: Sample | float) -> Sample:
        """The difference to another number of the same draws, or to a fixed one."""
        if isinstance(other, Sample):
            return Sample(
                self.point - other.point, self.draws - other.draws, self.pull - other.pull
            )
        return Sample(self.point - other, self.draws - other, self.pull)

    def times(self, sign: int) -> Sample:
        """The number with its sign, 1 or -1."""
        return Sample(sign * self.point, sign * self.draws, sign * self.pull)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """BCa interval of the number over the draws."""
        if np.ptp(self.draws) == 0:
            return self.point, self.point
        below = np.mean(self.draws < self.point) + np.mean(self.draws == self.point) / 2
        bias = float(ndtri(np.clip(below, 1e-4, 1 - 1e-4)))
        spread = float((self.pull**2).sum()) ** 1.5
        skew = float((self.pull**3).sum()) / (6 * spread) if spread else 0.0
        ends = []
        for share in ((1 - level) / 2, (1 + level) / 2):
            z = bias + float(ndtri(share))
            ends.append(ndtr(bias + z / max(1 - skew * z, 1e-3)))
        low, high = np.quantile(self.draws, ends)
        return float(min(low, self.point)), float(max(high, self.point))


def mean_of(samples: Sequence[Sample]) -> Sample:
    """The mean over seeds, draw by draw."""
    return Sample(
        math.fsum(s.point for s in samples) / len(samples),
        np.mean([s.draws for s in samples], axis=0),
        np.mean([s.pull for s in samples], axis=0),
    )


@dataclass(frozen=True)
class Images:
    """Results of each test image.

    Attributes:
        sets: trial -> digest of its test images, as `image_sets` has it.
        sizes: digest -> number of images.
        samples: (trial, metric) -> the score under other draws of its images, where results of
            each image are on record and give the recorded score.
        constants: (digest, count, metric) -> the same of a constant prediction.
    """

    sets: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    samples: Mapping[tuple[str, str], Sample] = field(default_factory=dict, repr=False)
    constants: Mapping[tuple[str, float, str], Sample] = field(default_factory=dict, repr=False)


def images_of(record: Record, trials: Iterable[str], counts: Iterable[float] = ()) -> Images:
    """What per-image results say of trials, and of constant predictions on the same images.

    Args:
        record: the study.
        trials: names of those whose scores are shown.
        counts: constant predictions.
    """
    wanted = set(trials)
    frame = record.per_image[
        record.per_image["trial"].isin(wanted) & (record.per_image["split"] == "test")
    ]
    if frame.empty:
        return Images()
    tests = _recorded(record, wanted)
    sets = {name: held[0] for name, held in image_sets(record).items() if name in wanted}
    truths: dict[str, Array] = {}
    predictions: dict[str, dict[str, Array]] = {}
    frame = frame.assign(code=pd.factorize(frame["image"])[0])
    for name, rows in frame.groupby("trial", sort=True):
        names = rows["code"].to_numpy()
        order = np.argsort(names, kind="stable")
        truth = rows["truth"].to_numpy(dtype=float)[order]
        digest = sets[str(name)]
        truths[digest] = truth
        said = rows["prediction"].to_numpy(dtype=float)[order]
        predictions.setdefault(digest, {})[str(name)] = said
    samples: dict[tuple[str, str], Sample] = {}
    constants: dict[tuple[str, float, str], Sample] = {}
    for digest, truth in truths.items():
        columns = _columns(truth, predictions[digest], record.study["metrics"], tests, counts)
        for (kind, name, metric), sample in _drawn(columns, len(truth)).items():
            if kind == "trial":
                samples[str(name), metric] = sample
            else:
                constants[digest, float(name), metric] = sample
    return Images(sets, {d: len(truth) for d, truth in truths.items()}, samples, constants)


Key = tuple[str, str | float, str]  # "trial" or "constant", which of them, metric


def _columns(
    truth: Array,
    predictions: Mapping[str, Array],
    metrics: Iterable[str],
    tests: Mapping[tuple[str, str], float],
    counts: Iterable[float],
) -> dict[Key, tuple[Array, bool]]:
    """What of each image is averaged to a score, `(images,)`, and whether its root is taken.

    A metric is left out of a trial whose results of each image do not give its recorded score.
    """
    found: dict[Key, tuple[Array, bool]] = {}
    for metric in metrics:
        for trial, said in predictions.items():
            part = image_part(metric, truth, said)
            recorded = tests.get((trial, metric), math.nan)
            if part is not None and math.isclose(score(*part), recorded, rel_tol=CLOSE):
                found["trial", trial, metric] = part
        for count in dict.fromkeys(counts) if metric in ERRORS else ():
            part = image_part(metric, truth, np.full(len(truth), count))
            if part is not None:
                found["constant", count, metric] = part
    return found


def _drawn(columns: Mapping[Key, tuple[Array, bool]], n: int) -> dict[Key, Sample]:
    """The scores on other draws of the n images, the same draws for all of them."""
    if not columns:
        return {}
    table = np.stack([part for part, _ in columns.values()], axis=1)
    roots = np.array([root for _, root in columns.values()])
    rng, step = np.random.default_rng(SEED), max(1, AT_ONCE // n)
    draws = np.empty((DRAWS, table.shape[1]))
    for start in range(0, DRAWS, step):
        rows = min(step, DRAWS - start)
        drawn = rng.integers(n, size=(rows, n)) + np.arange(rows)[:, None] * n
        weights = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        draws[start : start + rows] = weights @ table / n
    draws[:, roots] = np.sqrt(draws[:, roots])
    found = {}
    for place, (key, (part, root)) in enumerate(columns.items()):
        point = score(part, root)
        pull = (part - part.mean()) / (2 * point if root and point else 1.0)
        found[key] = Sample(point, draws[:, place], pull)
    return found


def _recorded(record: Record, trials: set[str]) -> dict[tuple[str, str], float]:
    rows = record.trials[record.trials["trial"].isin(trials)].set_index("trial")
    return {
        (str(trial), metric): float(value)
        for metric in record.study["metrics"]
        for trial, value in rows[f"test_{metric}"].dropna().items()
    }
