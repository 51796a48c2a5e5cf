"""Whether a folder, or a store, can be a new study's: not where one is, or what is left of one."""

from __future__ import annotations

from pathlib import Path

from search.record.stored import LOGS, PARQUET, STAMP, STUDY
from search.record.terminal import shell

ASIDE = "unasked"  # see search.record.set_aside
FOLDERS = ("checkpoints", "parts", "samples", "stalls")  # workers write to them, and make none

CLEAR = (
    f", from which a new one would go on: put {STUDY} back from a copy and `resume`; or remove "
    "them, or move them away; or keep them and run beside them: --name ANOTHER"
)


def taken_by(path: Path) -> str:
    """What a run folder holds for which a new study cannot have it; "" where it can.

    That is what the new one would go on from. An empty folder, and a file that is no study's, is
    none of that and stays as it is.
    """
    if (path / STUDY).exists():
        return f"{path} already holds a study"
    logs = [name for name in (*LOGS, *PARQUET, STAMP) if (path / name).exists()]
    return _left(path, logs + [f"{n}/" for n in (*FOLDERS, ASIDE) if any((path / n).glob("*"))])


def held_already(path: Path) -> str:
    """The same with what to do about it."""
    found = taken_by(path)
    if (path / STUDY).exists():
        resume = shell("resnet-search", "resume", path)
        return f"{found}. Go on with it: `{resume}`; or keep it and run beside it: --name ANOTHER"
    return f"{found}{CLEAR}" if found else ""


def left_over(where: Path | str, names: list[str]) -> str:
    """What is said of what is left of a study that has lost its study.json; "" where nothing is.

    Args:
        where: its run folder, or the URI of its store.
        names: of what is there.
    """
    found = _left(where, names)
    return f"{found}{CLEAR}" if found else ""


def _left(where: Path | str, names: list[str]) -> str:
    return f"{where} has no {STUDY}, and holds {', '.join(names)} of a study" if names else ""
