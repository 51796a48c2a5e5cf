"""T1 to T4: the course report's tables in its own shape, its numbers beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.display import words
from analysis.display.frames import (
    DASH,
    baselines_by_side,
    bold_cells,
    fixed_point,
    long_frame,
    stamps,
    text,
)
from analysis.display.render import Table
from analysis.findings.cells import CellValue, cell_values
from analysis.findings.facts import (
    digits,
    direction,
    has_settings,
    is_of_published,
    metric_name,
    settings_of,
    side_of,
)
from analysis.findings.published import published_frame
from search.record import Record, UserError


def grid_keys(study: Mapping[str, Any]) -> list[str]:
    """Which tables of a published report a study fills, by its task and cell parameters."""
    return [key for key in study["about"]["tables"] if cells_of(study, key)]


def cells_of(study: Mapping[str, Any], key: str) -> list[int]:
    """Numbers of the cells that belong into a table."""
    names, table = (
        set(study["cells"][0]) if study["cells"] else set(),
        study["about"]["tables"][key],
    )
    if not names >= set(table["has"]) or names & set(table["lacks"]):
        return []
    cells = enumerate(study["cells"])
    return [n for n, at in cells if has_settings(study, at, table["where"])]


def grid(record: Record, key: str) -> Table:
    """One of T1 to T4.

    Raises:
        UserError: the study has no cells for it.
    """
    study = record.study
    held = study["about"]["tables"]
    numbers = cells_of(study, key) if key in held else []
    if not numbers:
        raise UserError(
            f"study {study['name']} has no cells for {key}; it fills "
            f"{', '.join([*grid_keys(study), 'cells', 'search'])}"
        )
    values = {(v.cell, v.metric): v for v in cell_values(record) if v.cell in numbers}
    published = {
        (v.cell, v.metric): found
        for v in values.values()
        if (found := published_value(key, study, v.given, v.metric)) is not None
        and not study["synthetic"]  # which no number of real images belongs beside
        and not words.limits(settings_of(study, v.given))  # nor one of all beside one of a few
    }
    display, bold = _rows(record, key, values, published)
    caption = words.caption(record, values.values())
    return Table(
        study["name"],
        key,
        held[key]["title"],
        f"{caption} {held[key]['note']}" if published else caption,
        display,
        bold,
        _data(record, values, published),
    )


def published_value(
    key: str, study: Mapping[str, Any], at: Mapping[str, Any], metric: str
) -> float | None:
    """The published value of a cell; None where the report has no such cell."""
    held, table = settings_of(study, at), study["about"]["tables"][key]
    if held.get("pretrained") and words.own_weights(study):
        return None  # the report's were ImageNet's
    if not is_of_published(study, at, table["only"]):
        return None
    rows = published_frame()
    rows = rows[(rows["table"] == key) & (rows["metric"] == metric)]
    for name in table["match"]:
        if name in held:
            rows = rows[rows[name] == held[name]]
    # more than one means that the cell does not say which it is, e.g. its depth
    return float(rows["value"].iloc[0]) if len(rows) == 1 else None


def _row_labels(table: Mapping[str, Any], at: Mapping[str, Any]) -> dict[str, Any]:
    """What heads a row: the table's own parameter first, then what else varies."""
    first = table["first"]
    names = [first] if first in at else []
    names += [name for name in at if name not in table["implied"] and name != first]
    return {name: at[name] for name in names}


