"""What a worker of `scale` runs: it waits until all are there, then only reports.

A module of its own, as workers import it: what else `scale` needs is 360 MB a worker.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROW = {"lr": 0.1, "train_loss": 1.0123456789012345, "train_accuracy": 0.5123456789012345}
ROW |= {"val_loss": 1.0123456789012345, "val_accuracy": 0.5123456789, "seconds": 1.8396320720}
TOLD = {"seconds": 0.0, "node": "node", "device": "CPU", "code": "c"}


def trainable(workers: int, folder: Path, pause: float) -> Callable[[dict[str, Any]], None]:
    """The trainable of so many workers.

    Args:
        workers: that it waits for.
        folder: empty, which all of them see.
        pause: seconds before each report of an epoch.
    """

    def trivial(config: dict[str, Any]) -> None:
        from ray import tune

        here = folder / str(os.getpid())
        if not here.exists():
            here.touch()
            while sum(1 for _ in folder.iterdir()) < workers:
                time.sleep(0.5)
            time.sleep(pause * (hash(here) % 97) / 97)  # else all of them report at once
        held = json.loads(config["job"])
        trial, train = held["trial"], held["train"]
        where = {"node_id": "a" * 56, "node": "node", "pid": os.getpid()}
        tune.report({"kind": "begin", "trial": trial, "payload": json.dumps(where), "value": 0.5})
        value = hash(trial) % 1000 / 1000
        for epoch in range(train["from_epoch"] + 1, train["to_epoch"] + 1):
            time.sleep(pause)
            held = {"kind": "epoch", "trial": trial, "payload": json.dumps(ROW | {"epoch": epoch})}
            tune.report({**held, "value": value})
        told = {"ending": "value", "value": value, "epoch": train["to_epoch"], **TOLD}
        told |= {"value_epoch": train["to_epoch"]}
        tune.report({"kind": "end", "trial": trial, "payload": json.dumps(told), "value": value})

    return trivial
