"""Schedulers for Ray Tune's loop: ours has decided already, Ray only starts what it is given."""

from __future__ import annotations

import math
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from search.record.journal import Event
from search.run.ended_trials import forget
from search.spec.tables import Budget


class NewestFirst:
    """Gives a free worker to the trial that was added last.

    Ray's own order gives it to the oldest, which is the one whose worker is just being started:
    that start is thrown away, and the next trial's begins. With jobs shorter than a start, all of
    them run on a single worker.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._waiting: list[Trial] = []

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A trial waits."""
        super().on_trial_add(tune_controller, trial)  # type: ignore[misc]
        self._waiting.append(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The trial that a free worker is for."""
        # a list of those that wait: Ray's own goes through every trial there ever was
        self._waiting = [trial for trial in self._waiting if trial.status == Trial.PENDING]
        return self._waiting[-1] if self._waiting else None


class Forgets:
    """Drops trials that are over; see `ended_trials`.

    Ray tells a scheduler of an end before it has taken the trial off its worker, and nobody
    afterwards. So a trial is dropped at the end of the next one, and the last of them is kept.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._over: Trial | None = None

    def on_trial_complete(
        self, tune_controller: Any, trial: Trial, result: dict[str, Any]
    ) -> None:
        """A trial has ended of itself, or its rule has ended it."""
        super().on_trial_complete(tune_controller, trial, result)  # type: ignore[misc]
        self._forget_before(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A trial has failed."""
        super().on_trial_error(tune_controller, trial)  # type: ignore[misc]
        self._forget_before(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """A trial is ended that had no worker."""
        super().on_trial_remove(tune_controller, trial)  # type: ignore[misc]
        self._forget_before(tune_controller, trial)

    def _forget_before(self, tune_controller: Any, trial: Trial) -> None:
        # one that Ray starts once more is not finished, and ends another time
        if self._over is not None and self._over.is_finished():
            forget(tune_controller, self._over)
        self._over = trial


class InOrder(Forgets, NewestFirst, FIFOScheduler):  # type: ignore[misc]
    """Runs every trial to its end."""


class RayASHA(Forgets, NewestFirst, ASHAScheduler):  # type: ignore[misc]
    """Ray's own rule over whole trainings."""


def scheduler_of(rule: str, budget: Budget, mode: str) -> FIFOScheduler:
    """What Ray is to do with the jobs of a study.

    Args:
        rule: the study's `scheduler`; all but "ray-asha" decide before Ray sees a job.
        budget: rungs of Ray's rule.
        mode: "max" or "min", of the metric.
    """
    if rule != "ray-asha":
        return InOrder()
    return RayASHA(
        time_attr="epoch",
        metric="value",
        mode=mode,
        max_t=budget.max_epochs,
        grace_period=budget.grace_epochs,
        reduction_factor=budget.reduction_factor,
        # else a trial that Ray did not see at a rung enters it later with a later value
        stop_last_trials=False,
    )


def stopped_by_ray(result: dict[str, Any]) -> Event | None:
    """The tell of a job that Ray's ASHA ended at its last report; None if it did not."""
    if result.get("kind") != "epoch" or not math.isfinite(result["value"]):
        return None
    keys = ("value", "value_epoch", "epoch")
    return {"ending": "stopped", "seconds": result["time_total_s"], **{k: result[k] for k in keys}}
