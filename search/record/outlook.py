"""How much of a running study is left, and until when that takes about.

An estimate, by what has run so far: epochs that each cell still takes when nothing more fails or
is promoted early, times the mean seconds of an epoch there, over the jobs that run now. It cannot
be sooner than the longest chain of jobs that wait for one another: a winner's search, then a seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from search.record.events import events_of
from search.record.journal import Event
from search.record.planned import plan_of
from search.record.read import Record
from search.record.status import RUNNING, is_running
from search.spec.plan import Plan, audit_epochs, reaching

LOST = ("diverged", "failed")  # train no more
OPEN = ("running", "paused")

Paces = Mapping[int, float]  # cell -> mean seconds of an epoch


@dataclass(frozen=True)
class Outlook:
    """What is done and what is left of a study.

    Attributes:
        done: epochs trained, each once.
        left: epochs still to come, about.
        jobs: that run now; trials that are trained together are one.
        seconds: until all is done, about; None where nothing is known to tell by.
    """

    done: int
    left: int
    jobs: int
    seconds: float | None


def paces_of(held: Record) -> dict[int, float]:
    """Mean seconds of an epoch of each cell that has trained any, evaluation included."""
    rows = held.curves[held.curves["name"] == "seconds"]
    cells = dict(zip(held.trials["trial"], held.trials["cell"], strict=True))
    means = rows.groupby(rows["trial"].map(cells).astype("Int64"))["value"].mean()
    return {int(str(cell)): float(mean) for cell, mean in means.dropna().items()}


def workers_of(events: Sequence[Event]) -> int:
    """How many workers are at work by a journal: trials that are trained together have one."""
    out: dict[str, str] = {}
    for event in events:
        if event["event"] in ("ask", "again"):
            trial = event["job"]["trial"] if event["event"] == "ask" else event["trial"]
            out[trial] = event.get("beside") or trial
        elif event["event"] in ("tell", "put back"):
            out.pop(event["trial"], None)
    return len(set(out.values()))


def outlook(held: Record, paces: Paces, workers: int | None = None) -> Outlook:
    """What is left of a study that was not imported.

    Args:
        held: its record.
        paces: see `paces_of`; a cell without one takes the mean of the others.
        workers: that are at work, where trials may be trained together: `seconds` of a row is
            then a trial's share of the time. Default: as many as trials that run.
    """
    plan, trials = plan_of(held.study), held.trials
    verdicts = held.decisions[held.decisions["verdict"].isin(["select", "empty", "audit"])]
    ends = verdicts[verdicts["verdict"] != "audit"].groupby("cell")["verdict"].last()
    decided = {int(str(cell)): str(verdict) for cell, verdict in ends.items()}
    ended = verdicts[verdicts["verdict"] == "audit"].drop_duplicates("trial", keep="last")
    at = dict(zip(ended["trial"], ended["epoch"], strict=True))
    running = int((trials["status"] == RUNNING).sum())
    jobs = running if workers is None else min(workers, running)
    beside = running / jobs if jobs else 1.0  # trials a job: each waits for the shares of all
    common = float(np.mean(list(paces.values()))) if paces else None
    left, work, longest = 0, 0.0, 0.0
    by_cell = dict(list(trials.groupby("cell")))
    for cell in range(len(held.study["cells"])):
        rows = by_cell.get(cell, trials.iloc[:0])
        epochs, chain = _left(plan, cell, rows, decided.get(cell, ""), at)
        left += epochs
        pace = paces.get(cell, common)
        if pace is not None:
            work, longest = work + epochs * pace, max(longest, chain * pace * beside)
    done = int(trials["epochs"].sum())
    known = common is not None and jobs > 0
    return Outlook(done, left, jobs, max(work / max(jobs, 1), longest) if known else None)


def in_arrays(study: Mapping[str, Any]) -> bool:
    """Whether trials may be trained together: `seconds` is then a share of an epoch's time."""
    return bool(study["spec"].get("resources", {}).get("array", 1) != 1)


