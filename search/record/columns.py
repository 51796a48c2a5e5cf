"""The columns of trials.parquet and of curves.parquet; what they hold is said in `read`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

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
CURVES = ["study", "trial", "epoch", "name", "value"]  # columns of curves.parquet


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
