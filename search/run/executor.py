"""Ray Tune as executor: a Searcher asks the scheduler, Ray runs the jobs, results are told back.

One Ray trial is one job. A trial of ours that waits at a rung is no Ray object at all: it is lines
in the journal and a checkpoint, so Ray's own restore and pausing are never needed, and when Ray's
experiment dies the next one starts from the scheduler as it stands. Public interfaces of Ray only.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.run import (
    cluster,  # first: it sets what ray reads when imported
    head,
)

from ray import tune  # isort: skip
from ray.tune import RunConfig, TuneConfig, Tuner

from search.record.stored import STUDY
from search.record.terminal import INTERRUPTED, in_words, say, shell
from search.run.asking import PING
from search.run.bootstrap import resources, run_job
from search.run.callbacks import EndTune, Listener
from search.run.demand import Demand, withdrawn
from search.run.ended_trials import Unprinted
from search.run.errors import DiskError, ExecutionError, InfrastructureError, TakenOverError
from search.run.failures import last_line
from search.run.inquiry import Placed, end_hung
from search.run.job_searcher import NOT_ITS_OWN, JobSearcher
from search.run.ray_schedulers import scheduler_of
from search.run.room import Fits, Held, room
from search.run.scratch import scratch
from search.run.signals import handled
from trainables.errors import causes

if TYPE_CHECKING:
    from search.run.nodes import Nodes
    from search.run.study import Study

ERROR_LENGTH = 2000  # the end of a traceback says what happened
PATIENCE = 30.0  # seconds from a signal to stop until Ray is left as it is
ONCE = 1.0  # seconds in which a second signal is the first one again, as of a closed terminal
RESTARTS = 3  # of Ray's experiment in a row, when it dies under a study before a job is done


@withdrawn()
def execute(study: Study, nodes: Nodes | None = None) -> bool:
    """Run all that is left of a study; Ray must be connected.

    Args:
        study: see search.run.study.
        nodes: of a cluster, who may take jobs; None where there is this machine alone.

    Returns:
        True when the study is done, False when it was interrupted by a signal.

    Raises:
        ExecutionError: Ray's experiment died more than RESTARTS times in a row without a job
            done, or the study itself cannot go on, for example for a full disk.
    """
    deaths = 0
    while deaths <= RESTARTS:
        searcher = JobSearcher(study, _room(nodes), nodes)
        end = EndTune()
        try:
            with (
                scratch() as folder,
                _stop_on_signals(searcher, study, end),
                end.watched(),
            ):
                _tuner(study, folder, searcher, end, partial(end_hung, nodes)).fit()
            text = why = "its experiment ended early"
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            why = "\n".join(str(one) for one in causes(error))
        finally:
            head.ended()
        if searcher.fault:
            raise _cannot_go_on(study, searcher.fault) from searcher.fault
        try:
            # that is told, and counted, as what it is: losses of those jobs
            memory = searcher.ended_for_memory(why)
            _settle(study, searcher)
            if searcher.stopping or study.done:
                return study.done
            study.note({"event": "ray died", "error": text[-ERROR_LENGTH:]})
            said = "a worker ended for want of memory" if memory else last_line(text)
            study.say(f"Ray's experiment died ({said}); its jobs start again")
        except Exception as fault:  # a disk that is full, for example
            raise _cannot_go_on(study, fault) from fault
        deaths = int(not memory) if searcher.told or memory else deaths + 1
    raise ExecutionError(
        f"Ray's experiment died {RESTARTS + 1} times without a job done; the reasons are in "
        f"{study.folder / 'decisions.jsonl'}. Nothing finished is lost: `{_resume(study)}` "
        "goes on"
    )


def _cannot_go_on(study: Study, fault: Exception) -> ExecutionError:
    if isinstance(fault, TakenOverError):
        return ExecutionError(f"{fault}. Nothing goes on from {study.folder}, its own copy")
    if isinstance(fault, OSError):
        text = f"{type(fault).__name__}: {in_words(fault)}"
    else:
        told = isinstance(fault, DiskError | ExecutionError | InfrastructureError)
        text = str(fault) if told else f"{type(fault).__name__}: {fault}"
    if not (study.folder / STUDY).exists():
        return ExecutionError(
            f"the study cannot go on ({text}). {study.folder} is not there any more, and with it "
            "the record: put it back from wherever it went, or begin anew"
        )
    return ExecutionError(
        f"the study cannot go on ({text}). Everything finished is on "
        f"record: mend that, then `{_resume(study)}`"
    )


def _resume(study: Study) -> str:
    return shell("resnet-search", "resume", study.folder)


def _settle(study: Study, searcher: JobSearcher) -> None:
    """Tell what had ended of itself when Ray did, put back the rest."""
    searcher.take_dead(PING)
    for job in (one for held in searcher.jobs.values() for one in held.members()):
        told = searcher.ended.get(job.trial)
        if told and not any(told.get(key) for key in NOT_ITS_OWN):
            study.tell(job.trial, told)
            searcher.told += 1
    study.put_back_all()


def _tuner(
    study: Study,
    folder: Path,
    searcher: JobSearcher,
    end: EndTune,
    end_job: Callable[[Placed, float], Future[str]],
) -> Tuner:
    """Ray's experiment; in its folder Ray looks for pickles of errors, so it is private.

    No other node needs it: nothing that a job reports is kept there.
    """
    # where earlier versions had it
    shutil.rmtree(study.folder / "ray", ignore_errors=True)
    trainable = tune.with_resources(run_job, resources)
    return Tuner(
        trainable,
        tune_config=TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            reuse_actors=True,
            scheduler=scheduler_of(study.spec.scheduler, study.spec.budget, study.mode),
        ),
        run_config=RunConfig(
            name="jobs",
            storage_path=str(folder),
            callbacks=[Listener(study, searcher, end_job), end, Demand(study), Unprinted()],
            verbose=0,
        ),
    )


def _room(nodes: Nodes | None) -> Callable[[Collection[Held]], Fits]:
    """What fits the nodes that may take jobs beside those that are out; see `room`."""
    at, held = -math.inf, room({})

    def fits(out: Collection[Held]) -> Fits:
        nonlocal at, held
        if time.monotonic() - at > 5:  # nodes come and go
            at = time.monotonic()
            if nodes:
                nodes.refresh()
            held = room(nodes.resources_by_id() if nodes else cluster.resources_by_id())
        return held(out)

    return fits


@contextmanager
def _stop_on_signals(searcher: JobSearcher, study: Study, end: EndTune) -> Iterator[None]:
    """A signal to stop ends Ray's experiment cleanly; a second one ends the program at once.

    So does the end of a patience: a batch system signals Ray's own processes too, and then nobody
    is left to end anything. Nothing is lost by it, the logs are written as things happen.
    """

    def give_up() -> None:
        say(
            "resnet-search",
            f"Ray did not end within {PATIENCE:g} s and is left to end by itself; "
            f"everything finished is on record. Go on: {_resume(study)}",
        )
        os._exit(INTERRUPTED)

    timer = threading.Timer(PATIENCE, give_up)
    timer.daemon = True

    asked = -math.inf

    def stop(number: int, frame: Any) -> None:
        nonlocal asked
        if searcher.stopping:
            if time.monotonic() - asked < ONCE:
                return
            raise KeyboardInterrupt
        searcher.stopping, asked = True, time.monotonic()
        study.say(f"{signal.Signals(number).name}: stopping; once more to stop at once")
        timer.start()
        end()

    with handled(stop):
        try:
            yield
        finally:
            timer.cancel()
