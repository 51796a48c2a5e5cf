"""What jobs and decisions are on record, and what a worker is given of a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from search.record.journal import Event
from search.run.digest import code_digest
from search.run.worker import WorkerJob
from search.schedule.cell_state import Decision
from search.spec.cells import changed_settings, seed_of
from search.spec.plan import Job
from search.spec.study_spec import StudySpec


@dataclass(frozen=True)
class Places:
    """Where a study finds its data and weights.

    Attributes:
        data_dir: the data directory.
        weights: number of a cell -> file of the pretrained weights that it starts from.
        gpus: number of a cell -> GPUs that a trial of it takes here; none where it has no entry.
        sizes: those it took where the study began; by them its jobs are in order. Default: `gpus`.
        task_dir: folder that a task of the user's own is imported from.
        task_code: of that task, as this session began; see `trainables.own_code.code_of`.
        arrays: number of a cell -> trials of it that are trained as one, at most; one where it has
            no entry.
        store: URI that workers hand in to; "" for the run folder itself, which all nodes see.
    """

    data_dir: Path
    weights: Mapping[int, Path]
    gpus: Mapping[int, float]
    sizes: Mapping[int, float] = field(default_factory=dict)
    task_dir: str = ""
    task_code: Sequence[Mapping[str, str]] = ()
    arrays: Mapping[int, int] = field(default_factory=dict)
    store: str = ""


def ask_event(
    spec: StudySpec,
    cell: Mapping[str, Any],
    job: Job,
    drawn: Mapping[str, Any],
    again: bool,
    beside: str | None = None,
) -> Event:
    """A job as the journal has it.

    Args:
        spec: the study.
        cell: settings of the job's cell.
        job: what is asked for.
        drawn: its config.
        again: whether it was asked for before, and not told.
        beside: trial whose job it is trained with as an array.
    """
    # what was accepted since a job was asked for holds when it is handed out again
    now = {
        "settings": changed_settings(spec.task, spec.config(cell, drawn)),
        "seed": seed_of(spec, job),
    }
    with_ = {} if beside is None else {"beside": beside}
    if again:
        at = {"trial": job.trial, "from_epoch": job.from_epoch}
        return {"event": "again", **at, **with_, **now}
    return {"event": "ask", "job": job._asdict(), "config": dict(drawn), **with_, **now}


def decision_events(decisions: Sequence[Decision]) -> list[Event]:
    """Decisions as those who watch are told of them; see `plain`."""
    return [{"event": "decision", **decision._asdict()} for decision in decisions]


def plain(decision: Event) -> Event:
    """A decision as the journal has it: JSON has no NaN."""
    value = decision["value"]
    return {**decision, "value": value if value == value else None}


def shape_of(spec: StudySpec, places: Places, cell: int, members: int = 1) -> tuple[float, float]:
    """CPUs and GPUs of a job of a cell, by its number; of an array of so many."""
    one = places.gpus.get(cell, 0.0)
    return spec.resources.cpus_per_trial, max(one, min(1.0, one * members))


def as_array(spec: StudySpec, places: Places, cell: int, jobs: Sequence[WorkerJob]) -> WorkerJob:
    """Jobs of a cell as one that trains them all together."""
    first, *rest = jobs
    if not rest:
        return first
    others = [{"trial": job.trial, "train": job.train} for job in rest]
    _, gpus = shape_of(spec, places, cell, len(jobs))
    return replace(first, gpus=gpus, others=others)


def worker_job(
    spec: StudySpec,
    places: Places,
    cell: Mapping[str, Any],
    job: Job,
    drawn: Mapping[str, Any],
    alone: bool,
    run: str,
    run_id: str,
) -> WorkerJob:
    """A job with all that a worker needs for it.

    Args:
        spec: the study.
        places: where it finds its data and weights.
        cell: settings of the job's cell.
        job: what is asked for.
        drawn: its config.
        alone: whether it is to have a GPU for itself.
        run: the run folder, or the URI of a store.
        run_id: of the study.
    """
    cpus, gpus = shape_of(spec, places, job.cell)
    if alone:
        gpus = max(1.0, gpus)
    weights = places.weights.get(job.cell)
    train = {
        "config": spec.config(cell, drawn),
        "seed": seed_of(spec, job),
        "split_seed": spec.seed,
        "from_epoch": job.from_epoch,
        "to_epoch": job.to_epoch,
        "max_epochs": spec.budget.max_epochs,
        "score_test": job.score_test,
        "data_dir": str(places.data_dir),
        "weights": None if weights is None else str(weights),
        "device": "cuda" if gpus else "cpu",
        "checkpoint_seconds": spec.checkpoint_seconds,
    }
    return WorkerJob(
        task=spec.task,
        trial=job.trial,
        run=run,
        run_id=run_id,
        train=train,
        cpus=cpus,
        gpus=gpus,
        judged=spec.scheduler == "ray-asha" and job.stage == "search",
        stalled_seconds=spec.stalled_seconds,
        task_dir=places.task_dir,
        task_code=places.task_code,
        code=code_digest(),
    )
