"""What a worker does before it imports anything of this package: it says where it is.

An import can hang, where the package lies on a network's file system that is dead, and can fail,
where it is gone: the driver must know that process by then. So Ray takes these functions to a
worker as they are here, by value, with those of `BY_VALUE` that they call; they need Ray alone.
"""

from __future__ import annotations

import json
import os
import platform
import traceback
from typing import Any

from search.run import cluster  # noqa: F401 - first: it sets what ray reads when imported

import ray  # isort: skip
from ray import cloudpickle

from search.run import deadline, failures, watch
from search.run.failures import killed_for_memory
from trainables import places

ID_LENGTH = 16  # characters of a node's id that tell it from any other
ERROR_LINES = 12  # of a traceback, kept on record
BY_VALUE = (deadline, failures, places, watch)


def run_job(config: dict[str, Any]) -> None:
    """The trainable: `config["job"]` holds the fields of a WorkerJob as JSON.

    On a cluster `config["nodes"]` names the nodes that were asked what they have: the first
    ID_LENGTH characters of their ids, as JSON.

    Raises:
        JobFailed: the job failed, and that has been reported; the next one gets a new process.
        Exception: the package cannot be imported here, which has been reported too.
    """
    from ray import tune

    trial = json.loads(config["job"])["trial"]

    def report(kind: str, payload: dict[str, Any]) -> None:
        held = {"kind": kind, "trial": trial, "payload": json.dumps(payload)}
        tune.report({**held, "value": float("nan")})

    # asked where Ray is not there, it would start or join one
    node_id = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
    here = {"node_id": node_id, "node": platform.node(), "pid": os.getpid()}
    report("begin", {**here, "killed": killed_for_memory()})
    if "nodes" in config and node_id[:ID_LENGTH] not in json.loads(config["nodes"]):
        # it joined after the job was given out, and nobody knows yet what it has
        report("end", {"ending": "failed", "error": "", "unasked": True})
        return
    try:
        from search.run.ray_worker import run_begun
    except Exception:
        lines = traceback.format_exc().strip().splitlines()
        error = "\n".join(lines[-ERROR_LINES:])
        report("end", {"ending": "failed", "error": error, "infrastructure": "import"})
        raise
    run_begun(config)


def resources(config: dict[str, Any]) -> Any:
    """What a job asks of a node, as Ray Tune takes it; see `run_job`."""
    from ray.tune import PlacementGroupFactory

    job = json.loads(config["job"])
    bundle = {"CPU": job["cpus"], "GPU": job["gpus"]} if job["gpus"] else {"CPU": job["cpus"]}
    if not config.get("labels"):
        return bundle
    labels = json.loads(config["labels"])
    return PlacementGroupFactory([bundle], bundle_label_selector=[labels])


def take_by_value() -> None:
    """Have Ray take what is run on a node before an import there by value, from here on."""
    import search.run.bootstrap as own

    for module in (*BY_VALUE, own):
        cloudpickle.register_pickle_by_value(module)


take_by_value()
