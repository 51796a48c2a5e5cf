"""A job in this process: what it tells, also when it goes wrong."""

import json
import os
import pickle
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from search.record.taken import FOLDERS
from search.run import worker
from search.run.bootstrap import run_job
from search.run.device import mps_active
from search.run.objects import Objects
from search.run.ray_worker import JobFailed
from search.run.watch import stall_file
from search.run.worker import WorkerJob
from tests.conftest import generated_tasks
from tests.tiny import execute
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
    }
    for name in FOLDERS:
        (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / "study.json").write_text('{"run_id": "r1"}')
    return WorkerJob(task, "t", str(tmp_path), train, 1.0, 0.0)


@pytest.mark.parametrize("task", generated_tasks())
def test_a_tell_is_json_with_value_test_scores_and_costs(tmp_path, task):
    rows = []
    told = json.loads(json.dumps(execute(worker_job(tmp_path, task), rows.append)))
    assert told["ending"] == "value"
    assert told["epoch"] == told["value_epoch"] == 1
    assert told["value"] == rows[0][f"val_{find_task(task).metric}"]
    assert set(told["test"]) >= set(find_task(task).metrics)
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
    assert list((tmp_path / "parts").iterdir()) == []


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
    assert [r["kind"] for r in reports] == ["begin", "epoch", "end"]
    reports.clear()
    with pytest.raises(JobFailed):
        run_job({"job": json.dumps(vars(worker_job(tmp_path, edition="parquet")))})
    assert [r["kind"] for r in reports] == ["begin", "end"]
    assert json.loads(reports[-1]["payload"])["ending"] == "failed"


