"""What Ray Tune asks for, and how its jobs end: told, lost, or only stopped."""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from search.run import cluster  # noqa: F401 - first: it sets what ray reads when imported

from ray.tune.search import Searcher  # isort: skip

from search.run.deadline import MARGIN
from search.run.disk import full_here, of_run
from search.run.errors import DiskError, InfrastructureError
from search.run.failures import last_line, why_it_died
from search.run.inquiry import Death, EndedIdle, Placed, why_dead, worker_of
from search.run.ray_schedulers import stopped_by_ray
from search.run.room import Fits, Held
from search.run.worker import WorkerJob

if TYPE_CHECKING:
    from search.run.nodes import Nodes
    from search.run.study import Study


IN_A_ROW = 2  # jobs of a lone machine that end for want of the same things, and not one well
LOOK_AGAIN = 1.0  # seconds until it is counted anew what fits where nothing does and no job ends
NOT_ITS_OWN = ("unasked", "disk", "infrastructure")  # of an "end" report: it is no tell
OF_A_PROCESS = ("process", "memory", "silent", "node")  # else the machine lacks something
# what one member of an array may have done to all: each goes on by itself, and pays for itself
OF_A_MEMBER = ("process", "memory", "silent")


class Lost(NamedTuple):
    """Jobs whose worker has ended under them, and whether it was an array's."""

    jobs: Sequence[WorkerJob]
    together: bool


