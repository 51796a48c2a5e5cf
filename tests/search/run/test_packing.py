"""How many trials share a GPU, from what one was measured to take."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search import record
from search.record.run_folder import RunFolder
from search.run import cluster, launch, preflight
from search.run.packing import CONTEXT_MB, HEAD_ROOM, MOST, measured, share, shares
from search.spec.study_spec import parse_spec
from tests.search.conftest import TEXT
from trainables.engine.probe import Taken, probe_each


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


def test_a_depth_is_measured_once_by_real_steps(tmp_path):
    """Here on the CPU; the GPU's name and memory are given."""
    said, asked = [], []

    def on_gpu(function, task, configs, data_dir, seed, kind):
        assert (function, kind) == (probe_each, "cuda")
        asked.extend(config["depth"] for config in configs)
        found = probe_each(task, configs, data_dir, seed, "cpu")
        for taken in found:
            assert 0 < taken.step_ms < 60_000
            assert 100 < taken.peak_mb < 20_000
        return [Taken("Some GPU", 2_000.0, 8_000.0, taken.step_ms) for taken in found]

    rows = measured(small_spec(), tmp_path, on_gpu, said.append)
    assert asked == [18, 34]
    assert [row["device"] for row in rows] == ["Some GPU"] * 2
    assert shares(rows) == {18: 0.5, 34: 0.5}
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

    def on_gpu(function, *arguments):
        if function is probe_each:
            return [Taken(here, 2_000.0, 3_000.0, 1.0)] * 2
        return here

    def packing(name):
        nonlocal here
        here = name
        monkeypatch.setattr(cluster, "gpus_in_cluster", lambda: float(name is not None))
        monkeypatch.setattr(cluster, "on_gpu", on_gpu)
        with RunFolder(study.folder) as run:
            found = launch._packing(study.spec, run, options)
            run.add_packing(found)
        return found

    here = ""
    packing.study = study
    return packing


def test_on_the_same_gpu_a_resumed_study_keeps_its_shares(resumed):
    assert resumed("First GPU") == FIRST


def test_on_another_gpu_it_is_measured_once_and_the_order_of_jobs_stays(resumed):
    found = resumed("Second GPU")
    assert shares(found) == {18: 1.0, 34: 1.0}
    assert resumed("Second GPU") == found
    assert resumed("First GPU") == FIRST
    folder = resumed.study.folder
    assert record.load_study(folder)["packing"] == FIRST + found
    assert launch._sizes(resumed.study.spec, record.load_study(folder)) == {18: 0.25, 34: 0.5}


def test_a_study_of_a_gpu_is_not_resumed_without_one(resumed):
    with pytest.raises(launch.PreflightError, match="has run on First GPU, and here is no GPU"):
        resumed(None)


def test_a_number_in_the_file_is_taken_as_it_is():
    assert preflight.gpus_by_depth(small_spec(gpus_per_trial=0.2), 8) == {18: 0.2, 34: 0.2}
    assert preflight.gpus_by_depth(small_spec(), 0) == {18: 0.0, 34: 0.0}
    assert preflight.gpus_by_depth(small_spec(), 2) == {18: 1.0, 34: 1.0}
