"""Imports go one way: analysis -> search.record -> nothing; search -> trainables."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainables import TASKS

ROOT = Path(__file__).parent.parent


def imported(package: str) -> set[str]:
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def top(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_trainables_know_nothing_of_searches():
    assert not top(imported("trainables")) & {"ray", "optuna", "pydantic", "search", "analysis"}


def test_search_knows_nothing_of_analysis():
    assert "analysis" not in top(imported("search"))


def test_analysis_knows_the_record_alone():
    names = imported("analysis")
    assert not top(names) & {"ray", "optuna", "pydantic", "torch", "trainables"}
    assert {n for n in names if n.startswith("search.")} <= {
        n for n in names if n == "search.record" or n.startswith("search.record.")
    }


@pytest.mark.long
@pytest.mark.parametrize(
    "module",
    [
        *("search.record", "search.cli.status"),
        *("analysis.display.page", "analysis.display.live_server"),
    ],
)
def test_reading_a_record_loads_neither_ray_nor_torch(module):
    code = f"import sys, {module}; print(sorted({{'ray', 'torch', 'optuna'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def test_analysis_names_no_task():
    """A task says of itself how its numbers are shown (trainables.about)."""
    names = {*TASKS, "mae", "rmse", "accuracy", "part", "shanghaitech", "crowd", "cifar-10"}
    for path in (ROOT / "analysis").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        docs = {ast.get_docstring(node) for node in nodes if isinstance(node, DOCUMENTED)}
        texts = [
            n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)
        ]
        said = [text for text in texts if inspect.cleandoc(text) not in docs]
        found = {text for text in said if names & set(re.findall(r"[a-z0-9-]+", text.lower()))}
        assert found <= {"part"}, path  # a column of the published curves
