"""A study while it runs: scheduler, samplers, journal and record together; resume is replay."""

from __future__ import annotations

import dataclasses
import fcntl
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from search import record
from search.record.journal import Appender, Event, JournalError
from search.record.optuna_view import OptunaStore
from search.run.worker import Assignment
from search.schedule.rules import SCHEDULERS
from search.spec.cells import CellSampler, make_plan
from search.spec.plan import Job
from search.spec.study_spec import StudySpec
from trainables import find_task

# seconds between rewrites of the frames, and never more than a fiftieth of the time: whoever loads
# the record gets what is newer out of the logs
WRITE_EVERY = 30.0


# A kill loses no line. After a power cut a job whose tell is missing is asked for again and finds
# its checkpoint, so the logs are forced to disk before a checkpoint goes, else once in so many s.
SYNC_EVERY = 1.0


class Watcher(Protocol):
    """Who wants to see what happens as it happens."""

    def restored(self, held: record.Record) -> None:
        """The study goes on from this record."""

    def asked(self, job: Job, config: Mapping[str, Any], decisions: list[Event]) -> None:
        """A job starts, perhaps by an early promotion."""

    def reported(self, job: Job, row: Mapping[str, Any]) -> None:
        """An epoch is over."""

    def told(self, job: Job, told: Mapping[str, Any], decisions: list[Event]) -> None:
        """A job is over."""

    def noted(self, text: str) -> None:
        """Something happened that is neither."""


@dataclasses.dataclass(frozen=True)
class Places:
    """Where a study finds its data and weights.

    Attributes:
        data_dir: the data directory.
        weights: depth -> file of pretrained weights.
        gpus: GPUs a trial takes here, by depth.
        sizes: those it took where the study began; by them its jobs are in order. Default: `gpus`.
        task_dir: folder that a task of the user's own is imported from.
        task_code: of that task, as this session began; see `trainables.own_task.code_of`.
    """

    data_dir: Path
    weights: Mapping[int, Path]
    gpus: Mapping[int, float]
    sizes: Mapping[int, float] = dataclasses.field(default_factory=dict)
    task_dir: str = ""
    task_code: Sequence[Mapping[str, str]] = ()


