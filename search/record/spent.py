"""What each job of a search took and came to, in the order in which they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from search.record.events import events_of

if TYPE_CHECKING:
    from search.record.read import Record


class Spent(NamedTuple):
    """A job of the search that has ended; see `search.record.event_forms`.

    Attributes:
        trial: its name.
        cell: number of its cell.
        time: at which it was told of, ISO 8601.
        epoch: trained by then; 0 of one that failed.
        value: by the checkpoint rule there; None of one that failed or diverged.
        seconds: on a worker; 0 where it was not told.
        gpu_seconds: seconds times the share of a GPU.
    """

    trial: str
    cell: int
    time: str
    epoch: int
    value: float | None
    seconds: float
    gpu_seconds: float


def spent(record: Record) -> list[Spent]:
    """The jobs of a search that have ended; audits, seeds and scorings are none of them."""
    found, jobs = list[Spent](), {}
    for event in events_of(record):
        if event["event"] == "ask":
            jobs[event["job"]["trial"]] = event["job"]
        elif event["event"] == "tell":
            job = jobs[event["trial"]]
            if job["stage"] != "search" or job.get("from_epoch", 0) >= job["to_epoch"]:
                continue
            sound = event["ending"] in ("value", "stopped")
            found.append(
                Spent(
                    event["trial"],
                    int(job["cell"]),
                    event["time"],
                    int(event.get("epoch") or 0) if event["ending"] != "failed" else 0,
                    float(event["value"]) if sound else None,
                    float(event.get("seconds") or 0),
                    float(event.get("gpu_seconds") or 0),
                )
            )
    return found
