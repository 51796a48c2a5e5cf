"""A search killed at random bytes of its journal and resumed, in virtual time."""

from __future__ import annotations

import math
import random
import tempfile
from pathlib import Path

from search.record.journal import Appender, read_lines
from search.schedule.cell_state import Decision
from search.schedule.rules import SIMULATED
from search.schedule.scheduler import Scheduler
from search.spec.plan import Job, Plan, rungs


def count_identical(kills: int) -> int:
    """How many of so many kills left every later ask and decision as if nothing had happened."""
    with tempfile.TemporaryDirectory() as folder:
        return sum(_identical(number, Path(folder)) for number in range(kills))


def _outcome(job: Job, seed: int) -> tuple[str, float]:
    """What a job ends with, the same whenever and wherever it runs."""
    rng = random.Random(f"{seed} {job.trial} {job.to_epoch} {job.stage}")
    luck = rng.random()
    return ("failed" if luck < 0.05 else "diverged" if luck < 0.1 else "value"), rng.random()


def _identical(number: int, folder: Path) -> bool:
    rng = random.Random(number)
    eta, seeds = rng.choice([2, 2.5, 3, 4]), tuple(range(1, 1 + rng.randrange(3)))
    trials = rng.randrange(2, 12)
    plan = Plan(
        trials, rungs(27, 1, eta), eta, rng.randrange(1, trials), "max", seeds, 1, 0.2, number
    )
    rule = rng.choice(["cell-promote", "cell-stop"])
    path = folder / "decisions.jsonl"
    path.unlink(missing_ok=True)
    whole = Scheduler(3, plan, rule=SIMULATED[rule])
    order, expected = _run(whole, number, rng.randrange(1, 9), path)
    journal = path.read_bytes()
    path.write_bytes(journal[: rng.randrange(len(journal))])
    Appender(path).close()  # cuts the line that was not whole
    again = Scheduler(3, plan, rule=SIMULATED[rule])
    made = _go_on(again, read_lines(path), order, number)
    return made is not None and repr(made) == repr(expected)


def _run(
    scheduler: Scheduler, seed: int, workers: int, path: Path
) -> tuple[list[tuple[str, str]], list[Decision]]:
    """Drive to the end, jobs ending in random order, every ask and tell journalled."""
    journal, running, order = Appender(path), [], []
    made: list[Decision] = []
    rng = random.Random(seed)
    while True:
        while len(running) < workers:
            job, decisions = scheduler.ask()
            made += decisions
            if job is None:
                break
            journal.write({"event": "ask", "job": job._asdict()})
            running.append(job)
            order.append(("ask", job.trial))
        if not running:
            journal.close()
            return order, made
        job = running.pop(rng.randrange(len(running)))
        ending, value = _outcome(job, seed)
        journal.write({"event": "tell", "trial": job.trial, "ending": ending, "value": value})
        made += scheduler.tell(job, ending, value if ending == "value" else math.nan)
        order.append(("tell", job.trial))


def _go_on(
    scheduler: Scheduler, events: list[dict[str, object]], order: list[tuple[str, str]], seed: int
) -> list[Decision] | None:
    """Replay what the journal has, then the rest in the order in which it happened before.

    Returns:
        All decisions; None where another job is asked for than before, or something is left.
    """
    made: list[Decision] = []
    for number, (kind, trial) in enumerate(order):
        if kind == "tell":
            made += _tell(scheduler, trial, seed)
            continue
        job, decisions = scheduler.ask()
        made += decisions
        known = events[number]["job"] if number < len(events) else None
        if job is None or job.trial != trial or known not in (None, job._asdict()):
            return None
    return made if scheduler.done else None


def _tell(scheduler: Scheduler, trial: str, seed: int) -> list[Decision]:
    job = next(job for job in scheduler.running if job.trial == trial)
    ending, value = _outcome(job, seed)
    return scheduler.tell(job, ending, value if ending == "value" else math.nan)
