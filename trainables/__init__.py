"""What a trial trains: torch and torchvision, never ray, optuna or pydantic.

Importing this package loads neither. Start reading at `task.py`, the seam, then `engine/train.py`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from trainables.errors import TaskError, did_you_mean

if TYPE_CHECKING:
    from trainables.task import Task

# name in a study file -> module:attribute; a user's own is named in that form instead
TASKS = {
    "cifar10": "trainables.tasks.cifar10:TASK",
    "shanghaitech": "trainables.tasks.shanghaitech:TASK",
    "imagefolder": "trainables.tasks.imagefolder:TASK",
}


def find_task(name: str) -> Task:
    """The task that a study file names.

    Args:
        name: key of TASKS, or `module:ATTRIBUTE` of the user's own; see `own_task`.

    Raises:
        TaskError: no such task, or an unsound one.
    """
    if ":" in str(name):
        from trainables.own_task import load_own

        return load_own(name)
    if name not in TASKS:
        hint = did_you_mean(name, TASKS, "'")
        raise TaskError(
            f"must be one of {', '.join(TASKS)}, or 'module:ATTRIBUTE' of your own, not "
            f"{name!r}{hint}"
        )
    module, _, attribute = TASKS[name].partition(":")
    task: Task = getattr(import_module(module), attribute)
    return task
