"""Shared by all tests: where real data is, if anywhere."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # several share the cores: threads of each would wait for one another, and Ray's workers,
    # which it makes yield to everything (15), for the tests beside
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_worker_niceness", "0")

import torch

from trainables import TASKS, find_task

if not torch.cuda.is_available():
    # before torchvision loads Triton: its kernels then run in its interpreter, on the CPU
    os.environ["TRITON_INTERPRET"] = "1"


def generated_tasks() -> list[str]:
    """Tasks that come with generated data."""
    return [name for name in TASKS if "edition" in find_task(name).settings]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Clusters of several nodes, batch systems and object stores take minutes: where asked for."""
    if os.environ.get("RESNET_TUNE_CLUSTER"):
        return
    skip = pytest.mark.skip(reason="takes minutes: RESNET_TUNE_CLUSTER=1 runs it")
    for item in items:
        if item.get_closest_marker("cluster"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The data directory named by RESNET_TUNE_DATA; skips without."""
    held = os.environ.get("RESNET_TUNE_DATA")
    if not held:
        pytest.skip("RESNET_TUNE_DATA is not set: no real data to test on")
    return Path(held)


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads what another run has decoded, or leaves anything in the user's cache."""
    os.environ["RESNET_TUNE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
