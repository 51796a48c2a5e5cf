"""A job in this process: what it tells, also when it goes wrong."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from search.run.worker import JobFailed, WorkerJob, execute, mps_active, run_job
from tests.conftest import generated_tasks
from trainables import find_task
from trainables.task import DataError

pytestmark = pytest.mark.long


def worker_job(tmp_path, task="cifar10", score_test=True, **settings):
    config = {key: setting.default for key, setting in find_task(task).settings.items()}
    small = {"edition": "synthetic", "train_images": 8, "val_images": 4, "test_images": 6}
    small |= {"batch_size": 4, "crop": 64} if task == "shanghaitech" else {"batch_size": 4}
    train = {
        "config": {**config, **small, **settings},
        "seed": 1,
        "split_seed": 0,
        "to_epoch": 1,
        "max_epochs": 1,
        "score_test": score_test,
        "data_dir": str(tmp_path),
        "weights": None,
        "device": "cpu",
        "checkpoint": str(tmp_path / "checkpoints" / "t.pt"),
    }
    return WorkerJob(task, "t", str(tmp_path), train, 1.0, 0.0)


@pytest.mark.parametrize("task", generated_tasks())
def test_a_tell_is_json_with_value_test_scores_and_costs(tmp_path, task):
    rows = []
    told = json.loads(json.dumps(execute(worker_job(tmp_path, task), rows.append)))
    assert told["ending"] == "value"
    assert told["epoch"] == told["value_epoch"] == 1
    assert told["value"] == rows[0][f"val_{find_task(task).metric}"]
    assert set(told["test"]) == set(find_task(task).metrics)
    assert told["seconds"] > 0
    assert told["gpu_seconds"] == 0
    part = pd.read_parquet(tmp_path / "parts" / "t.parquet")
    assert list(part.columns) == ["image", "truth", "prediction", "trial"]
    assert len(part) == 6
    assert (tmp_path / "samples" / "t.npz").exists() is (task == "shanghaitech")


def test_samples_hold_image_and_both_maps(tmp_path):
    execute(worker_job(tmp_path, "shanghaitech"), lambda row: None)
    with np.load(tmp_path / "samples" / "t.npz") as held:
        assert held["image"].shape == (3, 3, 64, 64)
        assert held["truth_map"].shape == held["predicted_map"].shape == (3, 64, 64)
        assert held["truth_map"].sum((1, 2)) == pytest.approx(held["truth"], rel=1e-4)


def test_a_search_job_knows_nothing_of_test(tmp_path):
    told = execute(worker_job(tmp_path, score_test=False), lambda row: None)
    assert "test" not in told
    assert not (tmp_path / "parts").exists()


def test_an_exception_is_told_with_its_traceback(tmp_path):
    told = execute(worker_job(tmp_path, edition="parquet"), lambda row: None)
    assert told["ending"] == "failed"
    assert "DataError" in told["error"]
    assert "--data-dir" in told["error"]


def test_only_what_would_fail_again_is_told_as_such(tmp_path, monkeypatch):
    job = worker_job(tmp_path, edition="parquet")
    missing = execute(job, lambda row: None)
    assert "for_good" not in missing  # another node may have it
    Path(job.train["data_dir"]).mkdir(exist_ok=True)
    for part in ("train", "test"):
        (Path(job.train["data_dir"]) / f"{part}-0.parquet").write_bytes(b"PAR1 cut off")
    assert execute(job, lambda row: None)["for_good"]
    crowd = execute(worker_job(tmp_path, "shanghaitech", edition="files"), lambda row: None)
    assert "no part_" in crowd["error"]
    assert "for_good" not in crowd

    def broken(*args, **more):
        raise DataError("cannot be read") from OSError(5, "Input/output error")

    monkeypatch.setattr("trainables.engine.train.train", broken)
    assert "for_good" not in execute(worker_job(tmp_path), lambda row: None)


def test_a_failed_job_is_reported_and_then_ends_its_worker(tmp_path, monkeypatch):
    reports = []
    monkeypatch.setattr("ray.tune.report", reports.append)
    run_job({"job": json.dumps(vars(worker_job(tmp_path)))})
    assert [r["kind"] for r in reports] == ["epoch", "end"]
    reports.clear()
    with pytest.raises(JobFailed):
        run_job({"job": json.dumps(vars(worker_job(tmp_path, edition="parquet")))})
    assert [r["kind"] for r in reports] == ["end"]
    assert reports[0]["payload"]["ending"] == "failed"


def test_divergence_is_told_without_numbers_that_are_none(tmp_path):
    rows = []
    told = execute(worker_job(tmp_path, lr=1e30), rows.append)
    assert told["ending"] == "diverged"
    assert told["value"] is None
    json.dumps([told, rows], allow_nan=False)


def test_out_of_gpu_memory_is_told_as_such(tmp_path, monkeypatch):
    import torch

    def full(*args, **more):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("trainables.engine.train.train", full)
    told = execute(worker_job(tmp_path), lambda row: None)
    assert (told["ending"], told["out_of_memory"]) == ("failed", True)
    assert "2.00 GiB" in told["error"]
    monkeypatch.undo()
    other = execute(worker_job(tmp_path, edition="parquet"), lambda row: None)
    assert "out_of_memory" not in other


def test_mps_is_active_where_its_daemon_has_its_pipes(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert not mps_active()
    (tmp_path / "control").touch()
    assert mps_active()


def test_a_tell_says_how_the_job_ran(tmp_path):
    told = execute(worker_job(tmp_path), lambda row: None)
    assert (told["precision"], told["step"], told["checkpoints"]) == ("fp32", "eager", 1)
    assert told["checkpoint_mb"] > 1


def test_ray_is_to_judge_every_epoch_but_the_last(tmp_path, monkeypatch):
    """Its last rung may lie there, and would end a training that is complete."""
    reports = []
    monkeypatch.setattr("ray.tune.report", reports.append)
    told = vars(worker_job(tmp_path, score_test=False))
    told |= {"judged": True, "train": told["train"] | {"to_epoch": 3, "max_epochs": 3}}
    run_job({"job": json.dumps(told)})
    assert [r.get("epoch") for r in reports] == [1, 2, None, None]
    assert [r["kind"] for r in reports] == ["epoch", "epoch", "epoch", "end"]
