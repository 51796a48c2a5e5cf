"""The figures of a study: which it has, and how they are laid out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from analysis.display import figures, marks
from analysis.display.curve_sheets import curve_plates
from analysis.display.frames import baselines_by_side, constant_rows, long_frame, stamps
from analysis.display.plates import Plate, label, legend, new, numbered, save, wrapped
from analysis.display.search_plates import search_plates
from analysis.findings.cells import CellValue, cell_values, require_comparable
from analysis.findings.facts import metric_name, side_of
from search.record import Record, naming

__all__ = ["Plate", "plates", "save"]

APART = (
    "Panels headed images 1, 2, ... are of different images, so no value of one compares with one "
    "of another."
)


def plates(record: Record, published: pd.DataFrame | None = None) -> list[Plate]:
    """Every figure that a study has data for.

    Those of the course report have its names, F1 to F4; all others are numbered from F5 on, and
    their keys, by which their files are named, say what they are.

    Args:
        record: the study.
        published: the course report's curves to lay under, see analysis.findings.published.
    """
    found = [*curve_plates(record, published), *_sample_plates(record)]
    found += [*_final_plates(record), *search_plates(record)]
    found = numbered([stamped(plate, record) for plate in found])
    for plate in found:
        label(plate, record)
    return found


def stamped(plate: Plate, record: Record) -> Plate:
    """A figure whose data say what nobody may overlook, as those of a table do."""
    marks_of = {k: v for k, v in stamps(record).items() if k not in plate.data}
    return replace(plate, data=plate.data.assign(**marks_of))


def _final_plates(record: Record) -> list[Plate]:
    """Final metric by depth (else by the first numeric parameter), a panel a data set."""
    study = record.study
    names = list(study["cells"][0]) if study["cells"] else []
    numeric = [k for k in names if not isinstance(study["cells"][0][k], bool | str)]
    if not numeric:
        return []
    key = "depth" if "depth" in numeric else numeric[0]
    groups, side = dict[tuple[str, str], list[CellValue]](), study["about"]["side"]
    main = [value for value in cell_values(record) if value.metric == study["metric"]]
    for value in main:  # values of other images are not drawn as if they could be compared
        groups.setdefault((side_of(study, value.given), value.images), []).append(value)
    sides = [part for part, _ in groups]
    constants = baselines_by_side(record) if study["shown_split"] == "test" else {}
    figure, axes, _ = wrapped(len(groups), 2, 5.2, 3.8)
    panels = zip(axes, groups.items(), strict=True)
    drawn = list[pd.DataFrame]()
    for number, (ax, ((part, _), values)) in enumerate(panels):
        require_comparable(values)
        labels = {v.cell: naming.cell_label(v.given, {key, side}) for v in values}
        lines = {
            name: scores[study["metric"]]
            for name, scores in constants.get(part, {}).items()
            if study["metric"] in scores
        }
        figures.final_metric(ax, values, key, labels, lines)
        held = long_frame(record, values, {})
        drawn.append(held.assign(panel=number + 1, line=held["cell"].map(labels)))
        drawn.append(_across(record, part, lines).assign(panel=number + 1))
        ax.set_ylabel(f"{study['shown_split']} {metric_name(study, study['metric'])}")
        ax.set_title(_panel(f"{side} {part}" if part else "", part, sides, number))
    legend(figure, axes)
    caption = (
        f"{APART} "
        * (len(set(sides)) < len(sides))
        + "Dots are seeds, diamonds means, bars the 95 % t interval (of two seeds, their range). "
        "Cells without a result stand at the foot, — not begun. "
        + " ".join(f"{sign} {text}." for sign, text in marks.legend(main))
    )
    title = f"Final {study['shown_split']} {metric_name(study, study['metric'])} by {key}"
    data = pd.concat([held.astype(object) for held in drawn if len(held)], ignore_index=True)
    return [Plate(f"final-{key}", title, caption, figure, data)]


def _across(record: Record, part: str, lines: Mapping[str, float]) -> pd.DataFrame:
    """The rows of constant predictors that are drawn across a panel."""
    rows, side = constant_rows(record), record.study["about"]["side"]
    if rows.empty:
        return rows
    held = rows[(rows["metric"] == record.study["metric"]) & rows["marks"].isin(list(lines))]
    if part and side in held:
        held = held[held[side] == part]
    return pd.DataFrame(held)


def _panel(name: str, part: str, sides: list[str], number: int) -> str:
    """Title of a panel; of several with the same side it says that their images are others."""
    if sides.count(part) == 1:
        return name
    place = sides[: number + 1].count(part)
    return f"{name}{', ' * bool(name)}images {place} of {sides.count(part)}"


def _sample_plates(record: Record) -> list[Plate]:
    """F4 of the first trial of each cell that has samples."""
    found: list[Plate] = []
    done: set[int] = set()
    there = [path.stem for path in (record.run / "samples").glob("*.npz") if path.is_file()]
    for trial in record.trials[record.trials["trial"].isin(there)].to_dict("records"):
        path = record.run / "samples" / f"{trial['trial']}.npz"
        if trial["cell"] in done:
            continue
        try:
            with np.load(path, allow_pickle=False) as held:
                samples = {name: held[name] for name in held.files}
        except (OSError, ValueError, EOFError, BadZipFile):
            continue  # half-written by a worker that was killed; the next build finds it whole
        done.add(int(trial["cell"]))
        count = len(samples["truth"])
        figure, axes = new(count, 3, 2.9, 2.9)
        image = figures.sample_maps(axes, samples)
        figure.colorbar(image, ax=axes[:, 1:], label="people a cell of the map", shrink=0.8)
        label = naming.cell_label(record.study["cells"][trial["cell"]])
        caption = (
            f"Trial {trial['trial']}, {trial['epochs']}/{trial['budget']} epochs; "
            "one colour scale; images chosen by error quantile."
        )
        title = f"Image, ground truth, prediction: {label}"
        data = _pixels(samples).assign(trial=trial["trial"], cell=trial["cell"])
        found.append(Plate(f"F4-cell{trial['cell']}", title, caption, figure, data))
    return found


def _pixels(samples: Mapping[str, Any]) -> pd.DataFrame:
    """The two maps of each image, a row a pixel of theirs; the picture itself is no number."""
    rows = []
    for n, name in enumerate(samples["name"]):
        truth, said = (np.asarray(samples[f"{k}_map"][n]) for k in ("truth", "predicted"))
        y, x = np.indices(truth.shape)
        held = {"y": y.ravel(), "x": x.ravel(), "truth": truth.ravel(), "prediction": said.ravel()}
        rows.append(pd.DataFrame({"image": str(name), **held}))
    return pd.concat(rows, ignore_index=True)
