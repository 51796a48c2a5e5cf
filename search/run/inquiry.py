"""What a node has to say of a worker of its own; asked from threads, since it may not answer.

The driver has the reports of all other workers to take meanwhile: whoever asks here gets a Future.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from search.run import cluster  # noqa: F401 - first: it sets what ray reads when imported

import ray  # isort: skip

from search.record.uris import is_uri
from search.run.asking import PING
from search.run.deadline import end_if_hung
from search.run.failures import killed_for_memory, why_it_died
from search.run.node import on
from search.run.watch import stacks

if TYPE_CHECKING:
    from search.run.nodes import Nodes
    from search.run.worker import WorkerJob

T = TypeVar("T")


@dataclass
class Placed:
    """Where a job runs.

    Attributes:
        node_id: Ray's; "" where it is not known.
        node: name of its host.
        pid: of its worker there; 0 where it is not known.
        began: when it began, on this process's monotonic clock.
        heard: when it reported last.
        killed: processes that the kernel there had ended for want of memory when it began; None
            where that is not known.
        ended: what the driver saw when it ended it; "" if it did not.
        look: what is seen of it, while that is waited for.
    """

    node_id: str
    node: str
    pid: int
    began: float
    heard: float
    killed: int | None = None
    ended: str = ""
    look: Future[str] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class EndedIdle:
    """A worker that the driver has ended between two jobs.

    Attributes:
        worker: it.
        waiting: Ray's trials that had been given a worker by then and had not begun there.
    """

    worker: Placed
    waiting: frozenset[str]


@dataclass(frozen=True)
class Death:
    """Why a worker ended without a report.

    Attributes:
        cause: in a word; see `search.run.failures.why_it_died`.
        text: in a line.
        stack: file in which it says where it stalled; None of one that did not.
        unanswered: whether its node did not answer.
    """

    cause: str
    text: str
    stack: Path | None = None
    unanswered: bool = False


def in_thread(function: Callable[[], T]) -> Future[T]:
    """Call a function from a thread of its own, which no end of the process waits for."""
    future = Future[T]()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="inquiry", daemon=True).start()
    return future


def at_once(function: Callable[[], T]) -> Future[T]:
    """The same where nothing is waited for."""
    future = Future[T]()
    future.set_result(function())
    return future


def end_hung(nodes: Nodes | None, placed: Placed, seconds: float) -> Future[str]:
    """Look at a silent worker from another process of its node, and end it where it hangs.

    Args:
        nodes: of a cluster; None where there is this machine alone.
        placed: the worker.
        seconds: see `deadline.end_if_hung`.

    Returns:
        What was seen of one that was ended; "" of one that is well; ray's GetTimeoutError of a
        node that does not answer.
    """
    if nodes is None:
        return at_once(lambda: end_if_hung(placed.pid, seconds))
    if placed.node_id not in nodes.all:  # Ray itself tells of a node that is gone
        return at_once(lambda: "")

    def ask() -> str:
        call = on(placed.node_id, end_if_hung).remote(placed.pid, seconds)
        return str(ray.get(call, timeout=PING))

    return in_thread(ask)


def end_hung_here(placed: Placed, seconds: float) -> Future[str]:
    """The same on this machine alone."""
    return end_hung(None, placed, seconds)


def worker_of(
    ended: Sequence[EndedIdle], trial_id: str, error: str, node_id: str, unplaced: Set[str]
) -> EndedIdle | None:
    """Which of the workers that were ended between two jobs a job was lost with, if any.

    Args:
        ended: those with which no job was lost yet.
        trial_id: Ray's, of a job that has reported nothing.
        error: what Ray says of the job's end.
        node_id: that the error names; "" for none.
        unplaced: Ray's trials, but for this one, that have a worker and have not begun there.

    Returns:
        None too where it may have been another: no node is blamed by a guess.
    """
    pids = {int(pid) for pid in re.findall(r"\bpid[:=] ?(\d+)", error)}
    near = [one for one in ended if node_id in ("", one.worker.node_id)]
    if pids:
        fit = [one for one in near if one.worker.pid in pids]
    else:  # then it is known where every other of those jobs is that one of the workers had
        fit = [one for one in near if trial_id in one.waiting and not one.waiting & unplaced]
    return fit[0] if len(fit) == 1 else None


def why_dead(
    nodes: Nodes | None, job: WorkerJob, placed: Placed | None, asked: float, error: str
) -> Future[Death]:
    """Find out why a worker ended without a report; on a cluster its node is asked.

    Args:
        nodes: of a cluster; None where there is this machine alone.
        job: that it ran.
        placed: where; None where that is not known.
        asked: when the job was given out, by this machine's time of day.
        error: what Ray says of it.
    """
    if nodes is None or placed is None:
        held = [] if nodes is not None and is_uri(job.run) else _in_run_folder(job, asked)
        killed = killed_for_memory() if nodes is None else None
        return at_once(lambda: _judged(error, placed, held, killed, ""))
    if nodes.answers(placed.node_id):
        clock = nodes.all[placed.node_id].clock
        since = asked + clock.seconds - (clock.bound or 0.0)
        return in_thread(lambda: _asked_there(job, placed, since, asked, error))
    silent = "its node does not answer" if placed.node_id in nodes.all else "its node is gone"
    held = [] if is_uri(job.run) else _in_run_folder(job, asked)
    return in_thread(lambda: _judged(error, placed, held, None, silent))


def _asked_there(job: WorkerJob, placed: Placed, since: float, asked: float, error: str) -> Death:
    """From its node, within PING seconds for all that it is asked."""
    ends, silent = time.monotonic() + PING, ""

    def there(function: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal silent
        try:
            call = on(placed.node_id, function).remote(*arguments)
            return ray.get(call, timeout=max(0.0, ends - time.monotonic()))
        except Exception:  # whatever a node that is about to be gone gives
            silent = "its node does not answer"
            return None

    # of a job that has reported nothing it is not known how many there were before
    told = why_it_died(error)[0] != "process" or placed.killed is None
    killed = None if told else there(killed_for_memory)
    if is_uri(job.run):  # else they are in the run folder
        held = there(stacks, job.run, job.trial, since)
    else:
        held = _in_run_folder(job, asked)
    return _judged(error, placed, held, killed, silent)


def _in_run_folder(job: WorkerJob, asked: float) -> list[Path]:
    try:
        return stacks(job.run, job.trial, asked)
    except OSError:  # what is wrong with the folder shows where it is written
        return []


def _judged(
    error: str,
    placed: Placed | None,
    held: list[Path] | None,
    killed: int | None,
    silent: str,
) -> Death:
    stack = held[-1] if held else None
    cause, text = why_it_died(error)
    if placed and (ended := placed.ended or _seen(placed)):
        return Death("silent", ended, stack)
    if cause != "process" or not placed:
        return Death(cause, text, stack)
    if silent:  # Ray misses a process at once, its node only after many heartbeats
        return Death("node", silent, stack, unanswered=True)
    if killed is not None and placed.killed is not None and killed > placed.killed:
        text += (
            ", and since the job began the kernel of its node has ended "
            f"{killed - placed.killed} process(es) for want of memory"
        )
        return Death("memory", text, stack)
    return Death(cause, text, stack)


def _seen(placed: Placed) -> str:
    """What a look has seen that is not over yet: Ray may tell of a worker's end before."""
    try:
        return placed.look.result(PING) if placed.look else ""
    except Exception:
        return ""
