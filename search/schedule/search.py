"""The search of a study as it stands: scheduler and samplers, and their replay from a journal.

No Ray, no clock, no files: what is asked and told, and what the journal should say of it.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from search.record.journal import Event, JournalError
from search.schedule.cell_state import Decision
from search.schedule.rules import RULES
from search.schedule.sampler import CellSampler, Config
from search.schedule.scheduler import Scheduler, can_be_beside
from search.spec.cells import make_plan
from search.spec.plan import Job
from search.spec.study_spec import StudySpec

CHECKED = ("trial", "epoch", "verdict", "rank")  # of a decision; its value is the tell's


class Asked(NamedTuple):
    """A job that is handed out.

    Attributes:
        job: the job.
        config: the searched settings of its trial.
        again: whether it was handed out before and has not been told of.
        decisions: made by handing it out.
    """

    job: Job
    config: Config
    again: bool
    decisions: list[Decision]


class Search:
    """Scheduler, samplers, and the jobs that are out.

    Args:
        spec: the study.
        sizes: `(cells,)`, share of the machine that a trial of each cell took where the study
            began; the order of its jobs hangs on them.
    """

    def __init__(self, spec: StudySpec, sizes: Sequence[float] = ()) -> None:
        cells = spec.cell_values()
        self._samplers = [CellSampler(spec, cell) for cell in cells]
        self._scheduler = Scheduler(len(cells), make_plan(spec), sizes, RULES[spec.scheduler])
        self._again: deque[Job] = deque()
        self._jobs: dict[str, Job] = {}
        self.alone: set[str] = set()  # trials that ran out of GPU memory beside others
        self.apart: set[str] = set()  # whose array lost its worker: to end their job by themselves

    @property
    def done(self) -> bool:
        """Whether every cell has all that it was promised, or what is possible of it."""
        return self._scheduler.done and not self._again

    @property
    def jobs(self) -> Mapping[str, Job]:
        """Trial -> its job that is out."""
        return self._jobs

    @property
    def failed(self) -> list[str]:
        """Trials that failed for good and that `retry` puts back."""
        return [job.trial for job in self._scheduler.failed]

    @property
    def usable(self) -> Counter[int]:
        """Number of a cell -> workers that it could keep busy now, those at work included."""
        held = [*self._jobs.values(), *self._again]
        return Counter(job.cell for job in held) + self._scheduler.ready

    @property
    def singles(self) -> Counter[int]:
        """Of these, those that no array takes."""
        held = [*self._jobs.values(), *self._again]
        apart = Counter(job.cell for job in held if not self._shares(job))
        return apart + self._scheduler.retries

    def wanted(self, cell: int) -> set[str] | None:
        """Trials whose checkpoints are needed; None while any trial of the cell may be."""
        return self._scheduler.wanted(cell)

    def ask(self, beside: str | None = None) -> Asked | None:
        """The next job; None while there is none. What was put back comes first.

        Args:
            beside: a trial whose job is out: only one that can be trained with it as an array.
        """
        like = None if beside is None else self._jobs[beside]
        if like is not None and not self._shares(like):
            return None
        put_back = (j for j in self._again if like is None or self._fits(like, j))
        job, decisions = next(put_back, None), list[Decision]()
        again = job is not None
        if job is not None:
            self._again.remove(job)
        else:
            job, decisions = self._scheduler.ask(like)
        if job is None:
            return None
        self._jobs[job.trial] = job
        return Asked(job, self._samplers[job.cell].config(job.config), again, decisions)

    def _shares(self, job: Job) -> bool:
        """Whether a job may be trained with others; one that has failed is run by itself."""
        single = self.alone | self.apart
        return job.trial not in single and not self._scheduler.has_failed(job)

    def _fits(self, job: Job, other: Job) -> bool:
        return can_be_beside(job, other) and self._shares(other)

    def tell(self, trial: str, told: Mapping[str, Any]) -> list[Decision]:
        """Take the end of a job; returns what is decided by it.

        Args:
            trial: whose job is out.
            told: `ending`, `value`, `epoch`, ...; see search.run.worker.

        Raises:
            KeyError: no job of this trial is out.
        """
        job = self._jobs.pop(trial)
        self.apart.discard(trial)
        sampler, value = self._samplers[job.cell], told.get("value")
        if job.stage == "search" and job.from_epoch < job.to_epoch and told["ending"] != "failed":
            epoch = job.to_epoch if told["ending"] == "value" else told["epoch"]
            sampler.tell(job.config, epoch, value)
        decisions = self._scheduler.tell(
            job,
            told["ending"],
            math.nan if value is None else value,
            told.get("epoch"),
            not told.get("for_good", False),
            bool(told.get("collapsed")),
        )
        if told.get("out_of_memory"):
            self.alone.add(trial)
        if job.stage == "search" and any(d.verdict == "failed" for d in decisions):
            sampler.tell(job.config, job.to_epoch, None)
        return decisions

    def put_back(self, trial: str) -> bool:
        """Hand out a job again that was stopped, not ended; False if it is not out."""
        if trial not in self._jobs:
            return False
        self._again.append(self._jobs.pop(trial))
        return True

    def retry(self) -> list[Decision]:
        """Put back what has failed for good; no cell that has a winner gets another."""
        return self._scheduler.retry()

    def replay(self, events: Sequence[Event], source: str) -> list[Decision]:
        """Come to where a journal ends; jobs that were never heard of are put back.

        Args:
            events: of the journal, from its start.
            source: its path, for messages.

        Returns:
            Decisions that a kill kept from the journal.

        Raises:
            JournalError: it does not fit the study.
        """
        made: list[Decision] = []
        for number, event in enumerate(events, 1):
            if event["event"] == "ask":
                made += self._replay_ask(event, f"{source}, line {number}")
            elif event["event"] == "tell":
                made += self.tell(event["trial"], event)
            elif event["event"] == "retry failed":
                made += self.retry()
            elif event["event"] == "lost" and event.get("apart"):
                self.apart.add(event["trial"])
        self._again.extend(self._jobs.values())
        self._jobs.clear()
        known = [event for event in events if event["event"] == "decision"]
        _check_decisions(known, made, source)
        return made[len(known) :]

    def _replay_ask(self, event: Event, line: str) -> list[Decision]:
        beside = event.get("beside")
        if beside is not None and beside not in self._jobs:
            raise JournalError(f"{line}: it is beside {beside!r}, which is not out")
        like = None if beside is None else self._jobs[beside]
        job, decisions = self._scheduler.ask(like)
        if job is None or job._asdict() != event["job"]:
            raise JournalError(
                f"{line}: the study as it is now would ask for {job}, the journal has "
                f"{event['job']}. Was study.json changed, or written by another version? Start "
                "the study anew with --name"
            )
        self._samplers[job.cell].remember(job.config, event["config"])
        self._jobs[job.trial] = job
        return decisions


def _check_decisions(known: Sequence[Event], made: Sequence[Decision], source: str) -> None:
    """Refuse a journal with other decisions than its asks and tells lead to."""
    for number, held in enumerate(known):
        decided = made[number]._asdict() if number < len(made) else None
        if decided is None or any(held[key] != decided[key] for key in CHECKED):
            said = f"decides {decided}" if decided else "decides nothing more"
            raise JournalError(
                f"{source}: it holds the decision {held}, and the study as it is now {said}; it "
                "was written by another version, or changed. Start the study anew with --name"
            )
