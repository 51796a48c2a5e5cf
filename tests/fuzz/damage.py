"""Ways to damage files and texts, drawn from a seeded generator."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

WORDS = ["", "0", "-1", "nan", "1e400", "true", "[]", "{}", '"x"', "[[", "\0", "é", "18", "2.5"]


def damaged_text(draw: random.Random, text: str) -> str:
    """A line left out, doubled, cut off or with another value; or characters changed."""
    lines = text.splitlines()
    at = draw.randrange(len(lines))
    how = draw.randrange(6)
    if how == 0:
        del lines[at]
    elif how == 1:
        lines.insert(at, lines[draw.randrange(len(lines))])
    elif how == 2:
        key, equals, _ = lines[at].partition("=")
        lines[at] = f"{key}{equals}{draw.choice(WORDS)}" if equals else draw.choice(WORDS)
    elif how == 3:
        lines[at] = lines[at][: draw.randrange(len(lines[at]) + 1)]
    elif how == 4:
        place = draw.randrange(len(lines[at]) + 1)
        lines[at] = lines[at][:place] + draw.choice(WORDS) + lines[at][place:]
    else:
        lines.append(f"{draw.choice(['lr', 'depth', 'a.b', '[x]', ''])} = {draw.choice(WORDS)}")
    return "\n".join(lines) + "\n"


def damage_file(draw: random.Random, path: Path) -> str:
    """Remove, copy, rename, cut, empty, replace or flip; says what was done."""
    held = path.read_bytes()
    how = (
        "gone"
        if not held
        else draw.choice(["gone", "copied", "renamed", "cut", "empty", "folder", "link", "bytes"])
    )
    if how == "gone":
        path.unlink()
    elif how == "copied":
        number = draw.randrange(3)
        shutil.copy(path, path.with_stem(f"{path.stem}{['-copy', ' (1)', '2'][number]}"))
    elif how == "renamed":
        path.rename(
            path.with_name(draw.choice([path.name.upper(), f"x{path.name}", f".{path.name}"]))
        )
    elif how == "cut":
        path.write_bytes(held[: draw.randrange(len(held) + 1)])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "link":
        path.unlink()
        path.symlink_to("nowhere")
    else:
        changed = bytearray(held)
        for _ in range(draw.randrange(1, 20)):
            changed[draw.randrange(len(held))] ^= draw.randrange(1, 256)
        path.write_bytes(bytes(changed))
    return f"{path.name} {how}"
