"""Every time that test was scored: what the journal, the log of epochs and the folder say of it.

A reveal is a score of test images that came onto the record. By `protocol = "honest"` those are
the scorings that jobs tell of, once a trial; where test is the split that is watched, as
`protocol = "report"` may have it, each epoch of each trial is one, and a repeated epoch another.
What a worker has scored and never told of leaves its predictions at most, and those count too. A
score that was computed and lost without a trace nobody has seen, and nobody can count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from search.record.events import events_of
from search.record.journal import JournalError, read_lines
from search.record.stored import EPOCHS
from search.record.taken import ASIDE

if TYPE_CHECKING:
    from search.record.read import Record

TOLD = "scored at the checkpoint that the rule chose"
WATCHED = "test is the split that is watched: scored after each epoch"
UNTOLD = "predictions are on record, and no job told of their score"
ASIDE_WHY = "set aside: the journal has lost the job that scored it"
IMPORTED = "imported: when, and how often besides, it was scored is its source's to say"


class Reveal(NamedTuple):
    """A score of test.

    Attributes:
        trial: its name.
        epoch: that the weights are of; 0 where it is not known.
        time: as the log has it, ISO 8601; "" where it is not known.
        why: one of the above.
    """

    trial: str
    epoch: int
    time: str
    why: str


def reveals(record: Record) -> list[Reveal]:
    """Every score of test on record: those told of first, in the order of their time."""
    study = record.study
    imported = "imported" in study
    told = [
        Reveal(e["trial"], int(e["value_epoch"]), e["time"], TOLD)
        for e in events_of(record)
        if e["event"] == "tell" and e.get("test")
    ]
    found = [r._replace(time="", why=IMPORTED) for r in told] if imported else told
    if imported:  # of configs that were not chosen, and other epochs, the look alone is on record
        there = {(r.trial, r.epoch) for r in found}
        looks = [(t, e) for t, own in study["imported"].get("revealed", {}).items() for e in own]
        found += [Reveal(*look, "", IMPORTED) for look in looks if look not in there]
    if study["watched"] == "test":
        watched = list(_epochs(record))
        once = {(reveal.trial, reveal.epoch) for reveal in watched}  # told of: the same score
        found = [r for r in found if (r.trial, r.epoch) not in once]
        found += [r._replace(time="", why=IMPORTED) for r in watched] if imported else watched
    known = {reveal.trial for reveal in found}
    scored = record.per_image.loc[record.per_image["split"] == "test", "trial"].unique()
    found += [Reveal(str(name), 0, "", UNTOLD) for name in scored if name not in known]
    parts = sorted((record.run / ASIDE).glob("**/parts/*.parquet"))
    return [*found, *(Reveal(path.stem, 0, "", ASIDE_WHY) for path in parts)]


def _epochs(record: Record) -> Iterator[Reveal]:
    """An epoch that was reported once more is the same; one that was trained again is another."""
    seen = set[str]()
    for line in _lines(record):
        row: Mapping[str, Any] = line["row"]
        key = repr((line["trial"], sorted(row.items())))
        if key not in seen and any(name.startswith("test_") for name in row):
            seen.add(key)
            yield Reveal(str(line["trial"]), int(row["epoch"]), line.get("time", ""), WATCHED)


def _lines(record: Record) -> list[dict[str, Any]]:
    """The log of epochs; where it is damaged, which the record's notes tell, what its frames have.

    `load` passes over lines that cannot be read where the curves frame still has their rows.
    """
    try:
        lines = read_lines(record.run / EPOCHS, record.sizes.get(EPOCHS, 0))
    except JournalError:
        lines = []
    held = record.curves
    held = held[held["name"].astype(str).str.startswith("test_")]
    held = held[["trial", "epoch"]].drop_duplicates()
    there = {(str(line["trial"]), int(line["row"]["epoch"])) for line in lines}
    pairs = zip(held["trial"].astype(str).tolist(), held["epoch"].tolist(), strict=True)
    rest = [pair for pair in pairs if pair not in there]
    return [*lines, *({"trial": t, "row": {"epoch": e, "test_": 0.0}} for t, e in rest)]