class Study:
    """A study in its run folder; the only writer of it.

    Args:
        spec: what is asked for.
        folder: the run folder, with study.json in it.
        places: data, weights, GPUs.
        watcher: sees what happens.

    Raises:
        JournalError: another process writes the folder, or its journal does not fit the study.
    """

    def __init__(self, spec: StudySpec, folder: Path, places: Places, watcher: Watcher) -> None:
        self.spec, self.folder, self.places = spec, folder, places
        self._watcher = watcher
        self._lock = _lock(folder)
        self._cells = spec.cell_values()
        self._samplers = [CellSampler(spec, cell) for cell in self._cells]
        held = places.sizes or places.gpus
        sizes = [held.get(self._depth(cell)) or 1.0 for cell in self._cells]
        scheduler = SCHEDULERS[spec.scheduler]
        self._scheduler = scheduler(len(self._cells), make_plan(spec), sizes)
        self._store = OptunaStore(
            folder / "optuna.log",
            [" ".join(f"{k}={v}" for k, v in cell.items()) for cell in self._cells],
            [sampler.space for sampler in self._samplers],
            find_task(spec.task).mode,
        )
        self._again: deque[Job] = deque()
        self._jobs: dict[str, Job] = {}
        self._alone: set[str] = set()  # trials that ran out of GPU memory beside others
        events = record.read_events(folder)
        self._journal = Appender(folder / record.JOURNAL)
        self._epochs = Appender(folder / record.EPOCHS)
        self._written, self._writing, self._on_disk = time.monotonic(), 0.0, 0.0
        self._replay(events)
        if events:
            watcher.restored(record.load(folder))
        if self._journal.cut:
            self.note({"event": "cut", "bytes": self._journal.cut})
            watcher.noted(f"{record.JOURNAL}: its last line was not whole and is dropped")

    @property
    def done(self) -> bool:
        """Whether every cell has all that it was promised, or what is possible of it."""
        return self._scheduler.done and not self._again

    @property
    def mode(self) -> str:
        """Which values of the task's metric are better: max or min."""
        return find_task(self.spec.task).mode

    def shapes(self) -> set[tuple[float, float]]:
        """(cpus, gpus) of every kind of job."""
        return {self._shape(cell) for cell in self._cells}

    def ask(self) -> Assignment | None:
        """The next job, journalled before it is handed out; None while there is none."""
        again = bool(self._again)
        job = self._again.popleft() if again else self._scheduler.ask()
        if job is None:
            return None
        self._jobs[job.trial] = job
        config = self._samplers[job.cell].config(job.config)
        if again:
            self.note({"event": "again", "trial": job.trial, "from_epoch": job.from_epoch})
        else:
            self._journal.write(self._ask_event(job, config))
        self._follow_ask(job, config)
        decisions = self._write_decisions()
        self._watcher.asked(job, {**self._cells[job.cell], **config}, decisions)
        if job.from_epoch and not self._checkpoint(job.trial).is_file():
            self._watcher.noted(
                f"  {job.trial} has no checkpoint: epochs 1 to {job.from_epoch} are trained again"
            )
        return self._assignment(job, config)

    def epoch(self, trial: str, row: Mapping[str, Any]) -> None:
        """Take the row of an epoch."""
        self._epochs.write({"trial": trial, "row": dict(row)})
        if trial in self._jobs:
            self._watcher.reported(self._jobs[trial], row)
        self._refresh()

    def tell(self, trial: str, told: Mapping[str, Any]) -> None:
        """Take the end of a job: journal, scheduler, sampler, decisions, in that order."""
        job = self._jobs[trial]
        self._journal.write({"event": "tell", "trial": trial, **told})
        del self._jobs[trial]
        self._apply(job, told)
        decisions = self._write_decisions()
        if time.monotonic() - self._on_disk > SYNC_EVERY:
            self._to_disk()
        self._clean(job.cell, decisions)
        self._watcher.told(job, told, decisions)
        self._refresh()

    def put_back(self, trial: str) -> None:
        """A job that was stopped, not ended: it is handed out again, before any other."""
        if trial in self._jobs:
            self._again.append(self._jobs.pop(trial))
            self.note({"event": "put back", "trial": trial})

    def put_back_all(self) -> None:
        """The same for every job that was asked for and not told."""
        for trial in list(self._jobs):
            self.put_back(trial)

    @property
    def failed(self) -> list[str]:
        """Trials that failed for good and that `retry_failed` runs again."""
        return [job.trial for job in self._scheduler.failed]

    def retry_failed(self) -> None:
        """Hand out again what has failed for good; no cell that has a winner gets another."""
        if self.failed:
            self._journal.write({"event": "retry failed", "trials": self.failed})
            self._scheduler.retry()
            self._write_decisions()

    def note(self, event: Event) -> None:
        """Journal something that is neither ask nor tell."""
        self._journal.write(event)

    def say(self, text: str) -> None:
        """Tell whoever watches."""
        self._watcher.noted(text)

    def close(self) -> None:
        """Write the frames a last time and let go of the folder."""
        self._to_disk()
        self._journal.close()
        self._epochs.close()
        self._store.flush()
        record.write(self.folder)
        self._lock.close()

    # -- replay -------------------------------------------------------------------------------

    def _replay(self, events: list[Event]) -> None:
        """Bring scheduler, samplers and Optuna's view to where the journal ends."""
        decisions: list[Event] = []
        for number, event in enumerate(events, 1):
            if event["event"] == "ask":
                job = self._scheduler.ask()
                if job is None or job._asdict() != event["job"]:
                    raise JournalError(
                        f"{self.folder / record.JOURNAL}, line {number}: the study as it is now "
                        f"would ask for {job}, the journal has {event['job']}. Was study.json "
                        "changed, or written by another version? Start the study anew with --name"
                    )
                self._samplers[job.cell].remember(job.config, event["config"])
                self._follow_ask(job, event["config"])
                self._jobs[job.trial] = job
            elif event["event"] == "tell":
                self._apply(self._jobs.pop(event["trial"]), event)
            elif event["event"] == "retry failed":
                self._scheduler.retry()
            decisions += self._decided()
        self._again.extend(self._jobs.values())  # asked for, and never heard of again
        self._jobs.clear()
        known = [event for event in events if event["event"] == "decision"]
        for held, made in zip(known, decisions, strict=False):
            if any(held[key] != made[key] for key in ("trial", "epoch", "verdict", "rank")):
                raise JournalError(
                    f"{self.folder / record.JOURNAL}: it holds the decision {held}, and the study "
                    f"as it is now decides {made}; it was written by another version, or changed. "
                    "Start the study anew with --name"
                )
        for decision in decisions[len(known) :]:  # a kill kept these from the journal
            self._journal.write(_plain(decision))
        for number in range(len(self._cells)):
            self._clean(number, [])  # what a kill left

    def _follow_ask(self, job: Job, config: Mapping[str, Any]) -> None:
        if job.stage == "search":
            self._store.asked(job.trial, job.cell, config)

    def _apply(self, job: Job, told: Mapping[str, Any]) -> None:
        value = told.get("value")
        if job.stage == "search" and job.from_epoch < job.to_epoch and told["ending"] != "failed":
            epoch = job.to_epoch if told["ending"] == "value" else told["epoch"]
            self._samplers[job.cell].tell(job.config, epoch, value)
            self._store.valued(job.trial, epoch, value)
        value = float("nan") if value is None else value
        again = not told.get("for_good", False)
        self._scheduler.tell(job, told["ending"], value, told.get("epoch"), again)
        if told.get("out_of_memory"):
            self._alone.add(job.trial)
        given_up = any(
            d["verdict"] == "failed" and d["trial"] == job.trial for d in self._scheduler.decisions
        )
        if given_up and job.stage == "search":
            self._samplers[job.cell].tell(job.config, job.to_epoch, None)

    # -- one job ------------------------------------------------------------------------------

    def _ask_event(self, job: Job, config: Mapping[str, Any]) -> Event:
        defaults = find_task(self.spec.task).settings
        full = self.spec.config(self._cells[job.cell], config)
        settings = {k: v for k, v in full.items() if v != defaults[k].default}
        return {
            "event": "ask",
            "job": job._asdict(),
            "config": dict(config),
            "settings": settings,
            "seed": self._seed(job),
        }

    def _seed(self, job: Job) -> int:
        return self.spec.seed if job.seed is None else job.seed

    def _depth(self, cell: Mapping[str, Any]) -> int:
        return int(self.spec.config(cell, {}).get("depth", 0))

    def _shape(self, cell: Mapping[str, Any]) -> tuple[float, float]:
        return self.spec.resources.cpus_per_trial, self.places.gpus.get(self._depth(cell), 0.0)

    def _assignment(self, job: Job, drawn: Mapping[str, Any]) -> Assignment:
        cell = self._cells[job.cell]
        config = self.spec.config(cell, drawn)
        cpus, gpus = self._shape(cell)
        if job.trial in self._alone:
            gpus = max(1.0, gpus)
        weights = self.places.weights[config["depth"]] if config.get("pretrained") else None
        stay = {
            "config": config,
            "seed": self._seed(job),
            "split_seed": self.spec.seed,
            "from_epoch": job.from_epoch,
            "to_epoch": job.to_epoch,
            "max_epochs": self.spec.budget.max_epochs,
            "score_test": job.score_test,
            "data_dir": str(self.places.data_dir),
            "weights": None if weights is None else str(weights),
            "device": "cuda" if gpus else "cpu",
            "checkpoint": str(self._checkpoint(job.trial)),
            "checkpoint_seconds": self.spec.checkpoint_seconds,
        }
        judged = self.spec.scheduler == "ray-asha" and job.stage == "search"
        return Assignment(
            task=self.spec.task,
            trial=job.trial,
            run=str(self.folder),
            stay=stay,
            cpus=cpus,
            gpus=gpus,
            judged=judged,
            stalled_seconds=self.spec.stalled_seconds,
            task_dir=self.places.task_dir,
            task_code=self.places.task_code,
        )

    # -- what is kept -------------------------------------------------------------------------

    def _write_decisions(self) -> list[Event]:
        """Journal what the scheduler has decided."""
        decisions = self._decided()
        for decision in decisions:
            self._journal.write(_plain(decision))
        return decisions

    def _decided(self) -> list[Event]:
        """What the scheduler has decided since last time; Optuna's view follows it."""
        decisions = [{"event": "decision", **d} for d in self._scheduler.decisions]
        self._scheduler.decisions.clear()
        for decision in decisions:
            self._store.decided(decision)
        return decisions

    def _checkpoint(self, trial: str) -> Path:
        return self.folder / "checkpoints" / f"{trial}.pt"

    def _clean(self, cell: int, decisions: list[Event]) -> None:
        """Remove checkpoints that nothing goes on from; until a cell is decided, any trial may."""
        if self.spec.keep_checkpoints:
            return
        lost = [d["trial"] for d in decisions if d["verdict"] == "diverged"]
        over = [self._checkpoint(trial) for trial in lost]
        wanted = self._scheduler.wanted(cell)
        if wanted is not None:
            held = (self.folder / "checkpoints").glob(f"{cell:02d}-*.pt")
            over += [path for path in held if path.stem not in wanted]
        if over:
            self._to_disk()
        for path in over:
            path.unlink(missing_ok=True)

    def _to_disk(self) -> None:
        """Force the logs to disk; rows first, so that a trial that is told has them."""
        self._epochs.to_disk()
        self._journal.to_disk()
        self._on_disk = time.monotonic()

    def _refresh(self) -> None:
        if time.monotonic() - self._written < max(WRITE_EVERY, 50 * self._writing):
            return
        started = time.monotonic()
        self._store.flush()
        record.write(self.folder)
        self._written = time.monotonic()
        self._writing = self._written - started


def _plain(decision: Event) -> Event:
    """JSON has no NaN."""
    value = decision["value"]
    return {**decision, "value": value if value == value else None}


def _lock(folder: Path) -> IO[str]:
    """Hold the folder against a second writer, until this process ends."""
    file = (folder / record.LOCK).open("w")
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError:
            time.sleep(0.1)  # `resnet-search status` holds it for an instant
    raise JournalError(
        f"{folder} is being written by another process; wait for it, or stop it first"
    )
