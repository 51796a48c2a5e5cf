"""How often a job was lost to its node, process or network; after so many times it fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from search.record.journal import Event


class Losses(NamedTuple):
    """How often the job of a trial was lost without coming an epoch further in between.

    Attributes:
        times: so often.
        epoch: the newest that it had reported by then.
    """

    times: int
    epoch: int


def one_more(held: Losses | None, epoch: int) -> Losses:
    """A loss at an epoch, after those that are held of the trial."""
    if held is None or epoch > held.epoch:
        return Losses(1, epoch)
    return Losses(held.times + 1, held.epoch)


def losses_of(events: Sequence[Event]) -> dict[str, Losses]:
    """Losses by trial, since it was last tried again as failed; see Losses.

    Those of an array that one member may have ended count for none.
    """
    found = dict[str, Losses]()
    for event in events:
        if event["event"] == "lost" and not event.get("apart"):
            trial = event["trial"]
            # without an epoch: of before gains were counted
            found[trial] = one_more(found.get(trial), event.get("epoch", 0))
        elif event["event"] == "retry failed":
            for trial in event["trials"]:
                found.pop(trial, None)
    return found


def most_members(held: int | None, members: int) -> int:
    """How many trials may be trained as one, after so many together have had too little memory."""
    return min(held or members, max(1, members // 2))


def limit(limits: dict[int, int], cell: int, members: int) -> None:
    """Arrays of a cell are half as large, from one on that there was no memory for.

    Args:
        limits: of each cell, changed in place; see `limits_of`.
        cell: of that array.
        members: that it had.
    """
    limits[cell] = most_members(limits.get(cell), members)


def limits_of(events: Sequence[Event]) -> dict[int, int]:
    """Number of a cell -> trials of it that may be trained as one, by the memory that more lacked.

    A loss says so, of a worker that got no memory, or the end of a job whose members were trained
    one by one since there was none for all. What a machine gives a worker hangs on the cell's
    shape, not on the rung, so it is tried once.
    """
    cells, found = dict[str, int](), dict[int, int]()
    for event in events:
        if event["event"] == "ask":
            cells[event["job"]["trial"]] = event["job"]["cell"]
        elif event["event"] in ("lost", "tell") and event.get("members"):
            limit(found, cells[event["trial"]], event["members"])
    return found
