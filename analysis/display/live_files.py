"""What the live page's server sends: the page itself, and the files of a report."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path

from analysis.display.markup import environment

BUILD = 1800.0  # seconds for a report


def inside(folder: Path, name: str) -> Path | None:
    """A file of a folder, or None where the name, or a link in its way, leads out of it."""
    if "\0" in name:
        return None
    try:
        root = folder.resolve()
        path = (root / name).resolve()
        return path if path.is_relative_to(root) and path.is_file() else None
    except (OSError, RuntimeError):  # too long, or links in a circle
        return None


def build_apart(run: Path, out: Path, begun: Callable[[subprocess.Popen[str]], object]) -> str:
    """Build a report in a process of its own, below all else in priority; why it could not, or "".

    Args:
        run: the run folder.
        out: folder to write to, outside of it.
        begun: is given the process, which somebody may have to end.
    """
    command = [sys.executable, "-m", "analysis", "build", str(run), "--out", str(out)]
    own = str(Path(__file__).parents[2])
    paths = [own, *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    low = partial(os.nice, 10)
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        preexec_fn=low,
    ) as process:
        begun(process)
        try:
            _, told = process.communicate(timeout=BUILD)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"it was not built within {BUILD / 60:.0f} min"
    said = told.strip().splitlines() or ["no reason given"]
    return said[-1] if process.returncode else ""


def page(names: Sequence[str], nonce: str) -> str:
    """The page itself, which asks for all that it shows.

    Args:
        names: of the runs.
        nonce: of its script.
    """

    def own(name: str) -> str:
        return files("analysis.display").joinpath(name).read_text(encoding="utf-8")

    return str(
        environment()
        .get_template("live.html")
        .render(
            names=list(names),
            title=", ".join(names),
            style=own("style.css"),
            script=own("live.js"),
            nonce=nonce,
        )
    )
