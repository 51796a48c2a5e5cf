"""T1 to T4: the course report's tables in its own shape, its numbers beside ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.display import words
from analysis.display.frames import (
    DASH,
    baselines_by_part,
    bold_cells,
    fixed_point,
    long_frame,
    text,
)
from analysis.display.render import Table
from analysis.findings.cells import CellValue, cell_values
from analysis.findings.facts import direction, part_of, settings_of
from analysis.findings.published import published_frame
from search.record import Record, UserError

TITLES = {
    "T1": "CIFAR-10 by depth, from scratch",
    "T2": "CIFAR-10 by depth, fine-tuned",
    "T3": "Crowd counting by learning rate",
    "T4": "Crowd counting by depth",
}
_T12 = (
    "Published: in the course report on real images, lr 0.1, 200 epochs, one run, validation "
    "values of the last epoch (headed test there)."
)
PUBLISHED = {
    "T1": _T12,
    "T2": _T12,
    "T3": "Published: in the course report, depth 18, 50 epochs, one run. Two published rows are "
    "not what their author's log says: B at lr 0.001 (logged: MAE 56.6, root MSE 83.5), and A at "
    "lr 0.01, logged at lr 0.001 over 100 epochs.",
    "T4": "Published: in the course report, lr 0.01, 50 epochs, one run.",
}
# what the report headed "test" is validation in T1 and T2
PUBLISHED_SPLIT = {"T1": "val ", "T2": "val ", "T3": "", "T4": ""}
CHANCE = {"uniform guess": {"loss": math.log(10), "accuracy": 0.1}}
CROP = 512  # the report's, px
CONSTANTS = ("zero", "training mean", "training median")


def grid_keys(study: Mapping[str, Any]) -> list[str]:
    """Which of T1 to T4 a study fills, by its task and cell parameters."""
    return [key for key in TITLES if cells_of(study, key)]


def cells_of(study: Mapping[str, Any], key: str) -> list[int]:
    """Numbers of the cells that belong into a table."""
    names = set(study["cells"][0]) if study["cells"] else set()
    crowd = study["task"] == "shanghaitech"
    if key in ("T1", "T2"):
        if study["task"] != "cifar10":
            return []
        wanted = key == "T2"
        return [n for n, at in enumerate(study["cells"]) if _pretrained(study, at) is wanted]
    fits = crowd and ("lr" in names if key == "T3" else "depth" in names and "lr" not in names)
    return list(range(len(study["cells"]))) if fits else []


def grid(record: Record, key: str) -> Table:
    """One of T1 to T4.

    Raises:
        UserError: the study has no cells for it.
    """
    study = record.study
    numbers = cells_of(study, key)
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
    crowd = study["task"] == "shanghaitech"
    caption = words.caption(study, values.values(), crowd)
    return Table(
        study["name"],
        key,
        TITLES[key],
        f"{caption} {PUBLISHED[key]}" if published else caption,
        display,
        bold,
        _data(record, values, published),
    )


def published_value(
    key: str, study: Mapping[str, Any], at: Mapping[str, Any], metric: str
) -> float | None:
    """The published value of a cell; None where the report has no such cell."""
    held = settings_of(study, at)
    if held.get("pretrained") and words.own_weights(study):
        return None  # the report's were ImageNet's
    rows = published_frame()
    rows = rows[(rows["table"] == key) & (rows["metric"] == metric)]
    if "depth" in held:
        rows = rows[rows["depth"] == held["depth"]]
    if key == "T3":
        rows = rows[rows["lr"] == held["lr"]]
    if key in ("T3", "T4"):
        rows = rows[rows["part"] == part_of(study, at)]
        if held.get("pretrained") or held.get("crop", CROP) != CROP:
            return None
    # more than one means that the cell does not say which it is, e.g. its depth
    return float(rows["value"].iloc[0]) if len(rows) == 1 else None


def _pretrained(study: Mapping[str, Any], at: Mapping[str, Any]) -> bool:
    return bool(settings_of(study, at)["pretrained"])


def _row_labels(key: str, at: Mapping[str, Any]) -> dict[str, Any]:
    """What heads a row: the table's own parameter first, then what else varies."""
    implied = {"part"} if key in ("T3", "T4") else {"pretrained"}
    first = "lr" if key == "T3" else "depth"
    names = [first] if first in at else []
    names += [name for name in at if name not in implied and name != first]
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
        labels = _row_labels(key, at)
        place = tuple(labels.values())
        shown = {
            name.capitalize() if name != "lr" else name: words.number(v)
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
            row[f"{_part(study, at)}{name}"] = DASH if chosen is None else words.number(chosen)
        heads.update(dict.fromkeys(row, ""))
    frame = pd.DataFrame(list(rows.values()), columns=list(heads)).fillna(DASH)
    bold = pd.DataFrame(
        [[(place, head) in marked for head in heads] for place in rows], columns=list(heads)
    )
    constants = _constant_rows(record, key, list(heads))
    frame = pd.concat([frame, constants], ignore_index=True)
    return frame, bold.reindex(frame.index, fill_value=False)


def _part(study: Mapping[str, Any], at: Mapping[str, Any]) -> str:
    part = part_of(study, at) if study["task"] == "shanghaitech" else ""
    return f"Part {part} " if part else ""


def _head(study: Mapping[str, Any], at: Mapping[str, Any], metric: str) -> str:
    """E.g. "Test loss ↓" or "Part A MSE (root) ↓"; the split is left out where it is test."""
    name, up = words.metric_name(metric), words.arrow(direction(study, metric))
    if study["task"] == "shanghaitech" and study["shown_split"] == "test":
        return f"{_part(study, at)}{name} {up}"
    return f"{_part(study, at)}{study['shown_split'].capitalize()} {name} {up}"


def _published_head(key: str, study: Mapping[str, Any], at: Mapping[str, Any], metric: str) -> str:
    """E.g. "Published val loss" or "Part A published MAE"."""
    name = f"published {PUBLISHED_SPLIT[key]}{words.metric_name(metric)}"
    return f"{_part(study, at)}{name}" if _part(study, at) else name.capitalize()


def _predictors(record: Record) -> dict[str, dict[str, dict[str, float]]]:
    """Name of a constant predictor -> part -> metric -> value on test."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    crowd = record.study["task"] == "shanghaitech"
    for name in CONSTANTS if crowd else ():
        found[_constant(name)] = {}  # a row also while nothing has been scored
    for part, held in baselines_by_part(record).items():
        for name, scores in held.items():
            found.setdefault(_constant(name), {})[part if crowd else ""] = scores
    return found or {name: {"": scores} for name, scores in CHANCE.items()}


def _constant(name: str) -> str:
    """A constant predictor as a row's label."""
    return name if name in CHANCE else f"predict {name}"


def _constant_rows(record: Record, key: str, heads: list[str]) -> pd.DataFrame:
    study = record.study
    rows = []
    for name, by_part in _predictors(record).items():
        row = dict.fromkeys(heads, DASH)
        row[heads[0]] = name if study["shown_split"] == "test" else f"{name} (on test)"
        for cell in cells_of(study, key):
            at = study["cells"][cell]
            scores = by_part.get(part_of(study, at) if study["task"] != "cifar10" else "", {})
            for metric in set(study["metrics"]) & set(scores):
                row[_head(study, at, metric)] = fixed_point(scores[metric], metric)
        rows.append(row)
    return pd.DataFrame(rows, columns=heads)


def _data(
    record: Record,
    values: Mapping[tuple[int, str], CellValue],
    published: Mapping[tuple[int, str], float],
) -> pd.DataFrame:
    """The cells, then the constant predictors with status "constant"."""
    study = record.study
    frame = long_frame(study, values.values(), published)
    rows = [
        {
            "study": study["name"],
            "part": part,
            "metric": metric,
            "split": "test",
            "status": "constant",
            "marks": name,
            "mean": scores[metric],
            "synthetic": bool(study["synthetic"]),
            "protocol": study["protocol"],
        }
        for name, by_part in _predictors(record).items()
        for part, scores in by_part.items()
        for metric in study["metrics"]
        if metric in scores
    ]
    extra = pd.DataFrame(rows)
    extra = extra.drop(columns=[c for c in ("part",) if c in extra and not extra["part"].any()])
    return pd.concat([frame.astype(object), extra.astype(object)], ignore_index=True)
