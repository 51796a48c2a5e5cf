"""The studies that come with the package, by name; loads nothing heavy."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from trainables.errors import UserError


class StudyNotFoundError(UserError):
    """No such file, and no shipped study of that name."""


def find_study(name: str) -> Path:
    """Path of a study: a file, or the name of a shipped one.

    Raises:
        StudyNotFoundError: neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = shipped_studies()
    if name in shipped:
        return shipped[name]
    if path.suffix == ".toml":
        raise StudyNotFoundError(f"{name}: no such file")
    raise StudyNotFoundError(
        f"{name}: no such file, and no shipped study; shipped are {', '.join(shipped)}"
    )


def shipped_studies() -> dict[str, Path]:
    """Name -> file of the studies that come with the package."""
    folder = Path(str(files("search"))) / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}
