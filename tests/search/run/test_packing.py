"""How many trials share a GPU, from what one was measured to take."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search import record
from search.record.run_folder import RunFolder
from search.run import cluster, launch, preflight
from search.run.device import mps_active
from search.run.packing import lent_by, measured, of_trial, packing_here, probe_task, shares
from search.run.ways import (
    ALONE,
    CONTEXT_MB,
    HEAD_ROOM,
    MOST,
    NO_MPS,
    probe_task_arrays,
    probe_task_pack,
    share,
)
from search.spec.study_spec import parse_spec
from tests.search.conftest import TEXT
from trainables.engine.probe import Taken


@given(st.floats(1, 200_000), st.floats(1_000, 300_000))
def test_what_shares_a_gpu_fits_it(peak, total):
    part = share(Taken("gpu", peak, total, 1.0))
    trials = round(1 / part)
    assert part == 1 / trials
    assert 1 <= trials <= MOST
    if trials > 1:
        assert trials * (peak + CONTEXT_MB) <= HEAD_ROOM * total
        assert peak <= part * total  # the cap on a trial's memory is no less than it took


@pytest.mark.parametrize(
    ("peak", "trials"), [(1_000, 4), (17_400, 4), (20_000, 3), (40_000, 1), (200_000, 1)]
)
def test_trials_on_an_80_gib_gpu(peak, trials):
    assert share(Taken("gpu", peak, 81_000, 1.0)) == pytest.approx(1 / trials)


def small_spec(**resources):
    held = tomllib.loads(TEXT)
    held["fixed"] |= {"train_images": 32, "val_images": 8, "test_images": 8, "batch_size": 8}
    return parse_spec({**held, "resources": resources}, "tiny")


@pytest.mark.long
def test_a_depth_is_measured_once_by_real_steps(tmp_path):
    """Here on the CPU; the GPU's name and memory are given."""
    said, asked = [], []

    def on_gpu(function, task, configs, data_dir, seed, kind, folder):
        assert (function, kind) == (probe_task, "cuda")
        asked.extend(config["depth"] for config in configs)
        found = probe_task(task, configs, data_dir, seed, "cpu", folder)
        for taken in found:
            assert 0 < taken.step_ms < 60_000
            assert 100 < taken.peak_mb < 20_000
        return [Taken("Some GPU", 2_000.0, 8_000.0, taken.step_ms) for taken in found]

    rows = measured(small_spec(), tmp_path, on_gpu, said.append)
    assert asked == [18, 34]
    assert [row["device"] for row in rows] == ["Some GPU"] * 2
    assert shares(small_spec(), rows) == {0: 0.5, 1: 0.5}
    assert "depth 18" in said[0]
    assert "2 trials share a GPU" in said[0]


FIRST = [
    {"depth": 18, "device": "First GPU", "share": 0.25},
    {"depth": 34, "device": "First GPU", "share": 0.5},
]


@pytest.fixture
def resumed(make_study, monkeypatch, tmp_path):
    """A function (GPU's name, or None for no GPU) -> what a resumed study packs by there."""
    study = make_study()
    study.close()
    with RunFolder(study.folder) as run:
        run.add_packing(FIRST)
    options = launch.Options(tmp_path, tmp_path, tmp_path, "local", lambda _: None)

    def on_gpu(labels, function, *arguments):
        assert labels is None
        if function is probe_task:
            return [Taken(here, 2_000.0, 3_000.0, 1.0)] * 2
        return here

    def packing(name):
        nonlocal here
        here = name
        gpus = float(name is not None)
        monkeypatch.setattr(cluster, "resources", lambda: [{"CPU": 2.0, "GPU": gpus}])
        monkeypatch.setattr(cluster, "on_gpu", on_gpu)
        with RunFolder(study.folder) as run:
            found = packing_here(study.spec, run, options, None)
            run.add_packing(found)
        return found

    here = ""
    packing.study = study
    return packing


def test_on_the_same_gpu_a_resumed_study_keeps_its_shares(resumed):
    assert resumed("First GPU") == FIRST


