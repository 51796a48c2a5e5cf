"""What a trial trains: torch and torchvision, never ray, optuna or pydantic.

Importing this package loads neither. Start reading at `task.py`, the seam, then `engine/train.py`.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from trainables.errors import UserError

if TYPE_CHECKING:
    from trainables.task import Task

# name in a study file -> module:attribute. A third task is one more file, and one more line here.
TASKS = {
    "cifar10": "trainables.tasks.cifar10:TASK",
    "shanghaitech": "trainables.tasks.shanghaitech:TASK",
}


class TaskError(UserError):
    """A study's `task` names no task."""


@cache
def find_task(name: str) -> Task:
    """The task that a study file names.

    Args:
        name: key of TASKS.

    Raises:
        TaskError: no such task.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(str(name), TASKS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise TaskError(f"must be one of {', '.join(TASKS)}, not {name!r}{hint}")
    module, _, attribute = TASKS[name].partition(":")
    task: Task = getattr(import_module(module), attribute)
    return task
