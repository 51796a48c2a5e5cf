"""Ray Tune as executor: a Searcher asks the scheduler, Ray runs the jobs, results are told back.

One Ray trial is one job. A trial of ours that waits at a rung is no Ray object at all: it is lines
in the journal and a checkpoint, so Ray's own restore and pausing are never needed, and when Ray's
experiment dies the next one starts from the scheduler as it stands. Public interfaces of Ray only,
but for the address that `ray.init` binds to.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

# before ray is imported: these are read at import
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # no banner; our own progress is shown
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the record is ours
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # `_stop_on_signals` does it
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")  # nobody reads Ray's snapshots
os.environ.setdefault(
    "TUNE_FUNCTION_THREAD_TIMEOUT_S", "600"
)  # a slow end must not fail the next job
# The memory monitor's kill ends the whole experiment; a kernel kill is an actor death to Tune.
os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")

import ray
from ray import tune
from ray.tune import Callback, RunConfig, TuneConfig, Tuner
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from search.journal import Event
from search.trial import Assignment, run_job

if TYPE_CHECKING:
    from search.study import Study

ERROR_LENGTH = 2000  # the end of a traceback says what happened
RESTARTS = 3  # of Ray's experiment, when it dies under a study


class ExecutionError(RuntimeError):
    """Ray cannot run the study: no cluster, or no node that fits a trial."""


class JobSearcher(Searcher):  # type: ignore[misc]
    """Gives Ray the study's next job whenever it asks for a trial.

    Args:
        study: asks, tells and keeps the record.
        slots: called for the number of jobs the cluster can run at once.
    """

    def __init__(self, study: Study, slots: Callable[[], int]) -> None:
        super().__init__()  # without a metric: Ray ends an experiment when a report lacks it
        self._study, self._slots = study, slots
        self.jobs: dict[str, str] = {}  # Ray trial id -> our trial
        self.ended: dict[str, dict[str, Any]] = {}  # our trial -> its "end" report
        self.stopping = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next job as a Ray config, None while nothing may start, FINISHED at the end."""
        if self.stopping or self._study.done:
            return str(Searcher.FINISHED)
        # Ray asks one trial ahead; a decision is best made when a worker is really free
        if len(self.jobs) >= self._slots():
            return None
        assignment = self._study.ask()
        if assignment is None:
            return None
        self.jobs[trial_id] = assignment.trial
        # one text: Ray walks through every key of a config, several times
        return {"assignment": json.dumps(vars(assignment))}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how a job ended; one that was only stopped is put back, not told."""
        trial = self.jobs.pop(trial_id, None)
        if trial is None:
            return
        told = self.ended.pop(trial, None)
        if told is None and result and not error and not self.stopping:
            told = _stopped_by_ray(result)
        if told is not None:
            self._study.tell(trial, told)
        elif error and not self.stopping:
            self._study.tell(trial, {"ending": "failed", "error": "its worker process died"})
        else:
            self._study.put_back(trial)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def __getstate__(self) -> dict[str, Any]:
        """Ray pickles its searcher with every snapshot; there is nothing to keep."""
        return {}


def _stopped_by_ray(result: dict[str, Any]) -> Event | None:
    """The tell of a job that Ray's ASHA ended at its last report; None if it did not."""
    if result.get("kind") != "epoch" or not math.isfinite(result["value"]):
        return None
    keys = ("value", "value_epoch", "epoch")
    return {"ending": "stopped", "seconds": result["time_total_s"], **{k: result[k] for k in keys}}


