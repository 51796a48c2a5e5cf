"""Code of the user's own: imported from a study file's folder, and its digest on record."""

from __future__ import annotations

import hashlib
import importlib
import sys
import traceback
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from trainables.errors import TaskError, nearest

PACKAGE = Path(__file__).parent
OURS = ("trainables", "search", "analysis")
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


def import_own(name: str) -> Any:
    """What `module:ATTRIBUTE` names.

    Raises:
        TaskError: it cannot be imported, or is not there.
    """
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise TaskError(
            f"{name!r} must have the form 'module:ATTRIBUTE', e.g. 'my_task:TASK' for my_task.py "
            "beside the study file"
        )
    module = _imported(module_name)
    if not hasattr(module, attribute):
        near = nearest(attribute, vars(module))
        where = getattr(module, "__file__", None) or module_name
        hint = f"; did you mean '{module_name}:{near}'?" if near else ""
        raise TaskError(f"{where} has no {attribute}{hint}")
    return getattr(module, attribute)


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


# -- its code on record -----------------------------------------------------------------------


def code_of(names: Collection[str]) -> list[dict[str, str]]:
    """The code of a study: one digest of our package, and of the user's own a row a file.

    Args:
        names: `module:ATTRIBUTE` of what is the user's own, and has been imported. The files are
            those loaded so far: its module, the others of its package, and, where it lies beside
            the study file, all that lie under that folder.
    """
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    rows = {PACKAGE.name: digest.hexdigest()}
    for name in names:
        root = _root(name)
        for module in list(sys.modules.values()):
            for path in _own_files(module, name):
                rows[path.relative_to(root).as_posix()] = _sha256(path)
    return [{"file": file, "sha256": sha256} for file, sha256 in rows.items()]


def changed_code(names: Collection[str], held: Sequence[Mapping[str, str]]) -> list[str]:
    """Files of the user's own on record, as `code_of` named them, that are not the same any more.

    Args:
        names: as for `code_of`; imported already.
        held: what `code_of` gave.
    """
    return [path for path, _, _ in changes_of_code(names, held)]


def changes_of_code(
    names: Collection[str], held: Sequence[Mapping[str, str]]
) -> list[tuple[str, str, str]]:
    """The same files, each with its SHA-256 on record and now ("" where it is gone)."""
    roots = {_root(name) for name in names}
    found = []
    for row in held:
        paths = [root / row["file"] for root in roots]
        sums = [_sha256(path) if path.is_file() else "" for path in paths]
        if row["file"] != PACKAGE.name and row["sha256"] not in sums:
            at = str(paths[0] if paths else row["file"])
            found.append((at, row["sha256"], next(filter(None, sums), "")))
    return found


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
