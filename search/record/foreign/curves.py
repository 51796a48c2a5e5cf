"""The numbers of each run, epoch by epoch: checked, in the units of this record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from search.record.foreign.mapping import Meaning
from search.record.foreign.names import is_share
from search.record.foreign.runs import Row, Run, Source, count, number_of
from search.record.forms import out_of_bounds
from trainables.errors import UserError

SPARSE = 20  # times as many epochs as rows
LONG = 1000  # epochs above which so sparse a curve is taken for one of steps


@dataclass
class Curve:
    """What a run reported.

    Attributes:
        run: of the source.
        values: epoch, from 1 -> name here -> value; NaN where it was not finite.
        tests: quantity -> epoch -> value on test.
        diverged: epoch of the first main value that was not finite; 0 for none.
    """

    run: Run
    values: dict[int, dict[str, float]] = field(default_factory=dict)
    tests: dict[str, dict[int, float]] = field(default_factory=dict)
    diverged: int = 0

    @property
    def epochs(self) -> int:
        """The last one with a row."""
        return self.diverged or max(self.values, default=0)

    def mains(self, name: str) -> dict[int, float]:
        """Epoch -> finite value of a quantity, up to where it diverged."""
        return {
            epoch: row[name]
            for epoch, row in sorted(self.values.items())
            if name in row and math.isfinite(row[name]) and not 0 < self.diverged <= epoch
        }


def curves_of(
    source: Source, runs: Sequence[Run], found: Meaning
) -> tuple[list[Curve], list[str]]:
    """The curves of runs, in their order, and what is to be told of them.

    Raises:
        UserError: a number cannot be what its column says.
    """
    scale = _scales(runs, found)
    said, counts = list[str](), {"unordered": 0, "again": 0, "no epoch": 0, "not finite": 0}
    offset = _offset(source, runs, found, said)
    curves = [_curve(run, found, scale, offset, counts) for run in runs]
    texts = {
        "unordered": ("run", "whose rows are not in the order of their epochs: sorted"),
        "again": ("value", "that another row of the same epoch has too: the later counts"),
        "no epoch": ("row", "without epoch and metric left out"),
        "not finite": ("value", "of other metrics left out, not finite"),
    }
    said += [f"{count(n, texts[key][0])} {texts[key][1]}" for key, n in counts.items() if n]
    _require_epochs(source, curves, found)
    main = found.curves[found.metric]
    if lost := [c.run.name for c in curves if c.diverged]:
        said.append(
            f"{count(lost, 'run')} diverged: {found.metric} is not finite at some epoch; what "
            f"came after is left out: {', '.join(lost[:5])}{' ...' * (len(lost) > 5)}"
        )
    gaps = sum(c.epochs - len(c.mains(main)) - bool(c.diverged) for c in curves)
    if gaps:
        said.append(f"{gaps} of {sum(c.epochs for c in curves)} epochs have no {found.metric}")
    return curves, said


def _scales(runs: Sequence[Run], found: Meaning) -> dict[str, float]:
    """Column -> what its values are divided by."""
    scale, over = dict[str, float](), dict[str, str]()
    for column, quantity in {
        **{c: name.partition("_")[2] for c, name in found.curves.items()},
        **found.tests,
    }.items():
        unit = found.given.units.get(column, "")
        most, where = -math.inf, ""
        for run in runs:
            for row in run.rows:
                value = number_of(row.place, column, row.values.get(column))
                if value is not None and value > most:
                    most, where = value, row.place
        at = f"{where}, column {column}: {most:g}"
        if unit == "percent":
            if most > 100:
                raise UserError(f"{at} is above 100 percent; mend it, or units.{column}")
            if 0 < most <= 1:
                raise UserError(
                    f"{at} is the greatest value, so they look like fractions, and units.{column} "
                    'says percent; say "fraction" if they are'
                )
        elif is_share(quantity) and most > 1:
            if most > 100:
                raise UserError(
                    f"{at}: {quantity} is a fraction, at most 1, and no percent either"
                )
            over[column] = f"{at}: {quantity} is a fraction here, at most 1"
        scale[column] = 100.0 if unit == "percent" else 1.0
    if over:
        units = ", ".join(f'"{column}" = "percent"' for column in over)
        raise UserError(
            f"{next(iter(over.values()))}; where values are percent, say so in the map: "
            f"units = {{{units}}}"
        )
    return scale


def _offset(source: Source, runs: Sequence[Run], found: Meaning, said: list[str]) -> int:
    """What is taken from an epoch of the source's to count from 1."""
    if not found.epoch:
        return 0
    first = found.given.first_epoch
    if first is None:
        held = [_epoch(row, found) for run in runs for row in run.rows]
        lowest = min((epoch for epoch in held if epoch is not None), default=1)
        first = 0 if lowest == 0 else 1
        if first == 0:
            said.append(f"{found.epoch} counts from 0 there, from 1 here")
    return first - 1 if found.given.steps_per_epoch is None else first


