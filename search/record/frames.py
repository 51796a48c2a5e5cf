"""The frames of the record as functions of its two logs; for the columns see search.record."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from search.record.columns import DTYPES, setting_columns, trial_column, trial_columns
from search.record.completeness import LOST, UNSCORED
from search.record.epoch_table import EpochTable, Float, Int
from search.record.texts import categories, curve_columns
from trainables.judging import best_epoch, sound_epochs

Trials = dict[str, dict[str, Any]]  # by name, in the order in which they were asked for


def curves_frame(study: str, log: EpochTable) -> pd.DataFrame:
    """One row a trial, epoch and quantity; the texts are categories, in the order of the rows."""
    counts, codes, values = log.points()
    least = np.min_scalar_type(-len(log.trials) - 1)
    trials = np.repeat(log.trial[log.latest].astype(least), counts)
    texts = {
        "study": categories(np.zeros(len(codes), dtype="int8"), [study]),
        "trial": categories(trials, log.trials),
        "name": categories(codes, log.names),
    }
    return curve_columns(texts, np.repeat(log.epoch[log.latest], counts), values)


def trials_frame(
    study: dict[str, Any],
    events: list[dict[str, Any]],
    log: EpochTable,
    lost: dict[str, tuple[int, float]],
) -> pd.DataFrame:
    """One row for every trial ever asked for; `lost` is what `repeats` gives."""
    trials: Trials = {}
    for event in events:
        take(trials, study, event)
    for name, trial in trials.items():
        if (rows := log.rows_of(name)) is not None:
            _from_rows(trial, study, *rows, log.names)
        trial["repeated_epochs"], trial["lost_seconds"] = lost.get(name, (0, 0.0))
    return typed(study, trials, trial_columns(study))


def take(trials: Trials, study: dict[str, Any], event: dict[str, Any]) -> None:
    """What an event of the journal makes of the trials, as rows of the frame by their names."""
    if event["event"] == "ask":
        _ask(trials, study, event)
    elif event["event"] == "tell":
        _tell(trials[event["trial"]], event)
    elif event["event"] in ("put back", "again"):
        back = event["event"] == "put back"
        _stand(
            trials[event["trial"]],
            "paused" if back else "running",
            "its job was interrupted" if back else "on its way again",
        )
    elif event["event"] == "lost":
        trial = trials[event["trial"]]
        trial["losses"] += 1
        trial["node"] = event.get("node") or trial.get("node")
    elif event["event"] == "decision" and event["trial"] is not None:
        _decide(trials[event["trial"]], event)


def _ask(trials: Trials, study: dict[str, Any], event: dict[str, Any]) -> None:
    job = event["job"]
    trial = trials.setdefault(
        job["trial"],
        {
            "study": study["name"],
            "task": study["task"],
            "trial": job["trial"],
            "stage": job["stage"],
            "cell": job["cell"],
            **{
                trial_column(study, key): value
                for key, value in {**study["cells"][job["cell"]], **event["config"]}.items()
            },
            "config": json.dumps(event["settings"], sort_keys=True),
            "seed": event["seed"],
            "epochs": 0,
            "budget": study["rungs"][-1],
            "rule": study["checkpoint_rule"],
            "metric": f"{study['watched']}_{study['metric']}",
            "seconds": 0.0,
            "gpu_seconds": 0.0,
            "jobs": 0,
            "attempts": 0,
            "losses": 0,
        },
    )
    trial["jobs"] += 1
    trial["stage"] = job["stage"]
    _stand(trial, "running", f"on its way to epoch {job['to_epoch']}")


def _stand(trial: dict[str, Any], status: str, reason: str) -> None:
    """How a trial stands now; one that is complete stays so.

    Whatever a complete trial's job comes to, it was its scoring on test.
    """
    if trial.get("status") != "completed":
        trial.update(status=status, reason=reason)


def _tell(trial: dict[str, Any], event: dict[str, Any]) -> None:
    trial["seconds"] += event.get("seconds") or 0.0
    trial["gpu_seconds"] += event.get("gpu_seconds") or 0.0
    trial["peak_mb"] = max(trial.get("peak_mb") or 0.0, event.get("peak_mb") or 0.0) or None
    trial["checkpoints"] = (trial.get("checkpoints") or 0) + (event.get("checkpoints") or 0)
    for key in ("node", "device", "code", "parameters", "precision", "step", "checkpoint_mb"):
        trial[key] = event.get(key) or trial.get(key)
    if event["ending"] == "failed":
        trial["attempts"] += 1
        trial["error"] = event.get("error")
        said = (event.get("error") or "").strip().splitlines()
        what = LOST if event.get("lost") else "its job failed"
        _stand(trial, "failed", ": ".join([what, *said[-1:]]))
        return
    trial["epochs"] = event["epoch"]
    if event["ending"] == "diverged":
        _stand(trial, "diverged", f"not finite in epoch {event['epoch']}")
        return
    trial["value"], trial["value_epoch"] = event["value"], event["value_epoch"]
    _stand(trial, "paused", f"waits at epoch {event['epoch']}")
    if event["epoch"] == trial["budget"]:
        trial.update(status="completed", reason="trained to its full budget")
    if event.get("test"):
        trial.update({f"test_{name}": value for name, value in event["test"].items()})
        trial["baselines"] = json.dumps(event["baselines"])
    trial["collapsed"] = event.get("collapsed")


def _decide(trial: dict[str, Any], event: dict[str, Any]) -> None:
    verdict, place = event["verdict"], f"epoch {event['epoch']}"
    if event["rank"]:
        place = f"rank {event['rank']} of {event['n']} at {place}"
    if event.get("goes_on"):
        place += f", where {event['goes_on']} go on"
    if verdict == "stop":
        trial.update(status="stopped", reason=place)
    elif verdict == "collapsed":
        trial.update(status="stopped", reason=f"collapsed: {place}")
    elif verdict in ("promote", "replace"):
        trial.update(status="paused", reason=f"{verdict}: {place}")
    elif verdict == "promote early":  # its job has been asked for already
        trial["reason"] = f"{trial['reason']}; {verdict}: {place}"
    elif verdict == "audit":
        text = f"ended with {place}, trained on to see whether that was right"
        trial.update(stage="audit", status="paused", reason=f"audit: {text}", audit=text)
    elif verdict == "audited":
        trial["reason"] = f"audit, not selected from: {trial['audit']}"
    elif verdict == "retry":
        _stand(trial, "paused", "its job failed and is run again")
    elif verdict == "failed" and trial["status"] == "completed":
        trial["reason"] = f"{trial['reason']}; {UNSCORED}"
    elif verdict == "select":
        trial["reason"] = f"selected: {place}"
    elif verdict == "complete" and event["rank"]:
        trial["reason"] = f"trained to its full budget: {place}"


def _from_rows(
    trial: dict[str, Any], study: dict[str, Any], epochs: Int, rows: Float, names: Sequence[str]
) -> None:
    """Best, last, and all metrics of the last and of the chosen epoch."""
    place = {name: number for number, name in enumerate(names)}
    trial["epochs"] = max(int(trial["epochs"]), int(epochs[-1]))
    watched = place.get(trial["metric"])
    values = rows[:, watched].tolist() if watched is not None else [math.nan] * len(rows)
    if sound := sound_epochs(values):  # of a trial that diverged, the best before
        trial["best"] = values[best_epoch(values[:sound], study["mode"]) - 1]
        trial["last"] = values[-1] if sound == len(values) else None
    chosen = np.flatnonzero(epochs == (trial.get("value_epoch") or 0))
    for name in study["row_metrics"]:
        held = rows[:, place[name]] if name in place else None
        trial[f"last_{name}"] = trial[f"value_{name}"] = None
        if held is not None:
            trial[f"last_{name}"] = float(held[-1])
            trial[f"value_{name}"] = float(held[chosen[0]]) if len(chosen) else None


def typed(study: dict[str, Any], trials: Trials, columns: list[str]) -> pd.DataFrame:
    """Trials as a frame of these columns, each of its type."""
    keys = setting_columns(study)
    frame = pd.DataFrame(list(trials.values())).reindex(columns=columns)
    for column in columns:
        if column in keys:
            frame[column] = frame[column].convert_dtypes()
        else:
            kind: Any = DTYPES.get(column, "Float64")
            frame[column] = frame[column].map(_none_if_nan).astype(kind)
    return frame


def _none_if_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
