"""What `--ship-code` asks of a node: Ray, torch, torchvision, and what those bring."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from search.run.shipping import runtime_env

pytestmark = pytest.mark.long

# ours that neither torch, torchvision nor ray[tune] bring
OURS = ("optuna", "rich", "matplotlib", "jinja2", "analysis")
PROBE = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OURS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
import search.run.worker, search.run.node_probe, search.run.deadline
from trainables import find_task
for name in ("cifar10", "shanghaitech", "imagefolder"):
    find_task(name)
import trainables.engine.train, trainables.engine.probe, trainables.tasks.synthetic
"""


def test_a_worker_imports_nothing_that_ray_torch_and_torchvision_do_not_bring() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_both_packages_are_taken_as_they_are() -> None:
    held = runtime_env()
    assert [Path(folder).name for folder in held["py_modules"]] == ["search", "trainables"]
    assert all((Path(folder) / "__init__.py").is_file() for folder in held["py_modules"])