def test_divergence_is_told_without_numbers_that_are_none(tmp_path):
    rows = []
    told = execute(worker_job(tmp_path, lr=1e30), rows.append)
    assert told["ending"] == "diverged"
    assert told["value"] is None
    json.dumps([told, rows], allow_nan=False)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB"),
        ("", "CUDA error: out of memory (2.00 GiB)"),
        ("", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate` (2.00 GiB)"),
    ],
)
def test_out_of_gpu_memory_is_told_as_such(tmp_path, monkeypatch, kind, text):
    import torch

    def full(*args, **more):
        raise (getattr(torch, kind) if kind else RuntimeError)(text)

    monkeypatch.setattr("trainables.engine.train.train", full)
    told = execute(worker_job(tmp_path), lambda row: None)
    assert (told["ending"], told["out_of_memory"]) == ("failed", True)
    assert "2.00 GiB" in told["error"]
    monkeypatch.undo()
    other = execute(worker_job(tmp_path, edition="parquet"), lambda row: None)
    assert "out_of_memory" not in other


def test_members_that_had_no_memory_together_say_how_many_they_were(tmp_path, monkeypatch):
    """However each has ended by itself."""
    from trainables.engine.arrays import train as loop

    def full(*args, **more):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    first = worker_job(tmp_path, score_test=False)
    own = {"trial": "u", "train": {**first.train, "seed": 2}}
    job = replace(first, others=[own])
    well = worker.execute(job, [lambda row: None] * 2)
    assert [(told["ending"], "members" in told) for told in well] == [("value", False)] * 2
    monkeypatch.setattr(loop, "_epoch", full)
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    told = worker.execute(job, [lambda row: None] * 2)
    assert [(held["ending"], held["members"]) for held in told] == [("value", 2)] * 2
    assert [held["step"] for held in told] == ["eager"] * 2
    monkeypatch.setattr("trainables.engine.train.train", full)
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    told = worker.execute(job, [lambda row: None] * 2)
    assert [(held["out_of_memory"], held["members"]) for held in told] == [(True, 2)] * 2


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
    assert [r.get("epoch") for r in reports] == [None, 1, 2, None, None]
    assert [r["kind"] for r in reports] == ["begin", "epoch", "epoch", "epoch", "end"]


def test_ray_sees_no_number_of_a_report_but_the_one_it_judges(tmp_path, monkeypatch):
    """It keeps extremes and running means of each, as long as the driver lives."""
    reports = []
    monkeypatch.setattr("ray.tune.report", reports.append)
    run_job({"job": json.dumps(vars(worker_job(tmp_path)))})
    assert len(reports) == 3
    for report in reports:
        assert {key for key, held in report.items() if not isinstance(held, str)} == {"value"}
    assert json.loads(reports[1]["payload"])["epoch"] == 1
    assert json.loads(reports[0]["payload"])["pid"] == os.getpid()


def test_a_node_that_nobody_has_asked_yet_gives_the_job_back(tmp_path, monkeypatch):
    reports = []
    monkeypatch.setattr("ray.tune.report", reports.append)
    run_job({"job": json.dumps(vars(worker_job(tmp_path))), "nodes": '["0123456789abcdef"]'})
    assert [r["kind"] for r in reports] == ["begin", "end"]
    assert json.loads(reports[-1]["payload"])["unasked"]


def at(uri, job):
    """The same job at a store, where its study is."""
    Objects(uri).make()
    Objects(uri).put("study.json", b'{"run_id": "r1"}')
    return replace(job, run=uri, run_id="r1")


def longer(job, **changed):
    return replace(job, train={**job.train, "max_epochs": 2, **changed})


def test_a_job_at_a_uri_hands_in_what_it_makes_and_goes_on_from_it(uri, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    task = "cifar10" if uri.startswith("s3") else "shanghaitech"  # has samples, and larger states
    job = longer(at(uri, worker_job(tmp_path, task)))
    rows = []
    assert execute(longer(job, score_test=False), rows.append)["began_at"] == 0
    assert Objects(uri).names("checkpoints") == ["t.pt"]
    told = execute(longer(job, to_epoch=2, from_epoch=1), rows.append)
    assert told["ending"] == "value", told
    assert told["began_at"] == 1
    assert [row["epoch"] for row in rows] == [1, 2]
    assert Objects(uri).names("parts") == ["t.parquet"]
    assert Objects(uri).names("samples") == (["t.npz"] if task == "shanghaitech" else [])
    assert list(scratch.iterdir()) == []  # what else it needs is the store's
    for name in FOLDERS:
        assert list((tmp_path / name).iterdir()) == []
    undisturbed = worker_job(tmp_path, task)
    assert execute(longer(undisturbed, to_epoch=2), rows.append)["value"] == told["value"]


class Trap:
    """What a malicious checkpoint would do."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("where", ["folder", "store"])
def test_nothing_in_a_malicious_checkpoint_is_run(tmp_path, where):
    mark, trap = tmp_path / "was-run", tmp_path / "trap.pt"
    torch.save({"epoch": 1, "net": Trap(mark)}, trap)
    torch.load(trap, weights_only=False)
    assert mark.exists()  # it would bite
    mark.unlink()
    job = worker_job(tmp_path)
    if where == "store":
        job = at(f"file://{tmp_path}/store", job)
        Objects(job.run).put("checkpoints/t.pt", trap)
    else:
        trap.rename(tmp_path / "checkpoints" / "t.pt")
    told = execute(job, lambda row: None)
    assert not mark.exists()
    assert told["ending"] == "failed"
    assert "infrastructure" not in told
    assert f"{job.run}/checkpoints/t.pt is damaged" in told["error"]
    assert "nothing in it was run" in told["error"]
    assert "remove it" in told["error"]


@pytest.mark.parametrize("body", [b"", b"PK\x03\x04 cut off", pickle.dumps({"epoch": 1})])
def test_a_damaged_checkpoint_is_told_as_such(tmp_path, body):
    job = worker_job(tmp_path)
    (tmp_path / "checkpoints" / "t.pt").write_bytes(body)
    assert f"{tmp_path}/checkpoints/t.pt is damaged" in execute(job, print)["error"]
    torch.save([1, 2], tmp_path / "checkpoints" / "t.pt")
    assert "no checkpoint of ours" in execute(job, print)["error"]


@pytest.mark.parametrize("where", ["folder", "store"])
def test_a_job_does_not_go_on_from_another_config_s_checkpoint(tmp_path, where, monkeypatch):
    """TPE draws another config for a name after a driver, and what it had told, was lost."""
    job = longer(worker_job(tmp_path, score_test=False, lr=0.1, schedule="constant"))
    job = at(f"file://{tmp_path}/store", job) if where == "store" else job
    assert execute(job, lambda row: None)["ending"] == "value"
    other = {**job.train, "config": {**job.train["config"], "lr": 0.001}, "seed": 2}
    reports = []
    monkeypatch.setattr("ray.tune.report", reports.append)
    run_job({"job": json.dumps(vars(replace(job, train={**other, "to_epoch": 2})))})
    assert [r["kind"] for r in reports] == ["begin", "other checkpoint", "epoch", "epoch", "end"]
    told = [json.loads(report["payload"]) for report in reports]
    differs = told[1]["differs"]
    assert "lr 0.1 there, 0.001 here" in differs
    assert "seed 1 there, 2 here" in differs
    assert [row["lr"] for row in told[2:4]] == [0.001, 0.001]
    assert told[-1]["began_at"] == 0


def run(job, monkeypatch):
    """The reports of a job that fails, by the function that Ray calls."""
    reports = []
    monkeypatch.setattr("ray.tune.report", reports.append)
    with pytest.raises(JobFailed):
        run_job({"job": json.dumps(vars(job))})
    assert reports[-1]["kind"] == "end"
    return json.loads(reports[-1]["payload"])


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "another study"])
def test_a_node_that_does_not_see_the_run_folder_makes_none(tmp_path, monkeypatch, there):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    job = replace(worker_job(tmp_path), run=str(tmp_path / "mine"), run_id="r1")
    if there != "nothing":
        (tmp_path / "mine").mkdir()
    if there == "another study":
        (tmp_path / "mine" / "study.json").write_text('{"run_id": "r2"}')
    before = sorted(tmp_path.rglob("mine*"))
    told = run(job, monkeypatch)
    assert told["infrastructure"] == "run folder"
    assert f"{platform.node()} does not see the run folder {job.run}" in told["error"]
    assert "--runs-dir a URI" in told["error"]
    assert "disk" not in told  # that would end the study for one node
    assert sorted(tmp_path.rglob("mine*")) == before


def test_a_node_whose_run_folder_lacks_a_folder_says_so(tmp_path, monkeypatch):
    job = worker_job(tmp_path)
    (tmp_path / "stalls").rmdir()
    (tmp_path / "parts").rmdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    told = run(job, monkeypatch)
    assert told["infrastructure"] == "run folder"
    assert f"cannot write to {tmp_path / 'parts'}" in told["error"]
    assert not (tmp_path / "stalls").exists()


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" -c "$3" "$4"
"""
ONE_JOB = """
import json, sys
from search.run import bootstrap, ray_worker
from ray import tune
tune.report = lambda told: print(json.dumps(told))
try:
    bootstrap.run_job({"job": sys.argv[1]})
except ray_worker.JobFailed:
    print("failed")
"""


def test_a_node_with_a_read_only_run_folder_tells_it(tmp_path):
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"]).returncode:
        pytest.skip("no mount namespace can be made here (unshare -m): not root")
    (tmp_path / "mine").mkdir()
    job = json.dumps(vars(worker_job(tmp_path / "mine")))
    words = ["sh", "-c", READ_ONLY, "-", str(tmp_path / "mine"), sys.executable, ONE_JOB, job]
    done = subprocess.run(["unshare", "-m", *words], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[-1] == "failed", done.stdout + done.stderr
    told = json.loads(json.loads(lines[-2])["payload"])
    assert told["infrastructure"] == "run folder"
    assert f"cannot write to {tmp_path}/mine/checkpoints" in told["error"]
    assert "disk" not in told


def test_a_store_that_refuses_is_told_as_infrastructure(tmp_path, monkeypatch):
    monkeypatch.setattr("search.run.objects.WAITS", ())
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    job = at(f"file://{tmp_path}/store", worker_job(tmp_path, score_test=False))
    (tmp_path / "store" / "checkpoints").touch()  # no folder
    told = run(job, monkeypatch)
    assert told["infrastructure"] == "store"
    assert f"{job.run}/checkpoints/t.pt: " in told["error"]


def test_a_stack_that_a_stalled_worker_left_on_its_node_is_handed_in(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    job = at(f"file://{tmp_path}/store", worker_job(tmp_path, score_test=False))
    left = stall_file(job.run, "other")
    left.write_text("in hang")
    os.utime(left, (1e9, 1e9))
    open_now = stall_file(job.run, "t")
    open_now.touch()  # of a worker that runs
    assert execute(job, lambda row: None)["ending"] == "value"
    assert Objects(job.run).read(f"stalls/{left.name}") == b"in hang"
    assert not left.exists()
    assert open_now.exists()
    assert Objects(job.run).names("stalls") == [left.name]
