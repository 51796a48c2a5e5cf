"""What Ray says of its own, such as `(raylet) A worker died ...`, goes to a file of the run.

Ray prints that to standard output, whatever `log_to_driver` says, between the lines of a study
that tells the same, with node and cause, itself. What a study does not tell is then in the file.

Ray has no public way to it: a private function of it is replaced, for the whole process and until
the block ends. Where a Ray has none of that name it prints as it does, which is said.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from search.run import cluster  # noqa: F401 - first: it sets what ray reads when imported

RAY_LOG, EARLIER = "ray.log", "ray.log.1"
MOST = 4 * 2**20  # bytes of each: Ray may say a line a second of a node that is lost, for days
_MODULE, _PRINTER = "ray._private.worker", "print_to_stdstream"  # as ray 2.60 has them
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


@contextlib.contextmanager
def kept(folder: Path, begun: Callable[[], bool], say: Callable[[str], None]) -> Iterator[None]:
    """Around all that is done with Ray.

    Args:
        folder: the run folder.
        begun: whether there is a study in it, so that files may be put there.
        say: told once where the file is, once that the first of it is gone, and whatever cannot be
            kept there.
    """
    ray_worker, printed = _printer()
    if printed is None:
        say(
            f"note: this version of Ray does not let its own lines be kept in {RAY_LOG}; they "
            "stand between these"
        )
        yield
        return
    path, told, lost = folder / RAY_LOG, False, False

    def keep(data: Mapping[str, Any], ignore_prefix: bool) -> None:
        nonlocal told, lost
        now = datetime.now(UTC).isoformat(timespec="seconds")
        texts = [_COLOR.sub("", str(line)).rstrip() for line in data["lines"]]
        lines = [f"({data.get('pid')}) {text}" for text in "\n".join(texts).splitlines()]
        try:
            if not begun():
                raise FileNotFoundError
            drops = _make_room(path)
            with path.open("a", encoding="utf-8", errors="replace") as file:
                file.writelines(f"{now} {line}\n" for line in lines)
        except OSError:
            for line in lines:
                say(f"Ray: {line}")
            return
        if not told:
            told = True
            say(f"note: what Ray itself says is in {path}")
        if drops and not lost:
            lost = True
            say(
                f"note: Ray has said more than {2 * MOST // 2**20} MiB; of that {RAY_LOG} and "
                f"{EARLIER} keep the last"
            )

    setattr(ray_worker, _PRINTER, keep)
    try:
        yield
    finally:
        setattr(ray_worker, _PRINTER, printed)


def _printer() -> tuple[Any, Any]:
    """The module of Ray that prints, and what it prints with; None where it has none such."""
    try:
        module = importlib.import_module(_MODULE)
    except ImportError:
        return None, None
    return module, getattr(module, _PRINTER, None)


def _make_room(path: Path) -> bool:
    """Put a full log aside, in the place of the one before; returns whether one was there."""
    if not path.is_file() or path.stat().st_size < MOST:
        return False
    earlier = path.with_name(EARLIER)
    drops = earlier.exists()
    path.replace(earlier)
    return drops
