"""Syne Tune's promotion ASHA on given curves, in virtual time; run by a Python that has it.

    python syne_tune_oracle.py values.npy WORKERS GRACE ETA

Needs a version with the promotion type (0.14; gone from 0.15 on). Prints one line of JSON.
"""

import heapq
import json
import logging
import sys
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np  # noqa: E402  after the filters: its import of Syne Tune warns
from syne_tune.backend.trial_status import Trial  # noqa: E402
from syne_tune.config_space import uniform  # noqa: E402
from syne_tune.optimizer.legacy_baselines import ASHA  # noqa: E402


def main() -> None:
    """Trials in the order of their numbers; a new one only while fewer than all have started."""
    values = np.load(sys.argv[1])
    workers, grace, eta = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    cells, configs, epochs = values.shape
    scheduler = ASHA(
        {"x": uniform(0, 1), "epochs": epochs},
        metric="value",
        resource_attr="epoch",
        max_resource_attr="epochs",
        mode="max",
        type="promotion",
        grace_period=grace,
        reduction_factor=eta,
        search_options={"debug_log": False},
        random_seed=0,
    )
    trials, at, running, full = {}, {}, [], []
    now = busy = refused = 0
    while True:
        while len(running) < workers:
            # it counts a refused suggestion as a trial of that number
            suggestion = scheduler.suggest(len(trials) + refused)
            if suggestion is None:
                break
            if suggestion.spawn_new_trial_id:
                if len(trials) == cells * configs:
                    refused += 1  # nothing to promote, and no config is left
                    break
                number = len(trials)
                trials[number] = Trial(number, suggestion.config, creation_time=None)
                at[number] = 0
                scheduler.on_trial_add(trials[number])
            else:
                number = suggestion.checkpoint_trial_id
            heapq.heappush(running, (now + 1, number))
        if not running:
            break
        now, number = heapq.heappop(running)
        busy += 1
        at[number] += 1
        result = {
            "epoch": at[number],
            "value": float(values[number % cells, number // cells, at[number] - 1]),
        }
        if at[number] == epochs:
            scheduler.on_trial_complete(trials[number], result)
            full.append(number)
        elif scheduler.on_trial_result(trials[number], result) == "CONTINUE":
            heapq.heappush(running, (now + 1, number))
    print(
        json.dumps({"wall": now, "spent": busy, "idle": 1 - busy / (workers * now), "full": full})
    )


if __name__ == "__main__":
    main()
