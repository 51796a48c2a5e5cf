"""How a node's answer differs from what a study needs: every lack is told, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from search.run.node_probe import Facts, Need, lacks, odd_cuda

DATA = [{"data": "CIFAR-10", "edition": "parquet", "train_images": 50000, "sha256": "a"}]
VERSIONS = {"python": "3.11.7", "torch": "2.15.0", "torchvision": "0.30.0", "numpy": "2.4.0"}
OURS = {"code": "c" * 16, "versions": {**VERSIONS, "cuda": ""}}
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
        ({"versions": {**VERSIONS, "cuda": ""}}, "built without CUDA"),
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

    assert odd_cuda(nodes) == {"c": "torch for CUDA 11.8, most nodes have 12.8"}
    assert odd_cuda({"head": nodes["head"]}) == {}
