"""The test ledger: every score of test on record, and how many of the same images studies have.

Test images wear out: who has seen many scores of them, and chooses by what was seen, has trained
on them a little (Dwork et al., "The reusable holdout", Science 349, 2015). So each score is a
line, and captions count them over all studies that are shown together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.findings.differences import ASIDE
from analysis.findings.facts import images_of_cell, settings_of
from analysis.findings.image_sets import digest_of, image_sets
from search.record import Record, counts
from search.record.once import once
from search.record.reveals import IMPORTED, reveals

COLUMNS = [
    *("study", "trial", "cell", "stage", "seed", "epoch", "time", "test_images"),
    *("test_set", "data", "why"),
]


@once
def reveal_frame(record: Record) -> pd.DataFrame:
    """Every score of test on record, in the order of its time; those of unknown time last.

    Returns:
        study; trial; cell, stage and seed (of the trial; NA of one that the journal has lost);
        epoch (that the weights are of; NA where unknown); time (UTC; NaT where unknown);
        test_images (how many; NA where unknown); test_set (digest of names and true values of
        these images, in no order; "" where results of each image are not on record); data (digest
        of what the study says of the images: task, data, settings that choose them); why (one of
        search.record.reveals).
    """
    sets, trials = image_sets(record), record.trials.set_index("trial")
    cells = dict(zip(trials.index.astype(str), map(int, trials["cell"]), strict=True))
    facts = [_facts(record.study, at) for at in record.study["cells"]]
    rows = []
    for held in reveals(record):
        known = held.trial in cells
        cell = cells.get(held.trial)
        images = sets.get(held.trial, ("", None))
        rows.append(
            {
                "study": record.study["name"],
                "trial": held.trial,
                "cell": cell,
                "stage": trials.loc[held.trial, "stage"] if known else None,
                "seed": trials.loc[held.trial, "seed"] if known else None,
                "epoch": held.epoch or None,
                "time": held.time or None,
                "test_images": images[1] or _number(record.study, cell),
                "test_set": images[0],
                "data": facts[cell] if cell is not None else "",
                "why": held.why,
            }
        )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    whole = dict.fromkeys(("cell", "seed", "epoch", "test_images"), "Int64")
    text = dict.fromkeys(("study", "trial", "stage", "test_set", "data", "why"), "string")
    frame["time"] = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
    return frame.astype({**whole, **text}).sort_values("time", kind="stable", ignore_index=True)


def _facts(study: Mapping[str, Any], at: Mapping[str, Any]) -> str:
    told = [{k: v for k, v in data.items() if k not in ASIDE} for data in study["data"]]
    return digest_of([study["task"], told, images_of_cell(study, at, "test")])


def _number(study: Mapping[str, Any], cell: int | None) -> int | None:
    """How many test images a cell has, as far as its settings and one data set say."""
    if cell is None:
        return None
    held = settings_of(study, study["cells"][cell])
    told = [
        int(data["test_images"])
        for data in study["data"]
        if "test_images" in data
        and all(held.get(k, data[k]) == data[k] for k in held if k in data)
    ]
    most = held.get("test_images")
    if len(told) != 1:
        return None
    return min(told[0], int(most)) if most is not None else told[0]


@dataclass(frozen=True)
class Ledger:
    """How often one set of test images was scored.

    Attributes:
        images: how many they are; None where unknown.
        candidates: configs that were begun in cells that are scored on them.
        reveals: scores of them by the study.
        watched: of these, the ones after an epoch, by which the checkpoint rule may choose.
        imported: of these, the ones that came from elsewhere.
        studies: studies shown together that scored them, itself included.
        all_candidates: configs begun over those.
        all_reveals: scores over those.
    """

    images: int | None
    candidates: int
    reveals: int
    watched: int
    imported: int
    studies: tuple[str, ...]
    all_candidates: int
    all_reveals: int


def ledgers(record: Record, beside: Sequence[Record] = ()) -> list[Ledger]:
    """One for each set of test images that a study was scored on, in the order of its cells.

    Two sets are the same where names and true values of all their images are; where a study has
    no results of each image, where the studies say the same of their data. Sets that merely share
    images are different ones.

    Args:
        record: the study.
        beside: studies that are shown together, which may include it.
    """
    others = [held for held in beside if held.digest != record.digest]
    found = []
    for key, rows in _by_set(record).items():
        same = [(held, theirs) for held in others if len(theirs := _of_set(held, key))]
        candidates = _candidates(record, rows)
        sizes = rows["test_images"].dropna()
        found.append(
            Ledger(
                images=int(sizes.iloc[0]) if len(sizes) else None,
                candidates=candidates,
                reveals=len(rows),
                watched=int(rows["why"].str.startswith("test is the split").sum()),
                imported=int((rows["why"] == IMPORTED).sum()),
                studies=(record.study["name"], *(held.study["name"] for held, _ in same)),
                all_candidates=candidates + sum(_candidates(*pair) for pair in same),
                all_reveals=len(rows) + sum(len(theirs) for _, theirs in same),
            )
        )
    return found


Key = tuple[str, str]  # digests of a set of test images: of names and true values, of what is said


@once
def _by_set(record: Record) -> dict[Key, pd.DataFrame]:
    """The reveals of a study by what they are of.

    Those without results of each image are of the images that others of the same data are of,
    where these are of one set; those of trials that the journal has lost are of the study's set,
    where it has one.
    """
    rows = reveal_frame(record).sort_values("cell", kind="stable")
    named = rows[rows["test_set"] != ""].drop_duplicates(["data", "test_set"])
    sets = named.groupby("data", sort=False)["test_set"].agg(list)
    only = {data: held[0] for data, held in sets.items() if len(held) == 1}
    pairs = zip(rows["test_set"].tolist(), rows["data"].tolist(), strict=True)
    keys = [(images or only.get(data, ""), data) for images, data in pairs]
    known = list(dict.fromkeys(key for key in keys if key[1]))
    if len(known) == 1:
        keys = known * len(keys)
    found: dict[Key, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return {key: rows.iloc[places] for key, places in found.items()}


def _of_set(record: Record, key: Key) -> pd.DataFrame:
    """The reveals of a study that are of a set of test images of another."""
    same = [
        rows
        for held, rows in _by_set(record).items()
        if (held[0] == key[0] if held[0] and key[0] else held[1] == key[1])
    ]
    return pd.concat(same) if same else reveal_frame(record).iloc[:0]


def _candidates(record: Record, rows: pd.DataFrame) -> int:
    """Configs begun in the cells that are of the images of these reveals, scored or not yet."""
    held, data = counts(record), set(rows["data"])
    study = record.study
    return sum(
        held[cell].configs.run
        for cell, at in enumerate(study["cells"])
        if _facts(study, at) in data
    )