class JobSearcher(Searcher):  # type: ignore[misc]
    """Gives Ray the study's next job whenever it asks for a trial.

    Args:
        study: asks, tells and keeps the record.
        room: called with what the jobs that are out hold, for what fits beside them.
        nodes: of a cluster, who may take jobs.
    """

    def __init__(
        self,
        study: Study,
        room: Callable[[Collection[Held]], Fits],
        nodes: Nodes | None = None,
    ) -> None:
        super().__init__()  # without a metric: Ray ends an experiment when a report lacks it
        self._study, self._room, self._nodes = study, room, nodes
        self.jobs: dict[str, WorkerJob] = {}  # that Ray has been given, by its trial's id
        self._out: dict[str, Held] = {}  # of these, what they hold
        self.started: dict[str, float] = {}  # of these, when they found a worker, monotonic
        self._asked: dict[str, float] = {}  # of these, when: time of day
        self._may_take: dict[str, list[str]] = {}  # of these, nodes that may, as they were asked
        self.placed: dict[str, Placed] = {}  # of these, where: from their first report on
        # jobs of workers that have died; why is not known yet
        self._dead: list[tuple[Lost, Placed | None, Future[Death]]] = []
        self.ended_idle: list[EndedIdle] = []  # and no job was lost by it yet
        self.ended: dict[str, dict[str, Any]] = {}  # our trial -> its "end" report
        self.stopping = False
        self.told = 0
        self._in_a_row = 0
        self._full_until = 0.0  # there is room for none, monotonic; a job that ends makes some
        self._full: set[str] = set()  # nodes that found a disk full since a job ended well
        self.fault: Exception | None = None  # of ours; Ray would swallow it and go on without us
        self.turn: Callable[[], None] = self.take_dead  # what is to be done again and again

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next job as a Ray config, None while nothing may start, FINISHED at the end."""
        try:
            if not self.jobs and not self.stopping and not self.fault:
                self.turn()  # with no trial of its own Tune asks here alone, for ten minutes
            if self.stopping or self.fault or self._study.done:
                return str(Searcher.FINISHED)
            # Ray asks one trial ahead; a decision is best made when a worker is really free
            if time.monotonic() < self._full_until:
                return None
            fits = self._room(self._out.values())
            # with none out, one waits in Ray's queue for whatever is to come
            if self.jobs and not any(fits(*shape) for shape in self._study.shapes()):
                self._full_until = time.monotonic() + LOOK_AGAIN
                return None
            if self._nodes and self._nodes.resting:
                return None  # a job that was given out now would not see the node that comes back
            # else jobs of a small shape would take every place that a larger one waits for
            shapes = {(job.cpus, job.gpus) for job in self.jobs.values()}
            if len(shapes) > 1 and not self.started.keys() >= self.jobs.keys():
                return None
            worker_job = self._study.ask(fits)
        except Exception as error:
            self.fault = error
            return None
        if worker_job is None:
            if not self.jobs and not self._dead and not self._study.done:
                self.fault = RuntimeError("nothing runs and nothing can start, yet it is not done")
            return None
        self.jobs[trial_id], self._asked[trial_id] = worker_job, time.time()
        self._out[trial_id] = Held(worker_job.cpus, worker_job.gpus)
        # one text: Ray walks through every key of a config, several times
        config = {"job": json.dumps(vars(worker_job))}
        if not self._nodes:
            return config
        labels = self._nodes.labels()
        self._may_take[trial_id] = self._nodes.asked()
        config["nodes"] = json.dumps(self._may_take[trial_id])
        return {**config, "labels": json.dumps(labels)} if labels else config

    def began(self, trial_id: str, placed: Placed) -> None:
        """A job has said where it runs."""
        self.placed[trial_id] = placed
        if self._nodes and trial_id in self._out:
            self._out[trial_id] = self._out[trial_id]._replace(node=placed.node_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how a job ended; one that was only stopped is put back, not told."""
        job = self.jobs.get(trial_id)
        if job is None:
            return
        members = job.members()
        told = self._ends(members)
        if error and not self.stopping and not all(told):
            self.ended |= {one.trial: end for one, end in zip(members, told, strict=True) if end}
            return  # Ray says the reason next: see `died`
        *_, placed = self._forget(trial_id)
        try:
            if told == [None] and result and not self.stopping:
                told = [stopped_by_ray(result)]
            self._take(members, told, placed)
        except Exception as fault:
            self.fault = fault

    def _ends(self, members: Sequence[WorkerJob]) -> list[dict[str, Any] | None]:
        """What each member has ended with, if it has; taken off the list.

        What kept an array from beginning is told by its first job, and is of all.
        """
        told = [self.ended.pop(member.trial, None) for member in members]
        first = told[0]
        if first and not any(told[1:]) and any(map(first.get, NOT_ITS_OWN)):
            return [first] * len(members)
        return told

    def _take(
        self,
        members: Sequence[WorkerJob],
        told: Sequence[dict[str, Any] | None],
        placed: Placed | None,
    ) -> None:
        """Tell what jobs have ended with; put back the others. What a node does, it does once."""
        apart: dict[str, list[tuple[WorkerJob, dict[str, Any]]]] = {}
        for job, end in zip(members, told, strict=True):
            if end is None:
                self._study.put_back(job.trial)
                continue
            cause = next((key for key in NOT_ITS_OWN if end.get(key)), "")
            if cause:
                apart.setdefault(cause, []).append((job, end))
                continue
            self._study.tell(job.trial, end)
            self.told += 1
            if end["ending"] != "failed":
                self._well(placed)
        for cause, held in apart.items():
            jobs, end = [job for job, _ in held], held[0][1]
            if cause == "unasked":
                for job in jobs:
                    self._study.put_back(job.trial)
                if self._nodes:
                    self._nodes.refresh()  # it takes no job more until it has answered
            elif cause == "disk":
                self._disk_is_full(jobs, placed, end["disk"])
            else:
                lost, text = Lost(jobs, len(members) > 1), last_line(end["error"])
                self._lost(lost, placed, end["infrastructure"], text, end.get("members", 0))

    def died(self, trial_id: str, error: str) -> None:
        """Take a job whose worker ended without a report.

        Args:
            trial_id: Ray's.
            error: what Ray says of it.
        """
        job = self.jobs.get(trial_id)
        if job is None:
            return
        asked, began, placed = self._forget(trial_id)
        if placed is None:
            placed = self._named(error, began)
            at = placed.node_id if placed else ""
            ended = worker_of(self.ended_idle, trial_id, error, at, self.unplaced)
            if ended:
                self.ended_idle.remove(ended)
                placed = ended.worker
        members = job.members()
        told = self._ends(members)
        try:  # those that had ended before
            over = [(one, end) for one, end in zip(members, told, strict=True) if end]
            self._take([one for one, _ in over], [end for _, end in over], placed)
        except Exception as fault:
            self.fault = fault
        lost = [one for one, end in zip(members, told, strict=True) if not end]
        if lost:
            why = why_dead(self._nodes, job, placed, asked, error)
            self._dead.append((Lost(lost, len(members) > 1), placed, why))
        self.take_dead()

    def _named(self, error: str, began: float) -> Placed | None:
        """Where a job was that has reported nothing, by what Ray says of its worker."""
        if self._nodes is None:
            return Placed("", platform.node(), 0, began, began)
        node = self._nodes.there(error)
        return Placed(node.id, node.name, 0, began, began) if node else None

    def take_dead(self, wait: float = 0.0) -> None:
        """Put back, or tell, jobs whose worker has ended and of which it is known by now why.

        Args:
            wait: seconds for what is not known yet.
        """
        ends = time.monotonic() + wait
        for held in list(self._dead):
            lost, placed, asked = held
            try:
                death = asked.result(max(0.0, ends - time.monotonic()))
            except TimeoutError:
                continue
            self._dead.remove(held)
            self._died(lost, placed, death)

    def ended_for_memory(self, text: str) -> bool:
        """Take jobs whose workers Ray's memory monitor has ended: Tune's experiment dies by that.

        Args:
            text: of the error that it died of.

        Returns:
            Whether there were any.
        """
        if why_it_died(text)[0] != "memory":
            return False
        pids = {int(pid) for pid in re.findall(r"\bpid=(\d+)", text)}
        node = self._nodes.there(text) if self._nodes else None
        at, found = node.id if node else "", False
        for key, placed in list(self.placed.items()):
            if placed.pid in pids and at in ("", placed.node_id):
                job = self.jobs[key]
                self._forget(key)
                text = "Ray's memory monitor ended its worker"
                self._lost(Lost(job.members(), bool(job.others)), placed, "memory", text)
                found = True
        return found

    def _died(self, lost: Lost, placed: Placed | None, death: Death) -> None:
        if death.stack is not None:
            text = (
                f"it made no step for `stalled_seconds` and was ended; {lost.jobs[0].run}/stalls/"
                f"{death.stack.name} says where it stood"
            )
            node = placed.node if placed else ""
            for job in lost.jobs:
                if lost.together:
                    self._study.lost(job.trial, "stalled", node, text, apart=True)
                    continue
                self._study.tell(job.trial, {"ending": "failed", "error": text})
                self.told += 1
            return
        if death.unanswered and placed:
            self.unanswered(placed)
        self._lost(lost, placed, death.cause, death.text)

    def unanswered(self, placed: Placed) -> None:
        """A node does not answer what it was asked of a worker that has been silent for long."""
        if self._nodes:
            self._nodes.silent(placed.node_id)

    def _forget(self, trial_id: str) -> tuple[float, float, Placed | None]:
        """Take a job off the list that Ray has.

        Returns:
            When it was asked for (time of day), when it had a worker (monotonic), where it ran.
        """
        del self.jobs[trial_id], self._out[trial_id]
        self._full_until = 0.0
        self._may_take.pop(trial_id, None)
        began = self.started.pop(trial_id, time.monotonic())
        return self._asked.pop(trial_id), began, self.placed.pop(trial_id, None)

    def _lost(
        self, lost: Lost, placed: Placed | None, cause: str, text: str, members: int = 0
    ) -> None:
        """Put back what a node, a process or a network has ended; that node is looked at.

        Args:
            lost: the jobs.
            placed: where they were.
            cause: in a word.
            text: what happened.
            members: that their array has said there was no memory for, before that.
        """
        apart = lost.together and cause in OF_A_MEMBER
        members = members or (len(lost.jobs) if apart and cause == "memory" else 0)
        for job in lost.jobs:
            node = placed.node if placed else ""
            self._study.lost(job.trial, cause, node, text, apart, members)
        if self._nodes:
            if placed:
                self._nodes.lost(placed.node_id, time.monotonic() - placed.began)
            return
        # on this machine alone nobody else could do better, and no config is to be lost by that
        self._in_a_row = self._in_a_row + 1 if cause not in OF_A_PROCESS else 0
        if self._in_a_row >= IN_A_ROW:
            self.fault = self.fault or InfrastructureError(cause, text)

    def _disk_is_full(self, jobs: Sequence[WorkerJob], placed: Placed | None, text: str) -> None:
        """That of one node of several puts it aside; one that all write to ends the study.

        It is no fault of the trial's, and none that another attempt there would mend.
        """
        run = jobs[0].run
        if self._nodes and placed:
            self._full.add(placed.node_id)
            everyones = full_here(run, text) or (len(self._full) > 1 and of_run(run, text))
            if not everyones and self._nodes.put_aside(placed.node_id, f"its disk ({text})"):
                self._lost(Lost(jobs, len(jobs) > 1), placed, "disk", text)
                return
        for job in jobs:
            self._study.put_back(job.trial)
        self.fault = self.fault or DiskError(text)

    def _well(self, placed: Placed | None) -> None:
        self._in_a_row = 0
        self._full.clear()
        if self._nodes and placed:
            self._nodes.well(placed.node_id)

    @property
    def stuck(self) -> bool:
        """Whether all jobs that are out wait for nodes that are gone or left out, and others came.

        What a job asks of its node is fixed when it is given out.
        """
        if not self._nodes or not self.jobs or self.started:
            return False
        now = set(self._nodes.asked())
        return bool(now) and not any(now & set(self._may_take[key]) for key in self.jobs)

    def overdue(self) -> list[tuple[WorkerJob, Placed]]:
        """Jobs that have not been heard of for longer than their own watch would have let them."""
        now = time.monotonic()
        return [
            (self.jobs[trial_id], placed)
            for trial_id, placed in self.placed.items()
            if self.jobs[trial_id].trial not in self.ended
            and now - placed.heard > self.jobs[trial_id].stalled_seconds + MARGIN
        ]

    def unbegun(self) -> bool:
        """Whether a job has had its worker for as long, and has not begun there."""
        now = time.monotonic()
        return any(
            now - self.started[key] > self.jobs[key].stalled_seconds + MARGIN
            for key in self.unplaced
        )

    @property
    def unplaced(self) -> set[str]:
        """Ray's trials that have found a worker which has not begun with them."""
        return self.started.keys() - self.placed.keys()

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its searcher with every snapshot; there is nothing to keep."""
        return {}
