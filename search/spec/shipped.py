"""The studies that come with the package, by name; loads nothing heavy."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path

from trainables.errors import UserError, nearest

RECORDED = "study.json"  # in a run folder; see search.record


class StudyNotFoundError(UserError):
    """No such file, and no shipped study of that name."""


def find_study(name: str) -> Path:
    """Path of a study: a file, or the name of a shipped one.

    Raises:
        StudyNotFoundError: neither.
    """
    path = Path(name)
    shipped = shipped_studies()
    if path.is_file() and path.name != RECORDED:
        return path
    if name in shipped:
        return shipped[name]
    if path.is_dir() or path.name == RECORDED:
        raise StudyNotFoundError(_no_study(path))
    if path.exists():
        raise StudyNotFoundError(f"{name} is no ordinary file; name a TOML file")
    near = _nearest(name, [*shipped, *(str(p) for p in path.parent.glob("*.toml"))])
    hint = f"; did you mean {near}?" if near else f"; shipped are {', '.join(shipped)}"
    if path.suffix == ".toml":
        raise StudyNotFoundError(f"{name}: no such file{hint if near else ''}")
    raise StudyNotFoundError(f"{name}: no such file, and no shipped study{hint}")


def _nearest(name: str, known: list[str]) -> str:
    """The known name that was meant, "" where none is near; `a` may mean a.toml."""
    plain = {key: one for one in known for key in (one, one.removesuffix(".toml"))}
    return plain.get(nearest(name, plain), "")


def _no_study(path: Path) -> str:
    """What a folder, or a record's file, is, and what there is to do with it."""
    folder = path if path.is_dir() else path.parent
    said = f"{path} is {'a folder' if path.is_dir() else 'a record'}, no study file"
    runs = sorted(held.parent for held in folder.glob(f"*/{RECORDED}"))
    studies = sorted(str(held) for held in folder.glob("*.toml"))
    if (folder / RECORDED).is_file():
        resume = shlex.join(["resnet-search", "resume", str(folder)])
        return f"{said}; {folder} is the run folder of a study: `{resume}` goes on with it"
    if studies:
        return f"{said}; it holds {', '.join(studies)}"
    if runs:
        resume = shlex.join(["resnet-search", "resume", str(runs[0])])
        return f"{said}; it holds run folders: `{resume}` goes on with one"
    return f"{said}; name a TOML file, or a study that `resnet-search studies` lists"


def shipped_studies() -> dict[str, Path]:
    """Name -> file of the studies that come with the package."""
    folder = Path(str(files("search"))) / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}
