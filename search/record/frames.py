"""The frames of the record as functions of its two logs; for the columns see search.record."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from search.record.completeness import LOST, UNSCORED
from trainables.judging import judged_epochs

# space and cell parameters come between; everything else has its dtype here
DTYPES = {
    "study": "string",
    "task": "string",
    "trial": "string",
    "stage": "string",
    "cell": "Int64",
    "config": "string",
    "seed": "Int64",
    "status": "string",
    "reason": "string",
    "epochs": "Int64",
    "budget": "Int64",
    "rule": "string",
    "metric": "string",
    "value": "Float64",
    "value_epoch": "Int64",
    "best": "Float64",
    "last": "Float64",
    "collapsed": "boolean",
    "baselines": "string",
    "parameters": "Int64",
    "seconds": "Float64",
    "gpu_seconds": "Float64",
    "lost_seconds": "Float64",
    "repeated_epochs": "Int64",
    "peak_mb": "Float64",
    "precision": "string",
    "step": "string",
    "checkpoints": "Int64",
    "checkpoint_mb": "Float64",
    "jobs": "Int64",
    "attempts": "Int64",
    "losses": "Int64",
    "node": "string",
    "device": "string",
    "code": "string",
    "error": "string",
}
Codes = np.ndarray[Any, np.dtype[np.int32]]
Rows = dict[str, dict[int, dict[str, Any]]]  # trial -> epoch -> quantity -> value


def setting_column(name: str, taken: Collection[str]) -> str:
    """The column of a setting in a frame that has columns of its own.

    Args:
        name: of a cell parameter or searched one.
        taken: the frame's own columns.

    Returns:
        The name itself, or `setting_<name>` where it is taken.
    """
    return f"setting_{name}" if name in taken else name


def trial_column(study: Mapping[str, Any], name: str) -> str:
    """The column of trials.parquet that holds a cell parameter or searched one."""
    return setting_column(name, [*DTYPES, *_measured(study)])


def _measured(study: Mapping[str, Any]) -> list[str]:
    """Columns of trials.parquet that a study's metrics make."""
    columns = [f"{at}_{name}" for at in ("last", "value") for name in study["row_metrics"]]
    # records from before there were such have none
    return [*columns, *(f"test_{name}" for name in (*study["metrics"], *study.get("also", ())))]


def latest_rows(epochs: list[dict[str, Any]]) -> Rows:
    """The row of every trial and epoch; of a repeated epoch the later report counts."""
    latest: Rows = {}
    for line in epochs:
        latest.setdefault(line["trial"], {})[line["row"]["epoch"]] = line["row"]
    return latest


def curves_frame(study: str, latest: Rows) -> pd.DataFrame:
    """One row a trial, epoch and quantity."""
    values, of_rows, epochs, counts = array("d"), list[Any](), array("q"), array("q")
    layouts: dict[tuple[str, ...], Any] = {}  # quantities of a row -> their numbers
    names: dict[str, int] = {}
    lengths = array("q")  # of each trial, in rows of the frame
    for by_epoch in latest.values():
        before = len(values)
        for epoch, row in by_epoch.items():
            keys = tuple(row)
            if keys not in layouts:
                held = [names.setdefault(name, len(names)) for name in keys if name != "epoch"]
                layouts[keys] = np.array(held, dtype="int32")
            of_rows.append(layouts[keys])
            values.extend([math.nan if row[n] is None else row[n] for n in keys if n != "epoch"])
            epochs.append(epoch)
            counts.append(len(layouts[keys]))
        lengths.append(len(values) - before)
    codes = np.concatenate(of_rows) if of_rows else np.empty(0, dtype="int32")
    trials = np.repeat(np.arange(len(latest), dtype="int32"), np.asarray(lengths, dtype="int64"))
    times = np.repeat(np.asarray(epochs, dtype="int64"), np.asarray(counts, dtype="int64"))
    return pd.DataFrame(
        {
            "study": _texts(np.zeros(len(codes), dtype="int32"), [study]),
            "trial": _texts(trials, list(latest)),
            "epoch": pd.array(times, dtype="Int64"),
            "name": _texts(codes, list(names)),
            "value": np.asarray(values, dtype="float64"),
        }
    )