def _epoch(row: Row, found: Meaning) -> int | None:
    value = number_of(row.place, found.epoch, row.values.get(found.epoch))
    if value is None:
        return None
    if not math.isfinite(value) or value != int(value) or not 0 <= value < 2**53:
        raise UserError(
            f"{row.place}, column {found.epoch}: {row.values[found.epoch]!r} must be a whole "
            "number from 0 on"
        )
    return int(value)


def _curve(
    run: Run, found: Meaning, scale: dict[str, float], offset: int, counts: dict[str, int]
) -> Curve:
    curve, before = Curve(run), 0
    unordered = False
    for number, row in enumerate(run.rows, 1):
        numbers = {c: number_of(row.place, c, row.values.get(c)) for c in scale}
        epoch = _epoch(row, found) if found.epoch else number
        if epoch is None:
            if numbers[found.metric] is not None:
                raise UserError(
                    f"{row.place}, column {found.epoch}: is empty, and {found.metric} is not; "
                    "give each value its epoch"
                )
            counts["no epoch"] += 1
            continue
        epoch = _counted(row, epoch, found, offset)
        unordered |= epoch < before
        before = epoch
        for column, value in numbers.items():
            if value is not None:
                _put(curve, row, epoch, column, value / scale[column], found, counts)
        rate = number_of(row.place, found.rate, row.values.get(found.rate)) if found.rate else None
        if rate is not None and math.isfinite(rate) and epoch in curve.values:
            curve.values[epoch]["lr"] = rate
    counts["unordered"] += unordered
    main = found.curves[found.metric]
    broken = [e for e, row in curve.values.items() if math.isnan(row.get(main, 0.0))]
    curve.diverged = min(broken, default=0)
    return curve if found.epoch else _collapsed(curve, found)


def _counted(row: Row, epoch: int, found: Meaning, offset: int) -> int:
    if not found.epoch:
        return epoch
    size = found.given.steps_per_epoch
    epoch = epoch - offset if size is None else (epoch - offset) // size + 1
    if epoch < 1:
        raise UserError(
            f"{row.place}, column {found.epoch}: is before first_epoch; mend one of them"
        )
    return epoch


def _put(
    curve: Curve,
    row: Row,
    epoch: int,
    column: str,
    value: float,
    found: Meaning,
    counts: dict[str, int],
) -> None:
    """One number, checked, where it belongs."""
    name = found.curves.get(column) or f"test_{found.tests[column]}"
    if fault := out_of_bounds(name.partition("_")[2], value if math.isfinite(value) else None):
        raise UserError(f"{row.place}, column {column}: {fault}")
    if column != found.metric and not math.isfinite(value):
        counts["not finite"] += 1
        return
    tests = column in found.tests
    held = curve.tests.setdefault(found.tests[column], {}) if tests else {}
    at = curve.values.setdefault(epoch, {}) if not tests else {}
    earlier = held.get(epoch) if tests else at.get(name)
    if earlier is not None and column == found.metric and not found.given.steps_per_epoch:
        raise UserError(
            f"{row.place}, column {found.epoch}: epoch {epoch} of run {curve.run.name} stands "
            "twice; leave one of them, name a column that tells runs apart (trial), or, if it "
            "counts steps, say steps_per_epoch"
        )
    counts["again"] += earlier is not None
    if tests:
        held[epoch] = value
    else:
        at[name] = value


def _collapsed(curve: Curve, found: Meaning) -> Curve:
    """A run as one epoch: the row that counts, where its source has no epochs."""
    main = found.curves[found.metric]
    at = value_epoch(curve, main, found.given.rule, found.mode) or max(curve.values, default=0)
    if not at:
        return curve
    tests = {q: {1: held[e]} for q, held in curve.tests.items() for e in [_nearest(held, at)]}
    return Curve(curve.run, {1: curve.values.get(at, {})}, tests, int(bool(curve.diverged)))


def _nearest(held: dict[int, float], at: int) -> int:
    return at if at in held else max(held)


def value_epoch(curve: Curve, main: str, rule: str, mode: str) -> int:
    """The epoch whose value counts; 0 where there is none."""
    held = curve.mains(main)
    if not held:
        return 0
    if rule == "last":
        return max(held)
    pick = max if mode == "max" else min
    best = pick(held.values())
    return next(epoch for epoch, value in held.items() if value == best)


def test_scores(curve: Curve, at: int) -> dict[str, float]:
    """Scores on test at an epoch; of a metric that was scored once, that one."""
    return {
        quantity: held[at] if at in held else next(iter(held.values()))
        for quantity, held in curve.tests.items()
        if at in held or len(held) == 1
    }


def _require_epochs(source: Source, curves: Sequence[Curve], found: Meaning) -> None:
    rows = sum(len(curve.values) for curve in curves)
    longest = max((curve.epochs for curve in curves), default=0)
    total = sum(curve.epochs for curve in curves)
    if longest > LONG and total > SPARSE * max(rows, 1):
        raise UserError(
            f"{source.file}, column {found.epoch}: {rows} rows go up to epoch {longest}, so it "
            "looks like steps; say steps_per_epoch = N in the map, or name another column by "
            'epoch, or epoch = "" where each run is to stand as one'
        )
