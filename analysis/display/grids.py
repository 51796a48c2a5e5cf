"""T1 to T4: the course report's tables in its own shape, its numbers beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.display import origins, words
from analysis.display.frames import long_frame, stamps
from analysis.display.layouts import arrange, predictors
from analysis.display.render import Table
from analysis.findings.cells import CellValue, cell_values
from analysis.findings.facts import has_settings, is_of_published, settings_of
from analysis.findings.published import published_frame
from search.record import Record, UserError, naming


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


def grid(record: Record, key: str, page: Sequence[Record] = ()) -> Table:
    """One of T1 to T4.

    Args:
        record: the study.
        key: of the table.
        page: the studies that are shown together.

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
        place: value for place, value in published_values(record, key).items() if place in values
    }
    sheet = arrange(record, key, values, published)
    display, bold = sheet.frames()
    caption = words.caption(record, values.values(), page)
    return Table(
        study["name"],
        key,
        naming.as_varied(study, held[key]["title"]),
        f"{caption} {held[key]['note']}" if published else caption,
        display,
        bold,
        _data(record, values, published),
        heads=sheet.two_levels(),
        kinds=tuple(sheet.kinds),
        cells=sheet.cells,
        short=held[key]["note"] if published else "",
    )


def published_values(record: Record, key: str | None = None) -> dict[tuple[int, str], float]:
    """Cell and metric -> what the course report published of it.

    Args:
        record: the study.
        key: of one of its tables; None of the first that has the cell.
    """
    study = record.study
    if study["synthetic"]:  # no number of real images belongs beside it
        return {}
    found: dict[tuple[int, str], float] = {}
    for name in [key] if key else grid_keys(study):
        for cell in cells_of(study, name):
            at = study["cells"][cell]
            if origins.limits(settings_of(study, at)):  # nor one of all beside one of a few
                continue
            for metric in study["metrics"]:
                value = published_value(name, study, at, metric)
                if value is not None:
                    found.setdefault((cell, metric), value)
    return found


def published_value(
    key: str, study: Mapping[str, Any], at: Mapping[str, Any], metric: str
) -> float | None:
    """The published value of a cell; None where the report has no such cell."""
    held, table = settings_of(study, at), study["about"]["tables"][key]
    if held.get("pretrained") and origins.own_weights(study):
        return None  # the report's were ImageNet's
    if not is_of_published(study, at, table["only"]):
        return None
    cells, theirs = study["cells"], table.get("report", {})
    varied = {k: v for k, v in theirs.items() if len({repr(c.get(k)) for c in cells}) > 1}
    if not is_of_published(study, at, varied):
        return None  # another cell is as the report's was
    rows = published_frame()
    rows = rows[(rows["table"] == key) & (rows["metric"] == metric)]
    for name in table["match"]:
        if name in held:
            rows = rows[rows[name] == held[name]]
    # more than one means that the cell does not say which it is, e.g. its depth
    return float(rows["value"].iloc[0]) if len(rows) == 1 else None


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
        for name, by_side in predictors(record).items()
        for value, scores in by_side.items()
        for metric in study["metrics"]
        if metric in scores
    ]
    extra = pd.DataFrame(rows)
    extra = extra.drop(columns=[c for c in (side,) if c in extra and not extra[side].any()])
    return pd.concat([frame.astype(object), extra.astype(object)], ignore_index=True)
