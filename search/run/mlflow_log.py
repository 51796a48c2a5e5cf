"""What happens in a study as MLflow shows it: a run a trial, by Ray's own MLflowLoggerCallback.

Ray's writes each number in a transaction of its own and knows no run of an earlier driver; here an
epoch is one batch, and a trial that goes on does so in the run that it has.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from search.run.copies import Given, Scalars, Stay
from search.run.stand_in import StandIn, package_fault
from search.spec.study_spec import StudySpec

FILE = "mlflow.db"
PLACE = "MLFLOW_TRACKING_URI"
LONGEST = 6000  # characters of a parameter that MLflow takes
NEEDS = ("log.to = 'mlflow'", ("mlflow", "mlflow-skinny"), (2, 10), "mlflow-skinny>=2.10")


def fault(spec: StudySpec) -> str:
    """What this machine lacks to write to MLflow; "" if nothing."""
    return package_fault(*NEEDS)


class MLflow:
    """Writes to MLflow; see Log.

    Args:
        given: of the study. Without a tracking URI in its file or in MLFLOW_TRACKING_URI that is
            the file mlflow.db of the run folder.
    """

    name = "MLflow"

    def __init__(self, given: Given) -> None:
        self._given, self._held = given, given.spec.log.mlflow
        self._callback: Any = None
        self._client: Any = None
        self._open: dict[str, StandIn] = {}

    def begin(self, stay: Stay) -> None:
        """See Log."""
        if self._callback is None:
            self._callback = self._begun()
        given, config = self._given, {"stage": stay.stage, **stay.config}
        shown = StandIn(
            f"{given.run_id}-{stay.trial}",
            f"{given.cells[stay.cell]} {stay.trial}",
            config,
            given.study,
            str(given.run),
        )
        self._open[stay.trial] = shown
        runs = self._callback._trial_runs
        if shown not in runs and (before := self._before(stay.trial)):
            runs[shown] = before
        if shown in runs:
            self._client.update_run(runs[shown], status="RUNNING")
            return
        self._callback.tags = {
            **self._own(stay.trial),
            "stage": stay.stage,
            "cell": str(stay.cell),
        }
        self._callback.log_trial_start(shown)  # its parameters come as a batch
        from mlflow.entities import Param

        params = [Param(key, str(value)[:LONGEST]) for key, value in config.items()]
        self._client.log_batch(runs[shown], params=params)

    def add(self, trial: str, epoch: int, scalars: Scalars) -> None:
        """See Log."""
        if (shown := self._open.get(trial)) is not None:
            self._put(self._callback._trial_runs[shown], epoch, scalars)

    def end(self, trial: str, epoch: int, last: int, scores: Scalars, failed: bool) -> None:
        """See Log."""
        if (shown := self._open.pop(trial, None)) is not None:
            if scores:
                self._put(self._callback._trial_runs[shown], epoch, scores)
            self._callback.log_trial_end(shown, failed=failed)

    def close(self) -> None:
        """See Log."""
        for trial in list(self._open):
            shown = self._open.pop(trial)
            self._client.set_terminated(self._callback._trial_runs[shown], "KILLED")

    def _begun(self) -> Any:
        """Ray's callback, set up.

        Raises:
            MlflowException: the server or file cannot be had.
        """
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        from search.run import cluster  # noqa: F401 - first: it sets what ray reads when imported

        from ray.air.integrations.mlflow import MLflowLoggerCallback  # isort: skip

        class Batched(MLflowLoggerCallback):  # type: ignore[misc]
            """Ray's, which does not log the parameters one by one: see `MLflow.begin`."""

            def __init__(self, **given: Any) -> None:
                super().__init__(**given, log_params_on_trial_end=True)

            def log_trial_end(self, trial: Any, failed: bool = False) -> None:
                """The run ends, or waits."""
                status = "FAILED" if failed else "FINISHED"
                self.mlflow_util.end_run(run_id=self._trial_runs[trial], status=status)

        for name in ("mlflow", "alembic"):  # their lines would break ours
            logging.getLogger(name).setLevel(logging.WARNING)
        given = self._given
        own = f"sqlite:///{given.run.resolve() / FILE}"
        callback = Batched(
            tracking_uri=self._held.tracking_uri or os.environ.get(PLACE) or own,
            experiment_name=self._held.experiment or given.study,
        )
        callback.setup()
        self._client = callback.mlflow_util._get_client()
        return callback

    def _own(self, trial: str) -> dict[str, str]:
        """Tags by which a run is known to be a trial's."""
        return {"study": self._given.study, "study_run": self._given.run_id, "trial": trial}

    def _before(self, trial: str) -> str:
        """The run that a trial has of an earlier session; "" if none."""
        asked = " and ".join(f"tags.{key} = '{value}'" for key, value in self._own(trial).items())
        experiment = self._callback.mlflow_util.experiment_id
        found = self._client.search_runs([experiment], asked, max_results=1)
        return str(found[0].info.run_id) if found else ""

    def _put(self, run: str, epoch: int, scalars: Scalars) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(
            run, metrics=[Metric(k, float(v), now, epoch) for k, v in scalars.items()]
        )
