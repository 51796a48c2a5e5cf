"""Comparisons that a study declares before it runs: each value of a cell parameter against one.

`[[contrast]]` with `key = "depth"` and `against = 18` compares every other depth with 18 among
cells that are equal in all else. Those of a metric are decided together (Holm): where no
difference is real, none of it is decided in 95 % of studies, however many are declared; a
comparison that was thought of after the results were seen has no such promise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from analysis.findings.cells import CellValue, cell_values
from analysis.findings.moves import detectable, seeds_to_decide
from analysis.findings.several import decided
from analysis.findings.verdict import change_of, out_words
from search.record import Record, UserError, did_you_mean
from search.record.naming import cell_label, setting

COLUMNS = [
    *("contrast", "within", "cell", "cell_against", "metric", "split", "value", "against", "n"),
    *("n_against", "difference", "lo", "hi", "level", "verdict", "why", "detectable", "seeds"),
]


class Contrast(NamedTuple):
    """Each value of `key` but `against` is compared with that one."""

    key: str
    against: Any

    @property
    def words(self) -> str:
        """E.g. "depth against 18"."""
        return f"{self.key} against {setting(self.key, self.against)}"


def declared(record: Record) -> list[Contrast]:
    """The contrasts of a study file."""
    held = record.study["spec"].get("contrast", ())
    return [Contrast(table["key"], table["against"]) for table in held]


def contrasts(record: Record, asked: Sequence[Contrast] | None = None) -> pd.DataFrame:
    """The contrasts of a study, a row a pair of cells and metric.

    Args:
        record: the study.
        asked: others than its own.

    Returns:
        contrast (in words), within (the settings that both cells share, in words), cell and
        cell_against, metric, split, value and against (means over n and n_against seeds),
        difference (value less against), lo and hi (its interval over seeds and test images, at
        level), verdict (better, worse: the value's; not told apart, not known, or cannot be
        compared), why (not compared), detectable (the difference that so many seeds of this
        spread would tell from 0 in POWER of studies, at level; NaN below two seeds), seeds (a cell
        that would decide the difference as it is; NA where unknown).

    Raises:
        UserError: a key is no cell parameter, or no cell has that value.
    """
    chosen = declared(record) if asked is None else list(asked)
    pairs = [(c, *pair) for c in chosen for pair in _pairs(record, c)]
    whys = [_why(value, other) for _, value, other in pairs]
    leads = decided(
        [
            (None, None) if why else (other, value)
            for (_, value, other), why in zip(pairs, whys, strict=True)
        ]
    )
    rows = []
    for (contrast, value, other), why, found in zip(pairs, whys, leads, strict=True):
        within = {k: v for k, v in value.given.items() if k != contrast.key}
        at = {"contrast": contrast.words, "within": cell_label(within), "cell": value.cell}
        rows.append(at | _row(contrast, value, other, why, found))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"seeds": "Int64", "cell_against": "Int64"})


def _pairs(record: Record, contrast: Contrast) -> list[tuple[CellValue, CellValue | None]]:
    """Cells with that which has the value compared against and equal other settings, if any."""
    key, against = contrast
    cells = record.study["cells"]
    if not any(key in at for at in cells):
        keys = ", ".join(dict.fromkeys(k for at in cells for k in at))
        raise UserError(
            f"study {record.study['name']}: no cell differs in {key!r}"
            f"{did_you_mean(key, [k for at in cells for k in at])}, but in {keys}"
        )
    if len({repr(at.get(key)) for at in cells}) < 2:
        raise UserError(f"study {record.study['name']}: all cells have the same {key}")
    if not any(at.get(key) == against for at in cells):
        known = ", ".join(dict.fromkeys(str(at.get(key)) for at in cells))
        raise UserError(
            f"study {record.study['name']}: no cell has {key} = {against}; they have {known}"
        )
    values = cell_values(record)
    base = {(_rest(v, key), v.metric): v for v in values if v.given.get(key) == against}
    others = [v for v in values if v.given.get(key) != against]
    return [(v, base.get((_rest(v, key), v.metric))) for v in others]


def _rest(value: CellValue, key: str) -> tuple[tuple[str, str], ...]:
    return tuple((k, repr(v)) for k, v in value.given.items() if k != key)


def _why(value: CellValue, other: CellValue | None) -> str:
    """Why two cells are not compared; "" where they are."""
    if other is None:
        return "no cell has the other value beside the same settings"
    outs = {cell_label(held.given): out_words(held) for held in (value, other)}
    if any(outs.values()):
        return "; ".join(f"{label}: {out}" for label, out in outs.items() if out)
    return "" if value.images == other.images else "they are of other images"


def _row(
    contrast: Contrast,
    value: CellValue,
    other: CellValue | None,
    why: str,
    found: tuple[Any, float] | None,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "cell_against": other.cell if other else pd.NA,
        "metric": value.metric,
        "split": value.split,
        "value": value.mean,
        "against": other.mean if other else math.nan,
        "n": value.n,
        "n_against": other.n if other else 0,
        "difference": value.mean - other.mean if other else math.nan,
        "verdict": "cannot be compared",
        "why": why,
    }
    if found is None or other is None:
        return row
    lead, level = found
    low, high, verdict = change_of(lead, value.mode)
    return row | {
        "lo": low,
        "hi": high,
        "level": level,
        "verdict": verdict,
        "detectable": detectable(value, other, lead),
        "seeds": seeds_to_decide(value, other, lead) or pd.NA,
    }


def parsed(words: Sequence[str], cells: Sequence[Mapping[str, Any]]) -> list[Contrast]:
    """Contrasts as a command line names them, e.g. "depth=18".

    Raises:
        UserError: no `=`, or a value that no cell has; names those there are.
    """
    found = []
    for text in words:
        key, sign, value = text.partition("=")
        if not sign:
            raise UserError(f"{text!r} is no contrast; write KEY=VALUE, e.g. depth=18")
        known = {str(setting(key, at.get(key))): at.get(key) for at in cells}
        known |= {str(at.get(key)): at.get(key) for at in cells}
        known |= {str(at.get(key)).lower(): at.get(key) for at in cells}
        found.append(Contrast(key, known.get(value, value)))
    return found
