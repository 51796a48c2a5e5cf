"""Whether a folder, or a store, can be a new study's: not where one is, or what is left of one."""

from __future__ import annotations

from pathlib import Path

from search.record.stored import LOGS, PARQUET, STUDY
from search.record.terminal import shell

FOLDERS = ("checkpoints", "parts", "samples", "stalls")  # workers write to them, and make none


def held_already(path: Path) -> str:
    """What is said of a run folder that a new study cannot have; "" where it can."""
    if not (path / STUDY).exists():
        logs = [name for name in (*LOGS, *PARQUET) if (path / name).exists()]
        return left_over(path, logs + [f"{n}/" for n in FOLDERS if any((path / n).glob("*"))])
    return (
        f"{path} already holds a study. Go on with it: "
        f"`{shell('resnet-search', 'resume', path)}`; or keep it and run beside it: "
        "--name ANOTHER"
    )


def left_over(where: Path | str, names: list[str]) -> str:
    """What is said of what is left of a study that has lost its study.json; "" where nothing is.

    Args:
        where: its run folder, or the URI of its store.
        names: of what is there.
    """
    if not names:
        return ""
    return (
        f"{where} has no {STUDY}, and holds {', '.join(names)} of a study, from which a new one "
        f"would go on: put {STUDY} back from a copy and `resume`; or remove them, or move them "
        "away; or keep them and run beside them: --name ANOTHER"
    )
