"""A study in which trials collapse, trained for real: on record, in `status` and in tables."""

import io
import tomllib

import pandas as pd
import pytest
from rich.console import Console

from analysis.display import tables
from search import record
from search.cli.status import status_table
from search.run.study import Places
from search.spec.study_spec import parse_spec
from tests.search.conftest import Silent, begin, open_study
from tests.tiny import execute

pytestmark = pytest.mark.long

# rates that kill the outputs of a ReLU, and one that does not
TEXT = """
name = "falls"
task = "shanghaitech"
sampler = "grid"
[cells]
depth = [18]
[space]
lr = [1.0, 3.0, 1e-3]
[fixed]
edition = "synthetic"
head = "conv"
output = "relu"
crop = 64
batch_size = 4
schedule = "constant"
density_scale = 100.0
sigma = 4.0
train_images = 16
val_images = 8
test_images = 8
[budget]
trials_per_cell = 3
max_epochs = 2
grace_epochs = 1
reduction_factor = 1.5
[confirm]
seeds = [1]
"""


# the same of a classification: above a rate the units are dead, and all images get one answer
NETWORK = """
from torch import nn

def small(outputs, config):
    layers = nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, outputs)
    nn.init.constant_(layers[2].bias, -1e6 if config["lr"] > 1 else 0.0)
    return nn.Sequential(*layers)
"""
CLASSES = """
name = "falls-classes"
task = "cifar10"
sampler = "grid"
[cells]
momentum = [0.5]
[space]
lr = [2.0, 3.0, 0.3]
[fixed]
edition = "synthetic"
network = "falls_network:small"
batch_size = 16
schedule = "constant"
train_images = 320
val_images = 80
test_images = 80
[budget]
trials_per_cell = 3
max_epochs = 2
grace_epochs = 1
reduction_factor = 1.5
[confirm]
seeds = [1]
"""


def run_through(folder, text):
    """A study run from its first job to its last, without Ray."""
    spec = parse_spec(tomllib.loads(text), "falls.toml")
    data = [{"data": "synthetic", "edition": "synthetic", "synthetic": True}]
    data[0] |= {"train_images": 16, "test_images": 8}
    begin(folder / "run", spec, text, data)
    study = open_study(spec, folder / "run", Places(folder, {}, {}), Silent())
    while (job := study.ask()) is not None:
        told = execute(job, lambda row, name=job.trial: study.epoch(name, row))
        assert told["ending"] == "value", told.get("error")
        study.tell(job.trial, told)
    study.close()
    return record.load(folder / "run")


@pytest.fixture(scope="module", params=["counts", "classes"])
def held(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("falls")
    if request.param == "counts":
        yield run_through(folder, TEXT)
        return
    (folder / "falls_network.py").write_text(NETWORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield run_through(folder, CLASSES)


def test_collapsed_trials_are_on_record_and_end_at_the_rung_with_that_reason(held):
    configs = held.trials[held.trials["stage"] == "search"].set_index("lr").sort_index()
    assert configs["collapsed"].tolist() == [False, True, True]
    assert (configs["status"] == ["completed", "stopped", "stopped"]).all()
    reasons = configs["reason"].tolist()
    assert sum(why.startswith("collapsed: rank 2 of 3 at epoch 1") for why in reasons) == 1
    told = held.curves[held.curves["name"] == "val_collapsed"].merge(held.trials, on="trial")
    told = told[told["stage"] == "search"]
    assert set(told.loc[told["lr"] > 0.5, "value_x"]) == {1.0}
    assert set(told.loc[told["lr"] < 0.5, "value_x"]) == {0.0}


def test_status_and_the_tables_of_the_search_count_and_name_them(held):
    console = Console(width=200, file=io.StringIO())
    console.print(status_table(held))
    head, row = console.file.getvalue().splitlines()[1:3]
    at = head.index("collapsed")
    assert row[at : at + len("collapsed")].strip() == "2"
    assert tables.search_frame(held)["collapsed"].tolist() == [2]
    configs = tables.make(held, "configs")
    assert pd.Series(configs.display["status"]).tolist() == [
        "completed",
        "stopped, collapsed",
        "stopped, collapsed",
    ]