def test_on_another_gpu_it_is_measured_once_and_the_order_of_jobs_stays(resumed):
    found = resumed("Second GPU")
    assert shares(resumed.study.spec, found) == {0: 1.0, 1: 1.0}
    assert resumed("Second GPU") == found
    assert resumed("First GPU") == FIRST
    folder = resumed.study.folder
    assert record.load_study(folder)["packing"] == FIRST + found
    assert launch._sizes(resumed.study.spec, record.load_study(folder)) == {0: 0.25, 1: 0.5}


def test_of_two_kinds_of_gpu_a_trial_takes_the_larger_share():
    second = [{**row, "device": "Second GPU", "share": row["share"] * 2} for row in FIRST]
    assert shares(small_spec(), FIRST + second) == {0: 0.5, 1: 1.0}


def test_a_study_of_a_gpu_is_not_resumed_without_one(resumed):
    with pytest.raises(launch.PreflightError, match="has run on First GPU, and here is no GPU"):
        resumed(None)


def test_a_number_in_the_file_is_taken_as_it_is():
    assert preflight.gpus_by_cell(small_spec(gpus_per_trial=0.2), 8) == {0: 0.2, 1: 0.2}
    assert preflight.gpus_by_cell(small_spec(), 0) == {0: 0.0, 1: 0.0}
    assert preflight.gpus_by_cell(small_spec(), 2) == {0: 1.0, 1: 1.0}


def measured_configs(changes, tmp_path):
    """What is measured of a study with these changes: its spec, the configs, and the rows."""
    held = tomllib.loads(TEXT)
    for table, values in changes.items():
        held[table] = {**held.get(table, {}), **values}
    spec, seen = parse_spec(held, "tiny"), []

    def on_gpu(function, task, configs, *rest):
        seen.extend(configs)
        return [Taken("GPU", 100.0 * c["batch_size"], 81_000.0, 1.0) for c in configs]

    return spec, seen, measured(spec, tmp_path, on_gpu, lambda text: None)


@pytest.mark.parametrize("listed", [[32, 256, 64], [256, 64, 32], [64, 32, 256]])
def test_the_largest_batch_is_measured_wherever_it_is_listed(listed, tmp_path):
    _, seen, _ = measured_configs({"space": {"batch_size": listed}}, tmp_path)
    assert [config["batch_size"] for config in seen] == [256, 256]


def test_the_upper_end_of_a_range_is_measured(tmp_path):
    space = {"batch_size": {"low": 16, "high": 512, "log": True}}
    _, seen, _ = measured_configs({"space": space}, tmp_path)
    assert [config["batch_size"] for config in seen] == [512, 512]
    assert all(isinstance(config["batch_size"], int) for config in seen)  # 512.0 splits no tensor


def test_cells_that_differ_in_more_than_depth_are_measured_apart(tmp_path):
    """By depth alone a cell took the share of another stem, precision or batch."""
    cells = {"depth": [18], "stem": ["imagenet", "cifar"], "precision": ["fp32", "bf16"]}
    _, seen, rows = measured_configs({"cells": cells}, tmp_path)
    assert [(c["stem"], c["precision"]) for c in seen] == [
        ("imagenet", "fp32"),
        ("imagenet", "bf16"),
        ("cifar", "fp32"),
        ("cifar", "bf16"),
    ]
    assert [row["cells"] for row in rows] == [[0], [1], [2], [3]]
    assert rows[1]["settings"] == {"stem": "imagenet", "precision": "bf16"}


def test_cells_of_one_shape_are_measured_once(tmp_path):
    """Pretrained or not, at whatever rate: it is the same step."""
    cells = {"depth": [18, 34], "pretrained": [False, True]}
    _, seen, rows = measured_configs({"cells": cells}, tmp_path)
    assert [config["depth"] for config in seen] == [18, 34]
    assert [row["cells"] for row in rows] == [[0, 1], [2, 3]]


