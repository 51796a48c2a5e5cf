"""What Ray says of its own, such as `(raylet) A worker died ...`, goes to a file of the run.

Ray prints that to standard output, whatever `log_to_driver` says, between the lines of a study
that tells the same, with node and cause, itself. What a study does not tell is then in the file.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from search.run import cluster  # noqa: F401 - first: it sets what ray reads when imported

from ray._private import worker  # isort: skip

RAY_LOG = "ray.log"
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


@contextlib.contextmanager
def kept(folder: Path, begun: Callable[[], bool], say: Callable[[str], None]) -> Iterator[None]:
    """Around all that is done with Ray.

    Args:
        folder: the run folder.
        begun: whether there is a study in it, so that files may be put there.
        say: told once where the file is, and whatever cannot be kept there.
    """
    printed, path, told = worker.print_to_stdstream, folder / RAY_LOG, False

    def keep(data: Mapping[str, Any], ignore_prefix: bool) -> None:
        nonlocal told
        now = datetime.now(UTC).isoformat(timespec="seconds")
        texts = [_COLOR.sub("", str(line)).rstrip() for line in data["lines"]]
        lines = [f"({data.get('pid')}) {text}" for text in "\n".join(texts).splitlines()]
        try:
            if not begun():
                raise FileNotFoundError
            with path.open("a", encoding="utf-8", errors="replace") as file:
                file.writelines(f"{now} {line}\n" for line in lines)
        except OSError:
            for line in lines:
                say(f"Ray: {line}")
            return
        if not told:
            told = True
            say(f"note: what Ray itself says is in {path}")

    worker.print_to_stdstream = keep
    try:
        yield
    finally:
        worker.print_to_stdstream = printed
