"""A task of the user's own: found by `module:ATTRIBUTE`, and checked as ours are."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from trainables.about import plain
from trainables.errors import TaskError
from trainables.own_code import import_own, quoted
from trainables.settings import LOOP, loop_conflicts
from trainables.task import Config, Setting, Task

CALLS = {  # what each function of a Task is called with
    "conflicts": ("config",),
    "questions": ("config",),
    "fingerprint": ("data_dir", "config"),
    "open_data": ("data_dir", "config", "split_seed", "device"),
    "network": ("config", "weights"),
    "start": ("network", "data", "config"),
    "measures_train": ("config",),
    "batches": ("data", "config", "generator"),
    "steps": ("data", "config"),
    "loss": ("output", "target", "config"),
    "evaluate": ("network", "data", "split", "config", "generator", "detail"),
    "baselines": ("data",),
    "download": ("data_dir",),
    "inputs": ("config",),
}
OPTIONAL = ("download", "inputs")


def load_own(name: str) -> Task:
    """The task that `module:ATTRIBUTE` names, with the settings of the loop that it lacks.

    Raises:
        TaskError: it cannot be imported, or is no sound Task; all that is wrong with it.
    """
    given = import_own(name)
    if name not in _known or _known[name][0] is not given:
        _known[name] = given, _checked(given, name)
    return _known[name][1]


_known: dict[str, tuple[Any, Task]] = {}  # name -> as imported, as checked


def _checked(task: Any, name: str) -> Task:
    if not isinstance(task, Task):
        raise TaskError(
            f"{name} is a {type(task).__name__}, not a trainables.task.Task; make it with "
            "Task(...), or with trainables.tasks.arrays.array_task(...)"
        )
    if faults := faults_of(task):
        raise TaskError(f"{name}: {'; '.join(faults)}")
    # what the loop reads is there in every config, at these defaults
    settings = {**LOOP, **task.settings}
    conflicts, questions = partial(_conflicts, task), partial(_questions, task)
    return replace(task, settings=settings, conflicts=conflicts, questions=questions)


def _conflicts(task: Task, config: Config) -> dict[str, str]:
    try:
        return {**loop_conflicts(config), **task.conflicts(config)}
    except Exception as error:
        raise TaskError(f"task {task.name}: its conflicts fail: {quoted(error)}") from error


def _questions(task: Task, config: Config) -> dict[str, str]:
    try:
        return task.questions(config)
    except Exception as error:
        raise TaskError(f"task {task.name}: its questions fail: {quoted(error)}") from error


def faults_of(task: Task) -> list[str]:
    """All that is wrong with a Task, each in words that name its field."""
    faults = []
    if not isinstance(task.name, str) or not task.name:
        faults.append(f"name must be a text, not {task.name!r}")
    metrics = task.metrics
    if not isinstance(metrics, (tuple, list)) or not all(isinstance(m, str) for m in metrics):
        faults.append(f"metrics must be a tuple of names, not {metrics!r}")
    elif task.metric not in metrics:
        faults.append(f"metric {task.metric!r} is not among metrics ({', '.join(metrics)})")
    for key, allowed in (("mode", ("max", "min")), ("report_split", ("val", "test"))):
        if getattr(task, key) not in allowed:
            faults.append(f"{key} must be {' or '.join(allowed)}, not {getattr(task, key)!r}")
    for key, names in CALLS.items():
        if not (key in OPTIONAL and getattr(task, key) is None):
            faults += _call_faults(key, getattr(task, key), names)
    return faults + _settings_faults(task) + _needs_faults(task) + _about_faults(task)


def _needs_faults(task: Task) -> list[str]:
    """What settings need is looked up before a study runs."""
    needs: Any = task.read_where
    if not isinstance(needs, Mapping):
        return [f"read_where must be a dict, not {needs!r}"]
    faults = []
    for key, ways in needs.items():
        sound = isinstance(ways, (tuple, list)) and all(
            isinstance(way, Mapping) and all(isinstance(v, (tuple, list)) for v in way.values())
            for way in ways
        )
        if not sound:
            faults.append(
                f"read_where[{key!r}] must be a tuple of dicts, setting -> a tuple of its values, "
                f"not {ways!r}"
            )
    return faults


def _call_faults(key: str, function: Any, names: tuple[str, ...]) -> list[str]:
    wanted = f"a function of ({', '.join(names)})"
    if not callable(function):
        return [f"{key} must be {wanted}, not {function!r}"]
    try:
        inspect.signature(function).bind(*names)
    except TypeError as error:
        return [f"{key} must be {wanted}: {error}"]
    except ValueError:
        pass  # a builtin that does not say
    return []


def _about_faults(task: Task) -> list[str]:
    """What is shown of a task is read by key, long after it has been trained."""
    about: Any = task.about
    if about is None:
        return []
    if not isinstance(about, Mapping):
        return [f"about must be a dict as trainables.about.plain makes it, not {about!r}"]
    usual = plain(task.name, "", "max", ())
    faults = [f"about lacks {key!r}" for key in usual if key not in about]
    said: Any = about.get("metrics")
    if not isinstance(said, Mapping) or not set(task.metrics) <= set(said):
        faults.append(f"about['metrics'] must say something of each of {', '.join(task.metrics)}")
    try:
        json.dumps(about, allow_nan=False)
    except (TypeError, ValueError) as error:
        faults.append(f"about must hold what JSON can: {error}")
    return faults


def _settings_faults(task: Task) -> list[str]:
    # whoever wrote the task may have given anything
    settings: Any = task.settings
    report: Any = task.report_settings
    if not isinstance(settings, Mapping):
        return [f"settings must be a dict of Settings, not {settings!r}"]
    faults = []
    for key, setting in settings.items():
        if not isinstance(setting, Setting):
            faults.append(f"settings[{key!r}] must be a trainables.task.Setting, not {setting!r}")
        elif text := setting.fault(setting.default):
            faults.append(f"settings[{key!r}]: its default {text}")
        elif key in LOOP:
            faults += _loop_faults(key, setting)
    if "pretrained" in settings and "depth" not in settings:
        faults.append(
            "settings['pretrained'] is the ResNets', whose weights are by depth; name it otherwise"
        )
    if not isinstance(report, Mapping):
        return [*faults, f"report_settings must be a dict, not {report!r}"]
    held = {**LOOP, **settings}
    for key, value in report.items():
        if key not in held:
            faults.append(f"report_settings[{key!r}] is no setting")
        elif isinstance(held[key], Setting) and (text := held[key].fault(value)):
            faults.append(f"report_settings[{key!r}] {text}")
    return faults


def _loop_faults(key: str, setting: Setting) -> list[str]:
    """A setting that the training loop reads must be one that it understands."""
    loop = LOOP[key]
    if setting.kind is not loop.kind or setting.optional:
        kind = loop.kind.__name__
        return [f"settings[{key!r}] is read by the training loop and must be a {kind}, given"]
    if loop.choices and not set(setting.choices or ("any",)) <= set(loop.choices):
        return [f"settings[{key!r}] is read by the training loop, which knows {loop.choices}"]
    return []
