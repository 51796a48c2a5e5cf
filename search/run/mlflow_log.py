"""What happens in a study as MLflow shows it: a run a trial, by Ray's own MLflowLoggerCallback.

Ray's writes each number in a transaction of its own and knows no run of an earlier driver; here an
epoch is one batch, a trial that goes on does so in the run that it has, an epoch that is trained
again is no second point where it came out the same, and a resume sends what MLflow lacks.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from search.record import Record
from search.run.copies import Given, Scalars, Stay
from search.run.stand_in import StandIn, package_fault
from search.spec.study_spec import StudySpec

FILE = "mlflow.db"
PLACE = "MLFLOW_TRACKING_URI"
FAILED = ("failed", "diverged")  # trials whose runs have failed
ALWAYS = "seconds"  # a quantity of every row
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

    name, later = "MLflow", "`resume` sends it what it lacks, also once the study is done"

    def __init__(self, given: Given) -> None:
        self._given, self._held = given, given.spec.log.mlflow
        self._callback: Any = None
        self._client: Any = None
        self._open: dict[str, StandIn] = {}
        self._sent: dict[str, dict[int, float | None]] = {}  # trial -> epoch -> watched metric

    def catch_up(self, held: Record) -> None:
        """See Log: what a kill, or a server that was away, has left out is sent now."""
        self._set_up()
        runs = {str(run.data.tags["trial"]): run for run in self._listed()}
        metric = self._given.metric
        # what is not finite is sent by nobody, and of a last value that is not none is due
        values = held.curves[held.curves["name"] == metric].sort_values("epoch")
        lasts = values.drop_duplicates("trial", keep="last").set_index("trial")["value"]
        lasts = lasts[np.isfinite(lasts)]
        by_trial: dict[str, pd.DataFrame] | None = None
        for row in held.trials.to_dict("records"):
            run, scores = runs.get(str(row["trial"])), _scores_in(row)
            chosen = json.loads(row["config"])
            tuned = {key: chosen[key] for key in held.study["space_keys"] if key in chosen}
            config = {**held.study["cells"][row["cell"]], **tuned}
            due = {**scores, metric: lasts.get(row["trial"])}
            if run is None or not _has_all(run, row, config, due):
                if by_trial is None:  # mostly nothing lacks, and curves are long
                    finite = held.curves[np.isfinite(held.curves["value"])]
                    groups = finite.groupby("trial", observed=True)
                    by_trial = {str(trial): rows for trial, rows in groups}
                curves = by_trial.get(str(row["trial"]), held.curves[:0])
                self._fill(row, curves, config, scores)

    def _fill(
        self,
        row: Mapping[Any, Any],
        curves: pd.DataFrame,
        config: Mapping[str, Any],
        scores: Scalars,
    ) -> None:
        """Send what is missing of a trial; one that a worker had goes on in this session."""
        trial = str(row["trial"])
        self.begin(Stay(trial, int(row["cell"]), str(row["stage"]), config))
        for epoch, rows in curves.groupby("epoch"):
            named = zip(rows["name"].astype(str), rows["value"].astype(float), strict=True)
            self.add(trial, int(str(epoch)), dict(named))
        if row["status"] == "running":
            return
        reached = 0 if pd.isna(row["epochs"]) else int(row["epochs"])
        at = reached if pd.isna(row["value_epoch"]) else int(row["value_epoch"])
        self.end(trial, at, reached, scores, row["status"] in FAILED)

    def begin(self, stay: Stay) -> None:
        """See Log."""
        self._set_up()
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
        if shown not in runs and (before := next(self._listed(stay.trial, 1), None)):
            runs[shown] = before.info.run_id
            self._sent[stay.trial] = self._steps(runs[shown])
            self._set(
                runs[shown], {k: v for k, v in config.items() if k not in before.data.params}
            )
        if shown in runs:
            if stay.trial not in self._sent:  # its last stay has ended
                self._sent[stay.trial] = self._steps(runs[shown])
            self._client.update_run(runs[shown], status="RUNNING")
            if stay.stage == "audit":  # what was of the search until then
                self._client.set_tag(runs[shown], "stage", stay.stage)
            return
        self._callback.tags = {
            **self._own(stay.trial),
            "stage": stay.stage,
            "cell": str(stay.cell),
        }
        self._callback.log_trial_start(shown)  # its parameters come as a batch
        self._set(runs[shown], config)

    def _set(self, run: str, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(key, str(value)[:LONGEST]) for key, value in config.items()]
        if params:
            self._client.log_batch(run, params=params)

    def add(self, trial: str, epoch: int, scalars: Scalars) -> None:
        """See Log."""
        if (shown := self._open.get(trial)) is None:
            return
        sent, value = self._sent.setdefault(trial, {}), scalars.get(self._given.metric)
        if epoch not in sent or sent[epoch] != value:
            self._put(self._callback._trial_runs[shown], epoch, scalars)
            sent[epoch] = value

    def end(self, trial: str, epoch: int, last: int, scores: Scalars, failed: bool) -> None:
        """See Log."""
        if (shown := self._open.pop(trial, None)) is not None:
            if scores:
                self._put(self._callback._trial_runs[shown], epoch, scores)
            self._callback.log_trial_end(shown, failed=failed)
            if not failed:  # or it may be trained again
                self._sent.pop(trial, None)

    def close(self) -> None:
        """See Log."""
        for trial in list(self._open):
            shown = self._open.pop(trial)
            self._client.set_terminated(self._callback._trial_runs[shown], "KILLED")

    def _set_up(self) -> None:
        if self._callback is None:
            self._callback = self._begun()

    def _begun(self) -> Any:
        """Ray's callback, set up.

        Raises:
            MlflowException: the server or file cannot be had.
        """
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
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

    def _own(self, trial: str = "") -> dict[str, str]:
        """Tags by which a run is known to be a trial's, or of this run of the study."""
        of_study = {"study": self._given.study, "study_run": self._given.run_id}
        return {**of_study, "trial": trial} if trial else of_study

    def _listed(self, trial: str = "", page: int = 1000) -> Iterator[Any]:
        """The runs of a trial, or of all of them."""
        asked = " and ".join(f"tags.{key} = '{value}'" for key, value in self._own(trial).items())
        experiment, token = self._callback.mlflow_util.experiment_id, None
        while True:
            found = self._client.search_runs(
                [experiment], asked, max_results=page, page_token=token
            )
            yield from found
            token = found.token
            if not token:
                return

    def _steps(self, run: str) -> dict[int, float | None]:
        """Epoch -> the watched metric that a run has there, the last of several; None of none."""
        # where the metric is not finite the other numbers were sent all the same
        sent = {m.step: None for m in self._client.get_metric_history(run, ALWAYS)}
        found = self._client.get_metric_history(run, self._given.metric)
        return {**sent, **{m.step: m.value for m in sorted(found, key=lambda m: m.timestamp)}}

    def _put(self, run: str, epoch: int, scalars: Scalars) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(
            run, metrics=[Metric(k, float(v), now, epoch) for k, v in scalars.items()]
        )


def _scores_in(row: Mapping[Any, Any]) -> Scalars:
    """The scores on test of a trial on record, as its job told them."""
    held = {str(k): v for k, v in row.items() if str(k).startswith("test_")}
    return {k: float(v) for k, v in held.items() if isinstance(v, int | float) and not pd.isna(v)}


def _has_all(
    run: Any,
    row: Mapping[Any, Any],
    config: Mapping[str, Any],
    values: Mapping[str, float | None],
) -> bool:
    """Whether a run has ended as a trial's row has it, with its settings and last values.

    An epoch is one batch, in order, so that whoever has the last one has those before.
    """
    known, tags = run.data.metrics, run.data.tags
    ended = "FAILED" if row["status"] in FAILED else "FINISHED"
    if run.info.status != ended or tags.get("stage") != row["stage"]:
        return False
    return {*config} <= {*run.data.params} and all(
        value is None or known.get(name) == value for name, value in values.items()
    )
