"""A task of the user's own: found by `module:ATTRIBUTE`, checked, its code on record."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from trainables.errors import TaskError
from trainables.settings import LOOP, loop_conflicts
from trainables.task import Config, Setting, Task

PACKAGE = Path(__file__).parent
OURS = ("trainables", "search", "analysis")
CALLS = {  # what each function of a Task is called with
    "conflicts": ("config",),
    "fingerprint": ("data_dir", "config"),
    "open_data": ("data_dir", "config", "split_seed", "device"),
    "network": ("config", "weights"),
    "batches": ("data", "config", "generator"),
    "steps": ("data", "config"),
    "loss": ("output", "target", "config"),
    "evaluate": ("network", "data", "split", "config", "generator", "detail"),
    "baselines": ("data",),
    "download": ("data_dir",),
}
_folders: list[Path] = []  # of study files


def import_from(folder: Path | str) -> None:
    """Let the modules of a study file's folder be imported, after all that is installed.

    First on the path, a `queue.py` of the user's would take the place of Python's own.
    """
    at = Path(folder).resolve()
    if at in _folders:
        _folders.remove(at)
    _folders.append(at)  # the last is of the study at hand
    if str(at) not in sys.path:
        sys.path.append(str(at))
        importlib.invalidate_caches()


def load_own(name: str) -> Task:
    """The task that `module:ATTRIBUTE` names, with the settings of the loop that it lacks.

    Raises:
        TaskError: it cannot be imported, or is no sound Task; all that is wrong with it.
    """
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise TaskError(
            f"{name!r} must have the form 'module:ATTRIBUTE', e.g. 'my_task:TASK' for my_task.py "
            "beside the study file"
        )
    return _checked(_imported(module_name), module_name, attribute)


@cache
def _checked(module: ModuleType, module_name: str, attribute: str) -> Task:
    where = getattr(module, "__file__", None) or module_name
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, vars(module), 1)
        hint = f"; did you mean '{module_name}:{near[0]}'?" if near else ""
        raise TaskError(
            f"{where} has no {attribute}{hint or f'; end it in `{attribute} = Task(...)`'}"
        )
    task = getattr(module, attribute)
    if not isinstance(task, Task):
        raise TaskError(
            f"{attribute} of {where} is a {type(task).__name__}, not a trainables.task.Task; make "
            "it with Task(...), or with trainables.tasks.arrays.array_task(...)"
        )
    if faults := faults_of(task):
        raise TaskError(f"{attribute} of {where}: {'; '.join(faults)}")
    # what the loop reads is there in every config, at these defaults
    settings = {**LOOP, **task.settings}
    return replace(task, settings=settings, conflicts=partial(_conflicts, task))


def _conflicts(task: Task, config: Config) -> dict[str, str]:
    try:
        return {**loop_conflicts(config), **task.conflicts(config)}
    except Exception as error:
        raise TaskError(f"task {task.name}: its conflicts fail: {quoted(error)}") from error


def _imported(module_name: str) -> ModuleType:
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            places = ", ".join(map(str, _folders)) or "no study file's folder"
            raise TaskError(
                f"no module {error.name!r} in {places}, nor among the installed packages; put "
                f"{error.name.replace('.', '/')}.py beside the study file, or install it"
            ) from None
        raise TaskError(f"importing {module_name} fails: {quoted(error)}; mend it") from error
    except (Exception, SystemExit) as error:
        raise TaskError(f"importing {module_name} fails: {quoted(error)}; mend it") from error
    _check_home(module, module_name.partition(".")[0])
    return module


def _check_home(module: ModuleType, top: str) -> None:
    """Refuse a module that only shares its name with the one beside the study file."""
    file = Path(getattr(module, "__file__", None) or "").resolve()
    for folder in _folders[-1:]:
        for own in (folder / f"{top}.py", folder / top / "__init__.py"):
            if own.is_file() and not file.is_relative_to(folder):
                raise TaskError(
                    f"{top!r} is already the name of {file}, so {own} is not what is imported; "
                    "give yours another name"
                )


def quoted(error: BaseException) -> str:
    """An exception in words, with file and line of the innermost code that is the user's."""
    said = f"{type(error).__name__}: {error}".strip()
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if _is_users(f.filename)] or list(frames)
    return f"{said} ({own[-1].filename}, line {own[-1].lineno})" if own else said


def _is_users(file: str) -> bool:
    path = Path(file)
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    of_python = Path(importlib.__file__).parent.parent in path.parents
    return path.is_file() and not installed and not of_python and PACKAGE not in path.parents


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
        if not (key == "download" and task.download is None):
            faults += _call_faults(key, getattr(task, key), names)
    return [*faults, *_settings_faults(task)]


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


# -- its code on record -----------------------------------------------------------------------


def code_of(name: str) -> list[dict[str, str]]:
    """The code of a task: of one's own a row a file, of ours one digest of the whole package.

    Args:
        name: of a task that has been found. Of one's own the files are those loaded so far: its
            module, the others of its package, and, where it lies beside the study file, all that
            lie under that folder.
    """
    if ":" not in name:
        digest = hashlib.sha256()
        for path in sorted(PACKAGE.rglob("*.py")):
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
        return [{"file": PACKAGE.name, "sha256": digest.hexdigest()}]
    root = _root(name)
    files = {path for module in list(sys.modules.values()) for path in _own_files(module, name)}
    return [
        {"file": path.relative_to(root).as_posix(), "sha256": _sha256(path)}
        for path in sorted(files)
    ]


def changed_code(name: str, held: list[dict[str, str]]) -> list[str]:
    """Files on record, as `code_of` named them, that are not there any more or not the same."""
    if ":" not in name:
        return []
    root = _root(name)
    return [
        str(root / row["file"])
        for row in held
        if not (root / row["file"]).is_file() or _sha256(root / row["file"]) != row["sha256"]
    ]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _root(name: str) -> Path:
    """The folder that the task's module is imported from."""
    module = name.partition(":")[0]
    file = Path(str(sys.modules[module].__file__)).resolve()
    return file.parents[module.count(".") + (file.name == "__init__.py")]


def _own_files(module: ModuleType, name: str) -> list[Path]:
    top = name.partition(":")[0].partition(".")[0]
    file, called = getattr(module, "__file__", None), getattr(module, "__name__", "")
    path = Path(file).resolve() if isinstance(file, str) else Path()
    if not path.is_file():
        return []
    if called.partition(".")[0] == top:
        return [path]
    root = _root(name)
    foreign = called.partition(".")[0] in (*OURS, "__main__") or not _is_users(str(path))
    beside = root in _folders and path.is_relative_to(root)
    return [path] if beside and not foreign else []