def _rows(
    record: Record,
    key: str,
    values: Mapping[tuple[int, str], CellValue],
    published: Mapping[tuple[int, str], float],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Strings and bold mask, one row a value of the row labels, then the constant predictors."""
    study = record.study
    heads: dict[str, str] = {}  # a dict keeps the order of columns
    rows: dict[tuple[Any, ...], dict[str, str]] = {}
    best = bold_cells(values.values())
    marked: set[tuple[tuple[Any, ...], str]] = set()
    for cell in cells_of(study, key):
        at = study["cells"][cell]
        labels = _row_labels(study["about"]["tables"][key], at)
        place = tuple(labels.values())
        shown = {
            name.capitalize() if name != "lr" else name: words.setting(name, v)
            for name, v in labels.items()
        }
        row = rows.setdefault(place, shown)
        heads.update(dict.fromkeys(shown, ""))
        for metric in study["metrics"]:
            head = _head(study, at, metric)
            value = values[cell, metric]
            row[head] = text(value)
            if published:
                old = published.get((cell, metric))
                row[_published_head(key, study, at, metric)] = (
                    DASH if old is None else f"{old:.4f}"
                )
            if (cell, metric) in best:
                marked.add((place, head))
        for name in study["space_keys"]:
            chosen = value.config.get(name)
            row[f"{_side(study, at)}{name}"] = DASH if chosen is None else words.number(chosen)
        heads.update(dict.fromkeys(row, ""))
    frame = pd.DataFrame(list(rows.values()), columns=list(heads)).fillna(DASH)
    bold = pd.DataFrame(
        [[(place, head) in marked for head in heads] for place in rows], columns=list(heads)
    )
    constants = _constant_rows(record, key, list(heads))
    frame = pd.concat([frame, constants], ignore_index=True)
    return frame, bold.reindex(frame.index, fill_value=False)


def _side(study: Mapping[str, Any], at: Mapping[str, Any]) -> str:
    """E.g. "Part A "; "" where tables are not split."""
    value = side_of(study, at)
    return f"{study['about']['side'].capitalize()} {value} " if value else ""


def _head(study: Mapping[str, Any], at: Mapping[str, Any], metric: str) -> str:
    """E.g. "Test loss ↓" or "Part A MSE (root) ↓"; the split is left out where it is test."""
    name, up = metric_name(study, metric), words.arrow(direction(study, metric))
    if study["about"]["side"] and study["shown_split"] == "test":
        return f"{_side(study, at)}{name} {up}"
    return f"{_side(study, at)}{study['shown_split'].capitalize()} {name} {up}"


def _published_head(key: str, study: Mapping[str, Any], at: Mapping[str, Any], metric: str) -> str:
    """E.g. "Published val loss" or "Part A published MAE"."""
    split = study["about"]["tables"][key]["split"]
    name = f"published {split}{metric_name(study, metric)}"
    return f"{_side(study, at)}{name}" if _side(study, at) else name.capitalize()


def _predictors(record: Record) -> dict[str, dict[str, dict[str, float]]]:
    """Name of a constant predictor -> side -> metric -> value on test."""
    about = record.study["about"]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in about["constants"]:
        found[_constant(about, name)] = {}  # a row also while nothing has been scored
    for side, held in baselines_by_side(record).items():
        for name, scores in held.items():
            found.setdefault(_constant(about, name), {})[side] = scores
    return found or {name: {"": scores} for name, scores in about["chance"].items()}


def _constant(about: Mapping[str, Any], name: str) -> str:
    """A constant predictor as a row's label."""
    return name if name in about["chance"] else f"predict {name}"


def _constant_rows(record: Record, key: str, heads: list[str]) -> pd.DataFrame:
    study = record.study
    rows = []
    for name, by_side in _predictors(record).items():
        row = dict.fromkeys(heads, DASH)
        row[heads[0]] = name if study["shown_split"] == "test" else f"{name} (on test)"
        for cell in cells_of(study, key):
            at = study["cells"][cell]
            scores = by_side.get(side_of(study, at), {})
            for metric in set(study["metrics"]) & set(scores):
                row[_head(study, at, metric)] = fixed_point(scores[metric], digits(study, metric))
        rows.append(row)
    return pd.DataFrame(rows, columns=heads)


def _data(
    record: Record,
    values: Mapping[tuple[int, str], CellValue],
    published: Mapping[tuple[int, str], float],
) -> pd.DataFrame:
    """The cells, then the constant predictors with status "constant"."""
    study, side = record.study, record.study["about"]["side"]
    frame = long_frame(record, values.values(), published)
    rows = [
        {
            **stamps(record),
            side: value,
            "metric": metric,
            "split": "test",
            "status": "constant",
            "marks": name,
            "mean": scores[metric],
        }
        for name, by_side in _predictors(record).items()
        for value, scores in by_side.items()
        for metric in study["metrics"]
        if metric in scores
    ]
    extra = pd.DataFrame(rows)
    extra = extra.drop(columns=[c for c in (side,) if c in extra and not extra[side].any()])
    return pd.concat([frame.astype(object), extra.astype(object)], ignore_index=True)
