"""Trials that are over, dropped from Ray Tune: one driver runs jobs by the ten thousand.

Ray keeps every trial that an experiment ever had, for tables while it runs and a result grid at
its end; here nobody asks for either, and each is 10 to 30 kB. No public interface of Ray lets go
of one, so these names are its own; where a later Ray has others, it keeps trials again, and the
tests of this module fail.
"""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback

SETS = ("_live_trials", "_stopped_trials", "_failed_trials", "_trials_to_cache")


def forget(controller: Any, trial: Trial) -> None:
    """Drop a trial that has ended, from all that keeps it longer.

    Args:
        controller: Ray's `TuneController`, as a scheduler's hooks are given it.
        trial: is off its worker, and whoever is told of its end has been.
    """
    trials = controller.get_trials()  # the list itself
    if trial in trials:
        trials.remove(trial)
    for name in SETS:
        getattr(controller, name, set()).discard(trial)
    # as they were when Ray last wrote its snapshot, which nobody reads
    getattr(controller, "_trial_metadata", {}).pop(trial.trial_id, None)


class Unprinted(TrialProgressCallback):  # type: ignore[misc]
    """Stands in the place of Ray's own printer of results.

    Ray adds that one where it is given none, also where nothing is to be printed, and it holds
    every trial that it was told of.
    """

    def log_result(self, trial: Trial, result: dict[str, Any], error: bool = False) -> None:
        """Print nothing, hold nothing."""

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Print nothing, hold nothing."""
