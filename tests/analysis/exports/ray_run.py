"""A small real experiment of Ray Tune: `python ray_run.py FOLDER`."""

import sys

import ray
from ray import tune


def train(config):
    if config["lr"] > 0.2:
        raise RuntimeError("boom")
    for epoch in range(1, 4):
        accuracy = 0.5 + 0.1 * epoch + config["depth"] / 1000 + config["seed"] / 100
        tune.report({"val_accuracy": accuracy, "train_loss": 1 / epoch})


ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
points = [
    {"depth": 18, "lr": 0.1, "seed": 0},
    {"depth": 18, "lr": 0.1, "seed": 1},
    {"depth": 34, "lr": 0.1, "seed": 0},
    {"depth": 34, "lr": 0.3, "seed": 0},
]
tune.Tuner(
    tune.with_parameters(lambda config: train(config["point"])),
    param_space={"point": tune.grid_search(points)},
    tune_config=tune.TuneConfig(metric="val_accuracy", mode="max", reuse_actors=True),
    run_config=tune.RunConfig(name="exp", storage_path=sys.argv[1], verbose=0),
).fit()