def _texts(codes: Codes, texts: list[str]) -> Any:
    """A column of texts by their numbers, without an object for every row."""
    return pd.array(texts, dtype="string").take(codes)


def repeats(epochs: list[dict[str, Any]]) -> dict[str, tuple[int, float]]:
    """Trial -> epochs that were trained again after an interruption, and the seconds so lost.

    A row that is only reported again is the same to the last digit of its time.
    """
    held: dict[tuple[str, int], list[float]] = {}
    for line in epochs:
        times = held.setdefault((line["trial"], line["row"]["epoch"]), [])
        if line["row"].get("seconds") not in times:
            times.append(line["row"].get("seconds"))
    lost: dict[str, tuple[int, float]] = {}
    for (trial, _), times in held.items():
        count, seconds = lost.get(trial, (0, 0.0))
        lost[trial] = (count + len(times) - 1, seconds + sum(t or 0.0 for t in times[:-1]))
    return lost


def trials_frame(
    study: dict[str, Any],
    events: list[dict[str, Any]],
    latest: Rows,
    lost: dict[str, tuple[int, float]],
) -> pd.DataFrame:
    """One row for every trial ever asked for; `lost` is what `repeats` gives."""
    trials: dict[str, dict[str, Any]] = {}
    for event in events:
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
            trials[event["trial"]]["losses"] += 1
            trials[event["trial"]]["node"] = event.get("node") or trials[event["trial"]].get(
                "node"
            )
        elif event["event"] == "decision" and event["trial"] is not None:
            _decide(trials[event["trial"]], event)
    for name, trial in trials.items():
        if name in latest:
            _from_rows(trial, study, latest[name])
        trial["repeated_epochs"], trial["lost_seconds"] = lost.get(name, (0, 0.0))
    return _typed(study, trials)


def _ask(trials: dict[str, dict[str, Any]], study: dict[str, Any], event: dict[str, Any]) -> None:
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
    trial: dict[str, Any], study: dict[str, Any], rows: dict[int, dict[str, Any]]
) -> None:
    """Best, last, and all metrics of the last and of the chosen epoch."""
    newest = max(rows)
    trial["epochs"] = max(int(trial["epochs"]), newest)
    values = [rows[epoch].get(trial["metric"]) for epoch in sorted(rows)]
    best = [at for at in judged_epochs(values, "best", study["mode"]) if at]
    if best:  # of a trial that diverged, the best before
        trial["best"] = values[best[-1] - 1]
        at = judged_epochs(values, "last", study["mode"])[-1]
        trial["last"] = values[at - 1] if at else None
    chosen = rows.get(trial.get("value_epoch") or 0, {})
    for name in study["row_metrics"]:
        trial[f"last_{name}"] = rows[newest].get(name)
        trial[f"value_{name}"] = chosen.get(name)


def row_columns(study: Mapping[str, Any]) -> list[str]:
    """The columns of trials.parquet that come of the log of epochs, but for what was repeated."""
    measured = [f"{at}_{name}" for name in study["row_metrics"] for at in ("last", "value")]
    return ["epochs", "best", "last", *measured]


def setting_columns(study: Mapping[str, Any]) -> list[str]:
    """The columns of trials.parquet that hold cell parameters and searched ones."""
    keys = [*study["cells"][0]] if study["cells"] else []
    keys += [key for key in study["space_keys"] if key not in keys]
    return [trial_column(study, key) for key in keys]


def trial_columns(study: Mapping[str, Any]) -> list[str]:
    """The columns of trials.parquet, in order."""
    order = list(DTYPES)
    return [
        *order[: order.index("config")],
        *setting_columns(study),
        *order[order.index("config") : order.index("collapsed")],
        *_measured(study),
        *order[order.index("collapsed") :],
    ]


def _typed(study: dict[str, Any], trials: dict[str, dict[str, Any]]) -> pd.DataFrame:
    keys, columns = setting_columns(study), trial_columns(study)
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