def test_of_choices_that_are_no_numbers_each_is_measured_and_the_largest_counts(tmp_path):
    spec, seen, _ = measured_configs({"space": {"optimizer": ["adam", "sgd"]}}, tmp_path)
    assert [(c["depth"], c["optimizer"]) for c in seen] == [
        (18, "adam"),
        (18, "sgd"),
        (34, "adam"),
        (34, "sgd"),
    ]
    rows = [{"cells": [0, 1], "share": 0.5}, {"cells": [0, 1], "share": 0.25}]
    assert shares(spec, rows) == {0: 0.5, 1: 0.5}


TAKEN = Taken("Some GPU", 2_000.0, 80_000.0, 1.0)


def auto_gpu(asked, mps=True, device="Some GPU"):
    """What runs on a GPU, all of it of one kind; what was asked is noted."""

    def on_gpu(function, *told):
        asked.append(function)
        if function is mps_active:
            return mps
        if function is probe_task:
            return [TAKEN for _ in told[1]]
        if function is probe_task_pack:
            return Taken(device, 2_000.0, 80_000.0, {2: 1.1, 4: 2.5}[told[6]])
        assert function is probe_task_arrays
        return {2: Taken(device, 3_000.0, 80_000.0, 1.2)}

    return on_gpu


def test_another_study_of_such_trials_takes_what_was_measured(make_study, tmp_path):
    """Of the same code, settings and GPU, where an MPS daemon is as there."""
    spec, asked, said = small_spec(array="auto"), [], []
    rows = measured(spec, tmp_path, auto_gpu(asked), said.append)
    assert (rows[0]["share"], rows[0]["array"]) == (0.5, 1)  # two at once do more than both
    assert (rows[0]["packs"]["2"]["step_ms"], rows[0]["no_packs"]) == (1.1, "")
    study = make_study()
    study.close()
    with RunFolder(study.folder) as run:
        run.add_packing(rows)

    def again(spec, device="Some GPU", mps=True):
        asked.clear()
        lent = lent_by(study.folder.parent, lambda: device, lambda: mps)
        return measured(spec, tmp_path, auto_gpu(asked, mps, device), said.append, "", lent)

    assert again(spec) == rows
    assert asked == [] and "as tiny has measured it on Some GPU" in said[-1]
    for held in (again(spec, "Other GPU"), again(spec, mps=False), again(small_spec())):
        assert len(held) == 2 and probe_task in asked
    # of a failure that may have passed, and of trials that can be no members, none is taken
    wanted, path = rows[0]["of"], study.folder / "study.json"

    def lent(why):
        held = json.loads(path.read_text())
        for row in held["packing"]:
            row["no_packs"] = why
        path.write_text(json.dumps(held))
        return lent_by(study.folder.parent, lambda: "Some GPU", lambda: True)(wanted)

    assert lent("2: OutOfMemoryError") is None
    assert lent("")["device"] == "Some GPU"
    config = spec.config(spec.cell_values()[0], {"lr": 0.1})
    assert of_trial(spec, config, tmp_path, False) != of_trial(spec, config, tmp_path)
    assert lent_by(tmp_path / "nowhere", lambda: "Some GPU", lambda: True)(rows[0]["of"]) is None


def test_without_a_daemon_no_pack_is_measured_and_the_record_says_why(tmp_path):
    asked, said = [], []
    rows = measured(small_spec(array="auto"), tmp_path, auto_gpu(asked, mps=False), said.append)
    assert probe_task_pack not in asked
    assert rows[0]["packs"] == {} and rows[0]["no_packs"] == NO_MPS
    assert any(f"not measured ({NO_MPS})" in text for text in said)
    assert (rows[0]["share"], rows[0]["array"]) == (0.25, 2)


def test_of_trials_that_take_a_gpu_no_pack_is_measured(tmp_path):
    asked = []
    spec = small_spec(array="auto", gpus_per_trial=1.0)
    rows = measured(spec, tmp_path, auto_gpu(asked), lambda _: None)
    assert mps_active not in asked and rows[0]["no_packs"] == ALONE