def _left(
    plan: Plan, cell: int, rows: pd.DataFrame, decided: str, ended: Mapping[str, int]
) -> tuple[int, int]:
    """Epochs that a cell still takes, and how many of them come one after another.

    Args:
        plan: the budget.
        cell: its number.
        rows: its trials.
        decided: "select" or "empty", where its search is over.
        ended: trial -> epoch at which the rule had ended it, of audited trials.
    """
    full, seeds = plan.rungs[-1], rows[rows["stage"] == "confirm"]
    search, audits = rows[rows["stage"] != "confirm"], rows[rows["stage"] == "audit"]
    since = sum(ended.get(name, 0) for name in audits["trial"])
    due = audit_epochs(plan, cell) - (int(audits["epochs"].sum()) - since)
    waiting = audits[audits["status"].isin(OPEN)]
    if decided:  # of these alone more is trained
        due = int((full - waiting["epochs"]).sum())
    of_search = 0 if decided else _search_left(plan, search, ended)
    of_seeds = 0
    if decided != "empty":
        trained = np.where(seeds["status"].isin(LOST), full, seeds["epochs"].astype("int64"))
        of_seeds = max(len(plan.confirm_seeds) * full - int(trained.sum()), 0)
    chain = 0
    if of_search:
        alive = search[search["status"].isin(OPEN) & (search["stage"] == "search")]
        furthest = int(alive["epochs"].max()) if len(alive) else 0
        chain = full - furthest + full * bool(plan.confirm_seeds)
    elif of_seeds:
        begun = len(seeds) >= len(plan.confirm_seeds)
        chain = full - (
            int(seeds.loc[~seeds["status"].isin(LOST), "epochs"].min()) if begun else 0
        )
    if len(waiting):
        chain = max(chain, full - int(waiting["epochs"].min()))
    return of_search + of_seeds + max(due, 0), chain


def _search_left(plan: Plan, rows: pd.DataFrame, ended: Mapping[str, int]) -> int:
    """Epochs of a cell's search from rung to rung, less those that its trials have trained."""
    reached = rows["epochs"].astype("int64").to_numpy()
    stops = np.array([ended.get(name, plan.rungs[-1]) for name in rows["trial"]], dtype="int64")
    reached, lost = np.minimum(reached, stops), rows["status"].isin(LOST).to_numpy(dtype=bool)
    left = 0
    for count, to, since in zip(reaching(plan), plan.rungs, (0, *plan.rungs), strict=False):
        trained = np.clip(reached, since, to) - since
        # what ended between two rungs comes no further, and another does not train for it
        trained = np.where(lost & (reached >= since) & (reached < to), to - since, trained)
        left += max(count * (to - since) - int(trained.sum()), 0)
    return left


def in_words(seen: Outlook, now: datetime) -> str:
    """E.g. "120 of about 340 epochs; 3 jobs at once; about 2 h 10 min to go, until 17:40".

    Args:
        seen: the outlook.
        now: the time from which it counts, with its zone.
    """
    said = [f"{seen.done} of about {seen.done + seen.left} epochs"]
    said.append(f"{seen.jobs} job{'s at once' if seen.jobs != 1 else ' at a time'}")
    if seen.seconds is None:
        return "; ".join([*said, "when it ends is not known yet"])
    end, day = now + timedelta(seconds=seen.seconds), "%H:%M"
    if end.date() != now.date():
        day = "%Y-%m-%d %H:%M"
    return "; ".join([*said, f"about {duration(seen.seconds)} to go, until {end:{day}}"])


def duration(seconds: float) -> str:
    """So long, in two units at the most: "40 s", "12 min", "2 h 10 min", "3 d 4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"


def outlook_line(held: Record) -> str:
    """The outlook of a study that a driver has, in words; "" for another."""
    if "imported" in held.study or not is_running(held.run):
        return ""
    workers = workers_of(events_of(held)) if in_arrays(held.study) else None
    return in_words(outlook(held, paces_of(held), workers), datetime.now().astimezone())