class Listener(Callback):  # type: ignore[misc]
    """Hands every report of a worker to the study as it arrives."""

    def __init__(self, study: Study, searcher: JobSearcher) -> None:
        self._study, self._searcher = study, searcher

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """An epoch's row goes to the record, an end is kept until Ray has taken the trial off."""
        if result.get("kind") == "epoch":
            self._study.epoch(result["trial"], result["payload"])
        elif result.get("kind") == "end":
            self._searcher.ended[result["trial"]] = result["payload"]

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to keep; see JobSearcher."""
        return {}


def connect(address: str) -> None:
    """Start Ray here (`local`), or join a cluster (`auto` or `host:port`).

    Raises:
        ExecutionError: nothing answers at the address.
    """
    if address.startswith("ray://"):
        raise ExecutionError(
            "--address ray:// is Ray's client, which keeps the journal from Tune; run this "
            "command on a machine of the cluster with --address auto, or by `ray job submit`"
        )
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed job is ours to tell
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == "local":
            ray.init(
                address="local",
                num_cpus=os.cpu_count(),
                include_dashboard=False,
                _node_ip_address="127.0.0.1",  # nothing listens beyond this machine
                **options,
            )
        else:
            ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ExecutionError(
            f"no Ray cluster at --address {address} ({error}); start one with `ray start --head`, "
            "or leave --address out to run on this machine"
        ) from error


def disconnect() -> None:
    """Leave the cluster, or end the one that was started here."""
    ray.shutdown()


def gpus_in_cluster() -> float:
    """GPUs of all nodes."""
    return float(ray.cluster_resources().get("GPU", 0))


def check_feasible(cpus: float, gpus: float) -> None:
    """Refuse a request that no node can ever meet; Ray would wait for ever without a word.

    Raises:
        ExecutionError: with what the largest node has.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(n.get("CPU", 0) >= cpus and n.get("GPU", 0) >= gpus for n in nodes):
        return
    held = "; ".join(f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs" for n in nodes)
    raise ExecutionError(
        f"a trial asks for {cpus:g} CPUs and {gpus:g} GPUs, and no node has them ({held}): lower "
        "resources.cpus_per_trial or resources.gpus_per_trial"
    )


def execute(study: Study) -> bool:
    """Run all that is left of a study; Ray must be connected.

    Args:
        study: see search.study.

    Returns:
        True when the study is done, False when it was interrupted by a signal.

    Raises:
        ExecutionError: Ray's experiment died more than RESTARTS times.
    """
    for _ in range(RESTARTS + 1):
        searcher = JobSearcher(study, _slots(study))
        try:
            with _stop_on_signals(searcher):
                _tuner(study, searcher).fit()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            study.note({"event": "ray died", "error": text[-ERROR_LENGTH:]})
            _settle(study, searcher)
            continue
        if searcher.stopping or study.done:
            return study.done
        _settle(study, searcher)
        study.note({"event": "ray died", "error": "its experiment ended early"})
    raise ExecutionError(
        f"Ray's experiment died {RESTARTS + 1} times; the reasons are in "
        f"{study.folder / 'decisions.jsonl'}. Nothing finished is lost: `resnet-search resume "
        f"{study.folder}` goes on"
    )


def _settle(study: Study, searcher: JobSearcher) -> None:
    """Tell what had ended when Ray died, put back the rest."""
    for trial in searcher.jobs.values():
        if trial in searcher.ended:
            study.tell(trial, searcher.ended[trial])
        else:
            study.put_back(trial)


def _tuner(study: Study, searcher: JobSearcher) -> Tuner:
    folder = study.folder / "ray"
    shutil.rmtree(folder, ignore_errors=True)  # nothing in it is ever read
    trainable = tune.with_resources(run_job, _resources)
    return Tuner(
        trainable,
        tune_config=TuneConfig(
            search_alg=searcher, num_samples=-1, reuse_actors=True, scheduler=_ray_asha(study)
        ),
        run_config=RunConfig(
            name="jobs",
            storage_path=str(folder),
            callbacks=[Listener(study, searcher)],
            verbose=0,
        ),
    )


def _ray_asha(study: Study) -> ASHAScheduler | None:
    """Ray's own rule over whole trainings where the study asks for it; else Ray runs in order."""
    if study.spec.scheduler != "ray-asha":
        return None
    budget = study.spec.budget
    return ASHAScheduler(
        time_attr="epoch",
        metric="value",
        mode=study.mode,
        max_t=budget.max_epochs,
        grace_period=budget.grace_epochs,
        reduction_factor=budget.reduction_factor,
        # else a trial that Ray did not see at a rung enters it later with a later value
        stop_last_trials=False,
    )


def _resources(config: dict[str, Any]) -> Any:
    held = Assignment(**json.loads(config["assignment"]))
    return {"CPU": held.cpus, "GPU": held.gpus} if held.gpus else {"CPU": held.cpus}


def _slots(study: Study) -> Callable[[], int]:
    """Jobs that fit the cluster at once: exact for jobs of one shape, the most for several."""
    at, count = -math.inf, 1

    def slots() -> int:
        nonlocal at, count
        if time.monotonic() - at > 5:  # nodes come and go
            at = time.monotonic()
            held = ray.cluster_resources()
            count = max(1, *(_fit(held, *shape) for shape in study.shapes()))
        return count

    return slots


def _fit(held: dict[str, float], cpus: float, gpus: float) -> int:
    by_cpu = held.get("CPU", 0) // cpus
    return int(min(by_cpu, held.get("GPU", 0) // gpus) if gpus else by_cpu)


@contextmanager
def _stop_on_signals(searcher: JobSearcher) -> Iterator[None]:
    """SIGINT and SIGTERM end Ray's experiment cleanly; a second one ends the program at once."""

    def stop(signum: int, frame: Any) -> None:
        if searcher.stopping:
            raise KeyboardInterrupt
        searcher.stopping = True
        os.kill(os.getpid(), signal.SIGUSR1)  # Tune's own request to end

    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    # until Tune has set its own: it would end the program, and `stopping` is already seen
    before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda signum, frame: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def storage_ready(folder: Path) -> None:
    """Make the folders that workers write to."""
    for name in ("checkpoints", "parts", "samples"):
        (folder / name).mkdir(parents=True, exist_ok=True)
