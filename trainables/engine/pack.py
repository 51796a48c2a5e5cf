"""What trials do side by side: the same few steps, in processes of their own, at the same time.

Each is made ready (data, network, captured graph) before any of them is timed. They begin at once,
and whoever has done its steps goes on until the last one has: every step that counts was taken
beside as many others.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any, NamedTuple

import torch

from trainables.engine.probe import STEPS, Ready, Taken, memory
from trainables.errors import TaskError
from trainables.task import Batch, Config, Task

READY_S = 300.0  # until all are ready, and until all are done: imports, data, a capture, few steps


class PackError(TaskError):
    """Trials could not be run side by side, or not in time."""


class _Case(NamedTuple):
    """What each process is told."""

    opened: Callable[[], Task]
    config: Config
    data_dir: Path
    split_seed: int
    kind: str
    most: int
    threads: int


def probe_pack(
    opened: Callable[[], Task],
    config: Config,
    data_dir: Path,
    split_seed: int,
    kind: str,
    trials: int,
    most: int = STEPS,
    threads: int = 1,
) -> Taken:
    """Train a few steps of so many trials at once, as one measures one alone with `probe`.

    Args:
        opened: gives the task; is sent to the processes.
        config: complete.
        data_dir: where the data is.
        split_seed: of the study.
        kind: "cpu" or "cuda".
        trials: how many.
        most: steps of each before the timed ones, and as many of these; two at the least.
        threads: of each process.

    Returns:
        `step_ms` in which each takes one, by the sum of their paces; `peak_mb` of the one that
        took the most.

    Raises:
        PackError: one of them failed, such as for want of memory, or they took too long.
    """
    context = multiprocessing.get_context("spawn")
    begin, over, out = context.Barrier(trials), context.Event(), context.Queue()
    case = _Case(opened, config, data_dir, split_seed, kind, most, threads)
    workers = [
        context.Process(target=_member, args=(case, begin, over, out), daemon=True)
        for _ in range(trials)
    ]
    with _running(workers, over):
        found = [_told(out, workers) for _ in workers]
    paces = [1 / seconds for seconds, _ in found]
    device, _, total = found[0][1]
    peak = max(held[1] for _, held in found)
    return Taken(device, peak, total, 1e3 * trials / sum(paces))


@contextmanager
def _running(workers: Sequence[BaseProcess], over: Any) -> Iterator[None]:
    """Processes run meanwhile; they are told that it is over, and ended where they go on."""
    try:
        for worker in workers:
            worker.start()
        yield
    finally:
        over.set()
        for worker in workers:
            worker.join(5)
            if worker.is_alive():
                worker.kill()
                worker.join()


def _told(out: Any, workers: Sequence[BaseProcess]) -> tuple[float, tuple[str, float, float]]:
    """What one of them has measured: seconds a step, and its memory."""
    ends = time.monotonic() + 2 * READY_S
    while time.monotonic() < ends:
        try:
            said = out.get(timeout=1)
        except queue.Empty:
            ended = [one.exitcode for one in workers if one.exitcode]
            if not ended:  # none ends before all have told
                continue
            try:
                said = out.get(timeout=1)  # of the one that the others ended for
            except queue.Empty:
                killed = min(ended)  # by a signal: below 0
                raise PackError(f"a process of the pack ended with {killed}") from None
        if isinstance(said, str):
            raise PackError(said)
        seconds, held = said
        return seconds, held
    raise PackError(f"trials side by side were not done within {2 * READY_S:g} s")


def _member(case: _Case, begin: Any, over: Any, out: Any) -> None:
    """One of the processes."""
    parent = os.getppid()
    try:
        torch.set_num_threads(case.threads)
        task = case.opened()
        ready = Ready(task, case.config, case.data_dir, case.split_seed, case.kind)
        batches = _batches(task, ready)
        for batch in islice(batches, case.most):
            ready.step(batch)
        begin.wait(READY_S)
        began = time.perf_counter()
        for batch in islice(batches, case.most):
            ready.step(batch)
        out.put(((time.perf_counter() - began) / case.most, memory(case.kind)))
        while not over.is_set() and os.getppid() == parent:
            ready.step(next(batches))
    except BrokenBarrierError:  # the error of another is the one to be told
        sys.exit(1)
    except Exception as error:  # whatever a trial may raise
        lines = str(error).strip().splitlines() or [""]
        out.put(f"{type(error).__name__}: {lines[0]}")
        begin.abort()  # the others' error, which comes after


def _batches(task: Task, ready: Ready) -> Iterator[Batch]:
    """Batches of one size, epoch after epoch."""
    size = 0
    for epoch in range(1_000_000_000):
        for batch in task.batches(ready.data, ready.config, torch.Generator().manual_seed(epoch)):
            size = size or len(batch[0])
            if len(batch[0]) == size:
                yield batch
