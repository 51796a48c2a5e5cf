"""`resnet-search doctor`: what a study needs, a line each, before it is begun."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from search.cli.run_commands import add_name, study_overrides
from search.spec.overrides import add_overrides
from trainables.errors import UserError

if TYPE_CHECKING:
    from search.run.machine_checks import Check
    from search.run.options import Options
    from search.spec.study_spec import StudySpec

STATUS = {"ok": 0, "warning": 1, "fault": 2}
STYLE = {"ok": "green", "warning": "yellow", "fault": "bold red"}
COLUMN = 25  # where what was found begins, behind state and name
NARROW = 60  # columns of a terminal below which it begins on a line of its own
HELP = (
    "look at everything a study needs, without training; exit status 0: all is well, 1: there "
    "are warnings, 2: there are faults, which `run` would refuse"
)
# what hangs on a study
OF_A_STUDY = "resources, the data and the weights it needs, networks, settings"


def add_doctor(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser; options of places are added by the caller, who shares them."""
    parser: argparse.ArgumentParser = commands.add_parser("doctor", help=HELP, description=HELP)
    parser.add_argument(
        "study",
        metavar="STUDY",
        nargs="?",
        help="a TOML file, or a shipped study; left out, what is there is looked at",
    )
    add_overrides(parser)
    add_name(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def doctor(arguments: argparse.Namespace, options: Options, console: Console) -> int:
    """Print a line a check; the exit status is the worst of them.

    Raises:
        UserError: a study is to be changed, and none is named.
    """
    overrides = study_overrides(arguments)
    if overrides and not arguments.study:
        raise UserError(
            f"{', '.join(overrides)}: changes a study, and none is named; name it first: "
            "resnet-search doctor STUDY"
        )
    found = []
    for check in _checks(arguments, options):
        found.append(check)
        if not arguments.json:
            _show(check, console)
    if arguments.json:
        print(json.dumps([asdict(check) for check in found], indent=1))
    else:
        counts = {state: sum(c.state == state for c in found) for state in STATUS}
        console.print(
            f"{len(found)} checks: {counts['fault']} with faults, {counts['warning']} with "
            f"warnings, {counts['ok']} ok",
            soft_wrap=True,
        )
    return max(STATUS[check.state] for check in found)


def _checks(arguments: argparse.Namespace, options: Options) -> Iterator[Check]:
    from search.run.doctor import examine
    from search.run.machine_checks import Check

    spec = None
    if arguments.study:
        try:
            spec, options = _load(arguments, options)
        except UserError as error:
            first, *more = (line.strip() for line in str(error).splitlines())
            yield Check("study", "fault", first, items=tuple(more))
            text = f"not looked at, since they hang on the study: {OF_A_STUDY}"
            yield Check("the rest", "warning", text, "mend the study, then ask again")
        else:
            yield Check("study", "ok", f"{spec.name}: {len(spec.cell_values())} cells")
    yield from examine(spec, options)


def _load(arguments: argparse.Namespace, options: Options) -> tuple[StudySpec, Options]:
    from search.spec.shipped import find_study
    from search.spec.study_spec import load_spec

    path = find_study(arguments.study)
    spec = load_spec(path, study_overrides(arguments))[0]
    return spec, replace(options, task_dir=path.parent.resolve() if spec.own_code() else None)


def _show(check: Check, console: Console) -> None:
    """Print a check: as wide as a terminal; whole lines where it is none, for grep."""
    lines = [check.text, *check.items, *([check.fix] if check.fix else [])]
    head = Text.assemble((f"{check.state:8}", STYLE[check.state]), f"{check.name:17}")
    width = console.width if console.is_terminal else 0
    narrow = 0 < width < NARROW
    indent = 4 if narrow else COLUMN
    if narrow:
        console.print(head, soft_wrap=True, highlight=False)
        head = Text(" " * indent)
    for number, line in enumerate(lines):
        for part in _folded(line, width - indent if width else 0, "  " if number else ""):
            console.print(head + Text(part), soft_wrap=True, highlight=False)
            head = Text(" " * indent)


def _folded(text: str, width: int, hang: str) -> list[str]:
    """A text in lines of so many columns; 0: as it is. A path stays whole, to be copied."""
    text = " ".join(text.split())
    if not width:
        return [text]
    return textwrap.wrap(
        text,
        max(8, width),
        subsequent_indent=hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
