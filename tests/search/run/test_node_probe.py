"""How a node's answer differs from what a study needs: every lack is told, and nothing else."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from search.run.node_cuda import odd_cuda, usual_cuda
from search.run.node_probe import Facts, Need, lacks, look
from search.run.store import open_store

DATA = [{"data": "CIFAR-10", "edition": "parquet", "train_images": 50000, "sha256": "a"}]
VERSIONS = {"python": "3.11.7", "torch": "2.15.0", "torchvision": "0.30.0", "numpy": "2.4.0"}
OURS = {"code": "c" * 16, "versions": {**VERSIONS, "cuda": "none"}}
NEED = Need(
    run="/runs/x",
    task="cifar10",
    configs=[{}],
    data_dir="/data",
    data=DATA,
    weights={"18": "/w/resnet18.pth"},
    checksums={"18": "abc"},
    gpu=True,
)


def whole(**other: Any) -> Facts:
    facts = {
        "node": "n",
        "code": "c" * 16,
        "versions": {**VERSIONS, "cuda": "12.8"},
        "gpus": ["NVIDIA H100"],
        "mps": False,
        "free_mb": {"run folder": 1000.0, "cache": 1000.0},
        "folder": "",
        "task_code": [],
        "data": [{**DATA[0], "notes": ["read elsewhere"]}],
        "weights": {"18": "abc"},
    }
    return {**facts, **other}


def test_a_node_that_has_all_lacks_nothing() -> None:
    assert lacks(whole(), NEED, OURS, "nonce") == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"code": "d" * 16}, "it has other code of resnet-tune (dddddddddddddddd"),
        (
            {"versions": {**VERSIONS, "torch": "2.14.0", "cuda": "12.8"}},
            "torch 2.14.0, the driver",
        ),
        ({"versions": {**VERSIONS, "python": "3.12.1", "cuda": "12.8"}}, "python 3.12.1"),
        ({"versions": {**VERSIONS, "cuda": "none"}}, "built without CUDA"),
        ({"folder": "it does not see the run folder /runs/x"}, "does not see the run folder"),
        ({"task_code": "no module 'mine'"}, "code of your own: no module 'mine'"),
        ({"task_code": ["mine.py"]}, "other code of your own: mine.py"),
        ({"data": "no data in /data"}, "data: no data in /data"),
        ({"data": [{**DATA[0], "sha256": "b"}]}, "is another than the driver's"),
        ({"data": []}, "is another than the driver's"),
        ({"weights": "no such file"}, "weights: no such file"),
        ({"weights": {"18": "xyz"}}, "other files than the driver's"),
        ({"free_mb": {"run folder": 3.0, "cache": 1000.0}}, "3 MB free for its run folder"),
    ],
)
def test_each_lack_is_told_alone(other: dict[str, Any], said: str) -> None:
    found = lacks(whole(**other), NEED, OURS, "nonce")

    assert len(found) == 1
    assert said in found[0]


def test_a_folder_of_the_same_name_that_is_not_shared_is_told() -> None:
    assert lacks(whole(), NEED, OURS, "") == [
        "what it writes to /runs/x does not arrive here: mount the same folder"
    ]


def test_several_lacks_are_all_told() -> None:
    assert len(lacks(whole(code="d" * 16, data="none", folder="none"), NEED, OURS, "")) == 3


def test_a_build_of_torch_for_the_cpu_is_no_lack_where_trials_take_no_gpu() -> None:
    need = Need(run="/runs/x", task="cifar10", configs=[{}], data_dir="/data", data=DATA)
    facts = whole(versions=OURS["versions"], weights={})

    assert lacks(facts, need, OURS, "nonce") == []


def test_the_cuda_that_most_nodes_are_built_for_is_the_one_that_counts() -> None:
    nodes = {name: whole() for name in ("a", "b")}
    nodes["c"] = whole(versions={**VERSIONS, "cuda": "11.8"})
    nodes["head"] = whole(gpus=[], versions=OURS["versions"])

    usual = usual_cuda(nodes.values(), OURS)
    assert usual == "12.8"
    said = {key: odd_cuda(facts, usual) for key, facts in nodes.items()}
    assert said.pop("c") == "torch for CUDA 11.8, the study's nodes have 12.8"
    assert set(said.values()) == {""}
    assert usual_cuda([nodes["head"]], OURS) is None
    assert odd_cuda(nodes["c"], None) == ""


def test_of_as_many_nodes_of_either_cuda_the_drivers_counts_then_the_newest() -> None:
    new, old = (whole(versions={**VERSIONS, "cuda": cuda}) for cuda in ("12.10", "12.8"))
    ours = {**OURS, "versions": {**VERSIONS, "cuda": "12.8"}}
    for nodes in ([new, old], [old, new]):  # whoever has answered first
        assert usual_cuda(nodes, OURS) == "12.10"
        assert usual_cuda(nodes, ours) == "12.8"


@pytest.fixture(params=["folder", "file://"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a run is, which is there."""
    (tmp_path / "x").mkdir()
    return f"{'' if request.param == 'folder' else request.param}{tmp_path}/x"


def seen(run: str, answer: str = "n1") -> str:
    """What a node says of a run's folder, or store, that it was given."""
    return str(look(asdict(replace(NEED, run=run, weights={})), "nonce", answer)["folder"])


def test_a_node_answers_through_the_run_folder_or_its_store(run: str) -> None:
    store = open_store(run)
    store.make_folder("probe")
    with store.writing("probe/nonce") as path:
        path.write_text("nonce", encoding="ascii")
    assert seen(run) == ""
    assert store.read("probe/n1") == b"nonce"
    assert sorted(store.names("probe")) == ["n1", "nonce"]
    store.remove_folder("probe")
    assert store.names("probe") == []


def test_a_node_that_sees_nothing_of_a_run_makes_nothing(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.run.objects.WAITS", ())
    assert seen(run).startswith("it does not see the ")
    assert list((tmp_path / "x").iterdir()) == []
    (tmp_path / "x").rmdir()
    assert run in seen(run)
    assert not (tmp_path / "x").exists()


def test_a_node_that_sees_another_run_says_so(run: str) -> None:
    store = open_store(run)
    store.make_folder("probe")
    with store.writing("probe/nonce") as path:
        path.write_text("another", encoding="ascii")
    assert seen(run) == f"it sees another folder at {run}"


def test_a_node_that_may_not_write_says_so(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.run.objects.WAITS", ())
    store = open_store(run)
    store.make_folder("probe")
    with store.writing("probe/nonce") as path:
        path.write_text("nonce", encoding="ascii")
    (tmp_path / "x" / "probe" / "n1").mkdir()
    (tmp_path / "x" / "probe" / "n1" / "in the way").touch()
    if "://" in run:
        (tmp_path / "x" / "probe" / "n2").touch()
        assert "it cannot write the store" in seen(run, "n2")
    else:
        assert f"it cannot write the run folder {run}" in seen(run)


@pytest.mark.parametrize("uri", ["nowhere://b/x", "s3://"])
def test_a_node_that_cannot_open_a_store_says_so(uri: str) -> None:
    assert seen(uri).startswith("it does not see the store (")


def test_of_a_store_the_room_for_scratch_files_counts(tmp_path: Path) -> None:
    need = asdict(replace(NEED, run=f"file://{tmp_path}", weights={}))
    assert set(look(need, "nonce", "n1")["free_mb"]) == {"temporary folder", "cache"}
